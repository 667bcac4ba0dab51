//! What is usual for a subject: its negative items by hour of the week, its recent level, its over-dispersion.
//!
//! A function of whole slices of closed panes within a fixed look-back, nothing else: a restart that reads these panes
//! back computes the same, bit for bit. Estimates are shrunk step by step, a kind's past being the prior of a subject's.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::surge::{MONTH_MS, NegativeBinomial, Prior, Rise, Tail, Usual};
use crate::news::{EventTime, Subject, SubjectKind};

const HOUR_MS: i64 = 3_600_000;
const HOURS: usize = 168;
/// Hour of the day, on weekdays and at weekends.
const DAY_CELLS: usize = 48;

/// How a baseline looks back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reach {
    /// Length of the windows judged, and of the buckets whose dispersion is estimated.
    pub window_ms: i64,
    pub history_ms: i64,
    /// Nothing is said before this much has been seen.
    pub min_history_ms: i64,
    /// How far the CUSUM looks back. Its baseline ends there, so that a rise is not taken for usual while it goes on.
    pub rise_ms: i64,
    /// Slices between fits: 1 for the monitor; more where slices are short of rows and rows come by the hundred thousand.
    pub refit: i64,
}

impl Reach {
    /// Whole windows, an hour or more: what level and season are estimated on.
    fn slice_ms(&self) -> i64 {
        self.window_ms * (HOUR_MS as u64).div_ceil(self.window_ms as u64) as i64
    }

    /// In slices.
    fn history(&self) -> i64 {
        (self.history_ms / self.slice_ms()).max(1)
    }

    /// In slices.
    fn rise(&self) -> i64 {
        (self.rise_ms / self.slice_ms()).max(8)
    }

    /// How far before a window the panes lie that decide about it.
    pub fn look_back_ms(&self) -> i64 {
        (self.history() + self.rise() + 2) * self.slice_ms() + 24 * HOUR_MS
    }
}

/// Negative items of one subject in one slice.
#[derive(Debug, Clone, Copy)]
struct Slice {
    index: i64,
    count: u32,
    /// Sum over the slice's buckets of their squared counts.
    squares: u64,
    /// The largest of these counts.
    peak: u32,
}

#[derive(Debug, Default)]
struct Track {
    /// Only slices with items.
    slices: VecDeque<Slice>,
    /// Only buckets with negative items, as far back as the CUSUM looks: number and count.
    buckets: VecDeque<(i64, u32)>,
    window: Option<(i64, Window)>,
    cusum: Option<(i64, Option<Basis>)>,
    /// Fits of windows and of the CUSUM, where they serve several slices.
    fits: [Option<(i64, Arc<Fit>)>; 2],
}

/// What windows that start in a slice are judged by.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Expected per slice, in this slice and the next.
    means: [f64; 2],
    /// Squared coefficients of variation of the predicted rate.
    variations: [f64; 2],
    slices: i64,
    prior: Prior,
    tail: Tail,
}

/// A CUSUM of the log-likelihood ratio, bucket by bucket.
#[derive(Debug, Clone, Copy, Default)]
struct Cusum {
    sum: f64,
    /// The largest that the sum has been within the look-back.
    highest: f64,
    /// First bucket since the sum was last 0; negative items and expected ones from there.
    since: i64,
    negative: u64,
    expected: f64,
}

/// What the buckets of a slice add to a CUSUM.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Expected in a bucket.
    mean: f64,
    /// What an item adds, and what every bucket takes, in nats.
    gain: f64,
    cost: f64,
    /// Mean that a bucket adds if the rate has risen as assumed, in nats.
    drift: f64,
}

/// The CUSUM over the whole slices before one, and what goes on from there.
#[derive(Debug, Clone, Copy)]
struct Basis {
    cusum: Cusum,
    pace: Pace,
    tail: Tail,
}

impl Pace {
    /// `variations` of the rate of a bucket, as far as its level is known, and of that level.
    fn new(mean: f64, variation: f64, ratio: f64) -> Self {
        let distribution = NegativeBinomial { mean, shape: 1.0 / variation };
        let cost = -distribution.ln_likelihood_ratio(0.0, ratio);
        let gain = distribution.ln_likelihood_ratio(1.0, ratio) + cost;
        Self { mean, gain, cost, drift: ratio * mean * gain - cost }
    }
}

impl Cusum {
    fn step(&mut self, bucket: i64, count: u32, pace: &Pace) {
        self.sum += f64::from(count) * pace.gain - pace.cost;
        self.negative += u64::from(count);
        self.expected += pace.mean;
        self.highest = self.highest.max(self.sum);
        if self.sum <= 0.0 {
            *self = Self { highest: self.highest, since: bucket + 1, ..Self::default() };
        }
    }
}

/// What all subjects of a kind say together, from the slices before one.
#[derive(Debug, Clone)]
struct Pool {
    subjects: usize,
    /// Mean negative items of a subject per slice.
    mean: f64,
    /// Shape of the Gamma distribution of rates between subjects.
    shape: f64,
    /// Squared coefficient of variation of a bucket's rate, within slices: 1 / shape of its negative binomial.
    variation: f64,
    /// Factors by hour of the week, around 1, and the squared coefficient of variation of each.
    season: Vec<(f64, f64)>,
}

