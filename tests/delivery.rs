//! Promises 1 to 3 on real Apache Kafka: whatever joins, leaves, is killed or stands still, one observation log gives one
//! window topic and one alert topic, the same byte for byte.
//!
//! The log is synthetic, so that the monitor can be tested by itself and at its own speed.

mod common;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use bellwether::news::{EventTime, ItemObservation, Observation, Score, Sentiment, Subject, WatermarkObservation};
use bellwether::pipeline::offline::OfflineMonitor;
use bellwether::pipeline::partition::Output;
use bellwether::window::MarketTally;
use common::{Broker, Process, Read1, Site, get, produce, produce_batches_of, read_topic, wait_for};
use serde_json::json;

const PARTITIONS: i32 = 3;
const ITEMS: i64 = 20_000;
/// 2023-03-09 00:00 UTC.
const START_MS: i64 = 1_678_320_000_000;

const RULES: &str = "
[window]
pane = '10s'
size = '10m'
hop = '30s'
[detect]
history = '6h'
min_history = '1h'
[novelty]
horizon = '1h'
[rules.share]
group_by = 'topic'
condition = 'share'
min_count = 5
confidence = 0.8
warning = 0.6
critical = 0.9
resolve = 0.4
keep_firing_for = '1m'
cooldown = '2m'
[rules.share.overrides.'topic:Earnings']
yields = false
[rules.surge]
group_by = 'market'
condition = 'surge'
false_alarms_per_month = { warning = 1.0, critical = 0.001 }
for = '30s'
# Every partition knows whether the market's alert is open, and topics wait for it.
[rules.mood]
group_by = 'market'
condition = 'level'
inhibits = true
warning = -0.35
critical = -0.6
resolve = -0.3
keep_firing_for = '1m'
cooldown = '2m'
[rules.relative]
group_by = 'topic'
condition = 'relative'
min_count = 5
confidence = 0.8
warning = 0.2
critical = 0.6
resolve = 0.1
for = '1m'
[rules.relative.overrides.'topic:Macro']
for = '3m'
quiet_hours = ['08:00-08:30']
";

/// Its own group and outputs, one log for all.
fn site(broker: &Broker, name: &str, kafka: &str, properties: &str) -> Site {
    let site = Site::new(
        broker,
        &format!(
            "[kafka]\ngroup = '{name}'\ncommit_interval = '100ms'\n{kafka}\n\
             [kafka.topics]\nwindows = '{name}.windows'\nalerts = '{name}.alerts'\n\
             [kafka.properties]\n'session.timeout.ms' = '2000'\n'heartbeat.interval.ms' = '500'\n'transaction.timeout.ms' = '3000'\n{properties}\n{RULES}"
        ),
    );
    site.create_topics();
    site
}

/// One record batch, here a hundred records, in one answer of the broker, so that a run lasts long enough to be disturbed.
const SLOWLY: &str = "'max.partition.fetch.bytes' = '1'";

type Log = Vec<(i32, Observation)>;

fn partition_of(subject: &str) -> i32 {
    subject.bytes().map(i32::from).sum::<i32>() % PARTITIONS
}

