//! How well surges are detected, beside other tests: `make bench-detection`.
//!
//! Streams of every kind, without surges and with planted ones, go through [`Baseline`] as the monitor's do. Without
//! surges: are there as many false alarms as the budget says? With them, all tests set to the same number of false
//! alarms: how many are found, how soon? Then headlines with copies and floods go through the whole monitor. Writes
//! `docs/detection.json`, the tables and pictures of `docs/detection.md`.

mod peers;
mod report;
mod stories;
mod streams;

use bellwether::detect::baseline::{Baseline, Reach};
use bellwether::news::{EventTime, Subject};
use peers::{Peer, Windows};
use streams::{DAY, Kind, LEARN, LENGTH, Planted, RATES, WINDOW};

const MINUTE_MS: i64 = 60_000;
/// Monday 2026-01-05.
const EPOCH_MS: i64 = 1_767_571_200_000;
const REACH: Reach = Reach {
    window_ms: WINDOW as i64 * MINUTE_MS,
    history_ms: 28 * 86_400_000,
    min_history_ms: 3_600_000,
    rise_ms: 2 * 86_400_000,
    refit: 1,
};
/// Of the negative binomial where nothing is known yet, as in `config/bellwether.toml`.
const DISPERSION: f64 = 4.0;
const MONTHS: f64 = (LENGTH - LEARN) as f64 / (30 * DAY) as f64;
/// Alarms this many minutes apart or less are one.
const EPISODE: usize = 360;

/// One subject: where its rate stands in [`RATES`], its counts per minute, its surges.
pub struct Stream {
    rate: usize,
    counts: Vec<u32>,
    surges: Vec<Planted>,
}

/// False alarms per month by ours for every minute judged; infinite where nothing was in the window.
pub struct Ours {
    /// By both tests, the rise only while it goes on: what opens an alert.
    opens: Vec<Vec<f32>>,
    /// What keeps it open.
    holds: Vec<Vec<f32>>,
}

fn ours(streams: &[Stream]) -> Ours {
    let mut baseline = Baseline::new(REACH, DISPERSION);
    let subjects: Vec<Subject> = (0..streams.len()).map(|index| Subject(format!("entity:{index}").into())).collect();
    let at = |minute: usize| EventTime(EPOCH_MS + minute as i64 * MINUTE_MS);
    baseline.push(&subjects[0], at(0), 0);
    let empty = || vec![vec![f32::INFINITY; LENGTH - LEARN]; streams.len()];
    let mut ours = Ours { opens: empty(), holds: empty() };
    let mut windows = vec![0u64; streams.len()];
    for minute in 0..LENGTH {
        for (index, stream) in streams.iter().enumerate() {
            let count = u64::from(stream.counts[minute]);
            if count > 0 {
                baseline.push(&subjects[index], at(minute), count);
            }
            windows[index] += count;
            if minute >= WINDOW {
                windows[index] -= u64::from(stream.counts[minute - WINDOW]);
            }
            if minute < LEARN || windows[index] == 0 {
                continue;
            }
            let usual = baseline.usual(&subjects[index], at(minute + 1 - WINDOW)).expect("four weeks were seen");
            let surge = usual.judge(windows[index], REACH.window_ms, MINUTE_MS);
            let rise = if usual.rise.is_some_and(|rise| rise.is_rising) { surge.rise } else { f64::INFINITY };
            ours.opens[index][minute - LEARN] = surge.window.min(rise) as f32;
            ours.holds[index][minute - LEARN] = surge.false_alarms_per_month() as f32;
        }
        if minute % 60 == 0 {
            baseline.forget_before(at(minute));
        }
    }
    ours
}

/// Alerts as the monitor opens them: closed by five minutes of values that do not hold, quiet for fifteen after.
fn alerts(opens: &[f32], holds: &[f32], budget: f32) -> usize {
    let (mut open, mut held, mut quiet_until, mut alerts) = (false, 0, 0, 0);
    for (minute, (&opening, &holding)) in opens.iter().zip(holds).enumerate() {
        if holding.is_infinite() {
            // No data: nothing opens or closes.
        } else if !open && opening <= budget && minute >= quiet_until {
            (open, held) = (true, minute);
            alerts += 1;
        } else if open && holding <= 100.0 * budget {
            held = minute;
        } else if open && minute - held >= 5 {
            (open, quiet_until) = (false, minute + 15);
        }
    }
    alerts
}

/// Runs of scores at or above `threshold`.
fn episodes(scores: &[f32], threshold: f32) -> usize {
    let (mut last, mut episodes) = (None, 0);
    for (minute, _) in scores.iter().enumerate().filter(|(_, score)| **score >= threshold) {
        episodes += usize::from(last.is_none_or(|last| minute - last > EPISODE));
        last = Some(minute);
    }
    episodes
}

