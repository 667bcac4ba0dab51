//! The folder of an archive: `scored/date=2026-11-30/part-00003-000000-240000.parquet`, where 3 is the Kafka partition, and the
//! rest the part of the day.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{DAY_MS, Dataset, Error, Range};
use crate::news::EventTime;
use crate::window::parquet::count_rows;

/// Held by one export at a time.
pub struct Folder {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Folder {
    /// Makes it, where it is not there, and clears away what an export that was killed has left unfinished.
    ///
    /// # Errors
    /// [`Error::InUse`] or [`Error::Unwritten`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let lock = path.join(".lock");
        let opened = fs::create_dir_all(path).and_then(|()| File::create(&lock)).map_err(|cause| unwritten(&lock, &cause))?;
        opened.try_lock().map_err(|_| Error::InUse(path.to_owned()))?;
        let folder = Self { path: path.to_owned(), _lock: opened };
        folder.clear();
        let aside = folder.aside();
        fs::create_dir_all(&aside).map_err(|cause| unwritten(&aside, &cause))?;
        Ok(folder)
    }

    fn aside(&self) -> PathBuf {
        self.path.join(".unfinished")
    }

    fn clear(&self) {
        let _ = fs::remove_dir_all(self.aside());
    }

    fn day(&self, dataset: Dataset, day: Range) -> PathBuf {
        self.path.join(dataset.as_str()).join(format!("date={}", &day.from.to_string()[..10]))
    }

    /// # Errors
    /// [`Error::OtherRange`] where a file that is there has some of the range's time and not the range's part of that day.
    pub fn check(&self, range: Range) -> Result<(), Error> {
        for (dataset, day) in Dataset::ALL.into_iter().flat_map(|dataset| range.days().map(move |day| (dataset, day))) {
            for file in fs::read_dir(self.day(dataset, day)).into_iter().flatten().flatten() {
                let name = file.file_name();
                let Some(other) = name.to_str().and_then(|name| part_of_day(name, day.from.floor(DAY_MS))) else { continue };
                if other != day && other.from < day.to && day.from < other.to {
                    return Err(Error::OtherRange { file: file.path() });
                }
            }
        }
        Ok(())
    }

    /// Where a file is written before it is whole.
    pub fn unfinished(&self, dataset: Dataset, day: Range, partition: i32) -> PathBuf {
        self.aside().join(format!("{}-{}-{}", dataset.as_str(), &day.from.to_string()[..10], name(day, partition)))
    }

    /// Moves a finished file to its place. One that is there and has more rows stays, and is given: the topic has lost some of
    /// them by its retention or by compaction.
    ///
    /// # Errors
    /// [`Error::Unwritten`].
    pub fn put(&self, dataset: Dataset, day: Range, partition: i32, rows: u64) -> Result<Option<PathBuf>, Error> {
        let (from, folder) = (self.unfinished(dataset, day, partition), self.day(dataset, day));
        let to = folder.join(name(day, partition));
        if count_rows(&to).is_ok_and(|held| held as u64 > rows) {
            return Ok(Some(to));
        }
        let moved = File::open(&from)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::create_dir_all(&folder))
            .and_then(|()| fs::rename(&from, &to))
            .and_then(|()| File::open(&folder)?.sync_all());
        moved.map(|()| None).map_err(|cause| unwritten(&to, &cause))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.clear();
    }
}

fn unwritten(path: &Path, cause: &std::io::Error) -> Error {
    Error::Unwritten { path: path.to_owned(), cause: cause.to_string() }
}

fn name(day: Range, partition: i32) -> String {
    let start = day.from.floor(DAY_MS);
    let clock = |at: EventTime| {
        let seconds = (at.0 - start.0) / 1000;
        format!("{:02}{:02}{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    };
    format!("part-{partition:05}-{}-{}.parquet", clock(day.from), clock(day.to))
}

/// `None` for a file that is not one of ours.
fn part_of_day(name: &str, start: EventTime) -> Option<Range> {
    let mut parts = name.strip_prefix("part-")?.strip_suffix(".parquet")?.split('-');
    let _partition: i32 = parts.next()?.parse().ok()?;
    let mut clock = || {
        let digits: i64 = parts.next()?.parse().ok()?;
        Some(start.plus(((digits / 10_000 * 60 + digits / 100 % 100) * 60 + digits % 100) * 1000))
    };
    Some(Range { from: clock()?, to: clock()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: &str, to: &str) -> Range {
        Range::new(EventTime::parse(from).unwrap(), EventTime::parse(to).unwrap()).unwrap()
    }

    #[test]
    fn a_name_says_which_part_of_the_day_it_has() {
        let part = range("2026-11-30T06:30:15Z", "2026-12-01T00:00:00Z");
        assert_eq!(name(part, 3), "part-00003-063015-240000.parquet");
        assert_eq!(part_of_day(&name(part, 3), part.from.floor(DAY_MS)), Some(part));
        for other in ["part-x-063015-240000.parquet", "part-00003-063015.parquet", "notes.parquet"] {
            assert_eq!(part_of_day(other, part.from), None, "{other}");
        }
    }

    #[test]
    fn days_may_be_exported_again_and_beside_each_other_but_not_across_each_other() {
        let site = tempfile::tempdir().unwrap();
        let folder = Folder::open(site.path()).unwrap();
        let day = site.path().join("alerts/date=2026-11-30");
        fs::create_dir_all(&day).unwrap();
        fs::write(day.join("part-00000-060000-120000.parquet"), "").unwrap();
        for fits in [("2026-11-30T06:00:00Z", "2026-11-30T12:00:00Z"), ("2026-11-30T12:00:00Z", "2026-12-02T00:00:00Z")] {
            assert!(folder.check(range(fits.0, fits.1)).is_ok(), "{fits:?}");
        }
        for across in [("2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"), ("2026-11-30T11:00:00Z", "2026-11-30T12:00:00Z")] {
            let error = folder.check(range(across.0, across.1)).unwrap_err().to_string();
            assert!(error.contains("part-00000-060000-120000.parquet holds another part of a day"), "{error}");
        }
    }

    #[test]
    fn one_export_at_a_time_writes_to_a_folder_and_what_a_killed_one_left_is_cleared() {
        let site = tempfile::tempdir().unwrap();
        let left = site.path().join(".unfinished/scored-2026-11-30-part-00000-000000-240000.parquet");
        fs::create_dir_all(left.parent().unwrap()).unwrap();
        fs::write(&left, "half").unwrap();
        let first = Folder::open(site.path()).unwrap();
        assert!(!left.exists());
        assert!(matches!(Folder::open(site.path()), Err(Error::InUse(_))));
        drop(first);
        assert!(Folder::open(site.path()).is_ok());
    }
}
