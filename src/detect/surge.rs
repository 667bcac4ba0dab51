//! Is a number of negative items a surge? How often chance alone would do as much, in false alarms per subject and month.
//!
//! Two tests share the budget: the tail probability of a window, for sudden rises, and a CUSUM over slices, for slow
//! ones. Both speak in expected false alarms per month, so that the user's budget is compared with nothing but itself.

use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;
use statrs::function::gamma::ln_gamma;

use crate::news::EventTime;

/// 30 days.
pub const MONTH_MS: f64 = 30.0 * 86_400_000.0;

/// Each term of a tail is at least about this part of the one before it.
const SLOW: f64 = 0.6;

/// Number of items whose rate is Gamma distributed (Greenwood and Yule 1920, *An Inquiry into the Nature of Frequency
/// Distributions Representative of Multiple Happenings*): variance = mean + mean² / shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NegativeBinomial {
    pub mean: f64,
    pub shape: f64,
}

impl NegativeBinomial {
    fn ln_probability(&self, count: f64) -> f64 {
        let (mean, shape) = (self.mean, self.shape);
        ln_gamma(count + shape) - ln_gamma(count + 1.0) - ln_gamma(shape) - shape * (mean / shape).ln_1p()
            + count * (mean / (shape + mean)).ln()
    }

    /// P(X > `count`) + P(X = `count`) / 2: the mid-P value (Lancaster 1961, *Significance Tests in Discrete
    /// Distributions*). Unlike P(X ≥ `count`) it is not conservative where counts are few.
    pub fn mid_p(&self, count: u64) -> f64 {
        self.tail(count, 0.5)
    }

    /// P(X > `count`) + `part` · P(X = `count`).
    pub fn tail(&self, count: u64, part: f64) -> f64 {
        let count = count as f64;
        let growth = self.mean / (self.shape + self.mean);
        let mut term = self.ln_probability(count).exp();
        let mut at = count;
        if count <= self.mean {
            // From the other side: what lies below is not small, so 1 minus it is exact.
            let mut below = term * (1.0 - part);
            while at > 0.0 && term > below * 1e-12 {
                term *= at / ((at - 1.0 + self.shape) * growth);
                at -= 1.0;
                below += term;
            }
            return (1.0 - below).clamp(0.0, 1.0);
        }
        // P(X > count) is a regularised incomplete beta function (Abramowitz and Stegun 1964, 26.5.26). Where terms fall slowly
        // it takes less than adding them up.
        if growth > SLOW {
            // Where the shape is next to nothing, what it loses to rounding is more than the tail.
            let next = term * (count + self.shape) / (count + 1.0) * growth;
            return (term * part + beta_reg(count + 1.0, self.shape, growth).max(next)).min(1.0);
        }
        let mut tail = term * part;
        loop {
            term *= (at + self.shape) / (at + 1.0) * growth;
            at += 1.0;
            tail += term;
            if term <= tail * 1e-12 {
                return tail.min(1.0);
            }
        }
    }

    /// The least count that is exceeded with a probability of at most `beyond` (above 0).
    pub fn exceeded_by(&self, beyond: f64) -> u64 {
        let is_enough = |count: u64| self.tail(count, 0.0) <= beyond;
        let mut most = (self.mean.ceil() as u64).max(1);
        while most < u64::MAX && !is_enough(most) {
            most = most.saturating_mul(2);
        }
        let mut least = 0;
        while least < most {
            let middle = least.midpoint(most);
            if is_enough(middle) { most = middle } else { least = middle + 1 }
        }
        least
    }

    /// ln of the likelihood of `count` where the mean is `ratio` times this, over that where it is this. The increment of
    /// a CUSUM for counts: Lucas 1985, *Counted Data CUSUMs*; for the negative binomial Hawkins and Olwell 1998,
    /// *Cumulative Sum Charts*, 5.3.
    pub fn ln_likelihood_ratio(&self, count: f64, ratio: f64) -> f64 {
        let (mean, shape) = (self.mean, self.shape);
        let raised = ((shape + ratio * mean) / (shape + mean)).ln();
        count * (ratio.ln() - raised) - shape * raised
    }
}

/// Where a CUSUM of the log-likelihood ratio stands at the end of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rise {
    /// max over starts within the look-back of the sum from there to now, at least 0 (Page 1954, *Continuous Inspection
    /// Schemes*), in nats.
    pub cusum: f64,
    /// The sum is higher than at any time of the look-back: what is over does not count as a rise again while the sum
    /// comes down.
    pub is_rising: bool,
    /// Mean of an increment if the rate had risen as assumed, in nats.
    pub drift: f64,
    /// Where the sum was last 0, and what came and was expected since.
    pub since: EventTime,
    pub negative: u64,
    pub expected: f64,
    /// Length of a step.
    pub step_ms: i64,
    pub tail: Tail,
}

