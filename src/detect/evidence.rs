//! The headlines behind an alert: per subject and pane the most negative ones, each story once. Memory is bounded by
//! panes × headlines.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::news::{EventTime, ItemObservation, Score, Subject};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceItem {
    pub id: String,
    pub title: Option<String>,
    pub source: Option<String>,
    pub url: Option<String>,
    pub published_at: EventTime,
    pub score: Score,
}

impl EvidenceItem {
    /// Most negative first; then the earliest; then by id, so that the order is the same everywhere.
    fn rank(&self) -> (Score, EventTime, &str) {
        (self.score, self.published_at, &self.id)
    }

    /// Letters and digits of the title in lower case: copies of a story share it.
    fn story(&self) -> String {
        match &self.title {
            Some(title) => title.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect(),
            None => self.id.clone(),
        }
    }
}

pub struct Evidence {
    pane_ms: i64,
    keep: usize,
    panes: HashMap<Subject, BTreeMap<EventTime, Vec<EvidenceItem>>>,
}

impl Evidence {
    pub fn new(pane_ms: i64, keep: usize) -> Self {
        Self { pane_ms, keep, panes: HashMap::new() }
    }

    /// Considers an item; late ones too: they are news of that time, though no count.
    pub fn consider(&mut self, item: &ItemObservation) {
        if item.score >= Score(0) || self.keep == 0 {
            return;
        }
        let at = EventTime(item.event_time_ms);
        let pane = self.panes.entry(item.subject.clone()).or_default().entry(at.floor(self.pane_ms)).or_default();
        insert(
            pane,
            EvidenceItem {
                id: item.id.clone(),
                title: item.title.clone(),
                source: item.source.clone(),
                url: item.url.clone(),
                published_at: at,
                score: item.score,
            },
            self.keep,
        );
    }

    /// The most negative stories of a subject in `[start, end)`.
    pub fn top(&self, subject: &Subject, start: EventTime, end: EventTime) -> Vec<EvidenceItem> {
        let mut best = Vec::new();
        let panes = self.panes.get(subject).into_iter().flat_map(|panes| panes.range(start..end));
        for item in panes.flat_map(|(_, items)| items) {
            insert(&mut best, item.clone(), self.keep);
        }
        best
    }

    /// Drops panes that start before `start`.
    pub fn forget_before(&mut self, start: EventTime) {
        self.panes.retain(|_, panes| {
            while panes.first_key_value().is_some_and(|(&pane, _)| pane < start) {
                panes.pop_first();
            }
            !panes.is_empty()
        });
    }
}

/// Keeps `list` sorted, each story once, at most `keep` long.
fn insert(list: &mut Vec<EvidenceItem>, item: EvidenceItem, keep: usize) {
    let story = item.story();
    if let Some(index) = list.iter().position(|other| other.story() == story) {
        if list[index].rank() <= item.rank() {
            return;
        }
        list.remove(index);
    }
    let place = list.partition_point(|other| other.rank() < item.rank());
    list.insert(place, item);
    list.truncate(keep);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Sentiment;
    use crate::window::panes::tests::item;

    fn negative(id: &str, title: &str, at: i64, score: f64) -> ItemObservation {
        let mut item = item("market", id, at, Sentiment::Negative);
        item.title = Some(title.into());
        item.score = Score::from_f64(score);
        item
    }

    #[test]
    fn each_story_once_and_the_most_negative_first() {
        let items = [
            negative("a", "Bank fails", 10, -0.5),
            negative("b", "BANK FAILS!", 20, -0.9),
            negative("c", "Shares fall", 1500, -0.7),
            negative("d", "Old news", 99_000, -1.0),
        ];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0]] {
            let mut evidence = Evidence::new(1000, 2);
            order.iter().for_each(|&index| evidence.consider(&items[index]));
            let top = evidence.top(&Subject::market(), EventTime(0), EventTime(5000));
            assert_eq!(top.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        }
    }
}
