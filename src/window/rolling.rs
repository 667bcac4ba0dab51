//! Hopping windows: sums of closed panes, per subject, over polars frames.
//!
//! Each closed pane is a frame of one row per subject. A window that moves on adds the rows of the panes that come in and
//! takes away those of the panes that leave, so that a hop costs what changed, however long the window is.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use polars::prelude::{Column, DataFrame, PolarsResult};

use super::sources::SourceCounts;
use super::{PaneRecord, SubjectMap};
use crate::news::{EventTime, Score, Subject};

/// What a window holds for one subject. `count` is never 0: an empty window is no row, "no data".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowCounts {
    pub count: u64,
    pub negative: u64,
    pub neutral: u64,
    pub positive: u64,
    pub score_sum: Score,
    pub score_square_sum: Score,
    /// Negative items that repeat no story: see [`crate::novelty`].
    pub novel_negative: u64,
}

impl WindowCounts {
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.negative += other.negative;
        self.neutral += other.neutral;
        self.positive += other.positive;
        self.score_sum.0 += other.score_sum.0;
        self.score_square_sum.0 += other.score_square_sum.0;
        self.novel_negative += other.novel_negative;
    }

    fn subtract(&mut self, other: &Self) {
        self.count -= other.count;
        self.negative -= other.negative;
        self.neutral -= other.neutral;
        self.positive -= other.positive;
        self.score_sum.0 -= other.score_sum.0;
        self.score_square_sum.0 -= other.score_square_sum.0;
        self.novel_negative -= other.novel_negative;
    }

    /// What is left without `part`, which may be counted a little otherwise.
    pub fn without(&self, part: &Self) -> Self {
        let [negative, neutral, positive] = [(self.negative, part.negative), (self.neutral, part.neutral), (self.positive, part.positive)]
            .map(|(all, part)| all.saturating_sub(part));
        Self {
            count: negative + neutral + positive,
            negative,
            neutral,
            positive,
            score_sum: Score(self.score_sum.0 - part.score_sum.0),
            score_square_sum: Score(self.score_square_sum.0 - part.score_square_sum.0),
            novel_negative: 0,
        }
    }

    pub fn negative_share(&self) -> f64 {
        self.negative as f64 / self.count as f64
    }

    /// −1 to 1.
    pub fn mean_score(&self) -> f64 {
        self.score_sum.to_f64() / self.count as f64
    }
}

/// Closed panes of one monitor partition, as far back as its longest window reaches.
pub struct History {
    panes: VecDeque<ClosedPane>,
    /// Number of the front of `panes`, counted from the first ever held.
    first: u64,
    subjects: Vec<Subject>,
    numbers: SubjectMap<u32>,
    /// Numbers of subjects that are in no pane any more.
    free: Vec<u32>,
    /// By subject: pane start and what was seen in it.
    names: Vec<VecDeque<(EventTime, PaneNames)>>,
    windows: Vec<Window>,
}

struct ClosedPane {
    start: EventTime,
    frame: DataFrame,
}

/// What of a pane is a set, not a sum.
struct PaneNames {
    sources: SourceCounts,
    novel_sources: SourceCounts,
    members: BTreeMap<Subject, u64>,
}

/// The sums of one length of window.
struct Window {
    size_ms: i64,
    /// Panes before these numbers have come in, and have left.
    entered: u64,
    left: u64,
    /// By subject.
    sums: Vec<WindowCounts>,
    /// Subjects with items, in no order, and the places of all in it.
    active: Vec<u32>,
    places: Vec<u32>,
}

const NOWHERE: u32 = u32::MAX;
const SUMS: [&str; 7] = ["count", "negative", "neutral", "positive", "score", "score_square", "novel_negative"];

impl Window {
    fn new(size_ms: i64) -> Self {
        Self { size_ms, entered: 0, left: 0, sums: Vec::new(), active: Vec::new(), places: Vec::new() }
    }

    fn enter(&mut self, subject: u32, counts: &WindowCounts) {
        let place = subject as usize;
        if place >= self.sums.len() {
            self.sums.resize(place + 1, WindowCounts::default());
            self.places.resize(place + 1, NOWHERE);
        }
        self.sums[place].add(counts);
        if self.places[place] == NOWHERE {
            self.places[place] = self.active.len() as u32;
            self.active.push(subject);
        }
    }