/// The least threshold with at most `allowed` episodes over all streams, by bisection over the scores' bits.
fn tuned(scores: &[Vec<f32>], allowed: usize) -> f32 {
    let total = |threshold: f32| scores.iter().map(|scores| episodes(scores, threshold)).sum::<usize>();
    let (mut low, mut high) = (0.0f32.to_bits(), f32::MAX.to_bits());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if total(f32::from_bits(middle)) <= allowed { high = middle } else { low = middle }
    }
    f32::from_bits(high)
}

/// Minutes from the surge's start to the first score at or above `threshold`, until ten minutes after its end.
fn delay(scores: &[f32], planted: &Planted, threshold: f32) -> Option<usize> {
    let start = planted.start - LEARN;
    let end = (start + planted.shape.length() + WINDOW).min(scores.len());
    scores[start..end].iter().position(|&score| score >= threshold)
}

/// What one test found of one kind of stream.
pub struct Found {
    pub name: &'static str,
    pub false_alarms: f64,
    /// Per planted surge: its stream's rate, the surge, the delay in minutes.
    pub surges: Vec<(usize, Planted, Option<usize>)>,
}

pub struct KindResult {
    pub kind: Kind,
    pub subject_windows: usize,
    /// By budget: false alarms per subject and month, over all rates and by rate.
    pub budgets: Vec<(f64, f64, Vec<f64>)>,
    pub found: Vec<Found>,
}

fn streams(kind: Kind, subjects: usize) -> Vec<Stream> {
    (0..subjects)
        .map(|index| {
            let rate = index % RATES.len();
            Stream { rate, counts: streams::stream(kind, RATES[rate], (kind as u64) << 32 | index as u64), surges: Vec::new() }
        })
        .collect()
}

fn evaluate(kind: Kind, subjects: usize) -> KindResult {
    let calm = streams(kind, subjects);
    let planted: Vec<Stream> = calm
        .iter()
        .enumerate()
        .map(|(index, stream)| {
            let (counts, surges) = streams::plant(&stream.counts, (kind as u64) << 32 | index as u64);
            Stream { rate: stream.rate, counts, surges }
        })
        .collect();
    let score = |ours: &Ours| -> Vec<Vec<f32>> { ours.opens.iter().map(|rates| rates.iter().map(|rate| 1.0 / rate).collect()).collect() };
    let judged = ours(&calm);
    let budgets = [1.0, 0.1].map(|budget| {
        let alerts: Vec<f64> =
            judged.opens.iter().zip(&judged.holds).map(|(opens, holds)| alerts(opens, holds, budget as f32) as f64 / MONTHS).collect();
        let mean = |of: &dyn Fn(usize) -> bool| {
            let chosen: Vec<f64> =
                alerts.iter().enumerate().filter(|(index, _)| of(calm[*index].rate)).map(|(_, alerts)| *alerts).collect();
            chosen.iter().sum::<f64>() / chosen.len() as f64
        };
        (budget, mean(&|_| true), (0..RATES.len()).map(|rate| mean(&|of| of == rate)).collect())
    });
    let found = |name: &'static str, calm: Vec<Vec<f32>>, scores: Vec<Vec<f32>>, threshold: f32| Found {
        name,
        false_alarms: calm.iter().map(|scores| episodes(scores, threshold)).sum::<usize>() as f64 / subjects as f64 / MONTHS,
        surges: planted
            .iter()
            .zip(&scores)
            .flat_map(|(stream, scores)| stream.surges.iter().map(|surge| (stream.rate, *surge, delay(scores, surge, threshold))))
            .collect(),
    };
    let calm_scores = score(&judged);
    let allowed = calm_scores.iter().map(|scores| episodes(scores, 1.0)).sum::<usize>();
    let mut all = vec![found("Bellwether", calm_scores, score(&ours(&planted)), 1.0)];
    for peer in Peer::ALL {
        let scores =
            |streams: &[Stream]| -> Vec<Vec<f32>> { streams.iter().map(|stream| peer.scores(&Windows::new(&stream.counts))).collect() };
        let calm = scores(&calm);
        let threshold = tuned(&calm, allowed);
        all.push(found(peer.name(), calm, scores(&planted), threshold));
    }
    KindResult { kind, subject_windows: subjects * (LENGTH - LEARN) / WINDOW, budgets: budgets.into(), found: all }
}

fn main() {
    let subjects = std::env::var("SUBJECTS").ok().and_then(|subjects| subjects.parse().ok()).unwrap_or(30);
    let results: Vec<KindResult> = Kind::ALL.into_iter().map(|kind| evaluate(kind, subjects)).collect();
    report::write(&results, &stories::all(), subjects);
}
