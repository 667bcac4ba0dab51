//! What others see with tools of their own: a subscriber in Python, kcat, Kafka's console consumer and its group command agree with the
//! topics, and none of them shows what was not committed.
//!
//! `make test` installs the tools.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bellwether::news::{ItemObservation, Observation, Score, Sentiment, Subject, WatermarkObservation};
use common::{Broker, Read1, Site, produce, read_topic, root, wait_for};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};

const ALERTS: &str = "sentiment.alerts";

const CONFIG: &str = "
[kafka]
commit_interval = '100ms'
[window]
pane = '10s'
size = '2m'
hop = '10s'
[rules.share]
group_by = 'topic'
condition = 'share'
confidence = 0.5
warning = 0.6
critical = 0.9
resolve = 0.4
keep_firing_for = '30s'
";

/// A quarter of an hour of two topics, and a bad spell of each: two alerts that fire, escalate and resolve.
fn observations() -> Vec<(Option<i32>, Option<String>, Vec<u8>)> {
    let start = 1_790_000_000_000;
    let bytes = |observation: Observation| serde_json::to_vec(&observation).unwrap();
    let mut log = Vec::new();
    for number in 0..180 {
        let second = number * 5;
        for (partition, topic, bad_spell) in [(0, "Macro", 300..500), (1, "Earnings", 500..700)] {
            let (sentiment, score) = if bad_spell.contains(&second) { (Sentiment::Negative, -0.8) } else { (Sentiment::Neutral, 0.05) };
            let subject = Subject::topic(topic);
            let item = ItemObservation {
                schema: 1,
                subject: subject.clone(),
                id: format!("{topic}-{number}"),
                event_time_ms: start + second * 1000,
                topic: topic.to_owned(),
                sentiment,
                score: Score::from_f64(score),
                source: Some("wire.example".to_owned()),
                title: Some(format!("Item {number} about {topic}")),
                url: None,
                sketch: None,
                model: None,
                subjects: Vec::new(),
            };
            log.push((Some(partition), Some(subject.to_string()), bytes(Observation::Item(item))));
        }
        if number % 2 == 1 {
            let watermark_ms = Some(start + (second - 10) * 1000);
            let watermark =
                WatermarkObservation { schema: 1, raw_partition: 0, raw_partitions: 1, watermark_ms, idle: false, market: Vec::new() };
            let record = bytes(Observation::Watermark(watermark));
            log.extend((0..3).map(|partition| (Some(partition), Some("watermark:0".to_owned()), record.clone())));
        }
    }
    log
}

/// Writes a record in a transaction that is then aborted: it stays in the log, and no subscriber may see it.
fn publish_and_abort(brokers: &str, partition: i32, payload: &str) {
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).set("transactional.id", "aborts").create().unwrap();
    let patience = Duration::from_secs(30);
    producer.init_transactions(patience).unwrap();
    producer.begin_transaction().unwrap();
    let record: BaseRecord<'_, str, str> = BaseRecord::to(ALERTS).partition(partition).key("aborted").payload(payload);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(patience).unwrap();
    producer.abort_transaction(patience).unwrap();
}

/// The lines that a program prints.
fn lines_of(arguments: &[&str]) -> Vec<String> {
    let runtime = std::env::var_os("BELLWETHER_RUNTIME_DIR").map_or_else(|| root().join(".runtime"), PathBuf::from);
    let output = Command::new("timeout").arg("60").args(arguments).env("PYTHONPATH", runtime.join("python")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {} (124: it did not end within 60 s; 127: it is missing). `make test` installs it. It said:\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said.lines().map(str::to_owned).collect()
}

fn kcat(brokers: &str, isolation: &str) -> Vec<String> {
    let isolation = format!("isolation.level={isolation}");
    lines_of(&["kcat", "-C", "-q", "-e", "-o", "beginning", "-b", brokers, "-t", ALERTS, "-X", &isolation, "-f", "%s\\n"])
}

fn subscriber(brokers: &str, transitions: usize) -> Vec<String> {
    let program = root().join("examples/alert_subscriber.py");
    let (program, once) = (program.to_str().unwrap(), transitions.to_string());
    lines_of(&["python3", program, "--brokers", brokers, "--topic", ALERTS, "--group", "desk", "--once", &once])
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn text<'a>(alert: &'a Value, field: &str) -> &'a str {
    alert[field].as_str().unwrap()
}

