//! Hopping windows: sums of closed panes, per subject, in a polars frame.
//!
//! The frame holds one row per (subject, closed pane) in pane order, so a window is a slice and one group-by.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use polars::prelude::{Column, DataFrame, PolarsResult};

use super::PaneRecord;
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
    frame: DataFrame,
    /// Pane start and number of rows, in frame order.
    panes: VecDeque<(EventTime, usize)>,
    subjects: Vec<Subject>,
    index: HashMap<Subject, u32>,
    /// Per subject: pane start and what was seen in it.
    names: HashMap<u32, VecDeque<(EventTime, PaneNames)>>,
}

/// What of a pane is a set, not a sum.
struct PaneNames {
    sources: Vec<String>,
    novel_sources: BTreeMap<String, u64>,
    novel_negative: u64,
    members: BTreeMap<Subject, u64>,
}

/// How many chunks the frame may gather before they are joined: joining copies, many chunks slow every slice.
const MAX_CHUNKS: usize = 64;

const SUMS: [&str; 7] = ["count", "negative", "neutral", "positive", "score", "score_square", "novel_negative"];

impl History {
    pub fn new() -> Self {
        let frame = frame(Vec::new(), Vec::new()).expect("empty columns have equal lengths");
        Self { frame, panes: VecDeque::new(), subjects: Vec::new(), index: HashMap::new(), names: HashMap::new() }
    }

