//! The program by itself: sessions and threads on this machine's cores, and how long it takes to be ready.

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