    fn leave(&mut self, subject: u32, counts: &WindowCounts) {
        let sum = &mut self.sums[subject as usize];
        sum.subtract(counts);
        if sum.count > 0 {
            return;
        }
        let place = std::mem::replace(&mut self.places[subject as usize], NOWHERE) as usize;
        if place < self.active.len() {
            self.active.swap_remove(place);
            if let Some(&moved) = self.active.get(place) {
                self.places[moved as usize] = place as u32;
            }
        }
    }
}

impl ClosedPane {
    fn new(start: EventTime, subjects: Vec<u32>, rows: &[WindowCounts]) -> PolarsResult<Self> {
        let sum = |value: fn(&WindowCounts) -> i64| rows.iter().map(value).collect::<Vec<i64>>();
        let sums = [
            sum(|row| row.count as i64),
            sum(|row| row.negative as i64),
            sum(|row| row.neutral as i64),
            sum(|row| row.positive as i64),
            sum(|row| row.score_sum.0),
            sum(|row| row.score_square_sum.0),
            sum(|row| row.novel_negative as i64),
        ];
        let columns = SUMS.into_iter().zip(sums).map(|(name, sums)| Column::new(name.into(), sums));
        let frame = DataFrame::new(rows.len(), [Column::new("subject".into(), subjects)].into_iter().chain(columns).collect())?;
        Ok(Self { start, frame })
    }

    fn each_row(&self, act: impl FnMut(u32, &WindowCounts)) {
        self.rows(act).expect("the frame has the columns of `new`, each in one piece and without nulls");
    }

    fn rows(&self, mut act: impl FnMut(u32, &WindowCounts)) -> PolarsResult<()> {
        let subjects = self.frame.column("subject")?.u32()?.cont_slice()?;
        let mut sums: [&[i64]; SUMS.len()] = [&[]; SUMS.len()];
        for (name, sums) in SUMS.iter().zip(&mut sums) {
            *sums = self.frame.column(name)?.i64()?.cont_slice()?;
        }
        for (row, &subject) in subjects.iter().enumerate() {
            let [count, negative, neutral, positive, score, score_square, novel] = sums.map(|sums| sums[row]);
            let counts = WindowCounts {
                count: count as u64,
                negative: negative as u64,
                neutral: neutral as u64,
                positive: positive as u64,
                score_sum: Score(score),
                score_square_sum: Score(score_square),
                novel_negative: novel as u64,
            };
            act(subject, &counts);
        }
        Ok(())
    }
}

/// The windows of one length that end together.
#[derive(Clone, Copy)]
pub struct Windows<'a> {
    history: &'a History,
    window: &'a Window,
}

impl<'a> Windows<'a> {
    /// In no order: sort where it matters.
    pub fn iter(self) -> impl Iterator<Item = (&'a Subject, &'a WindowCounts)> {
        let Self { history, window } = self;
        window.active.iter().map(move |&subject| (&history.subjects[subject as usize], &window.sums[subject as usize]))
    }

    pub fn get(self, subject: &Subject) -> Option<&'a WindowCounts> {
        let &number = self.history.numbers.get(subject)?;
        self.window.sums.get(number as usize).filter(|counts| counts.count > 0)
    }

    /// Number of subjects with items.
    pub fn len(self) -> usize {
        self.window.active.len()
    }

    pub fn is_empty(self) -> bool {
        self.window.active.is_empty()
    }
}

impl History {
    /// For windows of these lengths.
    pub fn new(sizes_ms: impl IntoIterator<Item = i64>) -> Self {
        let mut sizes: Vec<i64> = sizes_ms.into_iter().collect();
        sizes.sort_unstable();
        sizes.dedup();
        Self {
            panes: VecDeque::new(),
            first: 0,
            subjects: Vec::new(),
            numbers: SubjectMap::default(),
            free: Vec::new(),
            names: Vec::new(),
            windows: sizes.into_iter().map(Window::new).collect(),
        }
    }

