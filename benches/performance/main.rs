//! How fast Bellwether is, beside limits and peers: `make bench ARGS="PART…"`.
//!
//! Each part is written to `docs/performance.json` when it is done, and from there into the tables and pictures of
//! `docs/performance.md`.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../shared/document.rs"]
mod document;
#[path = "../shared/kafka.rs"]
mod kafka;
mod monitor;
mod peers;
#[path = "../shared/picture.rs"]
mod picture;
mod program;
mod report;
mod stream;

use std::path::{Path, PathBuf};
use std::process::Command;

use document::Spread;
use monitor::{Found, Load};
use serde_json::{Value, json};

/// Runs of each measurement; those that are compared take turns.
const RUNS: usize = 5;

fn main() {
    // Cargo itself adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [kind, load] = arguments.as_slice()
        && kind == "child"
    {
        let found = monitor::measure(&serde_json::from_str(load).expect("what `child` wrote"));
        println!("{}", serde_json::to_string(&found).expect("plain numbers"));
        return;
    }
    let parts: Vec<&str> = match arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        none if none.is_empty() => report::PARTS.to_vec(),
        given => given,
    };
    for part in parts {
        if part == "document" {
            report::write(&report::read());
            continue;
        }
        println!("--- {part}");
        let (load_before, date) = (document::load(), chrono::Utc::now().format("%Y-%m-%d").to_string());
        let figures = match part {
            "classifier" => peers::classifier(),
            "plumbing" => peers::plumbing(),
            "windows" => peers::windows(),
            "monitor" => by_subjects(),
            "subjects" => hop_by_subjects(),
            "horizon" => hop_by_horizon(),
            "past" => hop_by_past(),
            "memory" => memory(),
            "allocator" => allocator(),
            "sessions" => program::sessions(),
            "start" => program::start(),
            "build" => program::build(),
            other => {
                eprintln!("{other:?} is no part: {}, or document", report::PARTS.join(", "));
                std::process::exit(2);
            }
        };
        // Read anew: another part may have been measured meanwhile.
        let mut all = report::read();
        all[part] = json!({"command": format!("make bench ARGS={part}"), "machine": document::machine(), "date": date,
                           "load_before": load_before, "figures": figures});
        report::write(&all);
        println!("{}", report::text(part, &all[part]));
    }
}

