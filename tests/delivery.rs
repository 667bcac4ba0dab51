//! Promises 1 to 3 on real Apache Kafka: whatever joins, leaves, is killed or stands still, one observation log gives one
//! window topic and one alert topic, the same byte for byte.
//!
//! The log is synthetic, so that the monitor can be tested by itself and at its own speed.

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use bellwether::http::board::Board;
use bellwether::metrics::Metrics;
use bellwether::pipeline::{self, Roles};
use common::observations::{
    ITEMS, Log, SLOWLY, commits, count, log, offline, panes_published, publish, published, records, site, wait_for_all,
};
use common::{Broker, Site, finish, produce, read_topic, wait_for};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[test]
fn one_log_gives_one_result_however_it_is_run() {
    let log = log(ITEMS);
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

    // Killed ten times, every other time when it has committed something: a quick machine is else killed each time before
    // its first commit; and some before it is ready. With a name of its own it ends at once what it left open.
    let killed = site(&broker, "killed", "instance = 'desk-1'", SLOWLY);
    let mut kills = Vec::new();
    for round in 0..10_u64 {
        let mut process = killed.run("monitor");
        if round % 3 == 2 {
            // While it joins, reads its state back, or replays.
            std::thread::sleep(Duration::from_millis(150 + round * 60));
            process.kill();
            kills.push(count(&killed, "killed"));
            continue;
        }
        process.wait_ready();
        wait_for("some more panes", 60, || (panes_published(&process) > 20 + (round * 131) % 300).then_some(()));
        wait_for("a commit", 60, || (commits(&process) >= round % 2).then_some(()));
        std::thread::sleep(Duration::from_millis((round * 37) % 100));
        process.kill();
        kills.push(count(&killed, "killed"));
    }
    let last = *kills.last().unwrap();
    assert!(0 < last && last < expected.windows_count(), "killed half way, neither at the beginning nor at the end: {kills:?}");
    let mut process = killed.run("monitor");
    process.wait_ready();
    wait_for_all(&killed, "killed", &expected);
    let said = finish(vec![process]);
    assert!(said.contains("state restored"), "{said}");
    println!("panes that were committed when it was killed: {kills:?} of {}", expected.windows_count());
    expected.assert_same(&published(&killed, "killed"), "killed ten times");
}

/// Sends each record when the one before it in its partition has been read, so that every batch is of exactly one. The
/// partitions take turns: what a monitor makes of one does not depend on the others.
fn publish_one_by_one(site: &Site, topic: &str, log: &Log, read: impl Fn() -> u64) {
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", &site.brokers).set("linger.ms", "0").set("acks", "1").create().unwrap();
    let mut partitions: BTreeMap<i32, VecDeque<_>> = BTreeMap::new();
    for (partition, key, payload) in records(log) {
        partitions.entry(partition.unwrap()).or_default().push_back((key.unwrap(), payload));
    }
    let mut sent = 0;
    while sent < log.len() as u64 {
        for (&partition, rest) in &mut partitions {
            let Some((key, payload)) = rest.pop_front() else { continue };
            let record = BaseRecord::to(topic).partition(partition).key(&key).payload(&payload);
            producer.send(record).map_err(|(error, _)| error).unwrap();
            sent += 1;
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while read() < sent {
            assert!(Instant::now() < deadline, "the first {sent} records were not read within 60 s");
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

#[test]
fn records_that_come_in_batches_of_exactly_one_give_the_same() {
    let log = log(ITEMS);
    let expected = offline(&log);
    let broker = Broker::start();
    let site = site(&broker, "singly", "", "'fetch.wait.max.ms' = '500'");
    // In this process, to see at once what has been read.
    let text = std::fs::read_to_string(site.config()).unwrap();
    // No record may be read twice, however busy the machine is.
    let set = [
        ("BELLWETHER_KAFKA__BROKERS", site.brokers.as_str()),
        ("BELLWETHER_KAFKA__PROPERTIES__SESSION_TIMEOUT_MS", "45000"),
        ("BELLWETHER_KAFKA__PROPERTIES__TRANSACTION_TIMEOUT_MS", "45000"),
    ];
    let config = Arc::new(Config::from_toml(&text, &set.map(|(key, value)| (key.to_owned(), value.to_owned())), None).unwrap());
    let (metrics, watchlist, stop) = (Arc::new(Metrics::new()), Arc::new(Watchlist::empty()), CancellationToken::new());
    let board = Arc::new(Board::new(config.clone(), watchlist.clone(), metrics.clone(), Roles::Monitor));
    let running = pipeline::start(config, watchlist, metrics.clone(), board, None, Roles::Monitor, stop.clone()).unwrap();
    let read = metrics.records.with_label_values(&["monitor"]);
    let began = Instant::now();
    publish_one_by_one(&site, "news.observations", &log, || read.get());
    println!("{} records one by one in {:?}", log.len(), began.elapsed());
    wait_for_all(&site, "singly", &expected);
    stop.cancel();
    running.wait().unwrap();
    assert_eq!(read.get(), log.len() as u64, "each was read once");
    expected.assert_same(&published(&site, "singly"), "batches of exactly one");
}

#[test]
fn a_record_that_is_no_observation_is_a_dead_letter_once() {
    let broker = Broker::start();
    let site = site(&broker, "bad", "", "");
    publish(&broker, &log(2000));
    produce(&site.brokers, "news.observations", &[(Some(0), None, b"no observation".to_vec())]);
    let dead = || read_topic(&site.brokers, "news.dead").len();
    let mut process = site.run("monitor");
    process.wait_ready();
    wait_for("the dead letter", 60, || (dead() > 0).then_some(()));
    finish(vec![process]);
    let mut process = site.run("monitor");
    process.wait_ready();
    wait_for("all to be read again", 60, || (process.metric("bellwether_restored_observations_total") > 0.0).then_some(()));
    finish(vec![process]);
    assert_eq!(dead(), 1);
}

#[test]
fn of_two_processes_with_one_name_one_ends_and_nothing_is_doubled() {
    let log = log(ITEMS);
    let expected = offline(&log);
    let broker = Broker::start();
    let site = site(&broker, "zombie", "instance = 'desk-1'", SLOWLY);
    publish(&broker, &log);

    let mut zombie = site.run("monitor");
    zombie.wait_ready();
    wait_for("the first panes", 60, || (panes_published(&zombie) > 200).then_some(()));
    zombie.signal("-STOP");
    let mut successor = site.run("monitor");
    successor.wait_ready();
    wait_for("the successor to go on", 60, || (panes_published(&successor) > 200).then_some(()));
    let before = count(&site, "zombie");
    assert!(before < expected.windows_count(), "the zombie wakes half way, not at the end ({before} panes)");
    zombie.signal("-CONT");
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

#[test]
fn a_broker_that_is_stopped_and_started_again_costs_nothing() {
    let log = log(ITEMS);
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
