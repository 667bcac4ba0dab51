//! Which negative items are news, and which repeat a story that its subject has had already. Pure.
//!
//! Headlines are compared by their [`Sketch`]; LSH banding (Indyk & Motwani 1998; Leskovec, Rajaraman & Ullman, *Mining of
//! Massive Datasets*, 3.4) finds the few stories worth comparing.

mod sketch;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sketch::{BANDS, Signature, fold, mix};
pub use sketch::{Sketch, hash};

use crate::config::NoveltyConfig;
use crate::news::{EventTime, Subject};
use crate::window::{PaneRecord, SourceCounts, SubjectMap};
/// Stories looked at in a band, the newest first: headlines made by a machine share bands by the thousand.
const LOOKS: usize = 16;
/// Distinct sources that a story remembers; more are not told apart from this many.
const MAX_SOURCES: usize = 16;
/// Within `novelty.horizon` memory is searched so often for subjects that have fallen silent.
const SWEEPS: i64 = 24;
const NONE: u32 = u32::MAX;

/// A negative item of an open pane, until its pane closes and it is known what came before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NegativeItem {
    pub at: EventTime,
    /// Hash of its id.
    pub id: u64,
    /// `None` without a headline: such an item repeats nothing.
    pub sketch: Option<Sketch>,
    pub source: Arc<str>,
    /// What else it is about; only the market's items say so.
    pub subjects: Vec<Subject>,
}

/// Negative items of one story in one pane, as the pane's record keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryRecord {
    #[serde(with = "hexadecimal")]
    pub id: u64,
    pub items: u64,
    pub sources: BTreeSet<Arc<str>>,
    /// Only in the pane in which the story was new, with its first item's event time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_seen: Option<EventTime>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sketch: Option<Sketch>,
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

/// What is new in a pane.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Novel {
    pub items: u64,
    /// Novel items by source.
    pub sources: SourceCounts,
    /// Novel items by what else they are about.
    pub members: BTreeMap<Subject, u64>,
    pub stories: Vec<StoryRecord>,
}

impl Novel {
    /// Every item is news.
    pub fn all(items: Vec<NegativeItem>) -> Self {
        items.into_iter().fold(Self::default(), |mut novel, item| {
            novel.add(&item.source, item.subjects);
            novel
        })
    }

    fn add(&mut self, source: &Arc<str>, members: Vec<Subject>) {
        self.items += 1;
        self.sources.add(source, 1);
        for member in members {
            *self.members.entry(member).or_default() += 1;
        }
    }
}

/// How far a story has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    pub first_seen: EventTime,
    /// Items beside the first.
    pub copies: u64,
    /// Distinct sources, at most `MAX_SOURCES`.
    pub sources: usize,
}

#[derive(Debug)]
struct Story {
    id: u64,
    first_seen: EventTime,
    items: u64,
    /// Hashes of the sources' names.
    sources: Vec<u32>,
    signature: Signature,
    sketch: Sketch,
    /// For each band the story before this one with the same key.
    before: [u32; BANDS],
}

impl Story {
    fn add(&mut self, items: u64, sources: impl Iterator<Item = u32>) {
        self.items += items;
        for source in sources {
            if self.sources.len() < MAX_SOURCES && !self.sources.contains(&source) {
                self.sources.push(source);
            }
        }
    }
}

/// The keys of the tables below are hashes already.
#[derive(Default)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole u64 keys are hashed");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Table = HashMap<u64, u32, BuildHasherDefault<Hashed>>;

/// The stories of one subject, oldest first. Numbers count up from the first story ever held.
#[derive(Debug, Default)]
struct Stories {
    stories: VecDeque<Story>,
    /// Number of the front of `stories`.
    first: u32,
    /// The newest story of a band's key.
    bands: Table,
    numbers: Table,
}

impl Stories {
    fn get(&self, number: u32) -> Option<&Story> {
        self.stories.get(number.wrapping_sub(self.first) as usize)
    }

