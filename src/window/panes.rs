//! Open panes: where items are counted until the watermark closes them. Order of arrival does not matter.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::sources::{SourceCounts, SourceNames};
use super::{SubjectMap, WindowCounts};
use crate::news::{EventTime, ItemObservation, SCHEMA_VERSION, Score, Sentiment, Subject};
use crate::novelty::{Hashed, NegativeItem, Novel, Novelty, StoryRecord};

/// One closed pane of one subject: a record of `sentiment.windows`. Half-open: `[pane_start, pane_end)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaneRecord {
    pub schema: u32,
    pub subject: Subject,
    pub pane_start: EventTime,
    pub pane_end: EventTime,
    pub count: u64,
    pub negative: u64,
    pub neutral: u64,
    pub positive: u64,
    pub score_sum: Score,
    /// Sum of the squares of the scores, for the interval around their mean.
    pub score_square_sum: Score,
    /// Items by source; items without one count as `unknown`.
    pub sources: SourceCounts,
    /// Negative items that repeat no story the subject has had within `novelty.horizon`.
    pub novel_negative: u64,
    /// Novel negative items by source.
    pub novel_sources: SourceCounts,
    /// Novel negative items by topic, entity and group: of the market only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub members: BTreeMap<Subject, u64>,
    /// The stories of the negative items: with them a restart knows copies again.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stories: Vec<StoryRecord>,
    /// The subject's sentiment index at the end of the pane, and the weight behind it. See [`super::index`].
    #[serde(default)]
    pub index: Score,
    #[serde(default)]
    pub index_weight: Score,
    /// Items in the window of `window.size` that ends with the pane, as a multiple of what is usual at that hour; `None`
    /// before the past can tell.
    #[serde(default)]
    pub buzz: Option<f64>,
}

impl PaneRecord {
    pub fn counts(&self) -> WindowCounts {
        WindowCounts {
            count: self.count,
            negative: self.negative,
            neutral: self.neutral,
            positive: self.positive,
            score_sum: self.score_sum,
            score_square_sum: self.score_square_sum,
            novel_negative: self.novel_negative,
        }
    }
}

/// What one subject has in an open pane.
#[derive(Debug, Default)]
struct SubjectPane {
    negative: u64,
    neutral: u64,
    positive: u64,
    score_sum: Score,
    score_square_sum: Score,
    sources: SourceCounts,
    negatives: Vec<NegativeItem>,
}

#[derive(Debug)]
struct OpenPane {
    subjects: Vec<(Subject, SubjectPane)>,
    /// Places in `subjects`.
    places: SubjectMap<u32>,
    /// Hashes of subject and id of what was counted, so that a record delivered twice counts once.
    counted: HashSet<u64, BuildHasherDefault<Hashed>>,
}

impl OpenPane {
    fn with_room((subjects, items): (usize, usize)) -> Self {
        Self {
            subjects: Vec::with_capacity(subjects),
            places: SubjectMap::with_capacity_and_hasher(subjects, Default::default()),
            counted: HashSet::with_capacity_and_hasher(items, Default::default()),
        }
    }
}

/// All open panes of one monitor partition.
#[derive(Debug)]
pub struct OpenPanes {
    pane_ms: i64,
    panes: BTreeMap<EventTime, OpenPane>,
    sources: SourceNames,
    /// Subjects and items of the pane that closed last: room that the next is likely to need.
    last: (usize, usize),
    /// Without it every negative item is novel.
    novelty: Option<Novelty>,
}

