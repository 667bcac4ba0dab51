//! The sentiment index of a subject: its mean score, where an item counts half as much for each half-life of its age.
//!
//! index = S / (1 + W), with S = Σ score · 2^(−age / half-life) and W = Σ 2^(−age / half-life) over all items, ages
//! measured from the ends of their panes: as if one neutral item were always new. So it goes back to 0 in silence, and one item makes no mood.

use super::{PaneRecord, SubjectMap};
use crate::news::{EventTime, Score, Subject};

/// What is older than this many half-lives is forgotten (2⁻²⁰, a millionth): a bounded part of the past gives the index
/// exactly.
pub const HORIZON_HALF_LIVES: i64 = 20;

/// Index and weight W at a time, both in whole millionths: what is published is the state, so a restart goes on exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    at: EventTime,
    index: Score,
    weight: Score,
}

/// The indices of all subjects of one monitor partition.
#[derive(Debug)]
pub struct SentimentIndex {
    half_life_ms: i64,
    states: SubjectMap<State>,
    swept_at: EventTime,
}

impl SentimentIndex {
    pub fn new(half_life_ms: i64) -> Self {
        Self { half_life_ms, states: SubjectMap::default(), swept_at: EventTime(i64::MIN) }
    }

    /// How far back panes must be read to know every index.
    pub fn horizon_ms(half_life_ms: i64) -> i64 {
        half_life_ms.saturating_mul(HORIZON_HALF_LIVES)
    }

    /// Takes closed panes in, in order of their start, and writes into them what the index is at their end.
    pub fn update(&mut self, records: &mut [PaneRecord]) {
        for record in records.iter_mut() {
            let (index, weight) = self.decayed(&record.subject, record.pane_end);
            let sum = index * (1.0 + weight) + record.score_sum.to_f64();
            let weight = weight + record.count as f64;
            record.index = Score::from_f64(sum / (1.0 + weight));
            record.index_weight = Score::from_f64(weight);
            self.keep(record);
        }
        if let Some(end) = records.last().map(|record| record.pane_end) {
            self.sweep(end);
        }
    }

    /// Takes back panes that were published before a restart, in order of their start.
    pub fn restore(&mut self, records: &[PaneRecord]) {
        records.iter().for_each(|record| self.keep(record));
    }

    /// The index at `at`, not before the subject's last pane; `None` where nothing is remembered.
    pub fn at(&self, subject: &Subject, at: EventTime) -> Option<f64> {
        let known = self.states.get(subject).is_some_and(|state| at.0 - state.at.0 <= Self::horizon_ms(self.half_life_ms));
        known.then(|| self.decayed(subject, at).0)
    }

    fn decayed(&self, subject: &Subject, at: EventTime) -> (f64, f64) {
        let Some(state) = self.states.get(subject) else { return (0.0, 0.0) };
        decayed(state.index, state.weight, at.0 - state.at.0, self.half_life_ms)
    }

    fn keep(&mut self, record: &PaneRecord) {
        let state = State { at: record.pane_end, index: record.index, weight: record.index_weight };
        match self.states.get_mut(&record.subject) {
            Some(known) => *known = state,
            None => drop(self.states.insert(record.subject.clone(), state)),
        }
    }

    /// Bounds memory by the subjects of one horizon and a half-life.
    fn sweep(&mut self, now: EventTime) {
        if now.0.saturating_sub(self.swept_at.0) < self.half_life_ms {
            return;
        }
        self.swept_at = now;
        let oldest = now.plus(-Self::horizon_ms(self.half_life_ms));
        self.states.retain(|_, state| state.at >= oldest);
    }
}