    /// The story most like this sketch, of two alike the older.
    /// Only among those that began at `from` or later.
    fn find(&self, sketch: &Sketch, bands: &[u64; BANDS], similarity: f64, from: EventTime) -> Option<u32> {
        let signature = sketch.signature();
        let mut best: Option<(f64, u32)> = None;
        for (band, key) in bands.iter().enumerate() {
            if best.is_some_and(|(most, _)| most >= 1.0) {
                break;
            }
            let mut number = self.bands.get(key).copied().unwrap_or(NONE);
            // A story that was forgotten ends the chain: those before it are older still.
            for _ in 0..LOOKS {
                let Some(story) = self.get(number).filter(|story| story.first_seen >= from) else { break };
                if story.signature.most_resemblance(signature) >= best.map_or(similarity, |(most, _)| most) {
                    let resemblance = story.sketch.resemblance(sketch);
                    let better = best.is_none_or(|(most, at)| resemblance > most || (resemblance == most && number < at));
                    if resemblance >= similarity && better {
                        best = Some((resemblance, number));
                    }
                }
                number = story.before[band];
            }
        }
        best.map(|(_, number)| number)
    }

    fn push(&mut self, id: u64, first_seen: EventTime, sketch: Sketch, bands: &[u64; BANDS]) -> u32 {
        let number = self.first.wrapping_add(self.stories.len() as u32);
        let mut before = [NONE; BANDS];
        for (key, before) in bands.iter().zip(&mut before) {
            *before = self.bands.insert(*key, number).unwrap_or(NONE);
        }
        self.numbers.insert(id, number);
        let signature = sketch.signature();
        self.stories.push_back(Story { id, first_seen, items: 0, sources: Vec::new(), signature, sketch, before });
        number
    }

    fn forget_oldest(&mut self) {
        let Some(story) = self.stories.pop_front() else { return };
        let number = self.first;
        self.first = self.first.wrapping_add(1);
        let unless_newer = |table: &mut Table, key| {
            if let Entry::Occupied(entry) = table.entry(key)
                && *entry.get() == number
            {
                entry.remove();
            }
        };
        for key in story.sketch.bands() {
            unless_newer(&mut self.bands, key);
        }
        unless_newer(&mut self.numbers, story.id);
    }

    fn forget_before(&mut self, start: EventTime) {
        while self.stories.front().is_some_and(|story| story.first_seen < start) {
            self.forget_oldest();
        }
    }
}

/// The stories of all subjects of one monitor partition. Memory: subjects × `novelty.max_stories` × some 500 bytes at most.
#[derive(Debug)]
pub struct Novelty {
    config: NoveltyConfig,
    subjects: SubjectMap<Stories>,
    /// Stories that began before this are forgotten, though they may still be held.
    forgotten: EventTime,
    swept_at: EventTime,
}

fn source_hash(source: &str) -> u32 {
    fold(hash(source.as_bytes()))
}

impl Novelty {
    pub fn new(config: NoveltyConfig) -> Self {
        Self { config, subjects: SubjectMap::default(), forgotten: EventTime(i64::MIN), swept_at: EventTime(i64::MIN) }
    }

    /// Tells news from copies among the negative items of a pane that closes. In order of event time, whatever the order
    /// of arrival: so it is the same on every run. Panes of a subject come in their order.
    pub fn judge(&mut self, subject: &Subject, pane_start: EventTime, mut items: Vec<NegativeItem>) -> Novel {
        let mut novel = Novel::default();
        if items.is_empty() {
            return novel;
        }
        items.sort_unstable();
        if !self.subjects.contains_key(subject) {
            self.subjects.insert(subject.clone(), Stories::default());
        }
        let stories = self.subjects.get_mut(subject).expect("inserted just now");
        let from = pane_start.plus(-self.config.horizon.ms());
        stories.forget_before(from);
        // Places in `novel.stories`.
        let mut touched: HashMap<u32, usize, foldhash::fast::RandomState> = HashMap::default();
        for item in items {
            let mut new = true;
            if let Some(sketch) = item.sketch {
                let bands = sketch.bands();
                let known = stories.find(&sketch, &bands, self.config.similarity, from);
                new = known.is_none();
                let number = known.unwrap_or_else(|| {
                    let id = mix(item.id ^ mix(item.at.0 as u64));
                    stories.push(id, item.at, sketch, &bands)
                });
                let story = &mut stories.stories[number.wrapping_sub(stories.first) as usize];
                story.add(1, std::iter::once(source_hash(&item.source)));
                let place = *touched.entry(number).or_insert_with(|| {
                    novel.stories.push(StoryRecord {
                        id: story.id,
                        items: 0,
                        sources: BTreeSet::new(),
                        first_seen: new.then_some(story.first_seen),
                        sketch: new.then(|| story.sketch.clone()),
                    });
                    novel.stories.len() - 1
                });
                let record = &mut novel.stories[place];
                record.items += 1;
                if record.sources.len() < MAX_SOURCES {
                    record.sources.insert(item.source.clone());
                }
                while stories.stories.len() > self.config.max_stories {
                    stories.forget_oldest();
                }
            }
            if new {
                novel.add(&item.source, item.subjects);
            }
        }
        novel
    }

