//! Estimates from the past: what all subjects of a kind say together, and on that prior what one subject's own past says.

use super::season::{HOUR_MS, HOURS, caps, growth, hour_of_week, refine, winsorise};
use super::{Baseline, Pace, Slice, rise_ratio};
use crate::detect::surge::{MONTH_MS, NegativeBinomial, Prior, Tail};
use crate::news::{Subject, SubjectKind};

/// How much more than a Poisson count one varies: variance = mean + `square` · mean² + `linear` · mean. Rates that vary give
/// the square (NB2), stories that draw further items the linear part (NB1): Cameron and Trivedi 1986, *Econometric Models
/// Based on Count Data*.
#[derive(Debug, Clone, Copy)]
pub(super) struct Excess {
    square: f64,
    linear: f64,
}

impl Excess {
    /// Squared coefficient of variation of the rate: 1 / shape of the negative binomial.
    pub(super) fn at(self, mean: f64) -> f64 {
        self.square + self.linear / mean
    }

    fn times(self, factor: f64) -> Self {
        Self { square: self.square * factor, linear: self.linear * factor }
    }
}

/// So many subjects of a kind speak for all of it, and of its tails: enough to know both, and few enough that no hop waits.
const POOL_SUBJECTS: usize = 256;
const TAIL_SUBJECTS: usize = 128;

/// What the subjects of a kind say together, from the slices before one.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    subjects: usize,
    /// Mean negative items of a subject per slice.
    mean: f64,
    /// Shape of the Gamma distribution of rates between subjects.
    shape: f64,
    /// Of a bucket, within slices.
    excess: Excess,
    /// Factors by hour of the week, around 1, and the squared coefficient of variation of each.
    season: Vec<(f64, f64)>,
}

/// Everything that is estimated for one subject from the slices before one.
#[derive(Debug)]
pub(super) struct Fit {
    /// Negative items per slice where the season's factor is 1.
    pub(super) level: f64,
    pub(super) level_variation: f64,
    /// ln of the level's growth per slice.
    pub(super) growth: f64,
    pub(super) season: Vec<(f64, f64)>,
    /// Of a bucket and of a slice, given level and season.
    pub(super) excess: Excess,
    pub(super) slice_excess: Excess,
    pub(super) prior: Prior,
    /// Peaks of windows and of the CUSUM in the past.
    pub(super) peaks: [Peaks; 2],
    pub(super) months: f64,
}

/// Peaks of the past over the threshold of [`Tail`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peaks {
    count: f64,
    /// Sum of ln(expected frequency at the threshold / at the peak).
    excess: f64,
}

/// What chance brings less often than this is a surge of the past: it tells nothing about chance.
const SURGES_PER_MONTH: f64 = 0.003;
/// So much before and after a surge of the past is left out with it.
const AROUND_SURGE_MS: i64 = 6 * HOUR_MS;
/// Peaks this close to each other are one.
const EPISODE_MS: i64 = 3 * HOUR_MS;

/// How many peaks the prior of a tail is worth.
const TAIL_PRIOR: f64 = 12.0;

impl Peaks {
    /// `per_month`: how often the distribution lets such a peak be expected.
    fn add(&mut self, per_month: f64) {
        let excess = (Tail::PEAKS_PER_MONTH / per_month).ln();
        if excess > 0.0 {
            self.count += 1.0;
            // One surge of the past must not make the subject deaf.
            self.excess += excess.min(5.0);
        }
    }

    /// The tail of `months` of peaks, shrunk to a prior.
    pub(super) fn tail(&self, months: f64, prior: Tail) -> Tail {
        Tail {
            rate: (self.count + TAIL_PRIOR * prior.rate) / (Tail::PEAKS_PER_MONTH * months + TAIL_PRIOR),
            scale: (self.excess + TAIL_PRIOR * prior.scale) / (self.count + TAIL_PRIOR),
        }
    }
}

/// How much more a subject's counts vary than its kind's would, by moments, each count weighted by what it tells about it.
#[derive(Default)]
struct Moments {
    found: f64,
    thought: f64,
}

