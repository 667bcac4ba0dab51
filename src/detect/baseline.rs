//! What is usual for a subject: its negative items by hour of the week, its recent level, its over-dispersion.
//!
//! A function of whole slices of closed panes within a fixed look-back, nothing else: a restart that reads these panes
//! back computes the same, bit for bit. Each subject is estimated anew once a slice, at a time of its own, so that no hop
//! has them all to do. Estimates are shrunk step by step, a kind's past being the prior of a subject's.

mod fit;
mod season;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fit::{Fit, Pool};
use season::{HOUR_MS, hour_of_week};

use super::surge::{NegativeBinomial, Prior, Rise, Tail, Usual};
use crate::news::{EventTime, Subject, SubjectKind};
use crate::novelty::hash;
use crate::window::SubjectMap;

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

    /// How far into a slice a subject of this rank is estimated anew.
    fn phase_ms(&self, rank: u64) -> i64 {
        // Where estimates serve several slices they are few.
        if self.refit <= 1 { (rank % self.slice_ms() as u64) as i64 } else { 0 }
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
    /// Place of the subject among those of its kind, at random and the same everywhere.
    rank: u64,
    /// Only slices with items.
    slices: VecDeque<Slice>,
    /// Only buckets with negative items, as far back as the CUSUM looks: number and count.
    buckets: VecDeque<(i64, u32)>,
    window: Option<Window>,
    cusum: Option<(i64, Option<Basis>)>,
    /// Fits of windows and of the CUSUM, where they serve several slices.
    fits: [Option<(i64, Arc<Fit>)>; 2],
}

/// What windows are judged by that start in a slice or the next.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Estimated from the slices before this one.
    from: i64,
    /// Expected per slice, in that slice and the two after it.
    means: [f64; 3],
    /// Squared coefficients of variation of the predicted rate.
    variations: [f64; 3],
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