/// What the past says about a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usual {
    /// Negative items expected in the window; above 0.
    pub expected: f64,
    /// Shape of the predictive negative binomial: over-dispersion, and how sure level and season are.
    pub shape: f64,
    pub prior: Prior,
    /// How much history stands behind it.
    pub history_ms: i64,
    pub tail: Tail,
    /// `None` while too young to tell a slow rise from a day's course.
    pub rise: Option<Rise>,
}

/// How the extremes of a subject's past compare with what its distribution says: a peaks-over-threshold fit with an
/// exponential tail (Pickands 1975, *Statistical Inference Using Extreme Order Statistics*; Siffer et al. 2017, *Anomaly
/// Detection in Streams with Extreme Value Theory*).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tail {
    /// Peaks seen per peak expected.
    pub rate: f64,
    /// Mean of ln(expected frequency at the threshold / at the peak); 1 where the distribution is right.
    pub scale: f64,
}

impl Tail {
    pub const EXACT: Self = Self { rate: 1.0, scale: 1.0 };
    /// A peak is what is expected at most this often per month.
    pub const PEAKS_PER_MONTH: f64 = 20.0;

    /// `rate` false alarms per month by the distribution, corrected.
    fn correct(self, rate: f64) -> f64 {
        match rate < Self::PEAKS_PER_MONTH {
            true => Self::PEAKS_PER_MONTH * self.rate * (rate / Self::PEAKS_PER_MONTH).powf(1.0 / self.scale),
            false => rate * self.rate,
        }
    }
}

/// What an estimate of a subject's level rests on most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prior {
    /// The subject's own past.
    Own,
    /// The past of all subjects of its kind: the subject is young.
    Pooled,
}

/// How often chance alone would raise an alarm at what is seen, per subject and month. Two tests, half of the budget
/// each, so both are doubled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Surge {
    /// Mid-P value of the window's count.
    pub p_value: f64,
    /// By the window's count.
    pub window: f64,
    /// By the CUSUM; infinite without one.
    pub rise: f64,
}

impl Surge {
    /// By the test that says more.
    pub fn false_alarms_per_month(&self) -> f64 {
        self.window.min(self.rise)
    }
}

impl Usual {
    /// Judges `count` negative items in a window of `window_ms` that moves by `hop_ms`.
    pub fn judge(&self, count: u64, window_ms: i64, hop_ms: i64) -> Surge {
        let distribution = NegativeBinomial { mean: self.expected, shape: self.shape };
        let p_value = distribution.mid_p(count);
        let per_month = p_value * episodes(&distribution, count, window_ms, hop_ms) * MONTH_MS / window_ms as f64;
        Surge {
            p_value,
            window: 2.0 * self.tail.correct(per_month),
            rise: self.rise.map_or(f64::INFINITY, |rise| 2.0 * rise.false_alarms_per_month()),
        }
    }
}

/// Episodes per window's length and tail probability, for a window that moves by `hop_ms`: overlapping windows depend on
/// each other, and a run of exceedances is one alarm. In continuous time their number is (c − μ)² / c for a Poisson
/// process: (c − μ) p(c) clumps (Naus 1982, *Approximations for Distributions of Scan Statistics*; Aldous 1989,
/// *Probability Approximations via the Poisson Clumping Heuristic*, B), over a tail of p(c) / (1 − μ/c). Never more than
/// there are looks, never less than one.
fn episodes(distribution: &NegativeBinomial, count: u64, window_ms: i64, hop_ms: i64) -> f64 {
    let looks = window_ms as f64 / hop_ms as f64;
    let (count, mean) = (count as f64, distribution.mean);
    if count <= mean {
        return 1.0;
    }
    ((count - mean).powi(2) / (count * (1.0 + mean / distribution.shape))).clamp(1.0, looks.max(1.0))
}