    /// Appends closed panes, in order of their start and not before those already here.
    pub fn push(&mut self, records: &[PaneRecord]) {
        for pane in records.chunk_by(|one, other| one.pane_start == other.pane_start) {
            let start = pane[0].pane_start;
            debug_assert!(self.newest().is_none_or(|newest| newest < start), "panes close in order");
            let (mut subjects, mut rows) = (Vec::with_capacity(pane.len()), Vec::with_capacity(pane.len()));
            for record in pane {
                let subject = self.number(&record.subject);
                subjects.push(subject);
                rows.push(record.counts());
                let names = PaneNames {
                    sources: record.sources.clone(),
                    novel_sources: record.novel_sources.clone(),
                    members: record.members.clone(),
                };
                self.names[subject as usize].push_back((start, names));
            }
            self.panes.push_back(ClosedPane::new(start, subjects, &rows).expect("columns were built together"));
        }
    }

    fn number(&mut self, subject: &Subject) -> u32 {
        if let Some(&known) = self.numbers.get(subject) {
            return known;
        }
        let number = match self.free.pop() {
            Some(number) => {
                self.subjects[number as usize] = subject.clone();
                number
            }
            None => {
                self.subjects.push(subject.clone());
                self.names.push(VecDeque::new());
                self.subjects.len() as u32 - 1
            }
        };
        self.numbers.insert(subject.clone(), number);
        number
    }

    /// Moves all windows on to end at `end`: they hold the panes that start before it and not before its length. Never
    /// back.
    pub fn advance(&mut self, end: EventTime) {
        let Self { panes, first, windows, .. } = self;
        let until = |at: EventTime, from: u64| {
            let from = (from.max(*first) - *first) as usize;
            from..from + panes.range(from..).take_while(|pane| pane.start < at).count()
        };
        for window in windows {
            let entering = until(end, window.entered);
            panes.range(entering.clone()).for_each(|pane| pane.each_row(|subject, counts| window.enter(subject, counts)));
            window.entered = *first + entering.end as u64;
            let leaving = until(end.plus(-window.size_ms), window.left);
            panes.range(leaving.clone()).for_each(|pane| pane.each_row(|subject, counts| window.leave(subject, counts)));
            window.left = *first + leaving.end as u64;
        }
    }

