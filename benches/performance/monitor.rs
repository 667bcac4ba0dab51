//! The monitor without Kafka, on one thread: dedupe, panes, windows, detection.

use std::sync::Arc;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::time::Instant;

use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use bellwether::news::{EventTime, ItemObservation, Observation, SCHEMA_VERSION, Score, Sentiment, Subject, WatermarkObservation};
use bellwether::pipeline::partition::PartitionMonitor;

/// A stream of observations of so many subjects, in order of event time.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    pub subjects: usize,
    /// Of event time.
    pub per_second: usize,
}

const SYLLABLES: [&str; 16] = ["har", "fen", "sal", "quar", "lark", "dun", "or", "kes", "brack", "iron", "tarn", "wex", "mil", "cor", "vel", "sto"];
const VERBS: [&str; 24] = [
    "halts", "cuts", "defends", "suspends", "raises", "misses", "beats", "delays", "recalls", "sells", "buys", "closes", "opens", "reviews",
    "scraps", "restates", "extends", "faces", "settles", "denies", "confirms", "drops", "wins", "loses",
];
const OBJECTS: [&str; 32] = [
    "withdrawals", "its dividend", "full-year outlook", "lawsuit over bond losses", "bid for rival", "new plant in Ohio", "loan growth target",
    "car recall", "chief risk officer", "quarterly profit", "cloud contract", "drug trial", "pipeline stake", "audit of reserves", "store network",
    "credit line", "rights issue", "mining licence", "tax inquiry", "chip orders", "merger talks", "cost programme", "pension deficit",
    "supply deal", "data breach", "share buyback", "insurance claims", "debt covenant", "property unit", "refinery", "freight rates", "rate bets",
];
const REASONS: [&str; 24] = [
    "regulators say", "as savers queue", "in second blow this week", "after audit", "on rate fears", "in early trade", "people familiar say",
    "filing shows", "amid strike", "as demand weakens", "despite rally", "citing costs", "under pressure from funds", "after storm", "for third time",
    "as rivals gain", "on strong dollar", "ahead of vote", "following leak", "as oil climbs", "with immediate effect", "court papers show",
    "after downgrade", "as orders dry up",
];

fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Stream {
    /// Item number `index` of the stream. One in four is negative, one in eight repeats the headline of one shortly before.
    pub fn item(&self, index: usize, names: &[Subject]) -> ItemObservation {
        let random = mix(index as u64);
        // Skewed, as news is: half of all items are about a tenth of the subjects.
        let place = (random % 1_000_003) as f64 / 1_000_003.0;
        let subject = if random >> 60 & 1 == 0 { place.powi(4) } else { place } * self.subjects as f64;
        let sentiment = match random >> 20 & 3 {
            0 => Sentiment::Negative,
            1 | 2 => Sentiment::Neutral,
            _ => Sentiment::Positive,
        };
        let story = if random >> 40 & 7 == 0 { mix(index as u64 - (index as u64).min(random >> 50 & 63)) } else { random };
        let pick = |list: &[&'static str], shift: u32| list[(story >> shift) as usize % list.len()];
        let company = mix(subject as u64);
        let syllable = |shift: u32| SYLLABLES[(company >> shift) as usize % SYLLABLES.len()];
        let name = format!("{}{}{}", syllable(0).to_uppercase(), syllable(8), syllable(16));
        let mut title = format!("{name} {} {} {}", pick(&VERBS, 3), pick(&OBJECTS, 11), pick(&REASONS, 19));
        if story >> 33 & 3 == 0 {
            title.push_str(&format!(", shares move {}%", story >> 27 & 63));
        }
        let score = match sentiment {
            Sentiment::Negative => -500_000 - (random >> 30 & 0xffff) as i64 * 6,
            Sentiment::Neutral => (random >> 30 & 0xffff) as i64 - 32_000,
            Sentiment::Positive => 500_000 + (random >> 30 & 0xffff) as i64 * 6,
        };
        ItemObservation {
            schema: SCHEMA_VERSION,
            subject: names[subject as usize].clone(),
            id: format!("{random:016x}"),
            event_time_ms: self.time_of(index),
            topic: "Macro".into(),
            sentiment,
            score: Score(score),
            source: Some(format!("wire-{}.example", random >> 33 & 31)),
            title: Some(title),
            url: Some(format!("https://wire.example/{random:x}")),
            subjects: Vec::new(),
        }
    }

    fn time_of(&self, index: usize) -> i64 {
        (index as u128 * 1000 / self.per_second as u128) as i64
    }

    pub fn names(&self) -> Vec<Subject> {
        (0..self.subjects).map(|number| Subject::entity(&format!("company-{number}"))).collect()
    }
}

pub fn watermark(at: i64) -> Observation {
    Observation::Watermark(WatermarkObservation {
        schema: SCHEMA_VERSION,
        raw_partition: 0,
        raw_partitions: 1,
        watermark_ms: Some(at),
        idle: false,
        market: Vec::new(),
    })
}

/// On-CPU time of this thread, in nanoseconds.
pub fn thread_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says how long a thread ran");
    text.split_whitespace().next().and_then(|first| first.parse().ok()).expect("its first number")
}