impl Rise {
    /// A CUSUM of a log-likelihood ratio crosses h about drift · e^−h times per step (Siegmund 1985, *Sequential Analysis*,
    /// 2.6: the mean time between false alarms of Page's test).
    pub fn false_alarms_per_month(&self) -> f64 {
        self.tail.correct(MONTH_MS / self.step_ms as f64 * self.drift.min(1.0) * (-self.cusum).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct_sum(distribution: &NegativeBinomial, count: u64) -> f64 {
        // P(X = k) = Γ(k+r)/(k! Γ(r)) p^r (1−p)^k, summed upwards.
        let NegativeBinomial { mean, shape } = *distribution;
        let p = shape / (shape + mean);
        let mut term = p.powf(shape);
        let mut below = 0.0;
        for k in 0..count {
            below += term;
            term *= (k as f64 + shape) / (k as f64 + 1.0) * (1.0 - p);
        }
        1.0 - below - term / 2.0
    }

    #[test]
    fn the_end_of_what_is_usual_is_the_least_count_with_so_little_beyond_it() {
        for (mean, shape) in [(0.02, 4.0), (0.8, 0.5), (3.0, 1e6), (40.0, 2.0), (5_000.0, 8.0)] {
            let distribution = NegativeBinomial { mean, shape };
            let most = distribution.exceeded_by(0.05);
            assert!(distribution.tail(most, 0.0) <= 0.05, "{mean} {shape}: {most}");
            assert!(most == 0 || distribution.tail(most - 1, 0.0) > 0.05, "{mean} {shape}: {most}");
        }
        assert_eq!(NegativeBinomial { mean: 3.0, shape: 2.0 }.exceeded_by(-1.0), u64::MAX, "what is never so is sought no further");
    }

    #[test]
    fn a_tail_is_the_same_by_its_terms_and_by_the_beta_function() {
        for (mean, shape) in [(0.5, 0.3), (4.0, 2.0), (30.0, 1.5), (200.0, 5.0), (1000.0, 0.7)] {
            let distribution = NegativeBinomial { mean, shape };
            for count in [1.0, 1.5, 3.0, 10.0].map(|times: f64| (mean * times).ceil() as u64 + 1) {
                let terms = (count + 1..count + 400_000).map(|count| distribution.ln_probability(count as f64).exp());
                let sum = terms.fold((0.0, 1.0), |(sum, last), term| if last < 1e-18 * sum { (sum, last) } else { (sum + term, term) }).0;
                let tail = distribution.tail(count, 0.0);
                assert!((tail / sum - 1.0).abs() < 1e-9, "mean {mean}, shape {shape}, count {count}: {tail} and {sum}");
            }
        }
    }

    #[test]
    fn a_tail_is_a_probability_however_small_the_shape() {
        for (mean, shape, count) in [(668.56, 1.46e-11, 177_502), (1e4, 1e-9, 4_000_000_000), (0.3, 1e-12, 1), (1e9, 1e-3, 2_000_000_000)] {
            let tail = NegativeBinomial { mean, shape }.mid_p(count);
            assert!(tail > 0.0 && tail < 1.0, "mean {mean}, shape {shape}, count {count}: {tail}");
        }
    }

    #[test]
    fn the_tail_agrees_with_a_direct_sum_on_both_sides_of_the_mean() {
        for (mean, shape) in [(1.7, 4.0), (0.01, 0.5), (12.0, 3.0), (80.0, 1e6)] {
            let distribution = NegativeBinomial { mean, shape };
            for count in [0, 1, 2, 5, 9, 14, 80, 90] {
                let (tail, direct) = (distribution.mid_p(count), direct_sum(&distribution, count));
                assert!((tail - direct).abs() < 1e-9, "{distribution:?} {count}: {tail} against {direct}");
            }
        }
    }

    #[test]
    fn the_tail_falls_with_the_count_and_stays_exact_far_out() {
        let distribution = NegativeBinomial { mean: 1.0, shape: 4.0 };
        let tails: Vec<f64> = (0..60).map(|count| distribution.mid_p(count)).collect();
        assert!(tails.windows(2).all(|pair| pair[1] < pair[0]), "{tails:?}");
        assert!(tails[59] > 0.0 && tails[59] < 1e-20);
    }

    #[test]
    fn more_dispersion_makes_the_same_count_less_surprising() {
        let tail = |shape| NegativeBinomial { mean: 2.0, shape }.mid_p(12);
        assert!(tail(1.0) > 10.0 * tail(100.0));
    }

    #[test]
    fn the_likelihood_ratio_is_that_of_the_probabilities() {
        let (usual, raised) = (NegativeBinomial { mean: 3.0, shape: 2.0 }, NegativeBinomial { mean: 6.0, shape: 2.0 });
        for count in [0.0, 1.0, 7.0, 30.0] {
            let expected = raised.ln_probability(count) - usual.ln_probability(count);
            assert!((usual.ln_likelihood_ratio(count, 2.0) - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn finer_hops_mean_more_looks_and_so_more_chance_alarms() {
        let usual = Usual { expected: 20.0, shape: 1e6, prior: Prior::Own, history_ms: 1, tail: Tail::EXACT, rise: None };
        let rate = |hop_ms| usual.judge(45, 600_000, hop_ms).window;
        assert!(rate(600_000) < rate(60_000) && rate(60_000) <= rate(1_000));
        assert!(rate(1_000) < 20.0 * rate(600_000));
    }
}