fn id_hash(id: &str) -> u64 {
    // Fixed keys: the same in every process.
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl OpenPanes {
    pub fn new(pane_ms: i64) -> Self {
        Self { pane_ms, panes: BTreeMap::new(), sources: SourceNames::default(), last: (0, 0), novelty: None }
    }

    pub fn with_novelty(self, novelty: Novelty) -> Self {
        Self { novelty: Some(novelty), ..self }
    }

    pub fn novelty(&self) -> Option<&Novelty> {
        self.novelty.as_ref()
    }

    /// Takes back what closed panes said of stories before a restart. In order of their start.
    pub fn restore(&mut self, panes: &[PaneRecord]) {
        let Some(novelty) = &mut self.novelty else { return };
        panes.iter().for_each(|pane| novelty.restore(pane));
    }

    /// Counts an item in its pane; `false` if the pane has counted that id for that subject already.
    pub fn count(&mut self, item: &ItemObservation) -> bool {
        let start = EventTime(item.event_time_ms).floor(self.pane_ms);
        let OpenPane { subjects, places, counted } = match self.panes.entry(start) {
            Entry::Occupied(pane) => pane.into_mut(),
            Entry::Vacant(place) => place.insert(OpenPane::with_room(self.last)),
        };
        let place = match places.get(&item.subject) {
            Some(&place) => place,
            None => {
                let place = subjects.len() as u32;
                subjects.push((item.subject.clone(), SubjectPane::default()));
                places.insert(item.subject.clone(), place);
                place
            }
        };
        let id = id_hash(&item.id);
        if !counted.insert(id ^ u64::from(place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            return false;
        }
        let (_, pane) = &mut subjects[place as usize];
        let source = self.sources.get(item.source.as_deref().unwrap_or("unknown"));
        pane.sources.add(&source, 1);
        match item.sentiment {
            Sentiment::Negative => {
                pane.negative += 1;
                pane.negatives.push(NegativeItem {
                    at: EventTime(item.event_time_ms),
                    id,
                    sketch: item.sketch(),
                    source,
                    subjects: item.subjects.clone(),
                });
            }
            Sentiment::Neutral => pane.neutral += 1,
            Sentiment::Positive => pane.positive += 1,
        }
        pane.score_sum.0 += item.score.0;
        pane.score_square_sum.0 += item.score.squared().0;
        true
    }

    /// Start of the earliest open pane.
    pub fn earliest(&self) -> Option<EventTime> {
        self.panes.keys().next().copied()
    }

    /// Closes all panes that end at or before `end`; ordered by pane, then subject.
    pub fn close(&mut self, end: EventTime) -> Vec<PaneRecord> {
        let open = self.panes.split_off(&end.plus(1 - self.pane_ms));
        let closed = std::mem::replace(&mut self.panes, open);
        let mut records = Vec::with_capacity(closed.values().map(|pane| pane.subjects.len()).sum());
        for (start, OpenPane { mut subjects, counted, .. }) in closed {
            self.last = (subjects.len(), counted.len());
            subjects.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            for (subject, pane) in subjects {
                let Novel { items, sources: novel_sources, members, stories } = match &mut self.novelty {
                    Some(novelty) => novelty.judge(&subject, start, pane.negatives),
                    None => Novel::all(pane.negatives),
                };
                records.push(PaneRecord {
                    schema: SCHEMA_VERSION,
                    subject,
                    pane_start: start,
                    pane_end: start.plus(self.pane_ms),
                    count: pane.negative + pane.neutral + pane.positive,
                    negative: pane.negative,
                    neutral: pane.neutral,
                    positive: pane.positive,
                    score_sum: pane.score_sum,
                    score_square_sum: pane.score_square_sum,
                    sources: pane.sources,
                    novel_negative: items,
                    novel_sources,
                    members,
                    stories,
                    // Known once the pane has its place among the others.
                    index: Score::default(),
                    index_weight: Score::default(),
                    buzz: None,
                });
            }
        }
        if let Some(novelty) = &mut self.novelty {
            novelty.forget_before(end);
        }
        records
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn item(subject: &str, id: &str, event_time_ms: i64, sentiment: Sentiment) -> ItemObservation {
        let score = match sentiment {
            Sentiment::Negative => -0.8,
            Sentiment::Neutral => 0.05,
            Sentiment::Positive => 0.7,
        };
        ItemObservation {
            schema: SCHEMA_VERSION,
            subject: Subject(subject.into()),
            id: id.into(),
            event_time_ms,
            topic: "Macro".into(),
            sentiment,
            score: Score::from_f64(score),
            source: Some("wire.example".into()),
            title: Some(format!("Headline {id}")),
            url: None,
            sketch: None,
            model: None,
            subjects: Vec::new(),
        }
    }

    #[test]
    fn an_id_counts_once_per_subject_and_pane() {
        let mut panes = OpenPanes::new(1000);
        assert!(panes.count(&item("market", "a", 10, Sentiment::Negative)));
        assert!(!panes.count(&item("market", "a", 20, Sentiment::Negative)));
        assert!(panes.count(&item("topic:Macro", "a", 10, Sentiment::Negative)));
        let closed = panes.close(EventTime(1000));
        assert_eq!(closed.iter().map(|pane| pane.count).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn a_pane_is_half_open_and_closes_at_its_end() {
        let mut panes = OpenPanes::new(1000);
        panes.count(&item("market", "a", 999, Sentiment::Positive));
        panes.count(&item("market", "b", 1000, Sentiment::Positive));
        assert!(panes.close(EventTime(999)).is_empty());
        let closed = panes.close(EventTime(1000));
        assert_eq!((closed.len(), closed[0].pane_start, closed[0].pane_end), (1, EventTime(0), EventTime(1000)));
        assert_eq!(panes.earliest(), Some(EventTime(1000)));
    }

    proptest::proptest! {
        #[test]
        fn any_order_of_arrival_gives_the_same_panes(
            mut items in proptest::collection::vec((0i64..5000, 0usize..20), 0..80),
        ) {
            let pane = |items: &[(i64, usize)]| {
                let mut panes = OpenPanes::new(1000);
                for &(at, id) in items {
                    // The id fixes sentiment and time, as it does for a record that is delivered twice.
                    let at = (at / 1000) * 1000 + (id as i64);
                    let sentiment = Sentiment::ALL[id % 3];
                    panes.count(&item("market", &format!("{id}-{}", at / 1000), at, sentiment));
                }
                panes.close(EventTime(6000))
            };
            let forwards = pane(&items);
            items.reverse();
            proptest::prop_assert_eq!(forwards, pane(&items));
        }
    }
}