/// Index and weight after `age_ms` without items.
pub fn decayed(index: Score, weight: Score, age_ms: i64, half_life_ms: i64) -> (f64, f64) {
    if age_ms > SentimentIndex::horizon_ms(half_life_ms) {
        return (0.0, 0.0);
    }
    let factor = f64::exp2(-(age_ms as f64) / half_life_ms as f64);
    let (before, after) = (weight.to_f64(), weight.to_f64() * factor);
    (index.to_f64() * (1.0 + before) * factor / (1.0 + after), after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Sentiment;
    use crate::window::OpenPanes;
    use crate::window::panes::tests::item;

    const HOUR: i64 = 3_600_000;

    /// Panes of a minute; `items` are (minute, number of negative items, number of positive ones).
    fn panes(items: &[(i64, usize, usize)]) -> Vec<PaneRecord> {
        let mut open = OpenPanes::new(60_000);
        for &(minute, negative, positive) in items {
            for number in 0..negative + positive {
                let sentiment = if number < negative { Sentiment::Negative } else { Sentiment::Positive };
                open.count(&item("market", &format!("{minute}-{number}"), minute * 60_000 + 1, sentiment));
            }
        }
        open.close(EventTime(i64::MAX - 60_000))
    }

    /// Straight from the definition.
    fn brute_force(panes: &[PaneRecord], at: EventTime, half_life_ms: i64) -> f64 {
        let weight = |pane: &PaneRecord| f64::exp2(-((at.0 - pane.pane_end.0) as f64) / half_life_ms as f64);
        let sum: f64 = panes.iter().map(|pane| pane.score_sum.to_f64() * weight(pane)).sum();
        sum / (1.0 + panes.iter().map(|pane| pane.count as f64 * weight(pane)).sum::<f64>())
    }

    #[test]
    fn the_index_is_the_decayed_mean_of_its_definition() {
        let mut closed = panes(&[(0, 3, 0), (7, 0, 2), (60, 5, 1), (400, 1, 1), (401, 0, 4)]);
        SentimentIndex::new(HOUR).update(&mut closed);
        for last in 1..=closed.len() {
            let expected = brute_force(&closed[..last], closed[last - 1].pane_end, HOUR);
            let found = closed[last - 1].index.to_f64();
            assert!((found - expected).abs() < 1e-5, "pane {last}: {found}, not {expected}");
        }
    }

    #[test]
    fn in_silence_it_goes_back_to_neutral() {
        let mut closed = panes(&[(0, 9, 0)]);
        let mut index = SentimentIndex::new(HOUR);
        index.update(&mut closed);
        let end = closed[0].pane_end;
        let at = |hours: i64| index.at(&Subject::market(), end.plus(hours * HOUR)).unwrap();
        assert!((at(0) + 0.8 * 9.0 / 10.0).abs() < 1e-6);
        assert!((at(1) + 0.8 * 4.5 / 5.5).abs() < 1e-6);
        assert!(at(20).abs() < 1e-4);
        assert_eq!(index.at(&Subject::market(), end.plus(20 * HOUR + 1)), None);
        assert_eq!(index.at(&Subject::topic("Macro"), end), None);
    }

    proptest::proptest! {
        #[test]
        fn a_restart_anywhere_goes_on_exactly(items in proptest::collection::vec((0i64..3000, 0usize..4, 0usize..4), 1..40), stop in 0usize..40) {
            let closed = panes(&items);
            let mut straight = closed.clone();
            SentimentIndex::new(HOUR).update(&mut straight);
            let stop = stop.min(closed.len());
            // As JSON, and no further back than the horizon from where it stopped.
            let until = stop.checked_sub(1).map_or(EventTime(0), |last| closed[last].pane_end);
            let oldest = until.plus(-SentimentIndex::horizon_ms(HOUR));
            let published: Vec<PaneRecord> = straight[..stop]
                .iter()
                .filter(|pane| pane.pane_start >= oldest)
                .map(|pane| serde_json::from_str(&serde_json::to_string(pane).unwrap()).unwrap())
                .collect();
            let mut resumed = SentimentIndex::new(HOUR);
            resumed.restore(&published);
            let mut rest = closed[stop..].to_vec();
            resumed.update(&mut rest);
            proptest::prop_assert_eq!(&rest, &straight[stop..]);
        }
    }
}
