//! What is usual for a subject: its number of negative items in a window, learned from closed panes.
//!
//! A first baseline: one rate per subject over the history. The Jeffreys prior for a Poisson rate, Gamma(½, 0), makes
//! the rate's posterior Gamma(N + ½, T); its mean is what a window is expected to hold.

use std::collections::{HashMap, VecDeque};

use statrs::distribution::{DiscreteCDF, NegativeBinomial};

use crate::news::{EventTime, Subject};
use crate::window::PaneRecord;

/// History is kept in slices of ten minutes: fine enough for hours, small enough for weeks.
const BUCKET_MS: i64 = 600_000;

/// What a window of a given length is expected to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usual {
    /// Mean number of negative items in the window; above 0.
    pub expected: f64,
    /// How much history stands behind it.
    pub history_ms: i64,
    /// N + ½: how sure the rate itself is.
    pub shape: f64,
}

pub struct Baseline {
    horizon_ms: i64,
    /// Start of the first pane learned: time without items counts as quiet from here on.
    since: Option<EventTime>,
    /// Per subject: start of a ten-minute slice and its negative items; slices without any are left out.
    negatives: HashMap<Subject, VecDeque<(EventTime, u64)>>,
}

impl Baseline {
    pub fn new(horizon_ms: i64) -> Self {
        Self { horizon_ms, since: None, negatives: HashMap::new() }
    }

    pub fn since(&self) -> Option<EventTime> {
        self.since
    }

    pub fn restore_since(&mut self, since: Option<EventTime>) {
        self.since = since.or(self.since);
    }

    pub fn push(&mut self, record: &PaneRecord) {
        self.since = Some(self.since.map_or(record.pane_start, |since| since.min(record.pane_start)));
        if record.novel_negative == 0 {
            return;
        }
        let slice = record.pane_start.floor(BUCKET_MS);
        let slices = self.negatives.entry(record.subject.clone()).or_default();
        match slices.back_mut() {
            Some((last, count)) if *last == slice => *count += record.novel_negative,
            _ => slices.push_back((slice, record.novel_negative)),
        }
    }

    /// What is usual in a window of `window_ms` that starts at `window_start`, from the history before it only.
    /// `None` while less than `min_history_ms` has been seen.
    pub fn expected(&self, subject: &Subject, window_start: EventTime, window_ms: i64, min_history_ms: i64) -> Option<Usual> {
        let until = window_start.floor(BUCKET_MS);
        let first_whole = self.since?.plus(BUCKET_MS - 1).floor(BUCKET_MS);
        let from = first_whole.max(until.plus(-self.horizon_ms).floor(BUCKET_MS));
        let history_ms = until.0 - from.0;
        if history_ms < min_history_ms || history_ms <= 0 {
            return None;
        }
        let slices = self.negatives.get(subject);
        let seen: u64 = slices.into_iter().flatten().filter(|(start, _)| (from..until).contains(start)).map(|(_, count)| count).sum();
        let shape = seen as f64 + 0.5;
        Some(Usual { expected: shape * window_ms as f64 / history_ms as f64, history_ms, shape })
    }

    /// Drops what no later window can look back to. Slices are kept a horizon before the newest windows.
    pub fn forget_before(&mut self, end: EventTime) {
        let keep_from = end.plus(-2 * self.horizon_ms.max(BUCKET_MS));
        self.negatives.retain(|_, slices| {
            while slices.front().is_some_and(|&(start, _)| start < keep_from) {
                slices.pop_front();
            }
            !slices.is_empty()
        });
    }
}

/// P(X ≥ `count`) for a negative binomial with mean `usual.expected` and shape min(`usual.shape`, `dispersion`):
/// the Poisson–Gamma mixture (Greenwood and Yule 1920), whose variance is mean + mean² / shape.
pub fn tail_probability(count: u64, usual: &Usual, dispersion: f64) -> f64 {
    if count == 0 {
        return 1.0;
    }
    let shape = usual.shape.min(dispersion);
    let success = shape / (shape + usual.expected);
    NegativeBinomial::new(shape, success).map_or(1.0, |distribution| distribution.sf(count - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(expected: f64) -> Usual {
        Usual { expected, history_ms: 0, shape: 1e9 }
    }

    #[test]
    fn the_tail_agrees_with_a_direct_sum() {
        // P(X = k) = Γ(k+r)/(k! Γ(r)) p^r (1−p)^k, summed upwards.
        let (mean, shape) = (1.7, 4.0);
        let p = shape / (shape + mean);
        let mut term = f64::powf(p, shape);
        let mut below = 0.0;
        for k in 0..9 {
            below += term;
            term *= (k as f64 + shape) / (k as f64 + 1.0) * (1.0 - p);
        }
        let tail = tail_probability(9, &usual(mean), shape);
        assert!((tail - (1.0 - below)).abs() < 1e-9, "{tail} against {}", 1.0 - below);
    }

    #[test]
    fn the_tail_falls_with_the_count_and_stays_exact_far_out() {
        let tails: Vec<f64> = (0..60).map(|count| tail_probability(count, &usual(1.0), 4.0)).collect();
        assert!(tails.windows(2).all(|pair| pair[1] < pair[0]), "{tails:?}");
        assert!(tails[59] > 0.0 && tails[59] < 1e-20);
        assert_eq!(tails[0], 1.0);
    }

    #[test]
    fn more_dispersion_makes_the_same_count_less_surprising() {
        assert!(tail_probability(12, &usual(2.0), 1.0) > tail_probability(12, &usual(2.0), 100.0));
    }
}