pub struct Baseline {
    reach: Reach,
    /// Shape of the negative binomial where nothing is known yet.
    dispersion: f64,
    /// Start of the first pane learned: time without items counts as quiet from here on.
    since: Option<EventTime>,
    tracks: HashMap<Subject, Track>,
    pools: BTreeMap<(i64, SubjectKind), Pool>,
    tails: BTreeMap<(i64, SubjectKind), [Tail; 2]>,
}

impl Baseline {
    pub fn new(reach: Reach, dispersion: f64) -> Self {
        Self { reach, dispersion, since: None, tracks: HashMap::new(), pools: BTreeMap::new(), tails: BTreeMap::new() }
    }

    pub fn since(&self) -> Option<EventTime> {
        self.since
    }

    pub fn restore_since(&mut self, since: Option<EventTime>) {
        self.since = since.or(self.since);
    }

    fn slice_of(&self, at: EventTime) -> i64 {
        at.0.div_euclid(self.reach.slice_ms())
    }

    /// Takes in `negative` items of a pane that starts at `start`; panes come in the order of their start.
    pub fn push(&mut self, subject: &Subject, start: EventTime, negative: u64) {
        self.since = Some(self.since.map_or(start, |since| since.min(start)));
        let index = self.slice_of(start);
        let track = match self.tracks.get_mut(subject) {
            Some(track) => track,
            None => self.tracks.entry(subject.clone()).or_default(),
        };
        let bucket = start.0.div_euclid(self.reach.window_ms);
        let negative = u32::try_from(negative).unwrap_or(u32::MAX);
        let before = track.buckets.back().filter(|last| last.0 == bucket).map_or(0, |last| last.1);
        let after = before.saturating_add(negative);
        match track.buckets.back_mut() {
            Some(last) if last.0 == bucket => last.1 = after,
            _ if negative > 0 => track.buckets.push_back((bucket, after)),
            _ => {}
        }
        let squares = u64::from(after).pow(2) - u64::from(before).pow(2);
        match track.slices.back_mut() {
            Some(last) if last.index == index => {
                last.count = last.count.saturating_add(negative);
                last.squares += squares;
                last.peak = last.peak.max(after);
            }
            _ => track.slices.push_back(Slice { index, count: negative, squares, peak: after }),
        }
    }

    /// What is usual in a window of the reach's length that starts at `start`; `None` before enough has been seen.
    pub fn usual(&mut self, subject: &Subject, start: EventTime) -> Option<Usual> {
        let (slice_ms, window_ms) = (self.reach.slice_ms(), self.reach.window_ms);
        let at = self.slice_of(start);
        let window = self.window(subject, at)?;
        // A window reaches over at most one border of slices.
        let first = ((at + 1) * slice_ms - start.0).min(window_ms) as f64 / slice_ms as f64;
        let parts = [window.means[0] * first, window.means[1] * (window_ms as f64 / slice_ms as f64 - first)];
        let expected = parts[0] + parts[1];
        let variation = (parts[0] * window.variations[0] + parts[1] * window.variations[1]) / expected;
        let rise = self.rise(subject, start.plus(window_ms));
        let history_ms = window.slices * slice_ms;
        Some(Usual { expected, shape: 1.0 / variation, prior: window.prior, history_ms, tail: window.tail, rise })
    }

    /// The mean of such a window alone.
    pub fn expected(&mut self, subject: &Subject, start: EventTime) -> Option<f64> {
        let (slice_ms, window_ms) = (self.reach.slice_ms(), self.reach.window_ms);
        let at = self.slice_of(start);
        let [now, next] = self.window(subject, at)?.means;
        let first = ((at + 1) * slice_ms - start.0).min(window_ms) as f64 / slice_ms as f64;
        Some(now * first + next * (window_ms as f64 / slice_ms as f64 - first))
    }

    /// Whole slices of history before slice `at`.
    fn seen_before(&self, at: i64) -> Option<i64> {
        let slice_ms = self.reach.slice_ms();
        let first_whole = self.since?.plus(slice_ms - 1).0.div_euclid(slice_ms);
        Some((at - first_whole).min(self.reach.history()))
    }

    fn window(&mut self, subject: &Subject, at: i64) -> Option<Window> {
        if let Some((cached, window)) = self.tracks.get(subject)?.window
            && cached == at
        {
            return Some(window);
        }
        let slices = self.seen_before(at).filter(|&slices| slices * self.reach.slice_ms() >= self.reach.min_history_ms && slices > 0)?;
        let fit = self.fitted(subject, at, slices, 0);
        let predicted = |at: i64| {
            let (factor, uncertain) = fit.season[hour_of_week(at, self.reach.slice_ms())];
            (fit.level * factor, (1.0 + fit.variation) * (1.0 + fit.level_variation) * (1.0 + uncertain) - 1.0)
        };
        let (now, next) = (predicted(at), predicted(at + 1));
        let tail = fit.peaks[0].tail(fit.months, self.tails(subject.kind(), at)[0]);
        let window = Window { means: [now.0, next.0], variations: [now.1, next.1], slices, prior: fit.prior, tail };
        self.tracks.get_mut(subject)?.window = Some((at, window));
        Some(window)
    }