/// Measures in a process of its own.
fn child(program: &Path, load: &Load, preload: Option<&str>) -> Found {
    let mut command = Command::new(program);
    command.arg("child").arg(serde_json::to_string(load).expect("plain numbers"));
    if let Some(library) = preload {
        command.env("LD_PRELOAD", library);
    }
    let output = command.output().unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
    assert!(output.status.success(), "{load:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("Linux says where a program lies")
}

/// Each load `runs` times, in turn.
fn in_turn(loads: &[Load], runs: usize) -> Vec<Vec<Found>> {
    let program = this_program();
    let mut found = vec![Vec::new(); loads.len()];
    for run in 0..runs {
        for (load, found) in loads.iter().zip(&mut found) {
            let one = child(&program, load, None);
            eprintln!("run {run}: {} subjects, {:.2} us an observation, hop {:.1} ms", load.subjects, one.microseconds, one.hop_p50_ms);
            found.push(one);
        }
    }
    found
}

fn spread(found: &[Found], value: impl Fn(&Found) -> f64) -> Value {
    json!(Spread::of(found.iter().map(value).collect()))
}

fn row(load: &Load, found: &[Found]) -> Value {
    json!({
        "load": load,
        "runs": found.len(),
        "observations": found[0].observations,
        "panes": found[0].panes,
        "observations_per_second": spread(found, |found| 1e6 / found.microseconds),
        "item_microseconds": spread(found, |found| found.item_microseconds),
        "microseconds": spread(found, |found| found.microseconds),
        "hop_p50_ms": spread(found, |found| found.hop_p50_ms),
        "hop_p99_ms": spread(found, |found| found.hop_p99_ms),
        "hop_most_ms": spread(found, |found| found.hop_most_ms),
        "memory_mib": spread(found, |found| found.memory_mib),
        "memory_course": found[0].memory_course,
    })
}

fn rows(loads: &[Load], runs: usize) -> Value {
    in_turn(loads, runs).iter().zip(loads).map(|(found, load)| row(load, found)).collect()
}

fn by_subjects() -> Value {
    rows(&[100, 1_000, 10_000, 100_000].map(|subjects| Load { subjects, ..Load::DEFAULT }), RUNS)
}

/// Every subject in every pane; and a thousand items in every pane, whatever number of subjects there is.
fn hop_by_subjects() -> Value {
    let sizes = [100, 1_000, 10_000, 100_000, 1_000_000];
    let all = sizes.map(|subjects| Load {
        subjects,
        per_second: subjects as f64 / 10.0,
        in_turn: true,
        warm_seconds: 30,
        seconds: 50,
        ..Load::DEFAULT
    });
    let some = sizes.map(|subjects| Load {
        subjects,
        per_second: 100.0,
        in_turn: true,
        warm_seconds: 10 * (subjects as i64 / 1000).max(60),
        seconds: 300,
        ..Load::DEFAULT
    });
    json!({"all": rows(&all, RUNS), "thousand": rows(&some, RUNS)})
}

/// Ten thousand subjects, panes of a minute, windows of an hour to four weeks; and a day with every subject in every pane.
fn hop_by_horizon() -> Value {
    let load = |window_minutes: i64, per_pane: f64| Load {
        per_second: per_pane / 60.0,
        in_turn: true,
        pane_seconds: 60,
        window_minutes,
        warm_seconds: (window_minutes + 5) * 60,
        seconds: 3600,
        ..Load::DEFAULT
    };
    let horizons = [60, 360, 1_440, 10_080, 40_320].map(|minutes| load(minutes, 250.0));
    json!({"some": rows(&horizons, RUNS), "all": rows(&[load(1_440, 10_000.0)], RUNS)})
}

/// What baselines cost: two hours of the default rules, over a past of a day to four weeks.
fn hop_by_past() -> Value {
    rows(&[1, 7, 28].map(|past_days| Load { past_days, warm_seconds: 3600, seconds: 3600, per_second: 500.0, ..Load::DEFAULT }), RUNS)
}

fn memory() -> Value {
    rows(&[Load { subjects: 100_000, per_second: 250.0, seconds: 30 * 3600, ..Load::DEFAULT }], 1)
}

/// The monitor with its own allocator, and built without it beside the system's and those that the system can lend.
fn allocator() -> Value {
    let built = Command::new(env!("CARGO"))
        .args(["bench", "--bench", "performance", "--no-default-features", "--no-run", "--message-format", "json"])
        .output()
        .expect("cargo builds it");
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let of_this_bench = |artifact: &Value| artifact["target"]["name"] == "performance";
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(of_this_bench);
    let bare = artifacts.filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from)).next_back();
    let bare = bare.expect("cargo says where the program lies");
    let library = |name: &str| format!("/usr/lib/{}-linux-gnu/{name}", std::env::consts::ARCH);
    let own = this_program();
    let choices = [
        ("mimalloc", own.as_path(), None),
        ("glibc", bare.as_path(), None),
        ("jemalloc", bare.as_path(), Some(library("libjemalloc.so.2"))),
    ];
    let mut found = vec![Vec::new(); choices.len()];
    let load = Load { past_days: 1, seconds: 1200, ..Load::DEFAULT };
    for _ in 0..RUNS {
        for ((name, program, preload), found) in choices.iter().zip(&mut found) {
            if let Some(library) = preload {
                assert!(Path::new(library).exists(), "{library} is not there: apt-get install lib{name}2");
            }
            found.push(child(program, &load, preload.as_deref()));
        }
    }
    choices
        .iter()
        .zip(&found)
        .map(|((name, ..), found)| {
            let mut row = row(&load, found);
            row["allocator"] = json!(name);
            row
        })
        .collect()
}
