//! A synthetic observation log, and what the topics must hold when it has been judged: told by the core alone, without Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use bellwether::news::{EventTime, ItemObservation, Observation, Score, Sentiment, Subject, WatermarkObservation};
use bellwether::pipeline::offline::OfflineMonitor;
use bellwether::pipeline::partition::Output;
use bellwether::window::MarketTally;

use super::{Broker, Process, Read1, Site, produce_batches_of, read_topic, wait_for};

pub const PARTITIONS: i32 = 3;
pub const ITEMS: i64 = 20_000;
/// 2023-03-09 00:00 UTC.
pub const START_MS: i64 = 1_678_320_000_000;

pub const RULES: &str = "
[explain]
headlines = 0
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
pub fn site(broker: &Broker, name: &str, kafka: &str, properties: &str) -> Site {
    let site = Site::new(
        broker,
        &format!(
            "[kafka]\ngroup = '{name}'\ncommit_interval = '100ms'\n{kafka}\n\
             [kafka.topics]\nwindows = '{name}.windows'\nalerts = '{name}.alerts'\n\
             [kafka.properties]\n'session.timeout.ms' = '4000'\n'heartbeat.interval.ms' = '1000'\n'transaction.timeout.ms' = '10000'\n{properties}\n{RULES}"
        ),
    );
    site.create_topics();
    site
}

/// One record batch, here a hundred records, in one answer of the broker, and a pause before the next, so that a run lasts long
/// enough to be disturbed.
pub const SLOWLY: &str = "'max.partition.fetch.bytes' = '1'\n'queued.min.messages' = '1'\n'fetch.queue.backoff.ms' = '50'";

pub type Log = Vec<(i32, Observation)>;

pub fn partition_of(subject: &str) -> i32 {
    subject.bytes().map(i32::from).sum::<i32>() % PARTITIONS
}

/// An item every two seconds: twenty thousand are some eleven hours with four bad spells, one of two topics only. A
/// little disorder among them, some copies, and some delivered twice.
pub fn log(items: i64) -> Log {
    let topics = ["Macro", "Markets", "Earnings", "Currencies", "Politics"];
    let mut log = Log::new();
    let mut tallies = [MarketTally::default(), MarketTally::default()];
    for number in 0..items {
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
                subject: Subject(subject.as_str().into()),
                id: format!("item-{number}"),
                event_time_ms,
                topic: topic.to_owned(),
                sentiment,
                score: Score::from_f64(score),
                source: Some(format!("source-{}.example", number % 4)),
                title: Some(format!("Item {story} of the synthetic log")),
                url: None,
                sketch: None,
                model: None,
                subjects: if subject == "market" { vec![Subject::topic(topic)] } else { Vec::new() },
            };
            let record = (partition_of(&subject), Observation::Item(item));
            if number % 40 == 0 {
                log.push(record.clone());
            }
            log.push(record);
        }
        if number % 10 == 9 || number == items - 1 {
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

pub fn publish(broker: &Broker, log: &[(i32, Observation)]) {
    produce_batches_of(100, &broker.address(), "news.observations", &records(log));
}

/// Partition, key and payload.
pub fn records(log: &[(i32, Observation)]) -> Vec<(Option<i32>, Option<String>, Vec<u8>)> {
    let record = |(partition, observation): &(i32, Observation)| {
        let key = match observation {
            Observation::Item(item) => item.subject.to_string(),
            Observation::Watermark(watermark) => format!("watermark:{}", watermark.raw_partition),
        };
        (Some(*partition), Some(key), serde_json::to_vec(observation).unwrap())
    };
    log.iter().map(record).collect()
}

/// What a reader of the two topics must see, keys and payloads: panes of each partition in order; transitions, which are
/// spread over partitions by their alert, in order for each alert.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    pub windows: BTreeMap<i32, Vec<String>>,
    pub alerts: Vec<String>,
}

impl Published {
    /// Each record as its key and its payload.
    fn new(windows: BTreeMap<i32, Vec<(String, String)>>, mut alerts: Vec<(String, String)>) -> Self {
        // Stable: what has one key stays in order.
        alerts.sort_by(|(one, _), (two, _)| one.cmp(two));
        let text = |records: Vec<(String, String)>| records.into_iter().map(|(key, payload)| format!("{key}\t{payload}")).collect();
        Self { windows: windows.into_iter().map(|(partition, records)| (partition, text(records))).collect(), alerts: text(alerts) }
    }

    pub fn windows_count(&self) -> usize {
        self.windows.values().map(Vec::len).sum()
    }

    pub fn assert_same(&self, other: &Self, what: &str) {
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
            alike(&format!("windows of partition {partition}"), expected, other.windows.get(partition).map_or(&[], Vec::as_slice));
        }
        alike("alerts", &self.alerts, &other.alerts);
    }
}

/// Without Kafka: the log through the core, record by record.
pub fn offline(log: &[(i32, Observation)]) -> Published {
    offline_by(RULES, log)
}

pub fn offline_by(config: &str, log: &[(i32, Observation)]) -> Published {
    let config = Arc::new(Config::from_toml(config, &[], None).unwrap());
    let (mut windows, mut alerts) = (BTreeMap::<i32, Vec<_>>::new(), Vec::new());
    let mut monitor = OfflineMonitor::new(&config, &Arc::new(Watchlist::empty()), PARTITIONS as usize);
    for (partition, observation) in log {
        let (_, outputs) = monitor.observe(*partition as usize, observation);
        for output in outputs {
            match output {
                Output::Pane(pane) => {
                    windows.entry(*partition).or_default().push((pane.subject.to_string(), serde_json::to_string(&pane).unwrap()));
                }
                Output::Alert(alert) => alerts.push((alert.id.clone(), serde_json::to_string(&alert).unwrap())),
                Output::View(_) => {}
            }
        }
    }
    Published::new(windows, alerts)
}

/// With Kafka, as a `read_committed` reader sees it.
pub fn published(site: &Site, name: &str) -> Published {
    published_on(&site.brokers, name)
}

pub fn published_on(brokers: &str, name: &str) -> Published {
    let text = |record: &Read1| (record.key.clone().unwrap_or_default(), String::from_utf8(record.payload.clone()).unwrap());
    let mut windows = BTreeMap::<i32, Vec<_>>::new();
    for record in read_topic(brokers, &format!("{name}.windows")) {
        windows.entry(record.partition).or_default().push(text(&record));
    }
    Published::new(windows, read_topic(brokers, &format!("{name}.alerts")).iter().map(text).collect())
}

pub fn count(site: &Site, name: &str) -> usize {
    read_topic(&site.brokers, &format!("{name}.windows")).len()
}

pub fn wait_for_all(site: &Site, name: &str, expected: &Published) {
    wait_for("the last pane", 120, || {
        std::thread::sleep(Duration::from_millis(300));
        (count(site, name) >= expected.windows_count()).then_some(())
    });
}

pub fn panes_published(process: &Process) -> u64 {
    process.metric("bellwether_panes_published_total") as u64
}

pub fn commits(process: &Process) -> u64 {
    process.metric("bellwether_commits_total{outcome=\"ok\",role=\"monitor\"}") as u64
}
