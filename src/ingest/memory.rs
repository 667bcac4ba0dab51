//! What is remembered of a feed from one request to the next, and over restarts: the value of `news.feeds`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::document::Entry;
use crate::news::{EventTime, SCHEMA_VERSION, hex};

/// Beyond those of the last document. An entry that comes back after so many others is new.
const REMEMBERED: usize = 200;
/// Longer ones are no validators, and would be kept.
const MAX_VALIDATOR: usize = 1_000;

/// The shape of `schemas/news.feeds.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    pub schema: u32,
    pub url: String,
    pub checked_at: EventTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// The server has asked to be left alone until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<EventTime>,
    /// The first half of the ids of their items, those of the last document first.
    pub seen: Vec<String>,
}

impl Memory {
    /// Of a feed that has not been asked yet.
    pub fn blank(url: &str) -> Self {
        Self {
            schema: SCHEMA_VERSION,
            url: url.to_owned(),
            checked_at: EventTime(0),
            etag: None,
            last_modified: None,
            not_before: None,
            seen: Vec::new(),
        }
    }

    /// The id that an entry has as an item: the same whenever it is read.
    pub fn id_of(&self, entry: &Entry) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.url);
        hash.update([0]);
        hash.update(&entry.id);
        hex(&hash.finalize()[..16])
    }

    /// The entries that were not there before, each once, with their ids.
    pub fn unseen(&self, entries: Vec<Entry>) -> Vec<(String, Entry)> {
        let mut seen: BTreeSet<String> = self.seen.iter().cloned().collect();
        let named = entries.into_iter().map(|entry| (self.id_of(&entry), entry));
        named.filter(|(id, _)| seen.insert(short(id))).collect()
    }

    /// After a document with these entries.
    pub fn after(&self, entries: &[Entry], etag: Option<&str>, last_modified: Option<&str>, now: EventTime) -> Self {
        let kept = |value: Option<&str>| value.filter(|value| value.len() <= MAX_VALIDATOR).map(str::to_owned);
        let mut known = BTreeSet::new();
        let now_there = entries.iter().map(|entry| short(&self.id_of(entry)));
        let mut seen: Vec<String> = now_there.filter(|id| known.insert(id.clone())).collect();
        let most = seen.len() + REMEMBERED;
        seen.extend(self.seen.iter().filter(|id| !known.contains(*id)).cloned());
        seen.truncate(most);
        Self { checked_at: now, etag: kept(etag), last_modified: kept(last_modified), not_before: None, seen, ..self.clone() }
    }

    /// Whether a restart would miss it. That it was asked once more is not worth a record.
    pub fn differs_from(&self, other: &Self) -> bool {
        let aside = |memory: &Self| Self { checked_at: EventTime(0), ..memory.clone() };
        aside(self) != aside(other)
    }
}

fn short(id: &str) -> String {
    id[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: EventTime = EventTime(1_790_000_000_000);

    fn entries(ids: std::ops::Range<usize>) -> Vec<Entry> {
        let entry = |id: usize| Entry { id: id.to_string(), title: "t".into(), body: String::new(), url: None, published_at: None };
        ids.map(entry).collect()
    }

    #[test]
    fn what_was_seen_is_not_new_however_it_is_ordered_or_repeated() {
        let memory = Memory::blank("https://wire.example/").after(&entries(0..50), None, None, NOW);
        let mut next = entries(40..60);
        next.reverse();
        next.extend(entries(55..60));
        let found = memory.unseen(next);
        let ids: Vec<&str> = found.iter().map(|(_, entry)| entry.id.as_str()).collect();
        assert_eq!(ids, ["59", "58", "57", "56", "55", "54", "53", "52", "51", "50"]);
        assert_eq!(found[0].0.len(), 32);
        let elsewhere = Memory::blank("https://other.example/").unseen(entries(59..60));
        assert_ne!(found[0].0, elsewhere[0].0, "each feed has names of its own");
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_in_the_document() {
        let mut memory = Memory::blank("https://wire.example/");
        for start in (0..10_000).step_by(100) {
            memory = memory.after(&entries(start..start + 100), Some("\"e\""), None, NOW);
            assert!(memory.seen.len() <= 300 && memory.unseen(entries(start..start + 100)).is_empty());
        }
        assert!(memory.unseen(entries(9_700..10_000)).is_empty());
        assert_eq!(memory.unseen(entries(9_600..9_700)).len(), 100, "long ago");
        assert!(serde_json::to_vec(&memory).unwrap().len() < 7_000);
    }

    #[test]
    fn a_validator_that_is_too_long_is_not_kept() {
        let memory = Memory::blank("https://wire.example/").after(&[], Some(&"x".repeat(2_000)), Some("today"), NOW);
        assert_eq!((memory.etag, memory.last_modified.as_deref()), (None, Some("today")));
    }
}
