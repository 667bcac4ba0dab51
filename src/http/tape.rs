//! The last items that came by, for people to watch: one for each item of the news, told by its topic.

use std::collections::VecDeque;

use serde::Serialize;

use crate::news::{EventTime, ItemObservation, Score, Sentiment, SubjectKind};

/// Kept, and shown to a page that has just opened.
const MOST: usize = 200;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TapeItem {
    pub id: String,
    pub at: EventTime,
    /// As it stands in the observations: masked, encrypted or left out by `privacy.text`.
    pub title: Option<String>,
    pub source: Option<String>,
    pub url: Option<String>,
    pub topic: String,
    pub sentiment: Sentiment,
    pub score: Score,
}

impl TapeItem {
    /// Of the one among an item's observations that is about its topic; `None` for the others.
    pub fn of(item: ItemObservation) -> Option<Self> {
        let ItemObservation { subject, id, event_time_ms, topic, sentiment, score, source, title, url, .. } = item;
        let at = EventTime(event_time_ms);
        (subject.kind() == SubjectKind::Topic).then_some(Self { id, at, title, source, url, topic, sentiment, score })
    }
}

/// With the version of the board that brought them.
#[derive(Default)]
pub struct Tape(VecDeque<(u64, TapeItem)>);

impl Tape {
    pub fn add(&mut self, version: u64, items: impl IntoIterator<Item = TapeItem>) {
        for item in items {
            if self.0.len() == MOST {
                self.0.pop_front();
            }
            self.0.push_back((version, item));
        }
    }

    /// What came after that version, the oldest first.
    pub fn since(&self, version: u64) -> Vec<&TapeItem> {
        self.0.iter().filter(|(brought, _)| *brought > version).map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::panes::tests::item;

    #[test]
    fn an_item_is_on_the_tape_once_and_the_oldest_give_way() {
        let of = |subject: &str, number: usize| TapeItem::of(item(subject, &number.to_string(), 0, Sentiment::Negative));
        assert!(of("market", 0).is_none() && of("entity:one", 0).is_none());
        let mut tape = Tape::default();
        for number in 0..MOST + 10 {
            tape.add(number as u64, of("topic:Macro", number));
        }
        let kept = tape.since(0);
        assert_eq!((kept.len(), kept[0].id.as_str()), (MOST, "10"));
        assert_eq!(tape.since(MOST as u64 + 8).iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["209"]);
    }
}
