//! Intervals around what a window shows, so that few items say little. One-sided: the true value lies beyond a bound with
//! the rule's `confidence`; at 0.5 the bounds are the value itself.

use statrs::distribution::{ContinuousCDF, Normal};

use crate::window::WindowCounts;

/// Bounds of an estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub lower: f64,
    pub estimate: f64,
    pub upper: f64,
}

/// The standard normal quantile: 0 at 0.5, 1.645 at 0.95.
pub fn quantile(confidence: f64) -> f64 {
    Normal::standard().inverse_cdf(confidence).max(0.0)
}

/// Share of `hits` among `count` items, which is not 0. Wilson 1927, *Probable inference, the law of succession, and
/// statistical inference*: the score interval.
pub fn share(hits: u64, count: u64, z: f64) -> Interval {
    let (n, p) = (count as f64, hits as f64 / count as f64);
    let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    Interval { lower: (middle - half).max(0.0), estimate: p, upper: (middle + half).min(1.0) }
}

/// Mean score of a window that is not empty. The normal interval after one more item at each end of the scale, −1 and 1, as
/// Agresti & Coull 1998 do for shares: a few items that agree do not pass for certainty.
pub fn mean(counts: &WindowCounts, z: f64) -> Interval {
    let estimate = counts.mean_score();
    let n = counts.count as f64 + 2.0;
    let middle = counts.score_sum.to_f64() / n;
    let variance = ((counts.score_square_sum.to_f64() + 2.0) / n - middle * middle).max(0.0);
    let half = z * (variance / n).sqrt();
    // Without confidence asked for, the mean as it is.
    let middle = if z > 0.0 { middle } else { estimate };
    Interval { lower: (middle - half).max(-1.0), estimate, upper: (middle + half).min(1.0) }
}

/// Difference of two shares. Newcombe 1998, *Interval estimation for the difference between independent proportions*,
/// method 10: the square-and-add of two Wilson intervals.
pub fn difference(one: Interval, other: Interval) -> Interval {
    let estimate = one.estimate - other.estimate;
    let below = (one.estimate - one.lower).hypot(other.upper - other.estimate);
    let above = (one.upper - one.estimate).hypot(other.estimate - other.lower);
    Interval { lower: estimate - below, estimate, upper: estimate + above }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Score;

    fn close(one: f64, other: f64) {
        assert!((one - other).abs() < 5e-5, "{one} is not {other}");
    }

    #[test]
    fn wilson_and_newcombe_agree_with_the_published_examples() {
        // Newcombe 1998, table II: 56/70 and 48/80 at 95%, two-sided, method 10.
        let z = quantile(0.975);
        let both = difference(share(56, 70, z), share(48, 80, z));
        close(both.estimate, 0.2);
        close(both.lower, 0.0524);
        close(both.upper, 0.3339);
        // And 9/10 and 3/10.
        let both = difference(share(9, 10, z), share(3, 10, z));
        close(both.lower, 0.1705);
        close(both.upper, 0.8090);
        // Newcombe 1998 (single proportions), table I: 81/263 and 15/148.
        let one = share(81, 263, z);
        close(one.lower, 0.2553);
        close(one.upper, 0.3662);
        let one = share(15, 148, z);
        close(one.lower, 0.0624);
        close(one.upper, 0.1605);
    }

    #[test]
    fn without_confidence_the_bounds_are_the_value() {
        let counts = WindowCounts { count: 4, score_sum: Score(-2_000_000), score_square_sum: Score(1_500_000), ..Default::default() };
        for interval in [share(3, 4, quantile(0.5)), mean(&counts, quantile(0.5))] {
            assert_eq!((interval.lower, interval.upper), (interval.estimate, interval.estimate));
        }
    }

    #[test]
    fn the_mean_lies_in_its_interval_about_as_often_as_it_says() {
        // Scores of −0.8, 0.05 and 0.7 with shares 0.3, 0.5 and 0.2; a generator with a seed.
        let truth = -0.8 * 0.3 + 0.05 * 0.5 + 0.7 * 0.2;
        let mut state = 7_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for count in [5, 20, 80] {
            let mut below = 0;
            for _ in 0..4_000 {
                let mut counts = WindowCounts::default();
                for _ in 0..count {
                    let score = Score::from_f64(match uniform() {
                        few if few < 0.3 => -0.8,
                        some if some < 0.8 => 0.05,
                        _ => 0.7,
                    });
                    counts.count += 1;
                    counts.score_sum.0 += score.0;
                    counts.score_square_sum.0 += score.squared().0;
                }
                below += usize::from(mean(&counts, quantile(0.95)).upper < truth);
            }
            // With few items it is careful.
            let least = if count < 20 { 0 } else { 40 };
            assert!((least..260).contains(&below), "{below} of 4,000 at {count} items; 200 is what 95% says");
        }
    }

    #[test]
    fn few_items_that_agree_are_no_certainty() {
        let counts = WindowCounts { count: 5, score_sum: Score(-4_500_000), score_square_sum: Score(4_050_000), ..Default::default() };
        let interval = mean(&counts, quantile(0.95));
        assert!(interval.upper > -0.4 && interval.estimate == -0.9, "{interval:?}");
    }
}