    /// The fit of slice `at`, or of the one that serves it, too.
    fn fitted(&mut self, subject: &Subject, at: i64, slices: i64, which: usize) -> Arc<Fit> {
        if self.reach.refit <= 1 {
            return Arc::new(self.fit(subject, at, slices));
        }
        let due = at.div_euclid(self.reach.refit);
        if let Some((fitted, fit)) = self.tracks.get(subject).and_then(|track| track.fits[which].as_ref())
            && *fitted == due
        {
            return fit.clone();
        }
        let fit = Arc::new(self.fit(subject, at, slices));
        if let Some(track) = self.tracks.get_mut(subject) {
            track.fits[which] = Some((due, fit.clone()));
        }
        fit
    }

    fn rise(&mut self, subject: &Subject, end: EventTime) -> Option<Rise> {
        let slice_ms = self.reach.slice_ms();
        let at = self.slice_of(end.plus(-1));
        let cached = self.tracks.get(subject)?.cusum.filter(|&(cached, _)| cached == at);
        let basis = match cached {
            Some((_, basis)) => basis,
            None => {
                let basis = self.cusum(subject, at);
                self.tracks.get_mut(subject)?.cusum = Some((at, basis));
                basis
            }
        }?;
        let Basis { mut cusum, pace, tail } = basis;
        let window_ms = self.reach.window_ms;
        let (first, last) = (at * slice_ms / window_ms, end.plus(-1).0.div_euclid(window_ms));
        let buckets = &self.tracks[subject].buckets;
        let mut next = buckets.partition_point(|&(bucket, _)| bucket < first);
        let mut count_of = |wanted: i64| match buckets.get(next) {
            Some(&(bucket, count)) if bucket == wanted => {
                next += 1;
                count
            }
            _ => 0,
        };
        for bucket in first..last {
            cusum.step(bucket, count_of(bucket), &pace);
        }
        // As if the bucket under way were over: no more than it will be worth then.
        let highest = cusum.highest;
        cusum.step(last, count_of(last), &pace);
        Some(Rise {
            cusum: cusum.sum,
            is_rising: cusum.sum > highest,
            drift: pace.drift,
            since: EventTime(cusum.since * window_ms),
            negative: cusum.negative,
            expected: cusum.expected,
            step_ms: window_ms,
            tail,
        })
    }

    /// The CUSUM over the slices of the look-back before slice `at`, by the baseline from before them.
    fn cusum(&mut self, subject: &Subject, at: i64) -> Option<Basis> {
        let slice_ms = self.reach.slice_ms();
        let buckets = slice_ms / self.reach.window_ms;
        let seen = self.seen_before(at)?;
        let from = at - self.reach.rise().min(seen / 2);
        let day = (24 * HOUR_MS / slice_ms).max(8);
        let slices = self.seen_before(from).filter(|&slices| slices >= day)?;
        let fit = self.fitted(subject, from, slices, 1);
        let tail = fit.peaks[1].tail(fit.months, self.tails(subject.kind(), from)[1]);
        let counts = &self.tracks[subject].buckets;
        let mut next = counts.partition_point(|&(bucket, _)| bucket < from * buckets);
        let mut cusum = Cusum { since: from * buckets, ..Cusum::default() };
        for index in from..=at {
            let (factor, uncertain) = fit.season[hour_of_week(index, slice_ms)];
            let mean = fit.level * (fit.growth * (index - from) as f64).exp() * factor;
            let variation = (1.0 + fit.slice_variation) * (1.0 + uncertain) - 1.0;
            let ratio = rise_ratio(mean, variation, fit.level_variation);
            // So that the buckets of a slice vary together as slices do.
            let variation = fit.variation.max(variation * buckets as f64);
            let pace = Pace::new(mean / buckets as f64, variation, ratio);
            if index == at {
                return Some(Basis { cusum, pace, tail });
            }
            for bucket in index * buckets..(index + 1) * buckets {
                let mut count = 0;
                if let Some(&(_, found)) = counts.get(next).filter(|(at, _)| *at == bucket) {
                    next += 1;
                    count = found;
                }
                cusum.step(bucket, count, &pace);
            }
        }
        unreachable!("the last slice of the loop returns")
    }

    /// Drops what no window that ends after `end` can look back to.
    pub fn forget_before(&mut self, end: EventTime) {
        let keep_from = self.slice_of(end.plus(-self.reach.look_back_ms() - self.reach.window_ms));
        let buckets_from = (self.slice_of(end) - self.reach.rise() - 2) * (self.reach.slice_ms() / self.reach.window_ms);
        self.tracks.retain(|_, track| {
            while track.slices.front().is_some_and(|slice| slice.index < keep_from) {
                track.slices.pop_front();
            }
            while track.buckets.front().is_some_and(|&(bucket, _)| bucket < buckets_from) {
                track.buckets.pop_front();
            }
            !track.slices.is_empty()
        });
        let pools_from = self.slice_of(end) - self.reach.rise() - 2;
        while self.pools.first_key_value().is_some_and(|((at, _), _)| *at < pools_from) {
            self.pools.pop_first();
        }
        let tails_from = pools_from - 24 * HOUR_MS / self.reach.slice_ms();
        while self.tails.first_key_value().is_some_and(|((at, _), _)| *at < tails_from) {
            self.tails.pop_first();
        }
    }
}

/// A number in (0, 1) for a slice, always the same: with a part of P(X = x) drawn so, tails of counts are spread evenly however
/// few they are.
fn fraction(slice: i64) -> f64 {
    let mixed = (slice as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 12) as f64 / (1u64 << 52) as f64 + f64::EPSILON
}