/// Twenty thousand items in some eleven hours, four bad spells among them, one of two topics only, a little disorder,
/// some copies, and some delivered twice.
fn log() -> Log {
    let topics = ["Macro", "Markets", "Earnings", "Currencies", "Politics"];
    let mut log = Log::new();
    let mut tallies = [MarketTally::default(), MarketTally::default()];
    for number in 0..ITEMS {
        let second = number * 2;
        let bad = (12_000..12_600).contains(&second)
            || (24_000..24_200).contains(&second)
            || ((30_000..31_500).contains(&second) && number % 5 < 2)
            || (33_000..34_500).contains(&second);
        let sentiment = match (bad, number % 7) {
            (true, 0..6) | (false, 0) => Sentiment::Negative,
            (_, 1 | 2) => Sentiment::Positive,
            _ => Sentiment::Neutral,
        };
        let score = match sentiment {
            Sentiment::Negative => -0.8,
            Sentiment::Neutral => 0.05,
            Sentiment::Positive => 0.7,
        };
        let topic = topics[(number % 5) as usize];
        let event_time_ms = START_MS + (second + (number * 7) % 11) * 1000;
        tallies[(number % 2) as usize].count(EventTime(event_time_ms), sentiment, Score::from_f64(score), 10_000);
        // Some of the news repeats what was told a minute ago.
        let story = if number % 6 == 0 { number - 35 } else { number };
        for subject in ["market".to_owned(), format!("topic:{topic}")] {
            let item = ItemObservation {
                schema: 1,
                subject: Subject(subject.clone()),
                id: format!("item-{number}"),
                event_time_ms,
                topic: topic.to_owned(),
                sentiment,
                score: Score::from_f64(score),
                source: Some(format!("source-{}.example", number % 4)),
                title: Some(format!("Item {story} of the synthetic log")),
                url: None,
                subjects: if subject == "market" { vec![Subject::topic(topic)] } else { Vec::new() },
            };
            let record = (partition_of(&subject), Observation::Item(item));
            if number % 40 == 0 {
                log.push(record.clone());
            }
            log.push(record);
        }
        if number % 10 == 9 || number == ITEMS - 1 {
            for (raw_partition, behind) in [(0, 12), (1, 15)] {
                let market = tallies[raw_partition as usize].take();
                let watermark_ms = Some(START_MS + (second - behind) * 1000);
                let watermark = Observation::Watermark(WatermarkObservation {
                    schema: 1,
                    raw_partition,
                    raw_partitions: 2,
                    watermark_ms,
                    idle: false,
                    market,
                });
                log.extend((0..PARTITIONS).map(|partition| (partition, watermark.clone())));
            }
        }
    }
    log
}

fn publish(broker: &Broker, log: &Log) {
    let records: Vec<_> = log
        .iter()
        .map(|(partition, observation)| {
            let key = match observation {
                Observation::Item(item) => item.subject.0.clone(),
                Observation::Watermark(watermark) => format!("watermark:{}", watermark.raw_partition),
            };
            (Some(*partition), Some(key), serde_json::to_vec(observation).unwrap())
        })
        .collect();
    produce_batches_of(100, &broker.address(), "news.observations", &records);
}

/// What a reader of the two topics must see: panes of each partition in order; transitions, which are spread over
/// partitions by their alert, in an order of their own.
struct Published {
    windows: BTreeMap<i32, Vec<String>>,
    alerts: Vec<String>,
}

impl Published {
    fn new(windows: BTreeMap<i32, Vec<String>>, mut alerts: Vec<String>) -> Self {
        alerts.sort();
        Self { windows, alerts }
    }

    fn windows_count(&self) -> usize {
        self.windows.values().map(Vec::len).sum()
    }

    fn assert_same(&self, other: &Self, what: &str) {
        let alike = |topic: &str, expected: &[String], found: &[String]| {
            let first = expected.iter().zip(found).position(|(one, two)| one != two);
            assert!(
                first.is_none() && expected.len() == found.len(),
                "{what}, {topic}: {} and {} records; the first that differ: {:?}",
                expected.len(),
                found.len(),
                first.map(|at| (at, &expected[at], &found[at]))
            );
        };
        for (partition, expected) in &self.windows {
            alike(&format!("windows of partition {partition}"), expected, &other.windows[partition]);
        }
        alike("alerts", &self.alerts, &other.alerts);
    }
}

/// Without Kafka: the log through the core, record by record.
fn offline(log: &Log) -> Published {
    let config = Arc::new(Config::from_toml(RULES, &[], None).unwrap());
    let (mut windows, mut alerts) = (BTreeMap::<i32, Vec<String>>::new(), Vec::new());
    let mut monitor = OfflineMonitor::new(&config, &Arc::new(Watchlist::empty()), PARTITIONS as usize);
    for (partition, observation) in log {
        let (_, outputs) = monitor.observe(*partition as usize, observation);
        for output in outputs {
            match output {
                Output::Pane(pane) => windows.entry(*partition).or_default().push(serde_json::to_string(&pane).unwrap()),
                Output::Alert(alert) => alerts.push(serde_json::to_string(&alert).unwrap()),
                Output::View(_) => {}
            }
        }
    }
    Published::new(windows, alerts)
}

