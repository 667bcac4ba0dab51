//! How well delivery holds, and how fast it is, on real Apache Kafka: `make bench-delivery ARGS="PART… [KEY=NUMBER…]"`.
//!
//! Each part is written to `docs/delivery.json` when it is done, and from there into the tables of `docs/delivery.md`. A
//! part that finds something lost, doubled or different ends with a panic and leaves no figure.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../shared/document.rs"]
mod document;
mod figures;
#[path = "../shared/kafka.rs"]
mod kafka;
mod latency;
mod live;
mod parts;
#[path = "../shared/picture.rs"]
mod picture;

use std::collections::BTreeMap;

use common::root;
use figures::{Figures, Measured, PARTS};

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
    let about = About {
        command,
        load_before: document::load(),
        machine: document::machine(),
        date: chrono::Utc::now().format("%Y-%m-%d").to_string(),
    };
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
        ($module:ident::$field:ident) => {{
            let measured = std::cell::Cell::new(Some($module::$field(sizes)));
            store(&|figures, about| figures.$field = measured.take().map(|measured| about.with(measured)));
        }};
    }
    match part {
        "kills" => run!(parts::kills),
        "takeover" => run!(parts::takeover),
        "rebalance" => run!(parts::rebalance),
        "latency" => run!(latency::latency),
        "load" => run!(latency::load),
        "soak" => run!(latency::soak),
        "throughput" => run!(parts::throughput),
        "commit-interval" => run!(latency::commit_interval),
        "restore" => run!(parts::restore),
        "backpressure" => run!(parts::backpressure),
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
    if let Some(load) = &figures.load {
        std::fs::write(root().join("docs/latency.svg"), figures::load_picture(&load.figures)).unwrap();
    }
}

/// The value that `share` of all are not above (nearest rank).
fn percentile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}
