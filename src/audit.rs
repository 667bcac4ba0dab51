//! The audit log: what was done to this process, when and by whom, as JSON lines that are only ever appended.
//!
//! Each line holds the hash of the one before and its own: SHA-256 over the line without `hash`. Who changes, inserts or takes out a
//! line breaks the chain behind it (Schneier and Kelsey 1999, *Secure Audit Logs to Support Computer Forensics*, without their keys:
//! who can write the file can also write all of it anew, so keep a hash of it elsewhere).

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::news::{EventTime, hex};

/// What the first line has for the hash of the one before.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Who does what nobody asks for.
pub const PROCESS: &str = "process";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("audit.file = \"{file}\" cannot be opened: {cause}")]
    Unopened { file: PathBuf, cause: std::io::Error },
    #[error("audit.file = \"{0}\" is another process's: give each process a file of its own")]
    InUse(PathBuf),
    #[error("audit.file = \"{file}\" cannot be written: {cause}")]
    Unwritten { file: PathBuf, cause: std::io::Error },
    #[error("{file}, line {line}: {what}; nothing behind it can be relied on. Keep the file, and begin another one")]
    Broken { file: PathBuf, line: u64, what: &'static str },
    #[error("{file}: no line has the hash {hash}: the log was written anew, or its end taken off")]
    Gone { file: PathBuf, hash: String },
}

/// What is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Start,
    Stop,
    /// A process was cut off while it wrote the line before.
    Recovered,
    ConfigurationChanged,
    ConfigurationRefused,
    /// Loaded at the start, or swapped by a reload.
    ModelChanged,
    ModelRefused,
    AlertAcknowledged,
    AcknowledgementWithdrawn,
    SubjectSilenced,
    SilenceLifted,
}

/// One line, in the order of its fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    sequence: u64,
    at: EventTime,
    event: Event,
    /// Who did it: a token's name, a signal, or the process itself.
    actor: String,
    detail: Map<String, Value>,
    previous: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    hash: String,
}

impl Line {
    fn digest(&self) -> String {
        let bare = Self { hash: String::new(), ..self.clone() };
        hex(&Sha256::digest(serde_json::to_vec(&bare).expect("a line has a JSON form")))
    }
}

/// Where a chain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub lines: u64,
    /// Of the last line.
    pub hash: String,
    pub last_at: Option<EventTime>,
    /// Lines that a process was cut off in, and told so afterwards.
    pub cut_off: u64,
}

impl Default for Chain {
    fn default() -> Self {
        Self { lines: 0, hash: NOTHING.to_owned(), last_at: None, cut_off: 0 }
    }
}

/// Reads a log from its beginning; the chain at its end, and whether the last line was cut off. `each` is shown the hash of each line.
fn follow(file: &Path, input: impl BufRead, mut each: impl FnMut(&str)) -> Result<(Chain, bool), Error> {
    let mut chain = Chain::default();
    let mut torn = None;
    for (index, read) in input.split(b'\n').enumerate() {
        let number = index as u64 + 1;
        let broken = |what| Error::Broken { file: file.to_owned(), line: number, what };
        let bytes = read.map_err(|cause| Error::Unopened { file: file.to_owned(), cause })?;
        let Ok(line) = serde_json::from_slice::<Line>(&bytes) else {
            if torn.replace(number).is_some() {
                return Err(broken("not a line of an audit log"));
            }
            continue;
        };
        if let Some(number) = torn.take() {
            if line.event != Event::Recovered {
                return Err(Error::Broken { file: file.to_owned(), line: number, what: "not a line of an audit log" });
            }
            chain.cut_off += 1;
        }
        if line.digest() != line.hash {
            return Err(broken("it was changed: its hash is another"));
        }
        if line.previous != chain.hash || line.sequence != chain.lines {
            return Err(broken("lines before it are missing, or were changed or added"));
        }
        each(&line.hash);
        chain = Chain { lines: line.sequence + 1, hash: line.hash, last_at: Some(line.at), cut_off: chain.cut_off };
    }
    Ok((chain, torn.is_some()))
}

/// Whether a log is whole, and has a line with the hash that was noted of it earlier.
///
/// # Errors
/// [`Error::Broken`] names the first line that breaks the chain; [`Error::Gone`].
pub fn verify(file: &Path, noted: Option<&str>) -> Result<Chain, Error> {
    let open = File::open(file).map_err(|cause| Error::Unopened { file: file.to_owned(), cause })?;
    let mut found = noted.is_none();
    let (mut chain, torn) = follow(file, BufReader::new(open), |hash| found |= noted == Some(hash))?;
    if !found {
        return Err(Error::Gone { file: file.to_owned(), hash: noted.unwrap_or_default().to_owned() });
    }
    chain.cut_off += u64::from(torn);
    Ok(chain)
}

/// The log of this process. Without a file it takes everything and keeps nothing.
#[derive(Default)]
pub struct Audit(Option<Mutex<Open>>);

struct Open {
    path: PathBuf,
    file: File,
    chain: Chain,
}