/// With Kafka, as a `read_committed` reader sees it.
fn published(site: &Site, name: &str) -> Published {
    let text = |record: &Read1| String::from_utf8(record.payload.clone()).unwrap();
    let mut windows = BTreeMap::<i32, Vec<String>>::new();
    for record in read_topic(&site.brokers, &format!("{name}.windows")) {
        windows.entry(record.partition).or_default().push(text(&record));
    }
    Published::new(windows, read_topic(&site.brokers, &format!("{name}.alerts")).iter().map(text).collect())
}

fn count(site: &Site, name: &str) -> usize {
    read_topic(&site.brokers, &format!("{name}.windows")).len()
}

fn wait_for_all(site: &Site, name: &str, expected: &Published) {
    wait_for("the last pane", 120, || {
        std::thread::sleep(Duration::from_millis(300));
        (count(site, name) >= expected.windows_count()).then_some(())
    });
}

fn finish(processes: Vec<Process>) -> String {
    let mut logs = String::new();
    for process in processes {
        let (exit, log) = process.terminate();
        assert!(exit.success(), "{exit}:\n{log}");
        logs += &log;
    }
    logs
}

fn panes_published(process: &Process) -> u64 {
    let metrics = get(process.http, "/metrics").map(|(_, text)| text).unwrap_or_default();
    let value = metrics.lines().find_map(|line| line.strip_prefix("bellwether_panes_published_total "));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[test]
fn one_log_gives_one_result_however_it_is_run() {
    let log = log();
    let expected = offline(&log);
    assert!(expected.windows_count() > 15_000 && expected.alerts.len() > 12, "{}, {}", expected.windows_count(), expected.alerts.len());
    for rule in ["share", "surge", "mood", "relative"] {
        assert!(expected.alerts.iter().any(|alert| alert.contains(&format!("\"rule\":\"{rule}\""))), "{rule} says nothing");
    }
    let broker = Broker::start();
    let straight = site(&broker, "straight", "", "");
    publish(&broker, &log);

    let mut process = straight.run("monitor");
    process.wait_ready();
    wait_for_all(&straight, "straight", &expected);
    finish(vec![process]);
    expected.assert_same(&published(&straight, "straight"), "straight through");

    // Record by record, while members come and go.
    let members = site(&broker, "members", "", SLOWLY);
    let mut running = vec![members.run("monitor")];
    running[0].wait_ready();
    wait_for("the first panes", 60, || (panes_published(&running[0]) > 200).then_some(()));
    running.push(members.run("monitor"));
    running.push(members.run("monitor"));
    running[1].wait_ready();
    running[2].wait_ready();
    wait_for("the others to take part", 60, || (panes_published(&running[1]) > 100).then_some(()));
    let left = running.remove(0);
    let (exit, said) = left.terminate();
    assert!(exit.success() && said.contains("partitions revoked"), "{exit}:\n{said}");
    running.push(members.run("monitor"));
    let before = count(&members, "members");
    assert!(before < expected.windows_count(), "they came and went half way, not at the end ({before} panes)");
    wait_for_all(&members, "members", &expected);
    let said = finish(running);
    assert!(said.contains("state restored"), "{said}");
    expected.assert_same(&published(&members, "members"), "members come and go");

    // Killed ten times. With a name of its own it ends at once what it left open.
    let killed = site(&broker, "killed", "instance = 'desk-1'", SLOWLY);
    let mut kills = Vec::new();
    for round in 0..10_u64 {
        let mut process = killed.run("monitor");
        process.wait_ready();
        wait_for("some more panes", 60, || (panes_published(&process) > 20 + (round * 131) % 300).then_some(()));
        std::thread::sleep(Duration::from_millis((round * 37) % 100));
        process.kill();
        kills.push(count(&killed, "killed"));
    }
    assert!(*kills.last().unwrap() < expected.windows_count(), "killed half way, not at the end: {kills:?}");
    let mut process = killed.run("monitor");
    process.wait_ready();
    wait_for_all(&killed, "killed", &expected);
    let said = finish(vec![process]);
    assert!(said.contains("state restored"), "{said}");
    println!("panes that were committed when it was killed: {kills:?} of {}", expected.windows_count());
    expected.assert_same(&published(&killed, "killed"), "killed ten times");
}

#[test]
fn of_two_processes_with_one_name_one_ends_and_nothing_is_doubled() {
    let log = log();
    let expected = offline(&log);
    let broker = Broker::start();
    let site = site(&broker, "zombie", "instance = 'desk-1'", SLOWLY);
    publish(&broker, &log);

    let mut zombie = site.run("monitor");
    zombie.wait_ready();
    wait_for("the first panes", 60, || (panes_published(&zombie) > 200).then_some(()));
    signal(&zombie, "-STOP");
    let mut successor = site.run("monitor");
    successor.wait_ready();
    wait_for("the successor to go on", 60, || (panes_published(&successor) > 200).then_some(()));
    let before = count(&site, "zombie");
    assert!(before < expected.windows_count(), "the zombie wakes half way, not at the end ({before} panes)");
    signal(&zombie, "-CONT");
    // Which one depends on who asks first; only one may have the name.
    let mut both = vec![zombie, successor];
    let (place, status) = wait_for("one of them to end", 60, || {
        both.iter_mut().enumerate().find_map(|(place, process)| Some((place, process.child.try_wait().unwrap()?)))
    });
    let ended = both.remove(place);
    assert_eq!(status.code(), Some(69), "{}", ended.log());
    assert!(ended.log().contains("another process has the same kafka.instance"), "{}", ended.log());

    wait_for_all(&site, "zombie", &expected);
    finish(both);
    expected.assert_same(&published(&site, "zombie"), "a zombie of the same name");
}

fn signal(process: &Process, signal: &str) {
    assert!(Command::new("kill").arg(signal).arg(process.child.id().to_string()).status().unwrap().success());
}

#[test]
fn a_broker_that_is_stopped_and_started_again_costs_nothing() {
    let log = log();
    let expected = offline(&log);
    let broker = Broker::start();
    let site = site(&broker, "restart", "", SLOWLY);
    publish(&broker, &log);

    let mut process = site.run("monitor");
    process.wait_ready();
    wait_for("the first panes", 60, || (panes_published(&process) > 300).then_some(()));
    broker.stop();
    std::thread::sleep(Duration::from_secs(5));
    assert!(process.child.try_wait().unwrap().is_none(), "it waits for the brokers:\n{}", process.log());
    broker.restart();
    wait_for_all(&site, "restart", &expected);
    let said = finish(vec![process]);
    assert!(said.contains("Kafka client error; it retries by itself"), "{said}");
    expected.assert_same(&published(&site, "restart"), "the broker was away");
}

#[test]
fn an_output_that_its_topic_does_not_take_becomes_a_dead_letter() {
    let broker = Broker::start();
    let site = Site::new(&broker, "[kafka]\ncommit_interval = '100ms'\n");
    site.create_topics();
    broker.tool(&[
        "kafka.admin.ConfigCommand",
        "--bootstrap-server",
        &broker.address(),
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        "news.scored",
        "--add-config",
        "max.message.bytes=20000",
    ]);
    // Too large for the topic even when compressed.
    let mut state = 1_u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 33) as u8 % 26)
    })
    .take(60_000)
    .collect();
    let items: Vec<_> = (0..30)
        .map(|number| {
            let body = if number == 11 { noise.as_str() } else { "Savers queue outside its branches." };
            let item = json!({"id": format!("n{number}"), "title": "Lender fails", "body": body});
            (Some(0), Some(format!("k{number}")), item.to_string().into_bytes())
        })
        .collect();
    produce(&site.brokers, "news.raw", &items);
    let mut process = site.run("classifier");
    process.wait_ready();
    let dead = wait_for("the dead letter", 60, || Some(read_topic(&site.brokers, "news.dead")).filter(|dead| !dead.is_empty()));
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].headers["bellwether.reason"], "output_too_large");
    assert_eq!(dead[0].payload, items[11].2, "byte for byte");
    wait_for("the others", 60, || (read_topic(&site.brokers, "news.scored").len() >= 29).then_some(()));
    let said = finish(vec![process]);
    let scored = read_topic(&site.brokers, "news.scored");
    let mut ids: Vec<String> = scored.iter().map(|record| record.json()["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), scored.len()), (29, 29), "each of the others once");
    assert!(said.contains("raise its max.message.bytes"), "{said}");
}
