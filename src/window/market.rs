//! The market on every partition: counts by pane, which the classifier's watermarks bring to all of them.
//!
//! So each monitor judges the market alike, whoever owns the subject. Closed panes are published like any other, because
//! outputs are the state.

use std::collections::{BTreeMap, VecDeque};

use super::{PaneRecord, SourceCounts, WindowCounts};
use crate::news::{EventTime, MarketCounts, SCHEMA_VERSION, Score, Sentiment, Subject};

/// What items add to the market until a watermark takes it along: the classifier's side.
#[derive(Debug, Default)]
pub struct MarketTally {
    panes: BTreeMap<EventTime, MarketCounts>,
}

/// A watermark record takes at most so many panes, 60 kB of JSON: more of them are of a replay at full speed.
pub const MAX_PANES: usize = 1000;

impl MarketTally {
    pub fn count(&mut self, event_time: EventTime, sentiment: Sentiment, score: Score, pane_ms: i64) {
        let pane_start = event_time.floor(pane_ms);
        let counts = self.panes.entry(pane_start).or_insert(MarketCounts {
            pane_start,
            count: 0,
            negative: 0,
            positive: 0,
            score_sum: Score(0),
            score_square_sum: Score(0),
        });
        counts.count += 1;
        counts.negative += u64::from(sentiment == Sentiment::Negative);
        counts.positive += u64::from(sentiment == Sentiment::Positive);
        counts.score_sum.0 += score.0;
        counts.score_square_sum.0 += score.squared().0;
    }

    pub fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }

    /// The earliest panes, at most [`MAX_PANES`], once.
    pub fn take(&mut self) -> Vec<MarketCounts> {
        let rest = self.panes.keys().nth(MAX_PANES).copied().map(|next| self.panes.split_off(&next)).unwrap_or_default();
        std::mem::replace(&mut self.panes, rest).into_values().collect()
    }
}

/// The monitor's side: open and closed panes of the market.
#[derive(Debug)]
pub struct MarketPanes {
    pane_ms: i64,
    open: BTreeMap<EventTime, WindowCounts>,
    closed: VecDeque<(EventTime, WindowCounts)>,
}

impl MarketPanes {
    pub fn new(pane_ms: i64) -> Self {
        Self { pane_ms, open: BTreeMap::new(), closed: VecDeque::new() }
    }

    /// Start of the pane of this monitor that these counts belong to.
    pub fn pane_of(&self, counts: &MarketCounts) -> EventTime {
        counts.pane_start.floor(self.pane_ms)
    }

    /// Adds to an open pane.
    pub fn count(&mut self, counts: &MarketCounts) {
        let pane = self.open.entry(self.pane_of(counts)).or_default();
        pane.add(&WindowCounts {
            count: counts.count,
            negative: counts.negative,
            neutral: counts.count.saturating_sub(counts.negative + counts.positive),
            positive: counts.positive,
            score_sum: counts.score_sum,
            score_square_sum: counts.score_square_sum,
            novel_negative: 0,
        });
    }

    /// Start of the earliest open pane.
    pub fn earliest(&self) -> Option<EventTime> {
        self.open.keys().next().copied()
    }

    /// Closes all panes that end at or before `end`, in order.
    pub fn close(&mut self, end: EventTime) -> Vec<PaneRecord> {
        let open = self.open.split_off(&end.plus(1 - self.pane_ms));
        let closed = std::mem::replace(&mut self.open, open);
        let record = |(start, counts): (EventTime, WindowCounts)| PaneRecord {
            schema: SCHEMA_VERSION,
            subject: Subject::market_counts(),
            pane_start: start,
            pane_end: start.plus(self.pane_ms),
            count: counts.count,
            negative: counts.negative,
            neutral: counts.neutral,
            positive: counts.positive,
            score_sum: counts.score_sum,
            score_square_sum: counts.score_square_sum,
            sources: SourceCounts::default(),
            novel_negative: 0,
            novel_sources: SourceCounts::default(),
            members: BTreeMap::new(),
            stories: Vec::new(),
            index: Score::default(),
            index_weight: Score::default(),
            buzz: None,
        };
        let records: Vec<PaneRecord> = closed.into_iter().map(record).collect();
        self.restore(&records);
        records
    }

    /// Takes closed panes in, in order of their start.
    pub fn restore(&mut self, records: &[PaneRecord]) {
        self.closed.extend(records.iter().map(|record| (record.pane_start, record.counts())));
    }

    /// Sum of the closed panes that start in `[start, end)`.
    pub fn window(&self, start: EventTime, end: EventTime) -> WindowCounts {
        let mut sum = WindowCounts::default();
        let inside = self.closed.iter().rev().skip_while(|(pane, _)| *pane >= end).take_while(|(pane, _)| *pane >= start);
        inside.for_each(|(_, counts)| sum.add(counts));
        sum
    }

    /// Start of the newest closed pane.
    pub fn newest(&self) -> Option<EventTime> {
        self.closed.back().map(|&(start, _)| start)
    }

    /// Drops closed panes that start before `start`.
    pub fn forget_before(&mut self, start: EventTime) {
        while self.closed.front().is_some_and(|&(pane, _)| pane < start) {
            self.closed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_in_parts_adds_up_and_goes_out_once() {
        let mut tally = MarketTally::default();
        for index in 0..3_000 {
            let sentiment = Sentiment::ALL[index % 3];
            tally.count(EventTime(index as i64 * 500), sentiment, Score(-100), 1000);
        }
        let mut market = MarketPanes::new(10_000);
        let mut parts = 0;
        while !tally.is_empty() {
            let part = tally.take();
            assert!(part.len() <= MAX_PANES);
            part.iter().for_each(|counts| market.count(counts));
            parts += 1;
        }
        assert_eq!((parts, tally.take()), (2, vec![]));
        let records = market.close(EventTime(1_500_000));
        assert_eq!(records.len(), 150);
        let all = market.window(EventTime(0), EventTime(1_500_000));
        assert_eq!((all.count, all.negative, all.neutral, all.positive, all.score_sum), (3000, 1000, 1000, 1000, Score(-300_000)));
        assert_eq!(market.window(EventTime(10_000), EventTime(30_000)).count, 40);
        let mut again = MarketPanes::new(10_000);
        again.restore(&records);
        again.forget_before(EventTime(20_000));
        assert_eq!(again.window(EventTime(10_000), EventTime(30_000)).count, 20);
    }
}