impl Moments {
    /// `n` counts of mean `mean` that sum to `sum` and whose squares sum to `squares`: E[(x − μ)² − x] = μ² / shape.
    fn add(&mut self, n: f64, mean: f64, sum: f64, squares: f64, prior: Excess) {
        let excess = squares - 2.0 * mean * sum + n * mean * mean - sum;
        let variation = prior.at(mean);
        let precision = 1.0 / (2.0 * (1.0 + variation * mean).powi(2));
        self.found += excess * precision;
        self.thought += n * mean * mean * variation * precision;
    }

    /// `typical` is the squared coefficient of variation that was thought of.
    fn ratio(&self, typical: f64) -> f64 {
        let weight = 2.0 * typical / (typical * typical).max(0.01);
        ((self.found + weight) / (self.thought + weight)).max(0.2).max(0.0003 / typical)
    }
}

/// Pairs of items in one slice: in the same bucket and in different ones, the former times the number of other buckets, so
/// that both are as many where a slice's rate is even.
#[derive(Default)]
struct Pairs {
    items: u64,
    together: u128,
    apart: u128,
}

impl Pairs {
    fn add(&mut self, slice: &Slice, buckets: u64) {
        let count = u64::from(slice.count);
        self.items += count;
        self.together += u128::from(buckets - 1) * u128::from(slice.squares - count);
        self.apart += u128::from(count * count - slice.squares);
    }

    /// Squared coefficient of variation of a bucket's rate within slices: together / apart − 1 (factorial moments), shrunk to
    /// that of the shape `dispersion`.
    fn square(&self, dispersion: f64) -> f64 {
        const WEIGHT: f64 = 50.0;
        let ratio = (self.together as f64 + WEIGHT * (1.0 + 1.0 / dispersion)) / (self.apart as f64 + WEIGHT);
        (ratio - 1.0).max(0.0005)
    }

    /// Items in the bucket of an item beyond those that the slice's rate lets expect, and how precise that is.
    fn linear(&self, square: f64, buckets: u64) -> Option<(f64, f64)> {
        if self.items == 0 || buckets < 2 {
            return None;
        }
        let scale = self.items as f64 * (buckets - 1) as f64;
        let (others, usual) = (self.together as f64 / scale, (1.0 + square) * self.apart as f64 / scale);
        Some((others - usual, 1.0 / ((usual + 0.05) / self.items as f64 + 0.1 * usual * usual)))
    }
}

/// The slices of one subject before one, oldest first.
struct Past {
    /// Number of the first slice.
    from: i64,
    slice_ms: i64,
    buckets: f64,
    /// Hour of the week of each.
    hours: Vec<usize>,
    counts: Vec<f64>,
    /// Of the buckets in each: sum of squared counts, and largest count.
    squares: Vec<f64>,
    peaks: Vec<u32>,
}

/// The level, slice by slice.
struct Course {
    /// What was known before each slice, and before the one after the last.
    before: Vec<f64>,
    level: f64,
    /// Of what has not faded yet.
    exposed: f64,
    /// Slices in which nothing came where something was sure to.
    out: Vec<bool>,
    excess: Excess,
    slice_excess: Excess,
}

/// Half-life of the recent level, and at least so many slices, where these are long.
const HALF_LIFE_MS: f64 = 2.0 * 86_400_000.0;
const HALF_LIFE_SLICES: f64 = 14.0;
/// Negative items that the level over all history is worth beside the recent ones.
const LEVEL_PRIOR: f64 = 4.0;
/// −ln of the probability of no item below which a slice without one is an outage of the feed, not a quiet hour.
const OUTAGE: f64 = 9.0;
/// What lasts longer is no outage.
const LONGEST_OUTAGE_MS: i64 = 12 * HOUR_MS;
/// The part of recent slices that were too high to be believed beyond which nothing is learned about dispersion: surges of
/// the past would make the subject deaf.
const CALM: f64 = 0.03;
/// Precision at which the linear part of the excess is thought to be none.
const LINEAR_PRIOR: f64 = 20.0;
/// Variances between season factors before the past can tell: of a kind by hour of the day and of the week, and of a subject
/// beyond its kind's.
const KIND_SEASON: [f64; 2] = [0.5, 0.03];
const OWN_SEASON: [f64; 2] = [0.1, 0.03];