pub fn main() {
    if std::env::args().any(|argument| argument == "fit") {
        return fit();
    }
    let arguments: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (subjects, per_second, seconds) = (arguments[0], arguments[1], arguments[2]);
    let stream = Stream { subjects, per_second };
    let names = stream.names();
    let config = Arc::new(Config::default());
    let mut monitor = PartitionMonitor::new(config.clone(), Arc::new(Watchlist::empty()), 0);
    let (mut offset, mut hops, mut counted, mut alerts) = (0, Vec::new(), 0, 0);
    let (mut spent_items, mut spent_hops) = (0, 0);
    for pane in 0..seconds / 10 {
        let items: Vec<Observation> = (pane * 10 * per_second..(pane + 1) * 10 * per_second).map(|index| Observation::Item(stream.item(index, &names))).collect();
        let began = thread_ns();
        for item in &items {
            monitor.observe(item, offset);
            offset += 1;
        }
        spent_items += thread_ns() - began;
        counted += items.len();
        drop(items);
        let began = thread_ns();
        let outputs = monitor.observe(&watermark((pane as i64 + 1) * 10_000), offset).1;
        offset += 1;
        let took = thread_ns() - began;
        spent_hops += took;
        hops.push(took);
        alerts += outputs.iter().filter(|output| matches!(output, bellwether::pipeline::partition::Output::Alert(_))).count();
        if pane % 60 == 59 {
            let mut last = hops[hops.len() - 60..].to_vec();
            last.sort_unstable();
            println!("{} h: items {:.2} us each, hop p50 {:.1} ms, p98 {:.1}, max {:.1} ms, {:.0} obs/s", (pane + 1) as f64 / 360.0, spent_items as f64 / counted as f64 / 1e3,
                last[30] as f64 / 1e6, last[58] as f64 / 1e6, last[59] as f64 / 1e6, counted as f64 / ((spent_items + spent_hops) as f64 / 1e9));
        }
    }
    println!("{alerts} transitions");
    let _ = (Instant::now(), EventTime(0));
}

pub fn fit() {
    use bellwether::detect::baseline::{Baseline, Reach};
    let hour = 3_600_000i64;
    for days in [1i64, 7, 28] {
        let reach = Reach { window_ms: 600_000, history_ms: 28 * 24 * hour, min_history_ms: hour, rise_ms: 48 * hour, refit: 1 };
        let mut baseline = Baseline::new(reach, 4.0);
        let names: Vec<Subject> = (0..1000).map(|number| Subject::entity(&format!("company-{number}"))).collect();
        for slice in 0..days * 24 * 6 {
            for (number, name) in names.iter().enumerate() {
                let random = mix(number as u64 * 1_000_003 + slice as u64);
                if random & 7 == 0 {
                    baseline.push(name, EventTime(slice * 600_000), random >> 8 & 3);
                }
            }
        }
        let start = EventTime(days * 24 * hour + 1);
        let began = Instant::now();
        let _ = baseline.usual(&names[0], start);
        let first = began.elapsed();
        let began = Instant::now();
        for name in &names[1..] { std::hint::black_box(baseline.usual(name, start)); }
        let usual = began.elapsed();
        let start = EventTime((days * 24 + 1) * hour + 1);
        let _ = baseline.expected(&names[0], start);
        let began = Instant::now();
        for name in &names[1..] { std::hint::black_box(baseline.expected(name, start)); }
        println!("{days} d: first {:.1} ms, usual {:.1} us, expected {:.1} us", first.as_secs_f64() * 1e3, usual.as_secs_f64() * 1e6 / 999.0, began.elapsed().as_secs_f64() * 1e6 / 999.0);
    }
}
