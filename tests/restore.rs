//! Promise 3 on real Apache Kafka: a monitor reads back what another has left behind, repeats nothing, and goes on as if it
//! had been there all the time. How fast it is, `make bench-delivery` measures.

mod common;

use std::time::{Duration, Instant};

use common::past::{Past, RULES, Size, go_on, leave, past};
use common::{Broker, Site, get, read_topic, wait_for};
use serde::Serialize;

const SIZE: Size = Size { partitions: 3, subjects: 300, panes: 60_000, observations: 90_000 };

fn site(broker: &Broker, rules: &str) -> Site {
    let site = Site::new(broker, &format!("[kafka]\ncommit_interval = '100ms'\n{rules}"));
    site.create_topics();
    site
}

fn json(records: &[impl Serialize]) -> Vec<String> {
    records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

/// The records of a topic as text, by partition.
fn texts(site: &Site, topic: &str) -> Vec<Vec<String>> {
    let mut partitions = vec![Vec::new(); SIZE.partitions];
    for record in read_topic(&site.brokers, topic) {
        partitions[record.partition as usize].push(String::from_utf8(record.payload).unwrap());
    }
    partitions
}

#[test]
fn a_restored_monitor_repeats_nothing_and_goes_on_as_if_it_had_been_there() {
    let broker = Broker::start();
    let site = site(&broker, RULES);
    let pasts: Vec<Past> = (0..SIZE.partitions).map(|partition| past(SIZE, partition)).collect();
    leave(&site, &pasts);
    let panes: usize = pasts.iter().map(|past| past.windows.len()).sum();
    let replayed: i64 = pasts.iter().map(|past| past.committed.1.position - past.committed.0).sum();
    let open: usize = pasts.iter().map(|past| past.alerts.len()).sum();
    assert!(panes >= 59_000 && replayed >= 90_000 && open >= 3, "{panes}, {replayed}, {open}");

    let mut process = site.run("monitor");
    let mut reasons = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match get(process.http, "/ready") {
            Some((200, _)) => break,
            Some((_, body)) => reasons.push(body),
            None => {}
        }
        assert!(process.child.try_wait().unwrap().is_none() && Instant::now() < deadline, "not ready:\n{}", process.log());
    }
    // The first answer that says ready: all of it has been read.
    assert_eq!(process.metric("bellwether_restored_panes_total"), panes as f64);
    assert_eq!(process.metric("bellwether_restored_observations_total"), replayed as f64);
    for what in ["panes", "observations"] {
        assert_eq!(process.metric(&format!("bellwether_restore_remaining_records{{what=\"{what}\"}}")), 0.0);
    }
    assert!(reasons.iter().any(|reason| reason.contains("monitor: restoring 3 partition(s)")), "{reasons:?}");
    let log = process.log();
    for line in [format!("read={panes} of={panes}"), format!("read={replayed} of={replayed}")] {
        assert!(log.contains("restoring what=") && log.contains(&line), "{line} is not in\n{log}");
    }
    for outcome in ["counted", "late", "duplicate"] {
        let name = format!("bellwether_observations_total{{outcome=\"{outcome}\"}}");
        assert_eq!(process.metric(&name), 0.0, "read again, not counted again");
    }
    assert_eq!(process.metric("bellwether_panes_published_total"), 0.0);
    assert_eq!(process.metric("bellwether_open_alerts{severity=\"critical\"}"), open as f64);

    go_on(&site, &pasts);
    let expected: usize = pasts.iter().map(|past| past.next_windows.len()).sum();
    assert!(expected > 50, "{expected}");
    wait_for("the next panes", 60, || (process.metric("bellwether_panes_published_total") >= expected as f64).then_some(()));
    let (exit, said) = process.terminate();
    assert!(exit.success(), "{said}");
    let windows = texts(&site, "sentiment.windows");
    for (past, found) in pasts.iter().zip(&windows) {
        assert!(found[..] == json(&[&past.windows[..], &past.next_windows[..]].concat())[..], "windows of a partition");
    }
    let mut alerts = texts(&site, "sentiment.alerts").concat();
    let mut told: Vec<String> = pasts.iter().flat_map(|past| json(&[&past.alerts[..], &past.next_alerts[..]].concat())).collect();
    alerts.sort();
    told.sort();
    assert_eq!(alerts, told);
}

#[test]
fn panes_of_another_length_end_the_start_with_key_value_and_mend() {
    let broker = Broker::start();
    let site = site(&broker, &RULES.replace("pane = '10s'", "pane = '30s'"));
    let size = Size { partitions: 3, subjects: 30, panes: 300, observations: 900 };
    leave(&site, &(0..3).map(|partition| past(size, partition)).collect::<Vec<_>>());
    let mut process = site.run("monitor");
    let status = wait_for("the process to end", 60, || process.child.try_wait().unwrap());
    let log = process.log();
    assert_eq!(status.code(), Some(64), "{log}");
    assert!(log.contains("window.pane = \"30s\", but sentiment.windows holds panes of 10s"), "{log}");
    assert!(log.contains("set window.pane = \"10s\" again, or judge everything anew"), "{log}");
}