    /// Takes back what was published of a pane before a restart. Panes of a subject come in their order.
    pub fn restore(&mut self, pane: &PaneRecord) {
        if pane.stories.is_empty() {
            return;
        }
        let stories = self.subjects.entry(pane.subject.clone()).or_default();
        stories.forget_before(pane.pane_start.plus(-self.config.horizon.ms()));
        for record in &pane.stories {
            let number = match (&record.sketch, record.first_seen) {
                (Some(sketch), Some(first_seen)) => stories.push(record.id, first_seen, sketch.clone(), &sketch.bands()),
                _ => match stories.numbers.get(&record.id) {
                    Some(&number) => number,
                    None => continue,
                },
            };
            let index = number.wrapping_sub(stories.first) as usize;
            stories.stories[index].add(record.items, record.sources.iter().map(|source| source_hash(source)));
            while stories.stories.len() > self.config.max_stories {
                stories.forget_oldest();
            }
        }
    }

    /// How far the story of this headline has come; `None` where it is not among those of the subject.
    pub fn spread(&self, subject: &Subject, sketch: &Sketch) -> Option<Spread> {
        let stories = self.subjects.get(subject)?;
        let number = stories.find(sketch, &sketch.bands(), self.config.similarity, self.forgotten)?;
        let story = stories.get(number)?;
        Some(Spread { first_seen: story.first_seen, copies: story.items - 1, sources: story.sources.len() })
    }

    /// True where two headlines tell one story.
    pub fn same_story(&self, one: &Sketch, other: &Sketch) -> bool {
        one.resemblance(other) >= self.config.similarity
    }