/// The rise that a CUSUM looks for: twice what a slice usually varies, but not one that an error in the level could feign.
fn rise_ratio(mean: f64, variation: f64, level_variation: f64) -> f64 {
    let spread = (1.0 / mean + variation).sqrt();
    1.0 + (2.0 * spread).max(4.0 * level_variation.sqrt()).clamp(0.3, 4.0)
}

/// Monday 00:00 UTC is 0; the epoch was a Thursday.
fn hour_of_week(slice: i64, slice_ms: i64) -> usize {
    ((slice * slice_ms).div_euclid(HOUR_MS) + 72).rem_euclid(HOURS as i64) as usize
}

/// Hour of the day, 24 later at weekends.
fn day_cell(hour_of_week: usize) -> usize {
    hour_of_week % 24 + if hour_of_week >= 120 { 24 } else { 0 }
}

/// Everything that is estimated for one subject from the slices before one.
#[derive(Debug)]
struct Fit {
    /// Negative items per slice where the season's factor is 1.
    level: f64,
    level_variation: f64,
    /// ln of the level's growth per slice.
    growth: f64,
    season: Vec<(f64, f64)>,
    /// Squared coefficients of variation of the rate of a bucket and of a slice, given level and season.
    variation: f64,
    slice_variation: f64,
    prior: Prior,
    /// Peaks of windows and of the CUSUM in the past.
    peaks: [Peaks; 2],
    months: f64,
}

/// Peaks of the past over the threshold of [`Tail`].
#[derive(Debug, Clone, Copy, Default)]
struct Peaks {
    count: f64,
    /// Sum of ln(expected frequency at the threshold / at the peak).
    excess: f64,
}

/// What chance brings less often than this is a surge of the past: it tells nothing about chance.
const SURGES_PER_MONTH: f64 = 0.003;

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
    fn tail(&self, months: f64, prior: Tail) -> Tail {
        Tail {
            rate: (self.count + TAIL_PRIOR * prior.rate) / (Tail::PEAKS_PER_MONTH * months + TAIL_PRIOR),
            scale: (self.excess + TAIL_PRIOR * prior.scale) / (self.count + TAIL_PRIOR),
        }
    }
}

/// Half-life of the recent level.
const HALF_LIFE_MS: f64 = 2.0 * 86_400_000.0;
/// Negative items that the level over all history is worth beside the recent ones.
const LEVEL_PRIOR: f64 = 4.0;
/// Variances between season factors before the past can tell: of a kind by hour of the day and of the week, and of a subject
/// beyond its kind's.
const KIND_SEASON: [f64; 2] = [0.5, 0.03];
const OWN_SEASON: [f64; 2] = [0.1, 0.03];

