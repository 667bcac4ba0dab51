//! Outputs as files for analysts: scored items, windows and alerts of a span of event time, as Parquet by day.
//!
//! Partition after partition in the order of its offsets, so the same topics give the same files. A file is written aside
//! and renamed when all of them are whole.

mod folder;
mod last;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::kafka::reader::{Passing, Reader};
use crate::news::EventTime;
use crate::window::parquet::ParquetFile;

pub use folder::Folder;
use last::Last;
pub use rows::Dataset;
use rows::{Record, Rows};

pub const DAY_MS: i64 = 86_400_000;
/// A file is open for each of them.
const MAX_DAYS: i64 = 366;
/// JSON of the records that become a row group, and of all that wait to become one.
const ROW_GROUP_BYTES: usize = 16 << 20;
const WAITING_BYTES: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--from {from} must be before --to {to}, which is not part of the range")]
    Backwards { from: EventTime, to: EventTime },
    #[error("--from {from} and --to {to} are more than {MAX_DAYS} days apart: export one year after the other")]
    TooLong { from: EventTime, to: EventTime },
    #[error("{0} must be a whole second")]
    Fraction(EventTime),
    #[error(
        "nothing on {topics} has an event time from {from} up to {to}{seen}; the records themselves may be gone by the topics' retention"
    )]
    Nothing { topics: String, from: EventTime, to: EventTime, seen: String },
    #[error(
        "{file} holds another part of a day that this range has, too: its rows would be there twice. Give --from and --to that begin and end \
         with it or lie beside it, or another --out"
    )]
    OtherRange { file: PathBuf },
    #[error("another export writes to {0}: wait until it has ended")]
    InUse(PathBuf),
    #[error("{path} cannot be written: {cause}. The archive is as it was before; make room, or give another --out")]
    Unwritten { path: PathBuf, cause: String },
    #[error("a partition of {topic} has more than {most} windows or transitions in this range: export fewer days at a time")]
    TooMany { topic: String, most: usize },
    #[error("stopped: the archive is as it was before")]
    Stopped,
    #[error(transparent)]
    Kafka(#[from] crate::kafka::Error),
}

/// A span of event time in whole seconds, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub from: EventTime,
    pub to: EventTime,
}

impl Range {
    /// # Errors
    /// [`Error::Backwards`], [`Error::TooLong`] or [`Error::Fraction`].
    pub fn new(from: EventTime, to: EventTime) -> Result<Self, Error> {
        if let Some(fraction) = [from, to].into_iter().find(|time| time.0 % 1000 != 0) {
            return Err(Error::Fraction(fraction));
        }
        let range = Self { from, to };
        match from < to {
            false => Err(Error::Backwards { from, to }),
            true if range.days().count() as i64 > MAX_DAYS => Err(Error::TooLong { from, to }),
            true => Ok(range),
        }
    }

    fn holds(self, at: EventTime) -> bool {
        at >= self.from && at < self.to
    }

    /// The parts of it that lie in one UTC day each.
    fn days(self) -> impl Iterator<Item = Self> {
        let starts = (self.from.floor(DAY_MS).0..self.to.0).step_by(DAY_MS as usize).map(EventTime);
        starts.map(move |start| Self { from: self.from.max(start), to: self.to.min(start.plus(DAY_MS)) })
    }

    fn day_of(self, at: EventTime) -> Self {
        let start = at.floor(DAY_MS);
        Self { from: self.from.max(start), to: self.to.min(start.plus(DAY_MS)) }
    }
}

/// What came of one dataset.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub rows: u64,
    pub files: usize,
    /// Left out, because a later record has the same key.
    pub repeats: u64,
    /// Not records of this dataset.
    pub unreadable: u64,
    /// Files that hold more than the topic has now.
    pub kept: Vec<PathBuf>,
}

pub struct Export<'run> {
    pub config: &'run Config,
    pub reader: &'run Reader,
    /// The reader's own.
    pub stop: &'run CancellationToken,
    pub range: Range,
    /// Told of every record that passes.
    pub progress: &'run dyn Fn(Dataset, &Passing<'_>),
}