    /// The windows of `size_ms`, as of the last [`History::advance`].
    ///
    /// # Panics
    /// Where that length was not given to [`History::new`].
    pub fn windows(&self, size_ms: i64) -> Windows<'_> {
        let window = self.windows.iter().find(|window| window.size_ms == size_ms).expect("all lengths are known from the start");
        Windows { history: self, window }
    }

    /// Distinct sources of a subject in the panes that start in `[start, end)`.
    pub fn distinct_sources(&self, subject: &Subject, start: EventTime, end: EventTime) -> usize {
        let names = self.names(subject, start, end).flat_map(|names| names.sources.iter());
        names.map(|(source, _)| source).collect::<HashSet<&Arc<str>>>().len()
    }

    /// Sources of a subject's novel negative items, and how many come from each.
    pub fn novel_sources(&self, subject: &Subject, start: EventTime, end: EventTime) -> BTreeMap<&str, u64> {
        let mut sources = BTreeMap::new();
        for (source, items) in self.names(subject, start, end).flat_map(|names| names.novel_sources.iter()) {
            *sources.entry(source.as_ref()).or_default() += items;
        }
        sources
    }

    /// Novel negative items by what else they are about: of the market only.
    pub fn members(&self, start: EventTime, end: EventTime) -> BTreeMap<&Subject, u64> {
        let mut members = BTreeMap::new();
        for (member, items) in self.names(&Subject::market(), start, end).flat_map(|names| &names.members) {
            *members.entry(member).or_default() += items;
        }
        members
    }

    fn names(&self, subject: &Subject, start: EventTime, end: EventTime) -> impl Iterator<Item = &PaneNames> {
        let panes = self.numbers.get(subject).map(|&number| &self.names[number as usize]);
        let first = panes.map_or(0, |panes| panes.partition_point(|&(pane, _)| pane < start));
        panes.into_iter().flat_map(move |panes| panes.range(first..)).take_while(move |(pane, _)| *pane < end).map(|(_, names)| names)
    }

    /// Start of the newest pane held.
    pub fn newest(&self) -> Option<EventTime> {
        self.panes.back().map(|pane| pane.start)
    }

    /// Drops panes that start before `start` and have left all windows.
    pub fn forget_before(&mut self, start: EventTime) {
        let left = self.windows.iter().map(|window| window.left).min().unwrap_or(u64::MAX);
        while self.first < left && self.panes.front().is_some_and(|pane| pane.start < start) {
            let pane = self.panes.pop_front().expect("just seen");
            self.first += 1;
            let Self { subjects, numbers, free, names, .. } = self;
            pane.each_row(|subject, _| {
                let panes = &mut names[subject as usize];
                panes.pop_front();
                if panes.is_empty() {
                    *panes = VecDeque::new();
                    numbers.remove(&subjects[subject as usize]);
                    free.push(subject);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::panes::tests::item;
    use super::*;
    use crate::news::{ItemObservation, Sentiment};
    use crate::window::OpenPanes;

    fn brute_force(items: &[ItemObservation], start: i64, end: i64) -> BTreeMap<Subject, WindowCounts> {
        let mut windows: BTreeMap<Subject, WindowCounts> = BTreeMap::new();
        for item in items.iter().filter(|item| (start..end).contains(&item.event_time_ms)) {
            let window = windows.entry(item.subject.clone()).or_default();
            window.count += 1;
            window.negative += u64::from(item.sentiment == Sentiment::Negative);
            window.neutral += u64::from(item.sentiment == Sentiment::Neutral);
            window.positive += u64::from(item.sentiment == Sentiment::Positive);
            window.score_sum.0 += item.score.0;
            window.score_square_sum.0 += item.score.squared().0;
            // Without novelty every negative item is novel.
            window.novel_negative = window.negative;
        }
        windows
    }

    proptest::proptest! {
        #[test]
        fn windows_over_panes_equal_a_brute_force_count(
            raw in proptest::collection::vec((0i64..20_000, 0usize..3, 0usize..5), 1..300)
        ) {
            let items: Vec<ItemObservation> = raw
                .iter()
                .enumerate()
                .map(|(id, &(at, sentiment, subject))| item(&format!("topic:{subject}"), &id.to_string(), at, Sentiment::ALL[sentiment]))
                .collect();
            let mut panes = OpenPanes::new(1000);
            for item in &items {
                panes.count(item);
            }
            let mut history = History::new([5000, 2000, 5000]);
            for end in (1000..=20_000).step_by(1000) {
                history.push(&panes.close(EventTime(end)));
                // Not at every pane: a silence is crossed in one step.
                if raw[end as usize / 1000 % raw.len()].1 == 0 {
                    continue;
                }
                history.advance(EventTime(end));
                for size in [2000, 5000] {
                    let windows = history.windows(size);
                    let found: BTreeMap<Subject, WindowCounts> = windows.iter().map(|(subject, counts)| (subject.clone(), *counts)).collect();
                    proptest::prop_assert_eq!(found.len(), windows.len());
                    proptest::prop_assert!(found.iter().all(|(subject, counts)| windows.get(subject) == Some(counts)));
                    proptest::prop_assert_eq!(&found, &brute_force(&items, end - size, end));
                }
                history.forget_before(EventTime(end - 6000));
            }
        }
    }

    #[test]
    fn forgetting_drops_rows_and_sources() {
        let mut panes = OpenPanes::new(1000);
        for at in [500, 1500, 2500] {
            panes.count(&item("market", &at.to_string(), at, Sentiment::Neutral));
        }
        panes.count(&item("topic:Macro", "a", 500, Sentiment::Neutral));
        let mut history = History::new([1000]);
        history.push(&panes.close(EventTime(3000)));
        history.advance(EventTime(1000));
        history.forget_before(EventTime(2000));
        assert_eq!(history.panes.len(), 3, "a pane that is in a window stays");
        history.advance(EventTime(3000));
        history.forget_before(EventTime(2000));
        assert_eq!(history.windows(1000).get(&Subject::market()).unwrap().count, 1);
        assert_eq!(history.distinct_sources(&Subject::market(), EventTime(0), EventTime(3000)), 1);
        assert_eq!((history.panes.len(), history.numbers.len(), history.free.len()), (1, 1, 1));
        panes.count(&item("topic:IPO", "b", 3500, Sentiment::Negative));
        history.push(&panes.close(EventTime(4000)));
        history.advance(EventTime(4000));
        let ipo = Subject::topic("IPO");
        assert_eq!(history.windows(1000).iter().map(|(subject, _)| subject).collect::<Vec<_>>(), [&ipo]);
        assert_eq!(history.subjects.len(), 2, "a number out of use is used again");
    }
}