/// The CUSUM over the whole slices before one, and what goes on from there: in that slice, and in the next.
#[derive(Debug, Clone, Copy)]
struct Basis {
    cusum: Cusum,
    paces: [Pace; 2],
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

pub struct Baseline {
    reach: Reach,
    /// Shape of the negative binomial where nothing is known yet.
    dispersion: f64,
    /// Start of the first pane learned: time without items counts as quiet from here on.
    since: Option<EventTime>,
    tracks: SubjectMap<Track>,
    /// Their subjects, in an order that has nothing to do with them: the first ones speak for all.
    ranks: BTreeMap<SubjectKind, BTreeSet<(u64, Subject)>>,
    /// False where only means are asked for.
    judges: bool,
    /// Slice at which what is old was dropped last.
    swept_at: i64,
    pools: BTreeMap<(i64, SubjectKind), Pool>,
    tails: BTreeMap<(i64, SubjectKind), [Tail; 2]>,
}

/// Of a window whose expectation is in these two parts, before and behind a border of slices.
fn distribution(window: &Window, place: usize, parts: [f64; 2]) -> NegativeBinomial {
    let mean = parts[0] + parts[1];
    let variation = (parts[0] * window.variations[place] + parts[1] * window.variations[place + 1]) / mean;
    NegativeBinomial { mean, shape: 1.0 / variation }
}

impl Baseline {
    pub fn new(reach: Reach, dispersion: f64) -> Self {
        let (tracks, ranks, pools, tails) = (SubjectMap::default(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { reach, dispersion, since: None, tracks, ranks, judges: true, swept_at: i64::MIN, pools, tails }
    }

    /// For [`Baseline::expected`] alone, at less cost.
    pub fn of_means(reach: Reach, dispersion: f64) -> Self {
        Self { judges: false, ..Self::new(reach, dispersion) }
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
            None => {
                let rank = hash(subject.as_str().as_bytes());
                self.ranks.entry(subject.kind()).or_default().insert((rank, subject.clone()));
                self.tracks.entry(subject.clone()).or_insert(Track { rank, ..Track::default() })
            }
        };
        let bucket = start.0.div_euclid(self.reach.window_ms);
        // So many of a slice that their number and the sum of squares fit.
        let room = u32::MAX - track.slices.back().filter(|last| last.index == index).map_or(0, |last| last.count);
        let negative = u32::try_from(negative).unwrap_or(u32::MAX).min(room);
        let before = track.buckets.back().filter(|last| last.0 == bucket).map_or(0, |last| last.1);
        let after = before + negative;
        match track.buckets.back_mut() {
            Some(last) if last.0 == bucket => last.1 = after,
            _ if negative > 0 => track.buckets.push_back((bucket, after)),
            _ => {}
        }
        let squares = u64::from(after).pow(2) - u64::from(before).pow(2);
        match track.slices.back_mut() {
            Some(last) if last.index == index => {
                last.count += negative;
                last.squares += squares;
                last.peak = last.peak.max(after);
            }
            _ => track.slices.push_back(Slice { index, count: negative, squares, peak: after }),
        }
    }

    /// What is usual in a window of the reach's length that starts at `start`; `None` before enough has been seen.
    pub fn usual(&mut self, subject: &Subject, start: EventTime) -> Option<Usual> {
        let window = self.window(subject, start)?;
        let (place, parts) = self.parts(&window, start);
        let NegativeBinomial { mean, shape } = distribution(&window, place, parts);
        let rise = self.rise(subject, start.plus(self.reach.window_ms));
        let history_ms = window.slices * self.reach.slice_ms();
        Some(Usual { expected: mean, shape, prior: window.prior, history_ms, tail: window.tail, rise })
    }

    /// The distribution of such a window's count alone, without the search for a rise.
    pub fn distribution(&mut self, subject: &Subject, start: EventTime) -> Option<NegativeBinomial> {
        let window = self.window(subject, start)?;
        let (place, parts) = self.parts(&window, start);
        Some(distribution(&window, place, parts))
    }

    /// True where enough has been seen to say what is usual in windows that start at `start`.
    pub fn is_mature(&self, start: EventTime) -> bool {
        self.mature_before(self.slice_of(start)).is_some()
    }

    /// Whole slices of history before slice `at`, if they are enough.
    fn mature_before(&self, at: i64) -> Option<i64> {
        self.seen_before(at).filter(|&slices| slices * self.reach.slice_ms() >= self.reach.min_history_ms && slices > 0)
    }

    /// The mean of such a window alone.
    pub fn expected(&mut self, subject: &Subject, start: EventTime) -> Option<f64> {
        let window = self.window(subject, start)?;
        let (_, parts) = self.parts(&window, start);
        Some(parts[0] + parts[1])
    }

    /// Expected in the window that starts at `start`, before and behind a border of slices, of which it reaches over at most
    /// one; and the place of its slice in `window`.
    fn parts(&self, window: &Window, start: EventTime) -> (usize, [f64; 2]) {
        let (slice_ms, window_ms) = (self.reach.slice_ms(), self.reach.window_ms);
        let at = self.slice_of(start);
        let place = (at - window.from) as usize;
        let first = ((at + 1) * slice_ms - start.0).min(window_ms) as f64 / slice_ms as f64;
        (place, [window.means[place] * first, window.means[place + 1] * (window_ms as f64 / slice_ms as f64 - first)])
    }

    /// Whole slices of history before slice `at`.
    fn seen_before(&self, at: i64) -> Option<i64> {
        let slice_ms = self.reach.slice_ms();
        let first_whole = self.since?.plus(slice_ms - 1).0.div_euclid(slice_ms);
        Some((at - first_whole).min(self.reach.history()))
    }

    fn window(&mut self, subject: &Subject, start: EventTime) -> Option<Window> {
        let track = self.tracks.get(subject)?;
        let (now, due) = (self.slice_of(start), self.slice_of(start.plus(-self.reach.phase_ms(track.rank))));
        if let Some(window) = track.window.filter(|window| window.from == due || (window.from == now && due < now)) {
            return Some(window);
        }
        let (at, slices) = match self.mature_before(due) {
            Some(slices) => (due, slices),
            None => (now, self.mature_before(now)?),
        };
        let fit = self.fitted(subject, at, slices, 0);
        let buckets = (self.reach.slice_ms() / self.reach.window_ms) as f64;
        let predicted = |at: i64| {
            let (factor, uncertain) = fit.season[hour_of_week(at, self.reach.slice_ms())];
            let mean = fit.level * factor;
            (mean, (1.0 + fit.excess.at(mean / buckets)) * (1.0 + fit.level_variation) * (1.0 + uncertain) - 1.0)
        };
        let rates = [predicted(at), predicted(at + 1), predicted(at + 2)];
        let tail = match self.judges {
            true => fit.peaks[0].tail(fit.months, self.tails(subject.kind(), at)[0]),
            false => Tail::EXACT,
        };
        let (means, variations) = (rates.map(|rate| rate.0), rates.map(|rate| rate.1));
        let window = Window { from: at, means, variations, slices, prior: fit.prior, tail };
        self.tracks.get_mut(subject)?.window = Some(window);
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
        let (slice_ms, window_ms) = (self.reach.slice_ms(), self.reach.window_ms);
        let track = self.tracks.get(subject)?;
        let at = self.slice_of(end.plus(-1 - self.reach.phase_ms(track.rank)));
        let cached = track.cusum.filter(|&(cached, _)| cached == at);
        let basis = match cached {
            Some((_, basis)) => basis,
            None => {
                let basis = self.cusum(subject, at);
                self.tracks.get_mut(subject)?.cusum = Some((at, basis));
                basis
            }
        }?;
        let Basis { mut cusum, paces, tail } = basis;
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
        let pace = |bucket: i64| &paces[usize::from(bucket * window_ms >= (at + 1) * slice_ms)];
        for bucket in first..last {
            cusum.step(bucket, count_of(bucket), pace(bucket));
        }
        // As if the bucket under way were over: no more than it will be worth then.
        let highest = cusum.highest;
        let pace = pace(last);
        cusum.step(last, count_of(last), pace);
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
        let pace = |index: i64| {
            let (factor, uncertain) = fit.season[hour_of_week(index, slice_ms)];
            let mean = fit.level * (fit.growth * (index - from) as f64).exp() * factor;
            let variation = (1.0 + fit.slice_excess.at(mean)) * (1.0 + uncertain) - 1.0;
            let ratio = rise_ratio(mean, variation, fit.level_variation);
            // So that the buckets of a slice vary together as slices do.
            let variation = fit.excess.at(mean / buckets as f64).max(variation * buckets as f64);
            Pace::new(mean / buckets as f64, variation, ratio)
        };
        for index in from..at {
            let pace = pace(index);
            for bucket in index * buckets..(index + 1) * buckets {
                let mut count = 0;
                if let Some(&(_, found)) = counts.get(next).filter(|(at, _)| *at == bucket) {
                    next += 1;
                    count = found;
                }
                cusum.step(bucket, count, &pace);
            }
        }
        Some(Basis { cusum, paces: [pace(at), pace(at + 1)], tail })
    }

    /// Subjects of a kind that have slices in `[from, at)`, at most so many, in an order that is the same everywhere.
    fn sample(&self, kind: SubjectKind, from: i64, at: i64, most: usize) -> impl Iterator<Item = (&Subject, &Track)> {
        let ranked = self.ranks.get(&kind).into_iter().flatten().map(|(_, subject)| (subject, &self.tracks[subject]));
        let present = move |track: &Track| {
            let next = track.slices.partition_point(|slice| slice.index < from);
            track.slices.get(next).is_some_and(|slice| slice.index < at)
        };
        ranked.filter(move |(_, track)| present(track)).take(most)
    }

    /// Drops what no window that ends after `end` can look back to.
    pub fn forget_before(&mut self, end: EventTime) {
        // Within a slice nothing becomes old.
        let slice = self.slice_of(end);
        if std::mem::replace(&mut self.swept_at, slice) == slice {
            return;
        }
        let keep_from = self.slice_of(end.plus(-self.reach.look_back_ms() - self.reach.window_ms));
        let buckets_from = (self.slice_of(end) - self.reach.rise() - 2) * (self.reach.slice_ms() / self.reach.window_ms);
        let ranks = &mut self.ranks;
        self.tracks.retain(|subject, track| {
            while track.slices.front().is_some_and(|slice| slice.index < keep_from) {
                track.slices.pop_front();
            }
            while track.buckets.front().is_some_and(|&(bucket, _)| bucket < buckets_from) {
                track.buckets.pop_front();
            }
            if track.slices.is_empty()
                && let Some(ranks) = ranks.get_mut(&subject.kind())
            {
                ranks.remove(&(track.rank, subject.clone()));
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

/// The rise that a CUSUM looks for: twice what a slice usually varies, but not one that an error in the level could feign.
fn rise_ratio(mean: f64, variation: f64, level_variation: f64) -> f64 {
    let spread = (1.0 / mean + variation).sqrt();
    1.0 + (2.0 * spread).max(4.0 * level_variation.sqrt()).clamp(0.3, 4.0)
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

    /// Found by the fuzz target `series`.
    #[test]
    fn more_items_than_can_be_counted_are_as_many_as_can() {
        let mut baseline = learned(DAY, |_| 1.0);
        for bucket in [2 * DAY, 2 * DAY, 2 * DAY + 1] {
            baseline.push(&bank(), at(bucket), u64::MAX);
        }
        let last = *baseline.tracks[&bank()].slices.back().unwrap();
        assert_eq!((last.count, last.squares, last.peak), (u32::MAX, u64::from(u32::MAX).pow(2), u32::MAX));
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
    fn each_subject_is_estimated_once_a_slice_at_a_time_of_its_own() {
        let subjects: Vec<Subject> = (0..60).map(|index| Subject::entity(&format!("company-{index}"))).collect();
        let mut baseline = Baseline::new(REACH, 4.0);
        // Estimates by subject and by ten minutes of the hour, over a day.
        let mut estimates = vec![[0; 6]; subjects.len()];
        for bucket in 0..10 * DAY {
            for (index, subject) in subjects.iter().enumerate() {
                baseline.push(subject, at(bucket), poisson(1.0, bucket, index as u64));
            }
            if bucket < 9 * DAY {
                continue;
            }
            for (subject, estimates) in subjects.iter().zip(&mut estimates) {
                let from = |baseline: &Baseline| baseline.tracks[subject].window.map(|window| window.from);
                let before = from(&baseline);
                baseline.usual(subject, at(bucket)).unwrap();
                estimates[(bucket % 6) as usize] += u32::from(bucket > 9 * DAY && from(&baseline) != before);
            }
        }
        for estimates in &estimates {
            let of_an_hour: Vec<u32> = estimates.iter().copied().filter(|&count| count > 0).collect();
            assert!(matches!(of_an_hour[..], [23 | 24]), "always at the same time of an hour, and no more than once: {estimates:?}");
        }
        let at_once = (0..6).map(|place| estimates.iter().filter(|estimates| estimates[place] > 0).count()).max();
        assert!(at_once <= Some(20), "{at_once:?} of 60 fall into the same sixth of an hour");
    }

    #[test]
    fn what_speaks_for_a_kind_does_not_depend_on_the_order_of_arrival() {
        let subjects: Vec<Subject> = (0..400).map(|index| Subject::entity(&format!("company-{index}"))).collect();
        let filled = |order: &mut dyn Iterator<Item = usize>| {
            let mut baseline = Baseline::new(REACH, 4.0);
            let order: Vec<usize> = order.collect();
            for day in 0..10 {
                for &index in &order {
                    // Some louder than others, so that another sample is another level.
                    baseline.push(&subjects[index], at(day * DAY), (index % 7) as u64 * (index % 5) as u64);
                }
            }
            baseline.push(&Subject::entity("new"), at(10 * DAY), 1);
            baseline.usual(&Subject::entity("new"), at(10 * DAY)).unwrap()
        };
        let forwards = filled(&mut (0..400));
        assert_eq!(forwards, filled(&mut (0..400).rev()));
        assert_eq!(forwards, filled(&mut (0..400).map(|index| index * 7 % 400)));
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
