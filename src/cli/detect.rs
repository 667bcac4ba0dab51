//! `bellwether detect`: the detector on a series of one's own.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::NaiveDateTime;
use csv::ByteRecord;

use super::Failure;
use crate::detect::series::{Direction, Series};
use crate::news::EventTime;

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  bellwether detect --series requests.csv --direction up > scored.csv

Writes CSV with the columns timestamp, value, score (0 to 1; 0.5 is what chance brings once a month) and alert (0 or 1).
The first 96 rows only teach it. Gaps are fine; the interval may be anything from a second to days.")]
pub struct Arguments {
    /// CSV with the columns timestamp (RFC 3339, `YYYY-MM-DD HH:MM:SS`, or seconds or milliseconds since 1970) and value;
    /// "-" is standard input
    #[arg(long, value_name = "FILE")]
    series: PathBuf,
    /// Which way a value must be unusual
    #[arg(long, value_enum, default_value = "both")]
    direction: Direction,
    /// How often chance may raise an alert, per month of 30 days
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0, value_parser = positive)]
    false_alarms_per_month: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0).ok_or_else(|| "must be a number above 0".to_owned())
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let file = &arguments.series;
    let input: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(File::open(file).with_context(|| format!("{} cannot be read", file.display())).map_err(Failure::usage)?),
    };
    let series = Series::new(arguments.direction, arguments.false_alarms_per_month);
    let mut output = BufWriter::new(std::io::stdout().lock());
    detect(series, file, BufReader::new(input), &mut output)?;
    output.flush()?;
    Ok(())
}

/// As by default.
pub fn new_series() -> Series {
    Series::new(Direction::Both, 1.0)
}

/// Answers row by row, so that it works on a stream.
///
/// # Errors
/// What cannot be read, with file and line.
pub fn detect(mut series: Series, file: &Path, input: impl Read, output: &mut impl Write) -> Result<(), Failure> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let header = reader.byte_headers().context(file.display().to_string()).map_err(Failure::usage)?;
    let column = |name: &str| {
        let found = header.iter().position(|field| field.trim_ascii() == name.as_bytes());
        found.with_context(|| format!("{}, line 1: no column {name:?}; a header with timestamp and value is needed", file.display()))
    };
    let (timestamp, value) = (column("timestamp").map_err(Failure::usage)?, column("value").map_err(Failure::usage)?);
    writeln!(output, "timestamp,value,score,alert")?;
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).context(file.display().to_string()).map_err(Failure::usage)? {
        let field =
            |index: usize| record.get(index).map(|field| std::str::from_utf8(field).unwrap_or("\u{FFFD}").trim()).unwrap_or_default();
        let (timestamp, value) = (field(timestamp), field(value));
        let read = || -> anyhow::Result<(EventTime, f64)> { Ok((parse_time(timestamp)?, parse_value(value)?)) };
        let (at, number) = read().map_err(|error| {
            let line = record.position().map_or(0, csv::Position::line);
            Failure::usage(error.context(format!("{}, line {line}", file.display())))
        })?;
        let answer = series.push(at, number);
        writeln!(output, "{timestamp},{value},{:.6},{}", answer.score, u8::from(answer.alert))?;
    }
    Ok(())
}

fn parse_value(text: &str) -> anyhow::Result<f64> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => bail!("value {text:?} is not a finite number"),
    }
}

fn parse_time(text: &str) -> anyhow::Result<EventTime> {
    /// Numbers below this are seconds: as milliseconds they would lie before May 1973.
    const LEAST_MS: f64 = 1e11;
    if let Some(at) = EventTime::parse(text) {
        return Ok(at);
    }
    if let Ok(number) = text.parse::<f64>()
        && number.is_finite()
        && number.abs() < 1e15
    {
        let ms = if number.abs() < LEAST_MS { number * 1000.0 } else { number };
        return Ok(EventTime(ms.round() as i64));
    }
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let naive = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let naive = naive.or_else(|| chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0));
    match naive {
        Some(at) => Ok(EventTime(at.and_utc().timestamp_millis())),
        None => bail!("timestamp {text:?} is neither RFC 3339, \"YYYY-MM-DD HH:MM:SS\" nor a number of seconds or milliseconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> Result<String, String> {
        let mut output = Vec::new();
        detect(Series::new(Direction::Both, 1.0), Path::new("s.csv"), text.as_bytes(), &mut output)
            .map_err(|failure| format!("{:#}", failure.error))?;
        Ok(String::from_utf8(output).unwrap())
    }

    #[test]
    fn rows_come_back_as_they_were_with_score_and_alert() {
        let text = "timestamp,value\n2014-02-14 14:27:00,51.846\n2014-02-14T14:32:00Z,44.508\n1392388620,41\n1392388920000,4e1\n";
        assert_eq!(
            output(text).unwrap(),
            "timestamp,value,score,alert\n2014-02-14 14:27:00,51.846,0.000000,0\n2014-02-14T14:32:00Z,44.508,0.000000,0\n\
             1392388620,41,0.000000,0\n1392388920000,4e1,0.000000,0\n"
        );
    }

    #[test]
    fn all_forms_of_a_time_mean_the_same() {
        let forms = [
            "2014-02-14T14:27:00Z",
            "2014-02-14 14:27:00",
            "2014-02-14T15:27:00+01:00",
            "1392388020",
            "1392388020000",
            "2014-02-14T14:27:00.000",
        ];
        let times: Vec<EventTime> = forms.iter().map(|form| parse_time(form).unwrap()).collect();
        assert!(times.iter().all(|time| time.0 == 1_392_388_020_000), "{times:?}");
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        let error = output("timestamp,value\n1392388020,1\n1392388080,nan\n").unwrap_err();
        assert_eq!(error, "s.csv, line 3: value \"nan\" is not a finite number");
        let error = output("timestamp,value\nyesterday,1\n").unwrap_err();
        assert!(error.starts_with("s.csv, line 2: timestamp \"yesterday\" is neither"), "{error}");
        assert!(output("time,count\n1,2\n").unwrap_err().contains("no column \"timestamp\""));
    }
}
