//! The headlines behind an alert: the most negative stories, each once, from distinct sources before a source's second.
//! Memory is bounded by panes × headlines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::classify::explain::Explanation;
use crate::news::{EventTime, ItemObservation, ModelIdentity, Score, Subject};
use crate::novelty::{Novelty, Sketch, Spread, hash};
use crate::window::SubjectMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceItem {
    pub id: String,
    pub title: Option<String>,
    pub source: Option<String>,
    pub url: Option<String>,
    pub published_at: EventTime,
    pub score: Score,
    /// When the story came first, within `novelty.horizon`.
    pub first_seen: EventTime,
    /// Further negative items that tell the story.
    pub copies: u64,
    /// Distinct sources that tell it.
    pub sources: usize,
    /// What its words do to what the model says of the headline. Found after the alert is decided, in time or not at all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub explanation: Option<Arc<Explanation>>,
}

/// An item that may become evidence.
#[derive(Debug, Clone)]
struct Candidate {
    /// Hash of the letters and digits of the title: equal headlines share it.
    headline: u64,
    item: EvidenceItem,
    /// Where the title does not give it.
    sketch: Option<Sketch>,
    model: Option<Arc<ModelIdentity>>,
}

/// Most negative first; then the earliest; then by id, so that the order is the same everywhere.
type Rank<'a> = (Score, EventTime, &'a str);

impl Candidate {
    fn new(item: &ItemObservation) -> Self {
        let at = EventTime(item.event_time_ms);
        Self {
            headline: headline(item),
            sketch: item.sketch.clone(),
            model: item.model.clone(),
            item: EvidenceItem {
                id: item.id.clone(),
                title: item.title.clone(),
                source: item.source.clone(),
                url: item.url.clone(),
                published_at: at,
                score: item.score,
                first_seen: at,
                copies: 0,
                sources: 1,
                explanation: None,
            },
        }
    }

    fn rank(&self) -> Rank<'_> {
        (self.item.score, self.item.published_at, &self.item.id)
    }
}

/// The same for headlines that differ in capitals, spaces and marks alone; where only a sketch is there, in little words, too.
fn headline(item: &ItemObservation) -> u64 {
    if let Some(sketch) = &item.sketch {
        return sketch.key();
    }
    let Some(title) = &item.title else { return hash(item.id.as_bytes()) };
    let mut letters = String::with_capacity(title.len());
    for character in title.chars().filter(|character| character.is_alphanumeric()) {
        match character.is_ascii() {
            true => letters.push(character.to_ascii_lowercase()),
            false => letters.extend(character.to_lowercase()),
        }
    }
    hash(letters.as_bytes())
}

/// Candidates kept in a pane for each headline of an alert: copies and a source's second headlines give way.
const CANDIDATES: usize = 4;

pub struct Evidence {
    pane_ms: i64,
    keep: usize,
    panes: BTreeMap<EventTime, SubjectMap<Vec<Candidate>>>,
}

impl Evidence {
    pub fn new(pane_ms: i64, keep: usize) -> Self {
        Self { pane_ms, keep, panes: BTreeMap::new() }
    }

    /// Considers an item; late ones too: they are news of that time, though no count.
    pub fn consider(&mut self, item: &ItemObservation) {
        if item.score >= Score(0) || self.keep == 0 {
            return;
        }
        let subjects = self.panes.entry(EventTime(item.event_time_ms).floor(self.pane_ms)).or_default();
        match subjects.get_mut(&item.subject) {
            Some(candidates) => insert(candidates, item, self.keep * CANDIDATES),
            None => drop(subjects.insert(item.subject.clone(), vec![Candidate::new(item)])),
        }
    }

    /// The most negative stories of a subject in `[start, end)`, and how far each has come.
    pub fn top(&self, subject: &Subject, start: EventTime, end: EventTime, novelty: Option<&Novelty>) -> Vec<EvidenceItem> {
        let panes = self.panes.range(start..end).filter_map(|(_, subjects)| subjects.get(subject));
        let mut candidates: Vec<&Candidate> = panes.flatten().collect();
        candidates.sort_unstable_by(|one, other| one.rank().cmp(&other.rank()));
        candidates.truncate(self.keep * CANDIDATES * CANDIDATES);
        let mut stories: Vec<Story> = Vec::new();
        for candidate in candidates {
            let sketch = candidate.sketch.clone().or_else(|| candidate.item.title.as_deref().and_then(Sketch::of));
            let spread = sketch.as_ref().and_then(|sketch| novelty?.spread(subject, sketch));
            let story = Story { candidate, sketch, spread };
            if !stories.iter().any(|told| told.is(&story, novelty)) {
                stories.push(story);
            }
        }
        // What is new in the window before what is old, and every source before the second headline of one.
        let is_new = |story: &Story| story.spread.is_none_or(|spread| spread.first_seen >= start);
        let mut sources = BTreeSet::new();
        let mut turn: Vec<(bool, bool, usize)> = Vec::with_capacity(stories.len());
        for (place, story) in stories.iter().enumerate() {
            let new = is_new(story);
            turn.push((!new, !(new && sources.insert(story.candidate.item.source.as_deref())), place));
        }
        turn.sort_unstable();
        turn.truncate(self.keep);
        turn.sort_unstable_by_key(|&(_, _, place)| place);
        turn.into_iter().map(|(_, _, place)| stories[place].item()).collect()
    }