impl Baseline {
    /// From the `slices` slices before `at`.
    fn fit(&mut self, subject: &Subject, at: i64, slices: i64) -> Fit {
        let key = (at, subject.kind());
        if !self.pools.contains_key(&key) {
            let pool = self.pool(subject.kind(), at, slices);
            self.pools.insert(key, pool);
        }
        let pool = &self.pools[&key];
        let slice_ms = self.reach.slice_ms();
        let buckets = (slice_ms / self.reach.window_ms) as f64;
        let from = at - slices;
        let n = slices as usize;
        let hours: Vec<usize> = (from..at).map(|index| hour_of_week(index, slice_ms)).collect();
        let (mut counts, mut squares, mut peaks) = (vec![0.0; n], vec![0.0; n], vec![0; n]);
        for slice in &self.tracks[subject].slices {
            if (from..at).contains(&slice.index) {
                counts[(slice.index - from) as usize] = f64::from(slice.count);
                squares[(slice.index - from) as usize] = slice.squares as f64;
                peaks[(slice.index - from) as usize] = slice.peak;
            }
        }
        let raw = counts.clone();
        winsorise(&mut counts, &hours);

        let alone = pool.subjects <= 1;
        let total: f64 = counts.iter().sum();
        let prior_weight = pool.shape / pool.mean;
        let mean = (total + pool.shape) / (n as f64 + prior_weight);
        let mut season = pool.season.clone();
        if !alone && total > 0.0 {
            refine(&mut season, &counts, &hours, OWN_SEASON);
        }

        let growth = growth(&counts, &hours, &season);
        let mean_age = HALF_LIFE_MS / slice_ms as f64 / std::f64::consts::LN_2;
        let ahead = (growth * mean_age).exp();

        // The recent level, slice by slice; `levels[i]` is what was known before slice `i`.
        let decay = 0.5f64.powf(slice_ms as f64 / HALF_LIFE_MS);
        let day = 0.5f64.powf(slice_ms as f64 / (0.5 * 86_400_000.0));
        let exposure: f64 = hours.iter().map(|&hour| season[hour].0).sum();
        let anchor = (total + pool.shape) / (exposure + prior_weight);
        let (mut items, mut exposed, mut clipped) = (0.0, 0.0, 0.0);
        let mut levels = vec![0.0; n];
        let lag = (self.reach.rise() as usize / 2).max(1);
        let grown = (growth * lag as f64).exp();
        let (mut variation, mut slice_variation) = (Moments::default(), Moments::default());
        let clip_variation = pool.variation.max(0.1);
        for index in 0..n {
            let level = (items + LEVEL_PRIOR) / (exposed + LEVEL_PRIOR / anchor) * ahead;
            levels[index] = level;
            let factor = season[hours[index]].0;
            let expected = level * factor;
            let spread = (expected + clip_variation * expected * expected).sqrt();
            let cap = expected + (3.5 * spread + 2.0) / (1.0 - clipped);
            let count = raw[index].min(cap);
            clipped = day * clipped + if raw[index] > cap { (1.0 - day) * 0.999 } else { 0.0 };
            items = decay * items + count;
            exposed = decay * exposed + factor;
            if raw[index] <= cap {
                variation.add(buckets, expected / buckets, count, squares[index], pool.variation);
                slice_variation.add(1.0, levels[index.saturating_sub(lag)] * grown * factor, count, count * count, pool.variation);
            }
        }
        let level = (items + LEVEL_PRIOR) / (exposed + LEVEL_PRIOR / anchor) * ahead;
        let variation = variation.shrunk_to(pool.variation);
        let slice_variation = slice_variation.shrunk_to(pool.variation);
        // Precision of the recent level, on top of that of all history, which it may have left by a factor of 1.5 or so.
        let recent = exposed / (1.0 / level + slice_variation);
        let level_variation = 1.0 / (recent + 1.0 / (0.25 + 1.0 / (total + pool.shape)));

        let (mut extremes, mut rises, mut cusum, mut highest, mut lasted) = (Vec::new(), Peaks::default(), 0.0f64, f64::NEG_INFINITY, 0);
        let per_month = MONTH_MS / slice_ms as f64;
        for index in 0..n {
            let (factor, uncertain) = season[hours[index]];
            let expected = levels[index] * factor;
            let spread = (1.0 + variation) * (1.0 + level_variation) * (1.0 + uncertain) - 1.0;
            let bucket = NegativeBinomial { mean: expected / buckets, shape: 1.0 / spread };
            let peak = f64::from(peaks[index]);
            if peak > bucket.mean + (bucket.mean + spread * bucket.mean * bucket.mean).sqrt() {
                let frequency = bucket.tail(u64::from(peaks[index]), fraction(from + index as i64)) * buckets * per_month;
                extremes.push((index, frequency));
            }
            let lagged = levels[index.saturating_sub(lag)] * grown * factor;
            let spread = (1.0 + slice_variation) * (1.0 + uncertain) - 1.0;
            let ratio = rise_ratio(lagged, spread, level_variation);
            let pace = Pace::new(lagged, spread, ratio);
            cusum = (cusum + raw[index] * pace.gain - pace.cost).max(0.0);
            if cusum > 0.0 {
                highest = highest.max(cusum - pace.drift.ln());
                lasted += 1;
            }
            if cusum == 0.0 || lasted > self.reach.rise() {
                let frequency = per_month * (-highest).exp();
                if lasted > 0 && frequency > SURGES_PER_MONTH {
                    rises.add(frequency);
                }
                (cusum, highest, lasted) = (0.0, f64::NEG_INFINITY, 0);
            }
        }
        let (mut windows, near) = (Peaks::default(), (6 * HOUR_MS / slice_ms).max(1) as usize);
        let surges: Vec<usize> = extremes.iter().filter(|extreme| extreme.1 < SURGES_PER_MONTH).map(|extreme| extreme.0).collect();
        for &(index, frequency) in &extremes {
            let next = surges.partition_point(|&surge| surge + near < index);
            if surges.get(next).is_none_or(|&surge| surge > index + near) {
                windows.add(frequency);
            }
        }
        let history_ms = slices * slice_ms;
        let own = n as f64 * mean >= pool.shape.max(1.0) && n as f64 >= prior_weight;
        Fit {
            level,
            level_variation,
            growth,
            season,
            variation,
            slice_variation,
            prior: if own { Prior::Own } else { Prior::Pooled },
            peaks: [windows, rises],
            months: history_ms as f64 / MONTH_MS,
        }
    }

