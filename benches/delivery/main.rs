//! How well delivery holds, and how fast it is, on real Apache Kafka: `make bench-delivery ARGS="PART… [KEY=NUMBER…]"`.
//!
//! Each part is written to `docs/delivery.json` when it is done, and from there into the tables of `docs/delivery.md`. A
//! part that finds something lost, doubled or different ends with a panic and leaves no figure.

#[path = "../../tests/common/mod.rs"]
mod common;
mod figures;
mod live;
mod parts;

use std::collections::BTreeMap;

use common::root;
use figures::{Figures, Measured, PARTS, Spread};

/// What is measured, and how much of it: by the command line, or as each part has it by default.
pub struct Sizes(BTreeMap<String, u64>);

impl Sizes {
    fn get(&self, key: &str, default: u64) -> u64 {
        self.0.get(key).copied().unwrap_or(default)
    }
}

const KEYS: [&str; 10] = ["runs", "kills", "items", "records", "panes", "observations", "subjects", "seconds", "factor", "interval"];

fn main() {
    // Cargo itself adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (mut parts, mut sizes) = (Vec::new(), BTreeMap::new());
    for argument in &arguments {
        match argument.split_once('=') {
            Some((key, value)) if KEYS.contains(&key) => drop(sizes.insert(key.to_owned(), value.parse().expect("a whole number"))),
            None if PARTS.contains(&argument.as_str()) => parts.push(argument.as_str()),
            None if argument == "all" => parts.extend(PARTS),
            None if argument == "document" => write_document(&read_figures()),
            _ => return usage(),
        }
    }
    if arguments.is_empty() {
        return usage();
    }
    let sizes = Sizes(sizes);
    for part in parts {
        measure(part, &sizes);
    }
}

fn usage() {
    println!("Heavy: it measures nothing unless told what.\n");
    println!("usage: make bench-delivery ARGS=\"PART… [KEY=NUMBER…]\"");
    println!("  PART  all, or {}", PARTS.join(", "));
    println!("        or document: the tables of docs/delivery.md once more from docs/delivery.json");
    println!("  KEY   {}", KEYS.join(", "));
}

fn measure(part: &str, sizes: &Sizes) {
    println!("--- {part}");
    let mut command = format!("make bench-delivery ARGS={part}");
    if !sizes.0.is_empty() {
        let sizes: Vec<String> = sizes.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        command = format!("make bench-delivery ARGS=\"{part} {}\"", sizes.join(" "));
    }
    let about = About { command, load_before: load(), machine: machine(), date: chrono::Utc::now().format("%Y-%m-%d").to_string() };
    // Read anew: other parts may have been measured meanwhile.
    let store = |put: &dyn Fn(&mut Figures, About)| {
        let mut figures = read_figures();
        put(&mut figures, about.clone());
        let text = serde_json::to_string_pretty(&figures).unwrap() + "\n";
        std::fs::write(root().join("docs/delivery.json"), text).unwrap();
        println!("{}", figures.part(part).unwrap());
        write_document(&figures);
    };
    macro_rules! run {
        ($field:ident) => {{
            let measured = std::cell::Cell::new(Some(parts::$field(sizes)));
            store(&|figures, about| figures.$field = measured.take().map(|measured| about.with(measured)));
        }};
    }
    match part {
        "kills" => run!(kills),
        "takeover" => run!(takeover),
        "rebalance" => run!(rebalance),
        "latency" => run!(latency),
        "load" => run!(load),
        "throughput" => run!(throughput),
        "commit-interval" => run!(commit_interval),
        "restore" => run!(restore),
        "backpressure" => run!(backpressure),
        _ => unreachable!("main lets only parts through"),
    }
}

#[derive(Clone)]
struct About {
    command: String,
    machine: String,
    date: String,
    load_before: f64,
}

impl About {
    fn with<T>(self, figures: T) -> Measured<T> {
        let Self { command, machine, date, load_before } = self;
        Measured { command, machine, date, load_before, figures }
    }
}

fn read_figures() -> Figures {
    match std::fs::read_to_string(root().join("docs/delivery.json")) {
        Ok(text) => serde_json::from_str(&text).expect("docs/delivery.json is of this form"),
        Err(_) => Figures::default(),
    }
}

fn write_document(figures: &Figures) {
    let path = root().join("docs/delivery.md");
    let document = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, figures.fill(&document)).unwrap();
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or_default()
}

/// Cores and memory of this machine.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, key: &str| {
        text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let model = value(&cpu, "model name").unwrap_or_else(|| "unknown processor".into());
    let gib =
        value(&memory, "MemTotal").and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default() / 1048576.0;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {model}, {gib:.0} GiB")
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The value that `share` of all are not above (nearest rank).
fn percentile(values: &[f64], share: f64) -> f64 {
    let rank = (share * values.len() as f64).ceil() as usize;
    sorted(values.to_vec())[rank.clamp(1, values.len()) - 1]
}

fn spread(values: &[f64]) -> Spread {
    let values = sorted(values.to_vec());
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    Spread { median, least: values[0], most: values[values.len() - 1] }
}