impl Past {
    /// Whose level would be `anchor` by all of it and grows by `growth`; `lag` slices lie between what a CUSUM's baseline
    /// knows and what it judges.
    fn follow(&self, season: &[(f64, f64)], anchor: f64, growth: f64, lag: usize, kind: Excess) -> Course {
        let n = self.counts.len();
        let half_life = (HALF_LIFE_MS / self.slice_ms as f64).max(HALF_LIFE_SLICES);
        let mean_age = half_life / std::f64::consts::LN_2;
        let (ahead, grown) = ((growth * mean_age).exp(), (growth * lag as f64).exp());
        let decay = 0.5f64.powf(1.0 / half_life);
        let day = 0.5f64.powf(self.slice_ms as f64 / (0.5 * 86_400_000.0));
        let longest_outage = (LONGEST_OUTAGE_MS / self.slice_ms).max(1);
        let clip = Excess { square: kind.square.max(0.1), ..kind };
        let (mut items, mut exposed, mut clipped, mut lull) = (0.0, 0.0, 0.0, 0);
        let (mut before, mut out) = (vec![0.0; n], vec![false; n]);
        let (mut of_buckets, mut of_slices) = (Moments::default(), Moments::default());
        let level = |items: f64, exposed: f64| (items + LEVEL_PRIOR) / (exposed + LEVEL_PRIOR / anchor) * ahead;
        for index in 0..n {
            before[index] = level(items, exposed);
            let factor = season[self.hours[index]].0;
            let expected = before[index] * factor;
            let variation = clip.at(expected);
            let surely = (variation * expected).ln_1p() / variation;
            lull = if self.counts[index] == 0.0 && surely > OUTAGE { lull + 1 } else { 0 };
            if (1..=longest_outage).contains(&lull) {
                out[index] = true;
                continue;
            }
            let spread = (expected + variation * expected * expected).sqrt();
            let cap = expected + (3.5 * spread + 2.0) / (1.0 - clipped);
            let count = self.counts[index].min(cap);
            clipped = day * clipped + if self.counts[index] > cap { (1.0 - day) * 0.999 } else { 0.0 };
            items = decay * items + count;
            exposed = decay * exposed + factor;
            if clipped < CALM {
                of_buckets.add(self.buckets, expected / self.buckets, count, self.squares[index], kind);
                of_slices.add(1.0, before[index.saturating_sub(lag)] * grown * factor, count, count * count, kind);
            }
        }
        let level = level(items, exposed);
        let excess = kind.times(of_buckets.ratio(kind.at(level / self.buckets)));
        let slice_excess = kind.times(of_slices.ratio(kind.at(level)));
        Course { before, level, exposed, out, excess, slice_excess }
    }

    /// Peaks of the windows and of a CUSUM that looks back `reach` slices.
    fn peaks(&self, course: &Course, season: &[(f64, f64)], level_variation: f64, growth: f64, lag: usize, reach: i64) -> [Peaks; 2] {
        let grown = (growth * lag as f64).exp();
        let per_month = MONTH_MS / self.slice_ms as f64;
        let (mut extremes, mut rises, mut cusum, mut highest, mut lasted) = (Vec::new(), Peaks::default(), 0.0f64, f64::NEG_INFINITY, 0);
        for index in (0..self.counts.len()).filter(|&index| !course.out[index]) {
            let (factor, uncertain) = season[self.hours[index]];
            let mean = course.before[index] * factor / self.buckets;
            let spread = (1.0 + course.excess.at(mean)) * (1.0 + level_variation) * (1.0 + uncertain) - 1.0;
            let bucket = NegativeBinomial { mean, shape: 1.0 / spread };
            let peak = f64::from(self.peaks[index]);
            if peak > mean + (mean + spread * mean * mean).sqrt() {
                let frequency = bucket.tail(u64::from(self.peaks[index]), fraction(self.from + index as i64)) * self.buckets * per_month;
                extremes.push((index, frequency));
            }
            let lagged = course.before[index.saturating_sub(lag)] * grown * factor;
            let spread = (1.0 + course.slice_excess.at(lagged)) * (1.0 + uncertain) - 1.0;
            let pace = Pace::new(lagged, spread, rise_ratio(lagged, spread, level_variation));
            cusum = (cusum + self.counts[index] * pace.gain - pace.cost).max(0.0);
            if cusum > 0.0 {
                highest = highest.max(cusum - pace.drift.ln());
                lasted += 1;
            }
            if cusum == 0.0 || lasted > reach {
                let frequency = per_month * (-highest).exp();
                if lasted > 0 && frequency > SURGES_PER_MONTH {
                    rises.add(frequency);
                }
                (cusum, highest, lasted) = (0.0, f64::NEG_INFINITY, 0);
            }
        }
        let mut windows = Peaks::default();
        let [near, together] = [AROUND_SURGE_MS, EPISODE_MS].map(|ms| (ms / self.slice_ms).max(1) as usize);
        let surges: Vec<usize> = extremes.iter().filter(|extreme| extreme.1 < SURGES_PER_MONTH).map(|extreme| extreme.0).collect();
        // What is to be told are episodes: peaks close to each other are one.
        let mut episode: Option<(usize, f64)> = None;
        for &(index, frequency) in &extremes {
            let next = surges.partition_point(|&surge| surge + near < index);
            if surges.get(next).is_some_and(|&surge| surge <= index + near) {
                continue;
            }
            episode = match episode {
                Some((last, least)) if index - last <= together => Some((index, frequency.min(least))),
                other => {
                    other.into_iter().for_each(|(_, least)| windows.add(least));
                    Some((index, frequency))
                }
            };
        }
        episode.into_iter().for_each(|(_, least)| windows.add(least));
        [windows, rises]
    }
}

