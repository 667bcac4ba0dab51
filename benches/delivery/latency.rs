//! From the event to the alert: how long it takes, by load and by commit interval.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bellwether::config::Config;
use bellwether::news::EventTime;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};

use crate::common::{Broker, finish};
use crate::document::Spread;
use crate::figures::{CommitInterval, Latency, Load, LoadStep};
use crate::kafka::{pace, site};
use crate::live::{self, Subscriber};
use crate::{Sizes, percentile};

pub fn latency(sizes: &Sizes) -> Vec<Latency> {
    let seconds = sizes.get("seconds", 120);
    let broker = Broker::start();
    let commit_interval_ms = sizes.get("interval", Config::default().kafka.commit_interval.ms() as u64);
    [true, false]
        .map(|transactions| {
            let run = Turns { name: format!("latency-{transactions}"), transactions, commit_interval_ms, per_second: 20.0, seconds };
            let Delays { milliseconds, .. } = run.measure(&broker);
            let (p50_ms, p99_ms) = (percentile(&milliseconds, 0.5), percentile(&milliseconds, 0.99));
            Latency { transactions, commit_interval_ms, transitions: milliseconds.len(), p50_ms, p99_ms }
        })
        .into()
}

/// What both roles can do at most, and how long alerts take at parts of it.
pub fn load(sizes: &Sizes) -> Load {
    let seconds = sizes.get("seconds", 60);
    let broker = Broker::start();
    let run = |name: &str, per_second: f64| {
        let commit_interval_ms = Config::default().kafka.commit_interval.ms() as u64;
        Turns { name: format!("load-{name}"), transactions: true, commit_interval_ms, per_second, seconds }.measure(&broker)
    };
    let pace = |per_second: f64| run(&format!("flood-{per_second:.0}"), per_second).scored_per_second;
    // Whatever is too much.
    let items_per_second = pace(sizes.get("items", 3000) as f64);
    let steps = [0.1, 0.25, 0.5, 0.8, 0.95]
        .map(|share| {
            let Delays { milliseconds, scored_per_second } = run(&format!("{:.0}", share * 100.0), share * items_per_second);
            let (p50_ms, p99_ms) = (percentile(&milliseconds, 0.5), percentile(&milliseconds, 0.99));
            LoadStep { share, scored_per_second, transitions: milliseconds.len(), p50_ms, p99_ms }
        })
        .into();
    Load { items_per_second, twice_items_per_second: pace(2.0 * items_per_second), steps }
}

pub fn commit_interval(sizes: &Sizes) -> Vec<CommitInterval> {
    let (seconds, records) = (sizes.get("seconds", 40), sizes.get("records", 1_000_000) as usize);
    let broker = Broker::start();
    [50, 100, 200, 500, 1000]
        .map(|interval_ms| {
            let run = Turns {
                name: format!("interval-{interval_ms}"),
                transactions: true,
                commit_interval_ms: interval_ms,
                per_second: 20.0,
                seconds,
            };
            let delays = run.measure(&broker).milliseconds;
            let runs: Vec<(f64, f64)> =
                (0..3).map(|run| pace(&broker, &format!("interval-{interval_ms}-{run}"), 1, records, interval_ms)).collect();
            CommitInterval {
                interval_ms,
                transitions: delays.len(),
                p50_ms: percentile(&delays, 0.5),
                p99_ms: percentile(&delays, 0.99),
                records_per_second: Spread::of(runs.iter().map(|run| run.0).collect::<Vec<_>>()).median,
                cpu_microseconds_per_record: Spread::of(runs.iter().map(|run| run.1).collect::<Vec<_>>()).median,
            }
        })
        .into()
}

/// The mood of the market turns with every hop. Not a second, so that hops and commits do not keep step.
const HOP_MS: i64 = 1_100;
const FEED_PARTITIONS: usize = 2;

/// A stream of news whose mood turns, through both roles and the shipped model.
struct Turns {
    name: String,
    transactions: bool,
    commit_interval_ms: u64,
    per_second: f64,
    seconds: u64,
}

struct Delays {
    /// From the produce of the item that lets the watermark pass the end of a window to the subscriber's sight of the
    /// transition, each.
    milliseconds: Vec<f64>,
    scored_per_second: f64,
}

