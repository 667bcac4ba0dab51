//! The figures of `docs/delivery.md`: their form in `docs/delivery.json`, and the tables made of it.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::document::{self, Spread, grouped, table};
use crate::picture::{Axis, Line, Plot, picture};

/// All parts; one that was never measured is not there.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    pub kills: Option<Measured<Kills>>,
    pub takeover: Option<Measured<Vec<Takeover>>>,
    pub rebalance: Option<Measured<Vec<Rebalance>>>,
    pub latency: Option<Measured<Vec<Latency>>>,
    pub load: Option<Measured<Load>>,
    pub soak: Option<Measured<Soak>>,
    pub throughput: Option<Measured<Vec<Throughput>>>,
    pub commit_interval: Option<Measured<Vec<CommitInterval>>>,
    pub restore: Option<Measured<Restore>>,
    pub backpressure: Option<Measured<Backpressure>>,
}

/// Where, when and how a part was measured.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured<T> {
    pub command: String,
    pub machine: String,
    pub date: String,
    /// See [`document::load`].
    pub load_before: f64,
    pub figures: T,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kills {
    pub kills: u32,
    pub records: usize,
    pub panes: usize,
    pub transitions: usize,
    pub seconds: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Takeover {
    pub case: String,
    pub timeouts: String,
    pub runs: usize,
    pub commit_seconds: Spread,
    pub seen_seconds: Spread,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rebalance {
    pub event: String,
    pub runs: usize,
    /// Of all partitions.
    pub longest_pause_seconds: Spread,
    /// Of the partitions in the middle.
    pub middle_pause_seconds: Spread,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    pub transactions: bool,
    pub commit_interval_ms: u64,
    pub transitions: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// What both roles work off at most, and what they work off where twice as much comes.
    pub items_per_second: f64,
    pub twice_items_per_second: f64,
    pub steps: Vec<LoadStep>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadStep {
    pub share: f64,
    pub transactions: bool,
    pub scored_per_second: f64,
    pub transitions: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Soak {
    pub most_items_per_second: f64,
    pub items_per_second: f64,
    pub seconds: u64,
    pub memory_mib_per_hour: Slope,
    pub p50_ms_per_hour: Slope,
    pub lag_records_per_hour: Slope,
    pub course: Vec<SoakPart>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoakPart {
    pub until_minutes: f64,
    pub transitions: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Mean of the part.
    pub memory_mib: f64,
    pub most_lag_records: f64,
}

/// Of the line through points by least squares, with its 95% interval by Student's t.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slope {
    pub estimate: f64,
    pub interval: [f64; 2],
}

impl Slope {
    pub fn of(points: &[(f64, f64)]) -> Self {
        let count = points.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let squares: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let estimate = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / squares;
        let rest: f64 = points.iter().map(|(x, y)| (y - mean_y - estimate * (x - mean_x)).powi(2)).sum();
        let error = (rest / (count - 2.0) / squares).sqrt();
        let most = StudentsT::new(0.0, 1.0, count - 2.0).expect("three points or more").inverse_cdf(0.975);
        Self { estimate, interval: [estimate - most * error, estimate + most * error] }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throughput {
    pub processes: usize,
    pub records: usize,
    pub runs: usize,
    pub records_per_second: Spread,
    pub cpu_microseconds_per_record: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitInterval {
    pub interval_ms: u64,
    pub transitions: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub records_per_second: f64,
    pub cpu_microseconds_per_record: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    pub partitions: usize,
    pub subjects: usize,
    pub panes: usize,
    pub observations: usize,
    pub runs: usize,
    pub ready_seconds: Spread,
    pub restore_seconds: Spread,
    pub cpu_seconds: Spread,
    pub most_memory_mib: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backpressure {
    pub model_items_per_second: f64,
    pub produced_items_per_second: f64,
    pub seconds: u64,
    pub items: u64,
    pub memory_before_mib: u64,
    pub memory_most_mib: u64,
    pub bound_mib: u64,
    pub most_lag_records: u64,
    pub most_paused_partitions: u64,
    pub recovery_seconds: f64,
    /// Seconds since the flood began, memory in MiB, lag in records.
    pub course: Vec<(u64, u64, u64)>,
}

/// The parts by their names, in the order of the document.
pub const PARTS: [&str; 10] =
    ["kills", "takeover", "rebalance", "latency", "load", "soak", "throughput", "commit-interval", "restore", "backpressure"];

impl Figures {
    /// The text of one part; `None` where it was not measured or there is no such part.
    pub fn part(&self, name: &str) -> Option<String> {
        match name {
            "kills" => self.kills.as_ref().map(|part| part.text(kills)),
            "takeover" => self.takeover.as_ref().map(|part| part.text(|rows| takeover(rows))),
            "rebalance" => self.rebalance.as_ref().map(|part| part.text(|rows| rebalance(rows))),
            "latency" => self.latency.as_ref().map(|part| part.text(|rows| latency(rows))),
            "load" => self.load.as_ref().map(|part| part.text(load)),
            "soak" => self.soak.as_ref().map(|part| part.text(soak)),
            "throughput" => self.throughput.as_ref().map(|part| part.text(|rows| throughput(rows))),
            "commit-interval" => self.commit_interval.as_ref().map(|part| part.text(|rows| commit_interval(rows))),
            "restore" => self.restore.as_ref().map(|part| part.text(restore)),
            "backpressure" => self.backpressure.as_ref().map(|part| part.text(backpressure)),
            _ => None,
        }
    }

    /// The document with the blocks of all [`PARTS`] made anew.
    pub fn fill(&self, document: &str) -> String {
        document::fill(document, &PARTS, |name| self.part(name))
    }
}

impl<T> Measured<T> {
    fn text(&self, table: impl Fn(&T) -> String) -> String {
        let Self { command, machine, date, load_before, figures } = self;
        table(figures) + &document::origin(command, date, machine, *load_before)
    }
}

fn seconds(spread: &Spread) -> String {
    format!("{:.1} s ({:.1} to {:.1})", spread.median, spread.least, spread.most)
}

fn kills(figures: &Kills) -> String {
    let Kills { kills, records, panes, transitions, seconds } = figures;
    table(
        ["kills survived", "records read", "panes compared", "transitions compared", "lost, doubled or different", "took"],
        [[kills.to_string(), grouped(*records), grouped(*panes), grouped(*transitions), "0".to_owned(), format!("{seconds:.0} s")]],
    )
}

fn takeover(rows: &[Takeover]) -> String {
    let row = |row: &Takeover| {
        [row.case.clone(), row.timeouts.clone(), seconds(&row.commit_seconds), seconds(&row.seen_seconds), row.runs.to_string()]
    };
    table(["after `kill -9`", "timeouts", "next commit of every partition", "seen by a subscriber", "runs"], rows.iter().map(row))
}

fn rebalance(rows: &[Rebalance]) -> String {
    let row = |row: &Rebalance| {
        [row.event.clone(), seconds(&row.longest_pause_seconds), seconds(&row.middle_pause_seconds), row.runs.to_string()]
    };
    table(["while", "longest pause of any partition", "of the partition in the middle", "runs"], rows.iter().map(row))
}

fn latency(rows: &[Latency]) -> String {
    let row = |row: &Latency| {
        [
            if row.transactions { "yes" } else { "no" }.to_owned(),
            format!("{} ms", row.commit_interval_ms),
            format!("{:.0} ms", row.p50_ms),
            format!("{:.0} ms", row.p99_ms),
            row.transitions.to_string(),
        ]
    };
    table(["transactions", "`kafka.commit_interval`", "p50", "p99", "transitions"], rows.iter().map(row))
}

fn load(figures: &Load) -> String {
    let row = |step: &LoadStep| {
        [
            format!("{:.0}%{}", step.share * 100.0, if step.transactions { "" } else { ", without transactions" }),
            format!("{:.0}", step.scored_per_second),
            format!("{:.0} ms", step.p50_ms),
            format!("{:.0} ms", step.p99_ms),
            step.transitions.to_string(),
        ]
    };
    let worked_off =
        |share: &str, per_second: f64| [share.to_owned(), format!("{per_second:.0}"), String::new(), String::new(), String::new()];
    let floods = [worked_off("100%", figures.items_per_second), worked_off("200%", figures.twice_items_per_second)];
    table(["load", "items a second", "p50", "p99", "transitions"], figures.steps.iter().map(row).chain(floods))
}

pub fn load_picture(figures: &Load) -> String {
    let points = |value: fn(&LoadStep) -> f64| {
        figures.steps.iter().filter(|step| step.transactions).map(|step| (step.share, value(step))).collect::<Vec<_>>()
    };
    picture(&[Plot {
        title: "From the item to the alert, by load",
        x: Axis { ticks: &[(0.0, "0"), (0.25, "25%"), (0.5, "50%"), (0.75, "75%"), (1.0, "100%")], logarithmic: false },
        y: Axis { ticks: &[(10.0, "10 ms"), (100.0, "0.1 s"), (1000.0, "1 s"), (10_000.0, "10 s")], logarithmic: true },
        limits: &[(50.0, "50 ms"), (250.0, "250 ms")],
        lines: vec![Line { name: "p50", points: points(|step| step.p50_ms) }, Line { name: "p99", points: points(|step| step.p99_ms) }],
    }])
}

fn soak(figures: &Soak) -> String {
    let Soak { most_items_per_second, items_per_second, seconds, memory_mib_per_hour, p50_ms_per_hour, lag_records_per_hour, course } =
        figures;
    let slope = |slope: &Slope| {
        let [low, high] = slope.interval;
        format!("{:+.1} ({low:+.1} to {high:+.1})", slope.estimate)
    };
    let rows = [
        ("items a second", format!("{items_per_second:.0} of {most_items_per_second:.0} at most")),
        ("hours", format!("{:.1}", *seconds as f64 / 3600.0)),
        ("resident memory, MiB an hour", slope(memory_mib_per_hour)),
        ("p50, ms an hour", slope(p50_ms_per_hour)),
        ("lag, records an hour", slope(lag_records_per_hour)),
    ];
    let course = course.iter().map(|part| {
        [
            format!("{:.0}", part.until_minutes),
            format!("{:.0} ms", part.p50_ms),
            format!("{:.0} ms", part.p99_ms),
            part.transitions.to_string(),
            format!("{:.0} MiB", part.memory_mib),
            format!("{:.0}", part.most_lag_records),
        ]
    });
    table(["", ""], rows.map(|(what, value)| [what.to_owned(), value]))
        + "\n"
        + &table(["minutes", "p50", "p99", "transitions", "resident memory", "most lag, records"], course)
}

fn throughput(rows: &[Throughput]) -> String {
    let row = |row: &Throughput| {
        let Spread { median, least, most } = row.records_per_second;
        [
            row.processes.to_string(),
            format!("{} ({} to {})", grouped(median as u64), grouped(least as u64), grouped(most as u64)),
            format!("{:.1} µs", row.cpu_microseconds_per_record),
            grouped(row.records),
            row.runs.to_string(),
        ]
    };
    table(["processes", "records a second", "CPU time of a record", "records", "runs"], rows.iter().map(row))
}

fn commit_interval(rows: &[CommitInterval]) -> String {
    let row = |row: &CommitInterval| {
        [
            format!("{} ms", row.interval_ms),
            format!("{:.0} ms", row.p50_ms),
            format!("{:.0} ms", row.p99_ms),
            row.transitions.to_string(),
            grouped(row.records_per_second as u64),
            format!("{:.1} µs", row.cpu_microseconds_per_record),
        ]
    };
    table(
        ["`kafka.commit_interval`", "latency p50", "p99", "transitions", "records a second, one monitor", "CPU time of a record"],
        rows.iter().map(row),
    )
}

fn restore(figures: &Restore) -> String {
    let Restore { partitions, subjects, panes, observations, runs, ready_seconds, restore_seconds, cpu_seconds, most_memory_mib } = figures;
    table(
        ["panes", "observations", "subjects", "partitions", "start to ready", "of it the restore", "CPU time", "most memory", "runs"],
        [[
            grouped(*panes),
            grouped(*observations),
            grouped(*subjects),
            partitions.to_string(),
            seconds(ready_seconds),
            seconds(restore_seconds),
            seconds(cpu_seconds),
            format!("{most_memory_mib} MiB"),
            runs.to_string(),
        ]],
    )
}

fn backpressure(figures: &Backpressure) -> String {
    let rows = [
        ("the model's pace", format!("{:.0} items a second", figures.model_items_per_second)),
        ("the producer's", format!("{:.0} items a second for {} s", figures.produced_items_per_second, figures.seconds)),
        ("items, each scored once", grouped(figures.items)),
        ("resident memory before", format!("{} MiB", figures.memory_before_mib)),
        ("most resident memory", format!("{} MiB", figures.memory_most_mib)),
        ("bound", format!("{} MiB", figures.bound_mib)),
        ("most lag", format!("{} records", grouped(figures.most_lag_records))),
        ("partitions paused", figures.most_paused_partitions.to_string()),
        ("rebalances", "0".to_owned()),
        ("worked off after", format!("{:.0} s", figures.recovery_seconds)),
    ];
    let mut text = table(["", ""], rows.map(|(what, value)| [what.to_owned(), value]));
    text.push('\n');
    let course = figures.course.iter().map(|(at, memory, lag)| [format!("{at} s"), format!("{memory} MiB"), grouped(*lag)]);
    text += &table(["since the flood began", "resident memory", "lag"], course);
    text
}