    /// Appends closed panes, in order of their start and not before those already here.
    pub fn push(&mut self, records: &[PaneRecord]) {
        if records.is_empty() {
            return;
        }
        let mut subjects = Vec::with_capacity(records.len());
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let subject = self.intern(&record.subject);
            subjects.push(subject);
            rows.push([
                record.count as i64,
                record.negative as i64,
                record.neutral as i64,
                record.positive as i64,
                record.score_sum.0,
                record.score_square_sum.0,
                record.novel_negative as i64,
            ]);
            let names = PaneNames {
                sources: record.sources.keys().cloned().collect(),
                novel_sources: record.novel_sources.clone(),
                novel_negative: record.novel_negative,
                members: record.members.clone(),
            };
            self.names.entry(subject).or_default().push_back((record.pane_start, names));
            match self.panes.back_mut() {
                Some((start, height)) if *start == record.pane_start => *height += 1,
                last => {
                    debug_assert!(last.is_none_or(|(start, _)| *start < record.pane_start), "panes close in order");
                    self.panes.push_back((record.pane_start, 1));
                }
            }
        }
        let rows = frame(subjects, rows).expect("columns were built together");
        self.frame.vstack_mut_owned(rows).expect("both frames have the columns of `frame`");
        if self.frame.first_col_n_chunks() > MAX_CHUNKS {
            self.frame.rechunk_mut();
        }
    }

    fn intern(&mut self, subject: &Subject) -> u32 {
        if let Some(&known) = self.index.get(subject) {
            return known;
        }
        let new = self.subjects.len() as u32;
        self.subjects.push(subject.clone());
        self.index.insert(subject.clone(), new);
        new
    }

    /// Sums of the panes that start in `[start, end)`, by subject.
    pub fn window(&self, start: EventTime, end: EventTime) -> BTreeMap<Subject, WindowCounts> {
        let (mut offset, mut length) = (0, 0);
        for &(pane, height) in &self.panes {
            if pane < start {
                offset += height;
            } else if pane < end {
                length += height;
            }
        }
        if length == 0 {
            return BTreeMap::new();
        }
        let slice = self.frame.slice(offset as i64, length);
        self.sum(&slice).expect("the frame has the columns of `frame`, without nulls")
    }

    fn sum(&self, slice: &DataFrame) -> PolarsResult<BTreeMap<Subject, WindowCounts>> {
        // The eager sum is the kernel that the lazy engine calls; the lazy engine would triple the build.
        #[allow(deprecated)]
        let sums = slice.group_by(["subject"])?.select(SUMS).sum()?;
        let column = |name: &str| -> PolarsResult<Vec<i64>> { Ok(sums.column(name)?.i64()?.into_no_null_iter().collect()) };
        let columns: Vec<Vec<i64>> = SUMS.iter().map(|name| column(&format!("{name}_sum"))).collect::<PolarsResult<_>>()?;
        let subjects = sums.column("subject")?.u32()?.into_no_null_iter();
        Ok(subjects
            .enumerate()
            .map(|(row, subject)| {
                let [count, negative, neutral, positive, score, score_square, novel] = std::array::from_fn(|index| columns[index][row]);
                let counts = WindowCounts {
                    count: count as u64,
                    negative: negative as u64,
                    neutral: neutral as u64,
                    positive: positive as u64,
                    score_sum: Score(score),
                    score_square_sum: Score(score_square),
                    novel_negative: novel as u64,
                };
                (self.subjects[subject as usize].clone(), counts)
            })
            .collect())
    }

    /// Distinct sources of a subject in the panes that start in `[start, end)`.
    pub fn distinct_sources(&self, subject: &Subject, start: EventTime, end: EventTime) -> usize {
        self.names(subject, start, end).flat_map(|names| &names.sources).collect::<HashSet<_>>().len()
    }

    /// Novel negative items of a subject.
    pub fn novel_negative(&self, subject: &Subject, start: EventTime, end: EventTime) -> u64 {
        self.names(subject, start, end).map(|names| names.novel_negative).sum()
    }

    /// Sources of a subject's novel negative items, and how many come from each.
    pub fn novel_sources(&self, subject: &Subject, start: EventTime, end: EventTime) -> BTreeMap<&str, u64> {
        let mut sources = BTreeMap::new();
        for (source, items) in self.names(subject, start, end).flat_map(|names| &names.novel_sources) {
            *sources.entry(source.as_str()).or_default() += items;
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
        let panes = self.index.get(subject).and_then(|index| self.names.get(index));
        panes.into_iter().flatten().filter(move |(pane, _)| (start..end).contains(pane)).map(|(_, names)| names)
    }

    /// Start of the newest pane held.
    pub fn newest(&self) -> Option<EventTime> {
        self.panes.back().map(|&(start, _)| start)
    }

    /// Drops panes that start before `start`.
    pub fn forget_before(&mut self, start: EventTime) {
        let mut rows = 0;
        while let Some(&(pane, height)) = self.panes.front()
            && pane < start
        {
            rows += height;
            self.panes.pop_front();
        }
        if rows == 0 {
            return;
        }
        self.frame = self.frame.slice(rows as i64, self.frame.height() - rows);
        self.names.retain(|_, panes| {
            while panes.front().is_some_and(|&(pane, _)| pane < start) {
                panes.pop_front();
            }
            !panes.is_empty()
        });
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

fn frame(subjects: Vec<u32>, rows: Vec<[i64; SUMS.len()]>) -> PolarsResult<DataFrame> {
    let height = subjects.len();
    let mut columns = vec![Column::new("subject".into(), subjects)];
    for (index, name) in SUMS.into_iter().enumerate() {
        columns.push(Column::new(name.into(), rows.iter().map(|row| row[index]).collect::<Vec<i64>>()));
    }
    DataFrame::new(height, columns)
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
            raw in proptest::collection::vec((0i64..20_000, 0usize..3, 0usize..5), 1..300),
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
            let mut history = History::new();
            for end in (1000..=20_000).step_by(1000) {
                history.push(&panes.close(EventTime(end)));
                let start = (end - 5000).max(0);
                proptest::prop_assert_eq!(history.window(EventTime(start), EventTime(end)), brute_force(&items, start, end));
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
        let mut history = History::new();
        history.push(&panes.close(EventTime(3000)));
        history.forget_before(EventTime(2000));
        assert_eq!(history.window(EventTime(0), EventTime(3000))[&Subject::market()].count, 1);
        assert_eq!(history.distinct_sources(&Subject::market(), EventTime(0), EventTime(3000)), 1);
        assert_eq!(history.frame.height(), 1);
    }
}
