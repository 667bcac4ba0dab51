//! What the model said of texts, kept in a file, so that a second back-test with other rules needs no model.
//!
//! One file a model version, one line a text: a hash of the text and the result. It holds no news text.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use crate::news::{Classification, ModelIdentity, Score, Sentiment, hex};

/// The first 128 bits of SHA-256 over the text, as hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TextKey(String);

impl TextKey {
    pub fn of(text: &str) -> Self {
        Self(hex(&Sha256::digest(text)[..16]))
    }
}

/// What windows and rules need of a classification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scores {
    pub topic: String,
    pub sentiment: Sentiment,
    pub score: Score,
}

impl From<&Classification> for Scores {
    fn from(result: &Classification) -> Self {
        Self { topic: result.topic.label.clone(), sentiment: result.sentiment.label, score: result.sentiment.score }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    text: TextKey,
    #[serde(flatten)]
    scores: Scores,
}

/// The results of one model.
pub struct ScoreCache {
    path: PathBuf,
    file: BufWriter<File>,
    known: HashMap<TextKey, Scores>,
}

impl ScoreCache {
    /// Opens the cache of a model in `folder`, or begins one. A last line that was cut off is dropped.
    ///
    /// # Errors
    /// A file that cannot be read or written, or has a line that is none of ours.
    pub fn open(folder: &Path, model: &ModelIdentity) -> Result<Self, Error> {
        let path = folder.join(format!("scores-{}.jsonl", model.version));
        let fail = |error: std::io::Error| Error::file(&path, error);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        let (mut known, mut whole) = (HashMap::new(), 0);
        let mut reader = BufReader::new(&mut file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(fail)?;
            if length == 0 || line.last() != Some(&b'\n') {
                break;
            }
            let Line { text, scores } = serde_json::from_slice(&line)
                .map_err(|error| Error::file(&path, format!("line {number} is not a cached score ({error}); delete the file")))?;
            known.insert(text, scores);
            whole += length as u64;
        }
        file.set_len(whole).and_then(|()| file.seek(SeekFrom::End(0))).map_err(fail)?;
        Ok(Self { file: BufWriter::new(file), path, known })
    }

    pub fn get(&self, text: &TextKey) -> Option<&Scores> {
        self.known.get(text)
    }

    /// Keeps a result.
    pub fn insert(&mut self, text: TextKey, scores: Scores) -> Result<(), Error> {
        let line = Line { text, scores };
        serde_json::to_writer(&mut self.file, &line).map_err(|error| Error::file(&self.path, error))?;
        self.file.write_all(b"\n").map_err(|error| Error::file(&self.path, error))?;
        self.known.insert(line.text, line.scores);
        Ok(())
    }

    /// Writes through what was kept: an interrupted back-test goes on from there.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.file.flush().map_err(|error| Error::file(&self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_reads_back_what_was_kept_and_drops_a_line_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let model = ModelIdentity { name: "m".into(), version: "v1".into() };
        let scores = Scores { topic: "Macro".into(), sentiment: Sentiment::Negative, score: Score(-812_345) };
        let mut cache = ScoreCache::open(folder.path(), &model).unwrap();
        cache.insert(TextKey::of("Bank fails"), scores.clone()).unwrap();
        cache.insert(TextKey::of("Rates rise"), scores.clone()).unwrap();
        cache.flush().unwrap();
        let path = folder.path().join("scores-v1.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("Bank"), "{text}");
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();

        let mut cache = ScoreCache::open(folder.path(), &model).unwrap();
        assert_eq!(cache.get(&TextKey::of("Bank fails")), Some(&scores));
        assert_eq!(cache.get(&TextKey::of("Rates rise")), None);
        cache.insert(TextKey::of("Rates rise"), scores.clone()).unwrap();
        cache.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

        let other = ModelIdentity { name: "m".into(), version: "v2".into() };
        assert_eq!(ScoreCache::open(folder.path(), &other).unwrap().get(&TextKey::of("Bank fails")), None);
    }

    #[test]
    fn a_line_that_is_none_of_ours_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("scores-v.jsonl"), "{\"text\":\"00\"}\n").unwrap();
        let model = ModelIdentity { name: "m".into(), version: "v".into() };
        let error = ScoreCache::open(folder.path(), &model).err().unwrap().to_string();
        assert!(error.contains("scores-v.jsonl: line 1 is not a cached score"), "{error}");
    }
}
