//! News for both roles, and the proof that none of it was lost or doubled: each item is scored once, each of its observations
//! is there once, and panes and alerts are what the core alone makes of the observation log.
//!
//! The model is the small one of the fixtures: it is quick, and says the same of a text each time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bellwether::news::Observation;
use rdkafka::ClientConfig;
use rdkafka::producer::BaseRecord;
use serde_json::json;

use super::observations::{PARTITIONS, RULES, START_MS, offline_by, published_on};
use super::{Acknowledged, Process, Refusals, Site, all_acknowledged, read_topic, wait_for};

/// The model takes the first two for bad news.
const BAD: [&str; 2] = ["Harbour Bank shares plunge as depositors rush to withdraw funds", "Lender fails"];
const OTHER: [&str; 3] = ["Lender opens a branch", "Quiet day for shares", "Board meets on Monday"];

pub struct Newsroom {
    pub site: Site,
    /// Of `news.raw`.
    pub partitions: i32,
    /// Where the test itself reads and writes.
    brokers: String,
    number: usize,
    ids: Vec<String>,
    /// Before this one the ids stood in a topic that was deleted.
    scored_from: usize,
}

impl Newsroom {
    /// Timeouts long enough for a busy machine, and short enough for a fault to outlast them. `brokers` for the test, `seen` for the process, which may see them through a proxy or as another user.
    pub fn open(brokers: &str, seen: &str, create: &str, kafka: &str, properties: &str) -> Self {
        let text = format!(
            "{create}\n[kafka]\ncommit_interval = '100ms'\ntimeout = '60s'\n{kafka}\n[kafka.properties]\n'session.timeout.ms' = '6000'\n\
             'heartbeat.interval.ms' = '1500'\n'transaction.timeout.ms' = '10000'\n{properties}\n\
             [watermark]\nidle_after = '10m'\ninterval = '100ms'\n{RULES}"
        );
        let site = Site::at(seen.to_owned(), "tests/fixtures/tiny", &text);
        site.create_topics();
        Self { site, partitions: PARTITIONS, brokers: brokers.to_owned(), number: 0, ids: Vec::new(), scored_from: 0 }
    }

    /// The next items, one every two seconds of event time, a bad spell in every thousand.
    pub fn publish(&mut self, count: usize) {
        self.send(count, |number| (Some(START_MS + number as i64 * 2000), None));
    }

    /// Items without a date, so that their Kafka timestamps are their event times.
    pub fn publish_dated_by_kafka(&mut self, times: &[i64]) {
        let first = self.number;
        self.send(times.len(), |number| (None, Some(times[number - first])));
    }

    /// An item hours later on each partition, so that all panes before it close.
    pub fn close(&mut self) {
        self.number += 10_000;
        self.publish(self.partitions as usize);
    }

    fn send(&mut self, count: usize, times: impl Fn(usize) -> (Option<i64>, Option<i64>)) {
        let mut records = Vec::new();
        for number in self.number..self.number + count {
            let bad = number % 1000 > 700;
            let title = if bad { BAD[number % BAD.len()] } else { OTHER[number % OTHER.len()] };
            let id = format!("n{number:06}");
            let (published_at, timestamp) = times(number);
            let item = json!({"id": id, "title": title, "source": "wire.example", "published_at": published_at});
            records.push((number as i32 % self.partitions, timestamp, item.to_string().into_bytes()));
            self.ids.push(id);
        }
        self.number += count;
        produce_timed(&self.brokers, "news.raw", &records);
    }

    /// `news.scored` was made anew: what stood there is gone.
    pub fn forget_scored(&mut self) {
        self.scored_from = self.ids.len();
    }

    /// How many items the process has scored by itself.
    pub fn scored_by(process: &Process) -> u64 {
        process.status()["health"]["items_total"].as_u64().unwrap_or(0)
    }

    /// Until the process is in the middle of what it was given.
    pub fn wait_until_under_way(&self, process: &Process, before: u64, some: u64) {
        wait_for("some items to be scored", 60, || (Self::scored_by(process) >= before + some).then_some(()));
    }

    /// Publishes while the process stands still, and waits until it is in the middle of that, however quick it is. Gives how many
    /// items it had scored before.
    pub fn publish_at_once(&mut self, process: &Process, count: usize) -> u64 {
        let before = Self::scored_by(process);
        process.signal("-STOP");
        self.publish(count);
        process.signal("-CONT");
        self.wait_until_under_way(process, before, 50);
        before
    }

    fn scored(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for record in read_topic(&self.brokers, "news.scored") {
            *counts.entry(record.json()["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    }

    pub fn wait_until_all_are_scored(&self) {
        let expected = self.ids.len() - self.scored_from;
        wait_for("all items to be scored", 120, || {
            std::thread::sleep(Duration::from_millis(200));
            (self.scored().len() >= expected).then_some(())
        });
    }

    /// Closes the panes; then all must be there, each once.
    pub fn close_and_check(&mut self, what: &str) {
        self.close();
        self.check(what);
    }

    /// Each item once on `news.scored`.
    pub fn check_scored(&self, what: &str) {
        self.wait_until_all_are_scored();
        let (scored, expected) = (self.scored(), &self.ids[self.scored_from..]);
        let doubled: Vec<_> = scored.iter().filter(|(_, count)| **count != 1).collect();
        assert!(doubled.is_empty(), "{what}: scored more than once: {doubled:?}");
        assert!(scored.keys().eq(expected), "{what}: {} items were scored of {}", scored.len(), expected.len());
    }

    pub fn check(&self, what: &str) {
        self.check_scored(what);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let (log, found) = (self.observations(), published_on(&self.brokers, "sentiment"));
            let judged = offline_by(&std::fs::read_to_string(self.site.config()).unwrap(), &log);
            if judged == found || Instant::now() > deadline {
                self.check_observations(what, &log);
                judged.assert_same(&found, what);
                assert!(judged.windows_count() > 100 && !judged.alerts.is_empty(), "{what}: {judged:?}");
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn observations(&self) -> Vec<(i32, Observation)> {
        let records = read_topic(&self.brokers, "news.observations");
        records.iter().map(|record| (record.partition, serde_json::from_slice(&record.payload).unwrap())).collect()
    }

    /// An item has two subjects: the market and its topic.
    fn check_observations(&self, what: &str, log: &[(i32, Observation)]) {
        let mut counts = BTreeMap::<(&str, &str), usize>::new();
        for (_, observation) in log {
            if let Observation::Item(item) = observation {
                *counts.entry((item.id.as_str(), item.subject.as_str())).or_default() += 1;
            }
        }
        let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
        assert!(doubled.is_empty(), "{what}: observed more than once: {doubled:?}");
        assert_eq!(counts.len(), self.ids.len() * 2, "{what}: each item has two observations");
    }
}

/// (partition, Kafka timestamp if not now, payload), twenty to a batch.
fn produce_timed(brokers: &str, topic: &str, records: &[(i32, Option<i64>, Vec<u8>)]) {
    let producer: Acknowledged = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("batch.num.messages", "20")
        .create_with_context(Refusals::default())
        .unwrap();
    for (partition, timestamp, payload) in records {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(*partition).payload(payload.as_slice());
        record.timestamp = *timestamp;
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    all_acknowledged(&producer, topic);
}