    /// The models that scored the headlines to choose from, in order of their names.
    pub fn models(&self, subject: &Subject, start: EventTime, end: EventTime) -> Vec<Arc<ModelIdentity>> {
        let panes = self.panes.range(start..end).filter_map(|(_, subjects)| subjects.get(subject));
        let models: BTreeSet<&Arc<ModelIdentity>> = panes.flatten().filter_map(|candidate| candidate.model.as_ref()).collect();
        models.into_iter().cloned().collect()
    }

    /// Drops panes that start before `start`.
    pub fn forget_before(&mut self, start: EventTime) {
        while self.panes.first_key_value().is_some_and(|(&pane, _)| pane < start) {
            self.panes.pop_first();
        }
    }
}

/// A candidate, and what is known of its story.
struct Story<'a> {
    candidate: &'a Candidate,
    sketch: Option<Sketch>,
    spread: Option<Spread>,
}

impl Story<'_> {
    fn is(&self, other: &Self, novelty: Option<&Novelty>) -> bool {
        let alike = match (novelty, &self.sketch, &other.sketch) {
            (Some(novelty), Some(one), Some(other)) => novelty.same_story(one, other),
            _ => false,
        };
        alike || self.candidate.headline == other.candidate.headline
    }

    fn item(&self) -> EvidenceItem {
        let item = self.candidate.item.clone();
        match self.spread {
            Some(Spread { first_seen, copies, sources }) => EvidenceItem { first_seen, copies, sources, ..item },
            None => item,
        }
    }
}

/// Keeps `list` sorted, each headline once, at most `keep` long.
fn insert(list: &mut Vec<Candidate>, item: &ItemObservation, keep: usize) {
    let rank = (item.score, EventTime(item.event_time_ms), item.id.as_str());
    if list.len() >= keep && list.last().is_some_and(|last| last.rank() <= rank) {
        return;
    }
    let candidate = Candidate::new(item);
    if let Some(index) = list.iter().position(|other| other.headline == candidate.headline) {
        if list[index].rank() <= rank {
            return;
        }
        list.remove(index);
    }
    let place = list.partition_point(|other| other.rank() < rank);
    list.insert(place, candidate);
    list.truncate(keep);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::news::Sentiment;
    use crate::window::panes::tests::item;

    fn negative(id: &str, title: &str, source: &str, at: i64, score: f64) -> ItemObservation {
        let mut item = item("market", id, at, Sentiment::Negative);
        item.title = Some(title.into());
        item.source = Some(source.into());
        item.score = Score::from_f64(score);
        item
    }

    fn top(items: &[ItemObservation], order: impl Iterator<Item = usize>, keep: usize) -> Vec<String> {
        let novelty = Novelty::new(Config::default().novelty);
        let mut evidence = Evidence::new(1000, keep);
        order.for_each(|index| evidence.consider(&items[index]));
        evidence.top(&Subject::market(), EventTime(0), EventTime(5000), Some(&novelty)).into_iter().map(|item| item.id).collect()
    }

    #[test]
    fn each_story_once_and_the_most_negative_first() {
        let items = [
            negative("a", "Bank fails", "a.example", 10, -0.5),
            negative("b", "BANK FAILS!", "b.example", 20, -0.9),
            negative("c", "Shares fall", "c.example", 1500, -0.7),
            negative("d", "Old news", "d.example", 99_000, -1.0),
            negative("e", "Lender halts withdrawals as savers queue", "e.example", 40, -0.95),
            negative("f", "Lender halts withdrawals as savers queue up - Meridian Wire", "f.example", 50, -0.94),
        ];
        assert_eq!(top(&items, 0..6, 3), ["e", "b", "c"]);
        assert_eq!(top(&items, (0..6).rev(), 3), ["e", "b", "c"]);
    }

    #[test]
    fn other_sources_come_before_a_second_headline_of_one() {
        let items = [
            negative("a", "Bank fails", "loud.example", 10, -0.9),
            negative("b", "Savers queue for cash", "loud.example", 20, -0.8),
            negative("c", "Regulator steps in", "calm.example", 30, -0.3),
            negative("d", "Bonds slump on contagion fears", "loud.example", 40, -0.7),
        ];
        assert_eq!(top(&items, 0..4, 2), ["a", "c"]);
        assert_eq!(top(&items, 0..4, 3), ["a", "b", "c"], "in order of their scores");
    }
}