/// A number in (0, 1) for a slice, always the same: with a part of P(X = x) drawn so, tails of counts are spread evenly however
/// few they are.
fn fraction(slice: i64) -> f64 {
    let mixed = (slice as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 12) as f64 / (1u64 << 52) as f64 + f64::EPSILON
}

impl Baseline {
    fn past(&self, subject: &Subject, at: i64, slices: i64) -> Past {
        let (from, n, slice_ms) = (at - slices, slices as usize, self.reach.slice_ms());
        let hours = (from..at).map(|index| hour_of_week(index, slice_ms)).collect();
        let (mut counts, mut squares, mut peaks) = (vec![0.0; n], vec![0.0; n], vec![0; n]);
        for slice in self.tracks[subject].slices.iter().filter(|slice| (from..at).contains(&slice.index)) {
            let index = (slice.index - from) as usize;
            (counts[index], squares[index], peaks[index]) = (f64::from(slice.count), slice.squares as f64, slice.peak);
        }
        Past { from, slice_ms, buckets: (slice_ms / self.reach.window_ms) as f64, hours, counts, squares, peaks }
    }

    /// From the `slices` slices before `at`.
    pub(super) fn fit(&mut self, subject: &Subject, at: i64, slices: i64) -> Fit {
        let key = (at, subject.kind());
        if !self.pools.contains_key(&key) {
            let pool = self.pool(subject.kind(), at, slices);
            self.pools.insert(key, pool);
        }
        let pool = &self.pools[&key];
        let past = self.past(subject, at, slices);
        let mut counts = past.counts.clone();
        winsorise(&mut counts, &past.hours);
        let total: f64 = counts.iter().sum();
        let mut season = pool.season.clone();
        if pool.subjects > 1 && total > 0.0 {
            refine(&mut season, &counts, &past.hours, OWN_SEASON);
        }
        let growth = growth(&counts, &past.hours, &season);
        let exposure: f64 = past.hours.iter().map(|&hour| season[hour].0).sum();
        let prior_weight = pool.shape / pool.mean;
        let anchor = (total + pool.shape) / (exposure + prior_weight);
        let lag = (self.reach.rise() as usize / 2).max(1);
        let course = past.follow(&season, anchor, growth, lag, pool.excess);
        // Precision of the recent level, on top of that of all history, which it may have left by a factor of 1.5 or so.
        let recent = course.exposed / (1.0 / course.level + course.slice_excess.at(course.level));
        let level_variation = 1.0 / (recent + 1.0 / (0.25 + 1.0 / (total + pool.shape)));
        let peaks = match self.judges {
            true => past.peaks(&course, &season, level_variation, growth, lag, self.reach.rise()),
            false => [Peaks::default(); 2],
        };
        let n = slices as f64;
        let mean = (total + pool.shape) / (n + prior_weight);
        let own = n * mean >= pool.shape.max(1.0) && n >= prior_weight;
        Fit {
            level: course.level,
            level_variation,
            growth,
            season,
            excess: course.excess,
            slice_excess: course.slice_excess,
            prior: if own { Prior::Own } else { Prior::Pooled },
            peaks,
            months: (slices * past.slice_ms) as f64 / MONTH_MS,
        }
    }

