//! From the event to the alert: how long it takes, by load and by commit interval.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bellwether::config::Config;
use bellwether::news::EventTime;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};

use crate::common::{Broker, Process, finish};
use crate::document::Spread;
use crate::figures::{CommitInterval, Latency, Load, LoadStep, Slope, Soak, SoakPart};
use crate::kafka::{memory_mib, pace, site};
use crate::live::{self, Subscriber};
use crate::{Sizes, percentile};

pub fn latency(sizes: &Sizes) -> Vec<Latency> {
    let seconds = sizes.get("seconds", 120);
    let broker = Broker::start();
    let commit_interval_ms = sizes.get("interval", Config::default().kafka.commit_interval.ms() as u64);
    [true, false]
        .map(|transactions| {
            let run = Turns {
                name: format!("latency-{transactions}"),
                transactions,
                commit_interval_ms,
                per_second: sizes.get("items", 20) as f64,
                seconds,
            };
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
    let items_per_second = most(&broker, "load", sizes.get("items", 1000) as f64, seconds);
    // Where half the load is without transactions, the rest of the way is seen alone.
    let steps = [(0.1, true), (0.25, true), (0.5, true), (0.8, true), (0.95, true), (0.5, false)]
        .map(|(share, transactions)| {
            let name = format!("load-{:.0}-{transactions}", share * 100.0);
            let run = Turns { transactions, ..Turns::by_default(name, share * items_per_second, seconds) };
            let Delays { milliseconds, scored_per_second, .. } = run.measure(&broker);
            let (p50_ms, p99_ms) = (percentile(&milliseconds, 0.5), percentile(&milliseconds, 0.99));
            LoadStep { share, transactions, scored_per_second, transitions: milliseconds.len(), p50_ms, p99_ms }
        })
        .into();
    let twice = Turns::by_default("load-twice".to_owned(), 2.0 * items_per_second, seconds);
    Load { items_per_second, twice_items_per_second: twice.measure(&broker).scored_per_second, steps }
}

/// Items a second that both roles work off where more come. A great flood takes the cores from them that they share with it, so
/// a second one is only twice what the first one left.
fn most(broker: &Broker, name: &str, flood: f64, seconds: u64) -> f64 {
    let pace =
        |per_second: f64| Turns::by_default(format!("{name}-flood-{per_second:.0}"), per_second, seconds).measure(broker).scored_per_second;
    let first = pace(flood);
    first.max(pace(2.0 * first))
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

/// Hours at four fifths of what both roles can do: does anything grow?
pub fn soak(sizes: &Sizes) -> Soak {
    let seconds = sizes.get("seconds", 7200);
    let broker = Broker::start();
    let most = most(&broker, "soak", sizes.get("items", 1000) as f64, 60);
    let mut samples: Vec<(f64, f64, f64)> = Vec::new();
    let run = Turns::by_default("soak".to_owned(), 0.8 * most, seconds);
    let delays = run.watched(&broker, |at, process| {
        if samples.last().is_none_or(|(last, ..)| at - last >= 10.0) {
            samples.push((at, memory_mib(process, "VmRSS") as f64, process.metric("bellwether_consumer_lag_records{role=\"classifier\"}")));
        }
    });
    let part = seconds as f64 / SOAK_PARTS as f64;
    let course: Vec<SoakPart> = (0..SOAK_PARTS)
        .map(|number| {
            let inside = |at: f64| (at / part) as usize == number;
            let delays: Vec<f64> =
                delays.seen_at.iter().zip(&delays.milliseconds).filter(|(at, _)| inside(**at)).map(|(_, delay)| *delay).collect();
            let samples: Vec<_> = samples.iter().filter(|(at, ..)| inside(*at)).collect();
            SoakPart {
                until_minutes: part * (number + 1) as f64 / 60.0,
                transitions: delays.len(),
                p50_ms: percentile(&delays, 0.5),
                p99_ms: percentile(&delays, 0.99),
                memory_mib: samples.iter().map(|(_, memory, _)| memory).sum::<f64>() / samples.len() as f64,
                most_lag_records: samples.iter().map(|(_, _, lag)| *lag).fold(0.0, f64::max),
            }
        })
        .collect();
    // What is filled once, caches and pages of code, is filled in the first quarter.
    let slope = |value: fn(&SoakPart) -> f64| {
        Slope::of(&course[SOAK_PARTS / 4..].iter().map(|part| (part.until_minutes / 60.0, value(part))).collect::<Vec<_>>())
    };
    Soak {
        most_items_per_second: most,
        items_per_second: delays.scored_per_second,
        seconds,
        memory_mib_per_hour: slope(|part| part.memory_mib),
        p50_ms_per_hour: slope(|part| part.p50_ms),
        lag_records_per_hour: slope(|part| part.most_lag_records),
        course,
    }
}

const SOAK_PARTS: usize = 24;

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
    /// When it was seen, in seconds since the measurement began, each.
    seen_at: Vec<f64>,
    scored_per_second: f64,
}

impl Turns {
    fn by_default(name: String, per_second: f64, seconds: u64) -> Self {
        let commit_interval_ms = Config::default().kafka.commit_interval.ms() as u64;
        Self { name, transactions: true, commit_interval_ms, per_second, seconds }
    }

    fn measure(&self, broker: &Broker) -> Delays {
        self.watched(broker, |_, _| {})
    }

    /// `at_transition` is shown the process, and how many seconds have passed, with each.
    fn watched(&self, broker: &Broker, mut at_transition: impl FnMut(f64, &Process)) -> Delays {
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
        let (warm, from, before) = (EventTime::now(), Instant::now(), scored());
        let (mut milliseconds, mut seen_at) = (Vec::new(), Vec::new());
        subscriber.watch(from + Duration::from_secs(*seconds), |seen| {
            let alert: Value = serde_json::from_slice(&seen.payload).unwrap();
            let end = EventTime::parse(alert["at"].as_str().unwrap()).unwrap();
            if end >= warm
                && let Some(trigger) = produced.first_at(end.0 + disorder_ms)
            {
                milliseconds.push((seen.at.0 - trigger) as f64);
                seen_at.push(from.elapsed().as_secs_f64());
                at_transition(from.elapsed().as_secs_f64(), &process);
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
        Delays { milliseconds, seen_at, scored_per_second }
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