    /// Drops stories that no later pane can repeat.
    pub fn forget_before(&mut self, pane_start: EventTime) {
        self.forgotten = pane_start.plus(-self.config.horizon.ms());
        // Of a subject with news they are dropped when that is judged; of the others now and then, because a look at each
        // subject at every pane would cost more than the news.
        if pane_start.0 < self.swept_at.0.saturating_add(self.config.horizon.ms() / SWEEPS) {
            return;
        }
        self.swept_at = pane_start;
        let forgotten = self.forgotten;
        self.subjects.retain(|_, stories| {
            stories.forget_before(forgotten);
            !stories.stories.is_empty()
        });
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::news::Sentiment;
    use crate::window::OpenPanes;
    use crate::window::panes::tests::item;

    const PANE: i64 = 10_000;

    fn novelty() -> Novelty {
        Novelty::new(Config::default().novelty)
    }

    fn negative(id: &str, at: i64, title: &str, source: &str) -> NegativeItem {
        NegativeItem { at: EventTime(at), id: hash(id.as_bytes()), sketch: Sketch::of(title), source: source.into(), subjects: Vec::new() }
    }

    #[test]
    fn a_story_counts_once_and_its_spread_is_known() {
        let (mut novelty, market) = (novelty(), Subject::market());
        let items = vec![
            negative("c", 3_000, "Harbourline Bank halts withdrawals - North Quay", "north-quay.example"),
            negative("a", 1_000, "Harbourline Bank halts withdrawals", "meridian.example"),
            negative("b", 2_000, "Fenmoor cuts dividend", "meridian.example"),
        ];
        let novel = novelty.judge(&market, EventTime(0), items);
        assert_eq!((novel.items, novel.stories.len()), (2, 2));
        assert_eq!(novel.sources, [("meridian.example", 2)].into());
        let later = vec![negative("d", 11_000, "HARBOURLINE BANK HALTS WITHDRAWALS", "ledger.example")];
        let novel = novelty.judge(&market, EventTime(10_000), later);
        assert_eq!((novel.items, novel.stories[0].items, &novel.stories[0].sketch), (0, 1, &None));
        let spread = novelty.spread(&market, &Sketch::of("Harbourline Bank halts withdrawals").unwrap()).unwrap();
        assert_eq!(spread, Spread { first_seen: EventTime(1_000), copies: 2, sources: 3 });
        assert_eq!(novelty.spread(&Subject::topic("Macro"), &Sketch::of("Harbourline Bank halts withdrawals").unwrap()), None);
    }

    #[test]
    fn a_story_is_news_again_after_the_horizon_or_when_too_many_came_after_it() {
        let config = NoveltyConfig { max_stories: 3, ..Config::default().novelty };
        let mut novelty = Novelty::new(config);
        let horizon = config.horizon.ms();
        let mut novel =
            |at: i64, title: &str| novelty.judge(&Subject::market(), EventTime(at), vec![negative(title, at, title, "a")]).items;
        assert_eq!(novel(0, "Harbourline halts withdrawals"), 1);
        assert_eq!(novel(horizon, "Harbourline halts withdrawals"), 0);
        assert_eq!(novel(horizon + PANE, "Harbourline halts withdrawals"), 1);
        for title in ["Fenmoor cuts dividend", "Orrin refinery burns", "Pellworth defaults on bond"] {
            assert_eq!(novel(horizon + PANE, title), 1);
        }
        assert_eq!(novel(horizon + PANE, "Harbourline halts withdrawals"), 1, "three stories came after it");
    }

    #[test]
    fn without_a_headline_nothing_is_a_copy() {
        let items = vec![negative("a", 1, "", "x"), negative("b", 2, "", "y")];
        let novel = novelty().judge(&Subject::market(), EventTime(0), items);
        assert_eq!((novel.items, novel.stories.len()), (2, 0));
        assert_eq!(novel.sources, [("x", 1), ("y", 1)].into());
    }

    fn titles() -> Vec<String> {
        let names = ["Harbourline", "Fenmoor", "Saltmere", "Quarrystone", "Larkhollow"];
        let events = ["halts withdrawals after run on deposits", "cuts dividend as losses mount", "sued by shareholders over bond losses"];
        names.iter().flat_map(|name| events.iter().map(move |event| format!("{name} {event}"))).collect()
    }

    proptest::proptest! {
        #[test]
        fn neither_order_of_arrival_nor_a_restart_changes_what_is_novel(
            raw in proptest::collection::vec((0i64..60_000, 0usize..15, 0usize..4, proptest::bool::ANY), 1..60),
            cut in 1i64..6,
            max_stories in 2usize..12,
        ) {
            let config = NoveltyConfig { max_stories, horizon: crate::config::Span::from_ms(30_000), ..Config::default().novelty };
            let titles = titles();
            let items: Vec<_> = raw.iter().enumerate().map(|(index, &(at, title, source, upper))| {
                let mut item = item(if index % 3 == 0 { "market" } else { "group:banks" }, &format!("n{index}"), at, Sentiment::Negative);
                item.title = Some(if upper { titles[title].to_uppercase() } else { titles[title].clone() });
                item.source = Some(format!("source-{source}"));
                item
            }).collect();
            let fresh = || OpenPanes::new(PANE).with_novelty(Novelty::new(config));
            let mut forwards = fresh();
            items.iter().for_each(|item| assert!(forwards.count(item)));
            let straight: Vec<_> = (1..=6).flat_map(|pane| forwards.close(EventTime(pane * PANE))).collect();
            proptest::prop_assert_eq!(straight.iter().map(|pane| pane.negative).sum::<u64>(), items.len() as u64);

            let mut backwards = fresh();
            items.iter().rev().for_each(|item| assert!(backwards.count(item)));
            proptest::prop_assert_eq!(&straight, &backwards.close(EventTime(6 * PANE)));

            // What is published is enough to go on from.
            let (before, after): (Vec<_>, Vec<_>) = straight.iter().cloned().partition(|pane| pane.pane_end.0 <= cut * PANE);
            let read_back: Vec<PaneRecord> = before.iter().map(|pane| serde_json::from_str(&serde_json::to_string(pane).unwrap()).unwrap()).collect();
            let mut restored = fresh();
            restored.restore(&read_back);
            items.iter().filter(|item| item.event_time_ms >= cut * PANE).for_each(|item| assert!(restored.count(item)));
            proptest::prop_assert_eq!(after, restored.close(EventTime(6 * PANE)));
            for title in &titles {
                let sketch = Sketch::of(title).unwrap();
                for subject in [Subject::market(), Subject::group("banks")] {
                    proptest::prop_assert_eq!(
                        forwards.novelty().unwrap().spread(&subject, &sketch),
                        restored.novelty().unwrap().spread(&subject, &sketch)
                    );
                }
            }
        }
    }
}