/// A file that waits to be moved to its place.
struct Written {
    day: Range,
    partition: i32,
    rows: u64,
}

impl Export<'_> {
    /// Writes what the topics hold now of the range, all or nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub fn run(&self, folder: &Folder) -> Result<Vec<(Dataset, Outcome)>, Error> {
        folder.check(self.range)?;
        let mut seen = Seen::default();
        let mut outcomes = Vec::new();
        let mut written = Vec::new();
        for dataset in Dataset::ALL {
            let topic = dataset.topic(&self.config.kafka.topics);
            let mut outcome = Outcome::default();
            for partition in 0..self.reader.partition_count(topic)? {
                for file in self.partition(folder, dataset, topic, partition, &mut outcome, &mut seen)? {
                    outcome.rows += file.rows;
                    written.push((dataset, file));
                }
            }
            outcomes.push((dataset, outcome));
        }
        if written.is_empty() {
            let topics = Dataset::ALL.map(|dataset| dataset.topic(&self.config.kafka.topics)).join(", ");
            return Err(Error::Nothing { topics, from: self.range.from, to: self.range.to, seen: seen.in_words() });
        }
        for (dataset, file) in written {
            let outcome = outcomes.iter_mut().find(|(of, _)| *of == dataset).map(|(_, outcome)| outcome);
            let outcome = outcome.expect("each dataset has its outcome");
            match folder.put(dataset, file.day, file.partition, file.rows)? {
                Some(kept) => outcome.kept.push(kept),
                None => outcome.files += 1,
            }
        }
        Ok(outcomes)
    }

    fn partition(
        &self,
        folder: &Folder,
        dataset: Dataset,
        topic: &str,
        partition: i32,
        outcome: &mut Outcome,
        seen: &mut Seen,
    ) -> Result<Vec<Written>, Error> {
        let mut last = Last::default();
        if dataset != Dataset::Scored {
            self.read(dataset, topic, partition, |offset, record, _| {
                match record.as_ref().filter(|record| self.range.holds(record.at())).and_then(Record::key) {
                    Some(key) => last.note(key, offset, topic),
                    None => Ok(()),
                }
            })?;
        }
        let mut days = Days { folder, dataset, partition, range: self.range, sheets: BTreeMap::new(), bytes: 0 };
        self.read(dataset, topic, partition, |offset, record, bytes| {
            let Some(record) = record else {
                outcome.unreadable += 1;
                return Ok(());
            };
            seen.note(record.at());
            if !self.range.holds(record.at()) || record.is_internal() {
                return Ok(());
            }
            match record.key().is_none_or(|key| last.is(key, offset)) {
                true => days.push(record, bytes),
                false => {
                    outcome.repeats += 1;
                    Ok(())
                }
            }
        })?;
        days.finish()
    }

    /// `each` is given offset, record and size; what has no content says only that something was deleted.
    fn read(
        &self,
        dataset: Dataset,
        topic: &str,
        partition: i32,
        mut each: impl FnMut(i64, Option<Record>, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // No record is older than what it says by more than an item may be dated ahead.
        let since = self.range.from.plus(-self.config.decode.max_ahead.ms());
        let mut failure = None;
        let whole = self.reader.read(topic, &[(partition, Some(since))], |passing| {
            (self.progress)(dataset, &passing);
            if failure.is_some() || passing.payload.is_empty() {
                return;
            }
            if let Err(error) = each(passing.offset, dataset.read(passing.payload), passing.payload.len()) {
                failure = Some(error);
                self.stop.cancel();
            }
        })?;
        match failure {
            Some(error) => Err(error),
            None if whole => Ok(()),
            None => Err(Error::Stopped),
        }
    }
}

/// The event times that were met.
#[derive(Default)]
struct Seen(Option<(EventTime, EventTime)>);

