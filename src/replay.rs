//! News files as a source: JSONL, CSV or Parquet, sent to Kafka with their event times kept.
//!
//! The second door to polars: its Parquet reader.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use polars::prelude::AnyValue;
use polars_io::SerReader;
use polars_io::parquet::read::ParquetReader;
use serde_json::{Map, Value};

use crate::news::EventTime;

/// One record to be sent: the bytes as they go out, its id and event time where it has them.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayItem {
    /// Line of a JSONL file, row of a table; from 1.
    pub row: u64,
    pub payload: Vec<u8>,
    pub id: Option<String>,
    pub at: Option<EventTime>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path} cannot be read: {cause}")]
    Read { path: PathBuf, cause: String },
    #[error("{0}: the name must end in .jsonl, .csv or .parquet")]
    Kind(PathBuf),
}

type Items = Box<dyn Iterator<Item = Result<ReplayItem, Error>>>;

/// Items of one file, in its order. JSONL lines go out as they are, even broken ones; rows of CSV and Parquet become
/// objects with the column names as fields.
///
/// # Errors
/// [`Error`] where the file cannot be opened or is of another kind; each item may be an error, too.
pub fn open(path: &Path) -> Result<Items, Error> {
    let fail = |cause: &dyn std::fmt::Display| Error::Read { path: path.to_owned(), cause: cause.to_string() };
    let kind = path.extension().map(|kind| kind.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let file = File::open(path).map_err(|error| fail(&error))?;
    let owned = path.to_owned();
    let cannot = move |cause: String| Error::Read { path: owned.clone(), cause };
    match kind.as_str() {
        "jsonl" | "ndjson" | "json" => Ok(Box::new(
            BufReader::new(file)
                .split(b'\n')
                .zip(1..)
                .filter(|(line, _)| !line.as_ref().is_ok_and(|line| line.iter().all(u8::is_ascii_whitespace)))
                .map(move |(line, row)| line.map(|line| from_line(row, line)).map_err(|error| cannot(error.to_string()))),
        )),
        "csv" => {
            let mut reader = csv::Reader::from_reader(file);
            let header: Vec<String> = reader.headers().map_err(|error| fail(&error))?.iter().map(str::to_owned).collect();
            Ok(Box::new(reader.into_records().zip(1..).map(move |(record, row)| {
                let record = record.map_err(|error| cannot(error.to_string()))?;
                let fields = header.iter().zip(record.iter()).filter(|(_, value)| !value.is_empty());
                Ok(from_fields(row, fields.map(|(name, value)| (name.clone(), from_text(name, value))).collect()))
            })))
        }
        "parquet" => {
            let frame = ParquetReader::new(file).finish().map_err(|error| fail(&error))?;
            Ok(Box::new((0..frame.height()).map(move |row| {
                let fields = frame.columns().iter().filter_map(|column| {
                    let value = column.get(row).ok().and_then(|value| from_cell(&value))?;
                    Some((column.name().to_string(), value))
                });
                Ok(from_fields(row as u64 + 1, fields.collect()))
            })))
        }
        _ => Err(Error::Kind(path.to_owned())),
    }
}

fn from_line(row: u64, line: Vec<u8>) -> ReplayItem {
    let fields = serde_json::from_slice::<Map<String, Value>>(&line).unwrap_or_default();
    ReplayItem { row, id: id_of(&fields), at: time_of(&fields), payload: line }
}

fn from_fields(row: u64, fields: Map<String, Value>) -> ReplayItem {
    ReplayItem { row, id: id_of(&fields), at: time_of(&fields), payload: Value::Object(fields).to_string().into_bytes() }
}

fn id_of(fields: &Map<String, Value>) -> Option<String> {
    fields.get("id").and_then(Value::as_str).map(str::to_owned)
}

fn time_of(fields: &Map<String, Value>) -> Option<EventTime> {
    match fields.get("published_at")? {
        Value::String(text) => EventTime::parse(text.trim()),
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|ms| ms as i64)).map(EventTime),
        _ => None,
    }
}

/// A CSV cell: epoch milliseconds and comma-separated symbols get their JSON type, the rest is text.
fn from_text(name: &str, value: &str) -> Value {
    match name {
        "published_at" => value.parse::<i64>().map_or_else(|_| Value::from(value), Value::from),
        "symbols" => value.split([',', ';', ' ']).filter(|symbol| !symbol.is_empty()).map(Value::from).collect(),
        _ => Value::from(value),
    }
}