impl Audit {
    /// Opens the file, checks what is in it, and goes on behind that. An empty path is no log.
    ///
    /// # Errors
    /// [`Error::Unopened`], [`Error::InUse`], or [`Error::Broken`]: nothing is written behind a broken chain.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.as_os_str().is_empty() {
            return Ok(Self(None));
        }
        let unopened = |cause| Error::Unopened { file: path.to_owned(), cause };
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(unopened)?;
        file.try_lock().map_err(|_| Error::InUse(path.to_owned()))?;
        file.seek(SeekFrom::Start(0)).map_err(unopened)?;
        let (chain, torn) = follow(path, BufReader::new(&file), |_| ())?;
        let mut open = Open { path: path.to_owned(), file, chain };
        if torn {
            open.file.write_all(b"\n").map_err(|cause| Error::Unwritten { file: path.to_owned(), cause })?;
            open.append(Event::Recovered, PROCESS, Map::new())?;
        }
        Ok(Self(Some(Mutex::new(open))))
    }

    /// Writes a line, and waits until the disk has it.
    ///
    /// # Errors
    /// [`Error::Unwritten`].
    pub fn record(&self, event: Event, actor: &str, detail: Value) -> Result<(), Error> {
        let Some(open) = &self.0 else { return Ok(()) };
        let Value::Object(detail) = detail else { unreachable!("details are objects") };
        open.lock().unwrap_or_else(PoisonError::into_inner).append(event, actor, detail)
    }

    /// As [`Audit::record`], where nobody can be told: the log says that a line is missing.
    pub fn tell(&self, event: Event, actor: &str, detail: Value) {
        if let Err(error) = self.record(event, actor, detail) {
            tracing::error!(%error, ?event, actor, "not in the audit log");
        }
    }
}

impl Open {
    fn append(&mut self, event: Event, actor: &str, detail: Map<String, Value>) -> Result<(), Error> {
        let Chain { lines, hash, cut_off, .. } = &self.chain;
        let at = EventTime::now();
        let mut line = Line { sequence: *lines, at, event, actor: actor.to_owned(), detail, previous: hash.clone(), hash: String::new() };
        line.hash = line.digest();
        let text = json!(line).to_string() + "\n";
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|cause| Error::Unwritten { file: self.path.clone(), cause })?;
        self.chain = Chain { lines: lines + 1, hash: line.hash, last_at: Some(at), cut_off: *cut_off };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: usize) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(&path).unwrap();
        for number in 0..lines {
            audit.record(Event::ConfigurationRefused, "desk", json!({"number": number, "text": "ü \u{1}\"", "share": 0.1})).unwrap();
        }
        (folder, path)
    }

    #[test]
    fn a_chain_goes_on_over_restarts() {
        let (_folder, path) = log(2);
        Audit::open(&path).unwrap().record(Event::Stop, "process", json!({})).unwrap();
        let chain = verify(&path, None).unwrap();
        assert_eq!((chain.lines, chain.cut_off), (3, 0));
        assert_eq!(verify(&path, Some(&chain.hash)).unwrap(), chain);
        assert!(matches!(verify(&path, Some(NOTHING)), Err(Error::Gone { .. })));
        assert!(std::fs::read_to_string(&path).unwrap().trim_end().ends_with(&format!("\"hash\":\"{}\"}}", chain.hash)));
        let (_folder, empty) = log(0);
        assert_eq!(verify(&empty, None).unwrap(), Chain::default());
        assert!(verify(Path::new("nowhere/audit"), None).unwrap_err().to_string().contains("\"nowhere/audit\" cannot be opened"));
    }

    #[test]
    fn every_change_is_found_where_it_was_made() {
        let (folder, path) = log(5);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let with = |lines: &[&str]| {
            let path = folder.path().join("changed");
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
            match (verify(&path, None), Audit::open(&path)) {
                (Err(Error::Broken { line, .. }), Err(Error::Broken { line: same, .. })) if line == same => line,
                (verified, _) => panic!("{verified:?}"),
            }
        };
        let changed = lines[2].replace("desk", "boss");
        assert_eq!(with(&[lines[0], lines[1], &changed, lines[3], lines[4]]), 3);
        assert_eq!(with(&[lines[0], lines[2], lines[3], lines[4]]), 2, "taken out");
        assert_eq!(with(&[lines[1], lines[2], lines[3], lines[4]]), 1, "the first taken out");
        assert_eq!(with(&[lines[0], lines[1], lines[1], lines[2]]), 3, "doubled");
        assert_eq!(with(&[lines[0], lines[2], lines[1], lines[3]]), 2, "in another order");
        assert_eq!(with(&[lines[0], "{}", lines[1], lines[2]]), 2, "put between");
        let mut resealed: Line = serde_json::from_str(&changed).unwrap();
        resealed.hash = resealed.digest();
        assert_eq!(with(&[lines[0], lines[1], &json!(resealed).to_string(), lines[3], lines[4]]), 4, "with its own hash made anew");
    }

    #[test]
    fn a_line_that_was_cut_off_is_told_of_and_does_not_stop_the_log() {
        let (_folder, path) = log(3);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 20]).unwrap();
        let before = verify(&path, None).unwrap();
        assert_eq!((before.lines, before.cut_off), (2, 1));
        Audit::open(&path).unwrap().record(Event::Start, "process", json!({})).unwrap();
        let after = verify(&path, None).unwrap();
        assert_eq!((after.lines, after.cut_off), (4, 1));
    }

    #[test]
    fn a_log_has_one_writer() {
        let (_folder, path) = log(1);
        let first = Audit::open(&path).unwrap();
        assert!(matches!(Audit::open(&path), Err(Error::InUse(_))));
        drop(first);
        assert!(Audit::open(&path).is_ok());
        Audit::open(Path::new("")).unwrap().record(Event::Start, "process", json!({})).unwrap();
    }
}