    /// The tails of all subjects of a kind together, from the past before the day in which slice `at` lies.
    fn tails(&mut self, kind: SubjectKind, at: i64) -> [Tail; 2] {
        let slices_of_a_day = (24 * HOUR_MS / self.reach.slice_ms()).max(1);
        let at = at.div_euclid(slices_of_a_day) * slices_of_a_day;
        if let Some(&tails) = self.tails.get(&(at, kind)) {
            return tails;
        }
        let slices = self.seen_before(at).unwrap_or(0);
        let (mut peaks, mut months) = ([Peaks::default(); 2], 0.0);
        if slices > 0 {
            let from = at - slices;
            let present = |track: &Track| track.slices.iter().any(|slice| (from..at).contains(&slice.index));
            let mut subjects: Vec<Subject> = self
                .tracks
                .iter()
                .filter(|(subject, track)| subject.kind() == kind && present(track))
                .map(|(subject, _)| subject.clone())
                .collect();
            // In one order everywhere: sums of floats depend on it.
            subjects.sort_unstable();
            for subject in subjects {
                let fit = self.fit(&subject, at, slices);
                months += fit.months;
                for (sum, own) in peaks.iter_mut().zip(fit.peaks) {
                    sum.count += own.count;
                    sum.excess += own.excess;
                }
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
        let (mut subjects, mut items, mut squared) = (0u64, 0u64, 0u128);
        // Pairs of items in one slice: in different buckets and in the same one. Integers: their order does not matter.
        let (mut apart, mut together) = (0u128, 0u128);
        for (_, track) in self.tracks.iter().filter(|(subject, _)| subject.kind() == kind) {
            let (mut own, mut present) = (0u64, false);
            for slice in track.slices.iter().filter(|slice| (from..at).contains(&slice.index)) {
                let count = u64::from(slice.count);
                present = true;
                own += count;
                totals[(slice.index - from) as usize] += count;
                apart += u128::from(count * count - slice.squares);
                together += u128::from((buckets - 1) * (slice.squares - count));
            }
            subjects += u64::from(present);
            items += own;
            squared += u128::from(own * own);
        }
        let (items, among) = (items as f64, subjects.max(1) as f64);
        let mean = (items + 0.5) / (among * n as f64);
        // Between subjects: Σ N(N − 1) · M / (Σ N)² − 1 is the squared coefficient of variation of the rates; 2 where few
        // subjects tell.
        let between = if items > 1.0 { ((squared as f64 - items) * among / (items * items) - 1.0).max(0.0) } else { 0.0 };
        let between = (among * between + 8.0) / (among + 4.0);
        // Within slices: pairs in the same bucket against pairs in different ones, 1 + 1/shape to 1 (factorial moments).
        let weight = 50.0;
        let variation = (together as f64 + weight * (1.0 + 1.0 / self.dispersion)) / (apart as f64 + weight) - 1.0;
        let mut counts: Vec<f64> = totals.iter().map(|&count| count as f64).collect();
        winsorise(&mut counts, &hours);
        let mut season = vec![(1.0, 0.0); HOURS];
        refine(&mut season, &counts, &hours, KIND_SEASON);
        Pool { subjects: subjects as usize, mean, shape: 1.0 / between.max(0.2), variation: variation.max(0.0005), season }
    }
}

/// Squared coefficient of variation of a rate by moments, each count weighted by what it tells about it.
#[derive(Default)]
struct Moments {
    sum: f64,
    weight: f64,
}

impl Moments {
    /// `n` counts of mean `mean` that sum to `sum` and whose squares sum to `squares`: E[(x − μ)² − x] = μ² / shape.
    fn add(&mut self, n: f64, mean: f64, sum: f64, squares: f64, guess: f64) {
        let excess = squares - 2.0 * mean * sum + n * mean * mean - sum;
        let precision = 1.0 / (2.0 * (1.0 + guess * mean).powi(2));
        self.sum += excess * precision;
        self.weight += n * mean * mean * precision;
    }

    fn shrunk_to(&self, prior: f64) -> f64 {
        let weight = 2.0 / (prior * prior).max(0.01);
        ((self.sum + weight * prior) / (self.weight + weight)).max(0.2 * prior).max(0.0003)
    }
}

/// Cuts what is more than twice the third largest count of its hour of the day (of all, within the first days): a spike of
/// the past must not become part of what is usual.
fn winsorise(counts: &mut [f64], hours: &[usize]) {
    let mut largest = [[0.0f64; 3]; 24];
    let mut overall = [0.0f64; 3];
    let insert = |list: &mut [f64; 3], value: f64| {
        if value > list[2] {
            list[2] = value;
            if list[2] > list[1] {
                list.swap(1, 2);
            }
            if list[1] > list[0] {
                list.swap(0, 1);
            }
        }
    };
    for (&count, &hour) in counts.iter().zip(hours) {
        insert(&mut largest[hour % 24], count);
        insert(&mut overall, count);
    }
    let days = counts.len() / 24;
    for (count, &hour) in counts.iter_mut().zip(hours) {
        let third = if days >= 7 { largest[hour % 24][2] } else { overall[days.min(2)] };
        *count = count.min(2.0 * third + 3.0);
    }
}

/// Mean count of the week that a slice lies in, counted back from the end: a trend must not look like a season.
fn week_means(counts: &[f64], hours: &[usize], season: &[(f64, f64)]) -> Vec<f64> {
    let n = counts.len();
    let mut means = vec![0.0; n];
    let mut end = n;
    while end > 0 {
        // A rest of less than half a week goes with the week after it.
        let start = if end < HOURS + HOURS / 2 { 0 } else { end - HOURS };
        let items: f64 = counts[start..end].iter().sum();
        let exposure: f64 = hours[start..end].iter().map(|&hour| season[hour].0).sum();
        means[start..end].fill(items / exposure);
        end = start;
    }
    means
}

/// ln of the growth per slice from week to week, shrunk towards none: a tenth a week is much.
fn growth(counts: &[f64], hours: &[usize], season: &[(f64, f64)]) -> f64 {
    const USUAL_PER_WEEK: f64 = 0.1;
    let n = counts.len();
    let weeks = (n / HOURS).min(4);
    if weeks < 2 {
        return 0.0;
    }
    // Least squares over the logarithms of the weeks' levels.
    let (mut slope, mut norm, mut noise) = (0.0, 0.0, 0.0);
    for week in 0..weeks {
        let range = n - (week + 1) * HOURS..n - week * HOURS;
        let items: f64 = counts[range.clone()].iter().sum::<f64>() + 0.5;
        let exposure: f64 = hours[range].iter().map(|&hour| season[hour].0).sum();
        let place = (weeks - 1) as f64 / 2.0 - week as f64;
        slope += place * (items / exposure).ln();
        norm += place * place;
        // Weeks vary by more than their counts do.
        noise += place * place * (1.0 / items + 0.002);
    }
    let (slope, noise) = (slope / norm, noise / (norm * norm));
    let prior = USUAL_PER_WEEK * USUAL_PER_WEEK;
    slope * prior / (prior + noise) / HOURS as f64
}

/// Credibility-weighted factors of `cells` groups of hours on top of `season`, with the variance of each: Bühlmann and Straub
/// 1970, *Glaubwürdigkeit für Schadensätze*. The variance between cells is estimated from them, too, from `between` on.
fn factors(
    season: &[(f64, f64)],
    counts: &[f64],
    hours: &[usize],
    means: &[f64],
    cells: usize,
    cell: impl Fn(usize) -> usize,
    between: f64,
    variation: f64,
) -> Vec<(f64, f64)> {
    /// Precision at which the cells themselves tell as much of the variance between them as what was thought before.
    const PRIOR: f64 = 50.0;
    let (mut items, mut expected, mut slices) = (vec![0.0; cells], vec![0.0; cells], vec![0.0; cells]);
    for ((&count, &hour), &mean) in counts.iter().zip(hours).zip(means) {
        items[cell(hour)] += count;
        expected[cell(hour)] += mean * season[hour].0;
        slices[cell(hour)] += 1.0;
    }
    let precision = |cell: usize| if expected[cell] > 0.0 { slices[cell] / (slices[cell] / expected[cell] + variation) } else { 0.0 };
    let (mut total, mut squares, mut scatter, mut seen) = (0.0, 0.0, 0.0, 0.0);
    for cell in (0..cells).filter(|&cell| expected[cell] > 0.0) {
        let precision = precision(cell);
        total += precision;
        squares += precision * precision;
        scatter += precision * (items[cell] / expected[cell] - 1.0).powi(2) - 1.0;
        seen += 1.0;
    }
    let weight = if seen > 1.0 { total - squares / total } else { 0.0 };
    let between = (((scatter + 1.0) * f64::from(u8::from(seen > 1.0)) + PRIOR * between) / (weight + PRIOR)).clamp(5e-4, 2.0);
    (0..cells)
        .map(|cell| {
            let credibility = precision(cell) * between / (precision(cell) * between + 1.0);
            let own = if expected[cell] > 0.0 { items[cell] / expected[cell] } else { 1.0 };
            (credibility * own + (1.0 - credibility), between * (1.0 - credibility))
        })
        .collect()
}

/// Squared coefficient of variation of the rate of a slice by moments, at least a little.
fn variation_between(counts: &[f64], hours: &[usize], means: &[f64], season: &[(f64, f64)]) -> f64 {
    let (mut excess, mut weight) = (0.0, 0.0);
    for ((&count, &hour), &mean) in counts.iter().zip(hours).zip(means) {
        let expected = mean * season[hour].0;
        excess += (count - expected).powi(2) - count;
        weight += expected * expected;
    }
    if weight > 0.0 { (excess / weight).max(0.0005) } else { 1.0 }
}

/// Corrects `season` by hour of the day, then by hour of the week; `between` are the variances expected between factors.
fn refine(season: &mut [(f64, f64)], counts: &[f64], hours: &[usize], between: [f64; 2]) {
    let mut correct = |cells: usize, cell: fn(usize) -> usize, between: f64| {
        let means = week_means(counts, hours, season);
        let variation = variation_between(counts, hours, &means, season);
        let factors = factors(season, counts, hours, &means, cells, cell, between, variation);
        for (hour, (factor, uncertain)) in season.iter_mut().enumerate() {
            let (correction, variance) = factors[cell(hour)];
            (*factor, *uncertain) = (*factor * correction, *uncertain + variance);
        }
    };
    correct(DAY_CELLS, day_cell, between[0]);
    correct(HOURS, |hour| hour, between[1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET_MS: i64 = 600_000;
    const DAY: i64 = 144;
    /// A Monday.
    const START: i64 = 4 * DAY;
    const REACH: Reach =
        Reach { window_ms: BUCKET_MS, history_ms: 28 * 24 * HOUR_MS, min_history_ms: HOUR_MS, rise_ms: 48 * HOUR_MS, refit: 1 };

    fn at(bucket: i64) -> EventTime {
        EventTime((START + bucket) * BUCKET_MS)
    }

    /// Poisson by inversion, the same in every run.
    fn poisson(mean: f64, bucket: i64, salt: u64) -> u64 {
        let mixed = (bucket as u64 ^ salt << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mut rest = ((mixed ^ mixed >> 32) >> 11) as f64 / (1u64 << 53) as f64;
        let (mut count, mut probability) = (0, (-mean).exp());
        while rest > probability && count < 1000 {
            rest -= probability;
            count += 1;
            probability *= mean / count as f64;
        }
        count
    }

    fn bank() -> Subject {
        Subject::entity("bank")
    }

    /// One subject with `mean(bucket)` items in each bucket.
    fn learned(buckets: i64, mean: impl Fn(i64) -> f64) -> Baseline {
        let mut baseline = Baseline::new(REACH, 4.0);
        (0..buckets).for_each(|bucket| baseline.push(&bank(), at(bucket), poisson(mean(bucket), bucket, 1)));
        baseline
    }

    fn expected(baseline: &mut Baseline, bucket: i64) -> f64 {
        baseline.usual(&bank(), at(bucket)).unwrap().expected
    }

    #[test]
    fn hours_of_the_day_and_weekends_are_learned() {
        let course = |bucket: i64| (if bucket % DAY / 6 == 9 { 8.0 } else { 0.5 }) * if bucket / DAY % 7 >= 5 { 0.25 } else { 1.0 };
        let mut baseline = learned(28 * DAY, course);
        for (hour, day, truth) in [(9, 28, 8.0), (15, 28, 0.5)] {
            let found = expected(&mut baseline, day * DAY + hour * 6);
            assert!((found / truth).ln().abs() < 0.5f64, "{hour}: {found} against {truth}");
        }
        let mut baseline = learned(33 * DAY, course);
        let saturday = expected(&mut baseline, 33 * DAY + 9 * 6);
        assert!((1.0..4.0).contains(&saturday), "{saturday} against 2");
    }

    #[test]
    fn a_spike_of_the_past_does_not_become_usual() {
        let mut calm = learned(28 * DAY, |_| 1.0);
        let mut spiked = learned(28 * DAY, |bucket| if (26 * DAY..26 * DAY + 12).contains(&bucket) { 60.0 } else { 1.0 });
        let (calm, spiked) = (expected(&mut calm, 28 * DAY), expected(&mut spiked, 28 * DAY));
        assert!(spiked < 1.3 * calm, "{spiked} against {calm}");
    }

    #[test]
    fn a_new_level_is_followed_within_days() {
        let mut baseline = learned(28 * DAY, |bucket| if bucket < 23 * DAY { 2.0 } else { 6.0 });
        let found = expected(&mut baseline, 28 * DAY);
        assert!((4.5..7.5).contains(&found), "{found} against 6");
    }

    #[test]
    fn dispersion_is_estimated_from_the_counts() {
        let mut even = learned(28 * DAY, |_| 6.0);
        let mut uneven = learned(28 * DAY, |bucket| if poisson(0.5, bucket, 7) > 0 { 12.0 } else { 2.0 });
        let shape = |baseline: &mut Baseline| baseline.usual(&bank(), at(28 * DAY)).unwrap().shape;
        assert!(shape(&mut even) > 40.0 && shape(&mut uneven) < 8.0, "{} and {}", shape(&mut even), shape(&mut uneven));
    }

    #[test]
    fn a_slow_rise_is_found_by_its_sum() {
        let mut baseline = learned(30 * DAY, |bucket| if bucket < 29 * DAY { 2.0 } else { 4.0 });
        let usual = baseline.usual(&bank(), at(30 * DAY - 1)).unwrap();
        let surge = usual.judge(4, BUCKET_MS, BUCKET_MS);
        assert!(surge.rise < 0.01 && surge.window > 10.0, "{surge:?}");
        let since = usual.rise.unwrap().since;
        assert!((at(29 * DAY - 6)..at(29 * DAY + 24)).contains(&since), "{since}");
    }

    #[test]
    fn a_young_subject_goes_by_its_kind_and_does_not_fire_at_its_rate() {
        let mut baseline = Baseline::new(REACH, 4.0);
        let others: Vec<Subject> = (0..20).map(|index| Subject::entity(&format!("other-{index}"))).collect();
        for bucket in 0..10 * DAY {
            for (index, other) in others.iter().enumerate() {
                baseline.push(other, at(bucket), poisson(1.0, bucket, 100 + index as u64));
            }
        }
        let new = Subject::entity("new");
        baseline.push(&new, at(10 * DAY), 1);
        let usual = baseline.usual(&new, at(10 * DAY)).unwrap();
        assert_eq!(usual.prior, Prior::Pooled);
        assert!(usual.judge(1, BUCKET_MS, BUCKET_MS).window > 1.0, "{usual:?}");
        assert_eq!(baseline.usual(&others[0], at(10 * DAY)).unwrap().prior, Prior::Own);
    }

    #[test]
    fn nothing_is_said_before_enough_was_seen() {
        let mut baseline = learned(5, |_| 3.0);
        assert_eq!(baseline.usual(&bank(), at(4)), None);
        let mut baseline = learned(20, |_| 3.0);
        let usual = baseline.usual(&bank(), at(19)).unwrap();
        assert!(usual.rise.is_none() && usual.judge(6, BUCKET_MS, BUCKET_MS).window > 1.0, "{usual:?}");
    }

    #[test]
    fn what_a_restart_reads_back_gives_the_same_bit_for_bit() {
        let panes: Vec<(i64, Subject, u64)> = (0..40 * DAY)
            .flat_map(|bucket| {
                let quiet = Subject::entity("quiet");
                [(bucket, bank(), poisson(1.5, bucket, 1)), (bucket, quiet, poisson(0.02, bucket, 2))]
            })
            .filter(|pane| pane.2 > 0)
            .collect();
        let mut live = Baseline::new(REACH, 4.0);
        let mut compared = 0;
        for (number, (bucket, subject, negative)) in panes.iter().enumerate() {
            live.push(subject, at(*bucket), *negative);
            let usual = live.usual(subject, at(*bucket));
            live.forget_before(at(*bucket + 1));
            if *bucket < 32 * DAY || number % 97 != 0 {
                continue;
            }
            let mut restored = Baseline::new(REACH, 4.0);
            let horizon = at(*bucket).plus(-REACH.look_back_ms());
            for (bucket, subject, negative) in panes[..=number].iter().filter(|pane| at(pane.0) >= horizon) {
                restored.push(subject, at(*bucket), *negative);
            }
            restored.restore_since(live.since());
            assert_eq!(restored.usual(subject, at(*bucket)), usual);
            compared += 1;
        }
        assert!(compared > 5, "{compared}");
    }
}