impl Seen {
    fn note(&mut self, at: EventTime) {
        let (first, last) = self.0.unwrap_or((at, at));
        self.0 = Some((first.min(at), last.max(at)));
    }

    fn in_words(&self) -> String {
        self.0.map_or_else(String::new, |(first, last)| format!("; those that were read have {first} to {last}"))
    }
}

/// One partition on its way into files, one for each day.
struct Days<'run> {
    folder: &'run Folder,
    dataset: Dataset,
    partition: i32,
    range: Range,
    sheets: BTreeMap<EventTime, Sheet>,
    bytes: usize,
}

struct Sheet {
    day: Range,
    file: Option<ParquetFile>,
    rows: u64,
    waiting: Rows,
    bytes: usize,
}

impl Days<'_> {
    fn push(&mut self, record: Record, bytes: usize) -> Result<(), Error> {
        let day = self.range.day_of(record.at());
        let sheet =
            self.sheets.entry(day.from).or_insert_with(|| Sheet { day, file: None, rows: 0, waiting: self.dataset.rows(), bytes: 0 });
        sheet.waiting.push(record);
        sheet.rows += 1;
        sheet.bytes += bytes;
        self.bytes += bytes;
        if sheet.bytes >= ROW_GROUP_BYTES {
            return self.write(day.from);
        }
        if self.bytes < WAITING_BYTES {
            return Ok(());
        }
        let fullest = self.sheets.iter().max_by_key(|(_, sheet)| sheet.bytes).map(|(day, _)| *day);
        self.write(fullest.expect("some bytes wait"))
    }

    /// What waits of a day becomes a row group.
    fn write(&mut self, day: EventTime) -> Result<(), Error> {
        let sheet = self.sheets.get_mut(&day).expect("it is one of them");
        if sheet.bytes == 0 {
            return Ok(());
        }
        let frame = std::mem::replace(&mut sheet.waiting, self.dataset.rows()).frame();
        self.bytes -= std::mem::take(&mut sheet.bytes);
        let path = self.folder.unfinished(self.dataset, sheet.day, self.partition);
        let written = match &mut sheet.file {
            Some(file) => file.write(&frame),
            None => ParquetFile::create(&path, &frame).map(|file| sheet.file = Some(file)),
        };
        written.map_err(|cause| Error::Unwritten { path, cause })
    }

    fn finish(mut self) -> Result<Vec<Written>, Error> {
        let days: Vec<EventTime> = self.sheets.keys().copied().collect();
        let mut written = Vec::new();
        for day in days {
            self.write(day)?;
            let Sheet { day, file, rows, .. } = self.sheets.remove(&day).expect("it is one of them");
            let path = self.folder.unfinished(self.dataset, day, self.partition);
            let finished = file.expect("it has a row").finish();
            finished.map_err(|cause| Error::Unwritten { path, cause })?;
            written.push(Written { day, partition: self.partition, rows });
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: &str, to: &str) -> Result<Range, Error> {
        Range::new(EventTime::parse(from).unwrap(), EventTime::parse(to).unwrap())
    }

    #[test]
    fn a_range_is_cut_at_midnight_utc() {
        let days: Vec<String> =
            range("2026-11-29T22:00:00Z", "2026-12-01T00:00:00Z").unwrap().days().map(|day| format!("{} {}", day.from, day.to)).collect();
        assert_eq!(days, ["2026-11-29T22:00:00.000Z 2026-11-30T00:00:00.000Z", "2026-11-30T00:00:00.000Z 2026-12-01T00:00:00.000Z"]);
    }

    #[test]
    fn a_range_that_cannot_be_meant_is_refused_with_its_mend() {
        for (from, to, said) in [
            ("2026-11-30T00:00:00Z", "2026-11-30T00:00:00Z", "must be before --to"),
            ("2026-11-30T00:00:00.5Z", "2026-12-01T00:00:00Z", "must be a whole second"),
            ("2025-11-30T00:00:00Z", "2026-12-02T00:00:00Z", "export one year after the other"),
        ] {
            let error = range(from, to).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