fn from_cell(value: &AnyValue<'_>) -> Option<Value> {
    use polars::prelude::TimeUnit;
    Some(match value {
        AnyValue::Null => return None,
        AnyValue::Boolean(value) => Value::from(*value),
        AnyValue::String(text) => Value::from(*text),
        AnyValue::StringOwned(text) => Value::from(text.as_str()),
        AnyValue::Float32(value) => Value::from(*value),
        AnyValue::Float64(value) => Value::from(*value),
        AnyValue::Datetime(at, unit, _) => Value::from(match unit {
            TimeUnit::Nanoseconds => at / 1_000_000,
            TimeUnit::Microseconds => at / 1_000,
            TimeUnit::Milliseconds => *at,
        }),
        AnyValue::List(values) => values.iter().filter_map(|value| from_cell(&value)).collect(),
        other => match other.extract::<i64>() {
            Some(number) => Value::from(number),
            None => Value::from(other.to_string()),
        },
    })
}

/// How fast event time runs against the clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// So many seconds of event time in a second.
    Times(f64),
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let factor = text.strip_suffix('x').and_then(|factor| factor.parse::<f64>().ok());
        match factor.filter(|factor| factor.is_finite() && *factor > 0.0) {
            Some(factor) => Ok(Self::Times(factor)),
            None => Err(format!("{text:?} must be a factor such as 1x or 60x, or max")),
        }
    }
}

/// Says how long to wait before an item goes out.
pub struct Pacer {
    speed: Speed,
    start: Option<(EventTime, Instant)>,
}

impl Pacer {
    pub fn new(speed: Speed) -> Self {
        Self { speed, start: None }
    }

    /// Zero for an item that is due, out of order, or without a time.
    pub fn wait(&mut self, at: Option<EventTime>, now: Instant) -> Duration {
        let (Speed::Times(factor), Some(at)) = (self.speed, at) else { return Duration::ZERO };
        let (first, started) = *self.start.get_or_insert((at, now));
        let ahead = Duration::from_secs_f64((at.0 - first.0).max(0) as f64 / 1e3 / factor);
        (started + ahead).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn jsonl_goes_out_as_it_is() {
        let (_folder, path) = written("a.jsonl", b"{\"id\":\"1\",\"published_at\":5,\"title\":\"x\"}\n\nnot json\n");
        let items: Vec<ReplayItem> = open(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(items.iter().map(|item| item.row).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((items.len(), items[0].at, items[1].payload.as_slice()), (2, Some(EventTime(5)), b"not json".as_slice()));
    }

    #[test]
    fn csv_rows_become_objects() {
        let (_folder, path) =
            written("a.csv", b"id,title,published_at,symbols,source\n1,\"Rates, up\",2023-03-10T00:00:00Z,\"A,B\",\n2,t,7,,s\n");
        let items: Vec<ReplayItem> = open(&path).unwrap().map(Result::unwrap).collect();
        let first: Value = serde_json::from_slice(&items[0].payload).unwrap();
        assert_eq!(first, serde_json::json!({"id":"1","title":"Rates, up","published_at":"2023-03-10T00:00:00Z","symbols":["A","B"]}));
        assert_eq!(items[1].at, Some(EventTime(7)));
    }

    #[test]
    fn parquet_rows_become_objects() {
        use polars::prelude::{Column, DataFrame};
        use polars_io::parquet::write::ParquetWriter;
        let mut frame = DataFrame::new(
            2,
            vec![Column::new("title".into(), ["Bank fails", "Rates up"]), Column::new("published_at".into(), [1_000i64, 2_000])],
        )
        .unwrap();
        let (_folder, path) = written("a.parquet", b"");
        ParquetWriter::new(File::create(&path).unwrap()).finish(&mut frame).unwrap();
        let items: Vec<ReplayItem> = open(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(items[1].payload, br#"{"title":"Rates up","published_at":2000}"#);
        assert_eq!(items[1].at, Some(EventTime(2000)));
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let (_folder, path) = written("a.txt", b"");
        assert!(open(&path).err().unwrap().to_string().ends_with("must end in .jsonl, .csv or .parquet"));
    }

    #[test]
    fn pacing_follows_event_time_at_the_speed_asked_for() {
        let start = Instant::now();
        let mut pacer = Pacer::new("60x".parse().unwrap());
        assert_eq!(pacer.wait(Some(EventTime(0)), start), Duration::ZERO);
        assert_eq!(pacer.wait(Some(EventTime(120_000)), start), Duration::from_secs(2));
        assert_eq!(pacer.wait(Some(EventTime(60_000)), start + Duration::from_secs(5)), Duration::ZERO);
        assert_eq!(Pacer::new(Speed::Max).wait(Some(EventTime(9)), start), Duration::ZERO);
        assert!("fast".parse::<Speed>().is_err() && "-1x".parse::<Speed>().is_err());
    }
}
