//! The figures of `docs/delivery.md`: their form in `docs/delivery.json`, and the tables made of it.

use serde::{Deserialize, Serialize};

use crate::document::{self, Spread, grouped, table};

/// All parts; one that was never measured is not there.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    pub kills: Option<Measured<Kills>>,
    pub takeover: Option<Measured<Vec<Takeover>>>,
    pub rebalance: Option<Measured<Vec<Rebalance>>>,
    pub latency: Option<Measured<Vec<Latency>>>,
    pub load: Option<Measured<Load>>,
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
    pub scored_per_second: f64,
    pub transitions: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
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
pub const PARTS: [&str; 9] =
    ["kills", "takeover", "rebalance", "latency", "load", "throughput", "commit-interval", "restore", "backpressure"];

impl Figures {
    /// The text of one part; `None` where it was not measured or there is no such part.
    pub fn part(&self, name: &str) -> Option<String> {
        match name {
            "kills" => self.kills.as_ref().map(|part| part.text(kills)),
            "takeover" => self.takeover.as_ref().map(|part| part.text(|rows| takeover(rows))),
            "rebalance" => self.rebalance.as_ref().map(|part| part.text(|rows| rebalance(rows))),
            "latency" => self.latency.as_ref().map(|part| part.text(|rows| latency(rows))),
            "load" => self.load.as_ref().map(|part| part.text(load)),
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
            format!("{:.0}%", step.share * 100.0),
            format!("{:.0}", step.scored_per_second),
            format!("{:.0} ms", step.p50_ms),
            format!("{:.0} ms", step.p99_ms),
            step.transitions.to_string(),
        ]
    };
    let most = ["100%".to_owned(), format!("{:.0}", figures.items_per_second), String::new(), String::new(), String::new()];
    let twice = ["200%".to_owned(), format!("{:.0}", figures.twice_items_per_second), String::new(), String::new(), String::new()];
    table(["load", "items a second", "p50", "p99", "transitions"], figures.steps.iter().map(row).chain([most, twice]))
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
