//! The program by itself: sessions and threads on this machine's cores, how long it takes to be ready, and to be built.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::RUNS;
use crate::common::{Broker, finish, root};
use crate::document::Spread;
use crate::kafka;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bellwether");

/// `bellwether bench-device` on the demo's news: sessions and threads, batch budgets, the bare session and the peak of the cores.
pub fn sessions() -> Value {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut settings = vec!["1x1".to_owned(), format!("{cores}x1"), format!("1x{cores}")];
    settings.dedup();
    let mut command = Command::new(PROGRAM);
    command.current_dir(root()).args(["bench-device", "--device", "cpu", "--format", "json", "--texts", "768", "--rounds"]);
    command.arg(RUNS.to_string()).args(["--batch", "1x2048,8x2048,16x2048,32x2048", "--sessions", &settings.join(",")]);
    let output = command.output().expect("cargo has built it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut report: Value = serde_json::from_slice(&output.stdout).expect("JSON, as asked for");
    report["devices"][0].take()
}

/// Both roles with the shipped model, on topics that are there and empty, until `/ready` says 200. The files lie in the page cache.
pub fn start() -> Value {
    let broker = Broker::start();
    let ready = |run: usize| {
        let site = kafka::site(&broker, &format!("start-{run}"), 3, "", "", "");
        let began = Instant::now();
        let mut process = site.run("both");
        process.wait_ready();
        let seconds = began.elapsed().as_secs_f64();
        println!("run {run}: ready after {seconds:.2} s");
        finish(vec![process]);
        seconds
    };
    ready(0);
    json!([{"runs": RUNS, "ready_seconds": Spread::of((1..=RUNS).map(ready).collect())}])
}

/// `cargo build` of the program from nothing, with all that it is made of fetched before; once, because it takes minutes.
pub fn build() -> Value {
    let target = tempfile::tempdir().expect("a place for a build");
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(root()).args(arguments).env("CARGO_TARGET_DIR", target.path());
        assert!(command.status().expect("cargo has built this").success(), "cargo {}", arguments.join(" "));
    };
    cargo(&["fetch", "--locked"]);
    let (began, before) = (Instant::now(), children_cpu_seconds());
    cargo(&["build", "--release", "--locked", "--bin", "bellwether", "--timings"]);
    let (seconds, cpu_seconds) = (began.elapsed().as_secs_f64(), children_cpu_seconds() - before);
    let report = std::fs::read_to_string(target.path().join("cargo-timings/cargo-timing.html")).expect("asked for by --timings");
    let units = report.split("const UNIT_DATA = ").nth(1).expect("how long each unit took");
    let units: Vec<Value> = serde_json::Deserializer::from_str(units).into_iter().next().expect("a list").expect("JSON");
    let mut crates: BTreeMap<&str, f64> = BTreeMap::new();
    for unit in &units {
        *crates.entry(unit["name"].as_str().expect("a name")).or_default() += unit["duration"].as_f64().expect("seconds");
    }
    let whole: f64 = crates.values().sum();
    let mut longest: Vec<(&str, f64)> = crates.iter().map(|(name, seconds)| (*name, seconds / whole)).collect();
    longest.sort_by(|one, other| other.1.total_cmp(&one.1));
    longest.truncate(12);
    let bytes = std::fs::metadata(target.path().join("release/bellwether")).expect("just built").len();
    json!([{"cpu_seconds": cpu_seconds, "seconds": seconds, "crates": crates.len(), "program_mib": bytes as f64 / 1_048_576.0, "longest": longest}])
}

/// Seconds of CPU of all processes that this one has begun and that have ended.
fn children_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // cutime and cstime of proc(5), in hundredths of a second on every Linux.
    fields[13..15].iter().map(|field| field.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}