/// As examples/alert_subscriber.py prints it.
fn line(alert: &Value) -> String {
    let [at, transition, severity, name, why] = ["at", "transition", "severity", "subject_name", "why"].map(|field| text(alert, field));
    format!("{at} {transition:<9} {severity:<8} {name}: {why}")
}

#[test]
fn other_tools_show_each_committed_transition_and_nothing_else() {
    let broker = Broker::start();
    let site = Site::new(&broker, CONFIG);
    site.create_topics();
    let brokers = site.brokers.as_str();
    produce(brokers, "news.observations", &observations());
    let mut process = site.run("monitor");
    process.wait_ready();
    let published = wait_for("both alerts to resolve", 60, || {
        let alerts = read_topic(brokers, ALERTS);
        let resolved = alerts.iter().filter(|alert| alert.json()["transition"] == "resolved").count();
        (resolved == 2).then_some(alerts)
    });
    assert_eq!(published.len(), 6, "{:?}", published.iter().map(Read1::json).collect::<Vec<_>>());

    // The group, while the monitor runs: it reads all partitions of the observation log.
    let described = broker.describe_group("bellwether-monitor");
    let rows = described.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID
    let members: BTreeMap<(&str, &str), bool> = rows
        .filter(|row| row.len() == 9 && row[0] == "bellwether-monitor")
        .map(|row| ((row[1], row[2]), row[6].starts_with("bellwether-") && row[8] == "bellwether"))
        .collect();
    let expected = ["0", "1", "2"].map(|partition| (("news.observations", partition), true));
    assert_eq!(members, BTreeMap::from(expected), "{described}");
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit}:\n{log}");

    // A transition again, as after a crash without transactions; behind it one of another alert; and one that was aborted.
    let again = &published[0];
    let mut bell = again.json();
    bell["id"] = json!("bell/market/2026-09-21T00:00:00.000Z");
    bell["why"] = json!("The bell.");
    let more = [(again.key.clone(), again.payload.clone()), (Some("bell".to_owned()), bell.to_string().into_bytes())];
    produce(brokers, ALERTS, &more.map(|(key, payload)| (Some(again.partition), key, payload)));
    let aborted = r#"{"aborted":true}"#;
    publish_and_abort(brokers, again.partition, aborted);

    let records = sorted(read_topic(brokers, ALERTS).into_iter().map(|record| String::from_utf8(record.payload).unwrap()).collect());
    assert_eq!(records.len(), 8);
    assert_eq!(sorted(kcat(brokers, "read_committed")), records, "kcat");
    let uncommitted = kcat(brokers, "read_uncommitted");
    assert!(uncommitted.len() == 9 && uncommitted.iter().any(|record| record == aborted), "{uncommitted:#?}");

    let console = broker.tool(&[
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "--bootstrap-server",
        brokers,
        "--topic",
        ALERTS,
        "--from-beginning",
        "--isolation-level",
        "read_committed",
        "--timeout-ms",
        "10000",
    ]);
    // Its last words are about the timeout that ends it.
    let console = console.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect();
    assert_eq!(sorted(console), records, "Kafka's console consumer");

    // The subscriber is ended after two transitions, and its next start goes on from there.
    let mut printed = subscriber(brokers, 2);
    assert_eq!(printed.len(), 2, "{printed:#?}");
    printed.extend(subscriber(brokers, 5));
    let mut alerts: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
    for alert in published.iter().map(Read1::json).chain([bell]) {
        alerts.entry(text(&alert, "id").to_owned()).or_default().insert(alert["sequence"].as_u64().unwrap(), line(&alert));
    }
    let each_once: Vec<String> = alerts.values().flat_map(BTreeMap::values).cloned().collect();
    assert_eq!(sorted(printed.clone()), sorted(each_once), "each transition once");
    for (id, transitions) in &alerts {
        let places: Vec<_> = transitions.values().map(|line| printed.iter().position(|printed| printed == line)).collect();
        assert!(places.is_sorted(), "{id} came in another order: {printed:#?}");
    }
}