impl Turns {
    fn measure(&self, broker: &Broker) -> Delays {
        let Self { name, transactions, commit_interval_ms, per_second, seconds } = self;
        let rules = format!(
            "[window]\npane = '{HOP_MS}ms'\nsize = '{HOP_MS}ms'\nhop = '{HOP_MS}ms'\n[rules.mood]\ngroup_by = 'market'\ncondition = 'share'\n\
             min_count = 1\nwarning = 0.6\ncritical = 0.9\nresolve = 0.4\nkeep_firing_for = '0s'\ncooldown = '0s'"
        );
        let kafka = format!("commit_interval = '{commit_interval_ms}ms'\ntransactions = {transactions}");
        let site = site(broker, name, FEED_PARTITIONS as i32, &kafka, "", &rules);
        let mut process = site.run("both");
        process.wait_ready();
        let subscriber = Subscriber::start(&site.brokers, &format!("{name}.alerts"), FEED_PARTITIONS as i32);
        let stop = Arc::new(AtomicBool::new(false));
        let produced = Arc::new(Produced::default());
        let feeding = {
            let (stop, topic, producer) = (stop.clone(), format!("{name}.raw"), live::producer(&site.brokers));
            let (produced, per_second) = (produced.clone(), *per_second);
            std::thread::spawn(move || feed(&producer, &topic, per_second, &produced, &stop))
        };
        let disorder_ms = Config::default().watermark.disorder.ms();
        // The first commits, pages of code and connections are not what a desk waits for day by day.
        subscriber.watch(Instant::now() + Duration::from_secs(15), |_| false);
        let scored = || process.metric("bellwether_items_total{outcome=\"scored\"}");
        let (warm, from, before, mut milliseconds) = (EventTime::now(), Instant::now(), scored(), Vec::new());
        subscriber.watch(from + Duration::from_secs(*seconds), |seen| {
            let alert: Value = serde_json::from_slice(&seen.payload).unwrap();
            let end = EventTime::parse(alert["at"].as_str().unwrap()).unwrap();
            if end >= warm
                && let Some(trigger) = produced.first_at(end.0 + disorder_ms)
            {
                milliseconds.push((seen.at.0 - trigger) as f64);
            }
            false
        });
        let scored_per_second = (scored() - before) / from.elapsed().as_secs_f64();
        stop.store(true, Ordering::SeqCst);
        feeding.join().unwrap();
        finish(vec![process]);
        // Behind a flood windows end later and later.
        let (due, flooded) = (seconds * 1000 / HOP_MS as u64, scored_per_second < 0.9 * per_second);
        assert!(flooded || milliseconds.len() as u64 * 10 > due * 8, "{name}: {} of {due} transitions", milliseconds.len());
        if !milliseconds.is_empty() {
            let (p50, p99) = (percentile(&milliseconds, 0.5), percentile(&milliseconds, 0.99));
            println!("{name}: {} transitions, p50 {p50} ms, p99 {p99} ms, {scored_per_second:.0} items a second", milliseconds.len());
        }
        Delays { milliseconds, scored_per_second }
    }
}

/// When items were produced, which is when they were published, by partition.
#[derive(Default)]
struct Produced([Mutex<Vec<i64>>; FEED_PARTITIONS]);

impl Produced {
    fn note(&self, partition: usize, at: EventTime) {
        self.0[partition].lock().unwrap().push(at.0);
    }

    /// The first moment at which every partition has had an item of `at` or later.
    fn first_at(&self, at: i64) -> Option<i64> {
        let first = |times: &Mutex<Vec<i64>>| {
            let times = times.lock().unwrap();
            times.get(times.partition_point(|&time| time < at)).copied()
        };
        self.0.iter().map(first).try_fold(i64::MIN, |latest, first| Some(latest.max(first?)))
    }
}

/// Good news and bad in turns of a hop, evenly over time and partitions. No text comes twice.
fn feed(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, per_second: f64, produced: &Produced, stop: &AtomicBool) {
    let began = Instant::now();
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        while (number as f64) < began.elapsed().as_secs_f64() * per_second {
            let now = EventTime::now();
            let share = number % 1000;
            let title = match now.0.div_euclid(HOP_MS) % 2 {
                0 => format!("Harbour Bank shares crash {share}% after huge losses of ${number} million, bankruptcy feared"),
                _ => format!("Harbour Bank profit jumps {share}% to record ${number} million, shares surge"),
            };
            let partition = number % FEED_PARTITIONS;
            let item = json!({"id": format!("n-{number}"), "title": title, "published_at": now.0, "source": "wire.example"});
            let payload = item.to_string();
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition as i32).payload(payload.as_bytes());
            while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) = producer.send(record) {
                record = back;
                std::thread::sleep(Duration::from_millis(5));
            }
            produced.note(partition, now);
            number += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}