    /// The tails of the subjects of a kind together, from the past before the day in which slice `at` lies.
    pub(super) fn tails(&mut self, kind: SubjectKind, at: i64) -> [Tail; 2] {
        let slices_of_a_day = (24 * HOUR_MS / self.reach.slice_ms()).max(1);
        let at = at.div_euclid(slices_of_a_day) * slices_of_a_day;
        if let Some(&tails) = self.tails.get(&(at, kind)) {
            return tails;
        }
        let slices = self.seen_before(at).unwrap_or(0);
        let (mut peaks, mut months) = ([Peaks::default(); 2], 0.0);
        // None where there are no slices.
        let subjects: Vec<Subject> = self.sample(kind, at - slices, at, TAIL_SUBJECTS).map(|(subject, _)| subject.clone()).collect();
        for subject in subjects {
            let fit = self.fit(&subject, at, slices);
            months += fit.months;
            for (sum, own) in peaks.iter_mut().zip(fit.peaks) {
                sum.count += own.count;
                sum.excess += own.excess;
            }
        }
        let tails = peaks.map(|peaks| peaks.tail(months, Tail::EXACT));
        self.tails.insert((at, kind), tails);
        tails
    }

    fn pool(&self, kind: SubjectKind, at: i64, slices: i64) -> Pool {
        let slice_ms = self.reach.slice_ms();
        let buckets = slice_ms as u64 / self.reach.window_ms as u64;
        let (from, n) = (at - slices, slices as usize);
        let hours: Vec<usize> = (from..at).map(|index| hour_of_week(index, slice_ms)).collect();
        let mut totals = vec![0u64; n];
        // Integers: their order does not matter.
        let (mut subjects, mut squared, mut all, mut calms) = (0u64, 0u128, Pairs::default(), Vec::new());
        for (_, track) in self.sample(kind, from, at, POOL_SUBJECTS) {
            let slices = || track.slices.iter().filter(|slice| (from..at).contains(&slice.index));
            let hour = |index: i64| hours[(index - from) as usize];
            let caps = caps(slices().map(|slice| (hour(slice.index), f64::from(slice.count))), n / 24);
            let (mut own, mut calm) = (Pairs::default(), Pairs::default());
            for slice in slices() {
                totals[(slice.index - from) as usize] += u64::from(slice.count);
                own.add(slice, buckets);
                if f64::from(slice.count) <= caps[hour(slice.index) % 24] {
                    calm.add(slice, buckets);
                }
            }
            subjects += 1;
            squared += u128::from(own.items).pow(2);
            all.items += own.items;
            all.together += own.together;
            all.apart += own.apart;
            calms.push(calm);
        }
        let (items, among) = (all.items as f64, subjects.max(1) as f64);
        let mean = (items + 0.5) / (among * n as f64);
        // Between subjects: Σ N(N − 1) · M / (Σ N)² − 1 is the squared coefficient of variation of the rates; 2 where few
        // subjects tell.
        let between = if items > 1.0 { ((squared as f64 - items) * among / (items * items) - 1.0).max(0.0) } else { 0.0 };
        let between = (among * between + 8.0) / (among + 4.0);
        let mut counts: Vec<f64> = totals.iter().map(|&count| count as f64).collect();
        winsorise(&mut counts, &hours);
        let mut season = vec![(1.0, 0.0); HOURS];
        refine(&mut season, &counts, &hours, KIND_SEASON);
        let square = all.square(self.dispersion);
        // The median, because surges of the past look like stories.
        let linear = weighted_median(calms.iter().filter_map(|calm| calm.linear(square, buckets)).chain([(0.0, LINEAR_PRIOR)]).collect());
        let excess = Excess { square, linear: linear.max(0.0) };
        Pool { subjects: subjects as usize, mean, shape: 1.0 / between.max(0.2), excess, season }
    }
}

/// Of values and their weights.
fn weighted_median(mut values: Vec<(f64, f64)>) -> f64 {
    values.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    for (value, weight) in values {
        below += weight;
        if below >= half {
            return value;
        }
    }
    0.0
}
