//! The parts: each starts a broker of its own, measures, checks, and gives its figures.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bellwether::config::Config;
use bellwether::news::EventTime;
use bellwether::pipeline::partition::Checkpoint;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionList;
use serde_json::Value;

use crate::common::past::{self, Past, Size, past};
use crate::common::{Broker, Process, Site, finish, get, observations, read_topic, root, wait_for};
use crate::document::Spread;
use crate::figures::{Backpressure, Kills, Rebalance, Restore, Takeover, Throughput};
use crate::kafka::{assigned, cpu_seconds, memory_mib, pace, site};
use crate::live::{self, Seen, Stream, Subscriber};
use crate::{Sizes, percentile};

// --- Kills

pub fn kills(sizes: &Sizes) -> Kills {
    let (kills, items) = (sizes.get("kills", 50) as u32, sizes.get("items", 100_000) as i64);
    let log = observations::log(items);
    let expected = observations::offline(&log);
    let broker = Broker::start();
    let slow = observations::site(&broker, "killed", "instance = 'desk-1'", observations::SLOWLY);
    for chunk in log.chunks(50_000) {
        observations::publish(&broker, chunk);
    }
    let started = Instant::now();
    for round in 0..kills {
        let mut process = slow.run("monitor");
        process.wait_ready();
        let enough = 100 + u64::from(round) * 131 % 1500;
        wait_for("some more panes", 120, || (observations::panes_published(&process) > enough).then_some(()));
        wait_for("a commit", 120, || (observations::commits(&process) >= u64::from(round) % 2).then_some(()));
        std::thread::sleep(Duration::from_millis(u64::from(round) * 37 % 100));
        process.kill();
    }
    let committed = observations::count(&slow, "killed");
    println!("{committed} of {} panes were committed when it was killed last", expected.windows_count());
    assert!(0 < committed && committed < expected.windows_count(), "all kills fell into the work");
    let quick = observations::site(&broker, "killed", "instance = 'desk-1'", "");
    let mut process = quick.run("monitor");
    process.wait_ready();
    wait_for("the last pane", 600, || {
        std::thread::sleep(Duration::from_secs(1));
        (observations::count(&quick, "killed") >= expected.windows_count()).then_some(())
    });
    let seconds = started.elapsed().as_secs_f64();
    finish(vec![process]);
    expected.assert_same(&observations::published(&quick, "killed"), "killed again and again");
    Kills { kills, records: log.len(), panes: expected.windows_count(), transitions: expected.alerts.len(), seconds }
}

// --- Who takes over

const SHORT: &str = "'session.timeout.ms' = '2000'\n'heartbeat.interval.ms' = '500'\n'transaction.timeout.ms' = '3000'";

pub fn takeover(sizes: &Sizes) -> Vec<Takeover> {
    let runs = sizes.get("runs", 3) as usize;
    let broker = Broker::start();
    let mut rows = Vec::new();
    let cases = [
        ("it is started again, with `kafka.instance`", true, false),
        ("it is started again, without", false, false),
        ("another process takes over", false, true),
    ];
    for (timeouts, properties) in [("default: session 10 s, transaction 15 s", ""), ("session 2 s, transaction 3 s", SHORT)] {
        for (case, named, peer) in cases {
            let (mut commits, mut seens) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                let name = format!("takeover-{}-{}", rows.len(), commits.len());
                let (commit, seen) = take_over(&broker, &name, named, peer, properties);
                println!("{case}, {timeouts}: commit after {commit:.2} s, seen after {seen:.2} s");
                commits.push(commit);
                seens.push(seen);
            }
            let (commit_seconds, seen_seconds) = (Spread::of(commits), Spread::of(seens));
            rows.push(Takeover { case: case.to_owned(), timeouts: timeouts.to_owned(), runs, commit_seconds, seen_seconds });
        }
    }
    rows
}

/// Seconds from the kill until every partition has committed, and until a subscriber has seen of every partition, something
/// that happened after the kill.
fn take_over(broker: &Broker, name: &str, named: bool, peer: bool, properties: &str) -> (f64, f64) {
    const PARTITIONS: i32 = 4;
    let instance = if named { "instance = 'desk-1'" } else { "" };
    let site = site(broker, name, PARTITIONS, &format!("commit_interval = '100ms'\n{instance}"), properties, live::RULES);
    let _stream = Stream::start(&site.brokers, &format!("{name}.observations"), PARTITIONS);
    let mut killed = site.run("monitor");
    killed.wait_ready();
    let mut others = Vec::new();
    if peer {
        others.push(site.run("monitor"));
        others[0].wait_ready();
        wait_for("a fair share", 60, || (assigned(&killed) == 2 && assigned(&others[0]) == 2).then_some(()));
    }
    let subscriber = Subscriber::start(&site.brokers, &format!("{name}.windows"), PARTITIONS);
    let flows = until_all(&subscriber, EventTime::now(), PARTITIONS, Duration::from_secs(60));
    assert!(flows.is_some(), "nothing is published at all");

    killed.kill();
    let (killed_at, started) = (EventTime::now(), Instant::now());
    if !peer {
        others.push(site.run("monitor"));
    }
    let commit = {
        let (brokers, name) = (site.brokers.clone(), name.to_owned());
        std::thread::spawn(move || until_committed(&brokers, &name, PARTITIONS, killed_at, started))
    };
    let seen = until_all(&subscriber, killed_at, PARTITIONS, Duration::from_secs(120)).expect("somebody takes over");
    let commit = commit.join().unwrap();
    finish(others);
    (commit, seen)
}

/// Seconds until a pane that ended after `since` was seen of every partition.
fn until_all(subscriber: &Subscriber, since: EventTime, partitions: i32, patience: Duration) -> Option<f64> {
    let started = Instant::now();
    let mut open: Vec<i32> = (0..partitions).collect();
    subscriber.watch(started + patience, |Seen { partition, payload, .. }| {
        let pane: Value = serde_json::from_slice(&payload).unwrap();
        if EventTime::parse(pane["pane_end"].as_str().unwrap()).unwrap() > since {
            open.retain(|other| *other != partition);
        }
        open.is_empty()
    });
    open.is_empty().then(|| started.elapsed().as_secs_f64())
}

fn until_committed(brokers: &str, name: &str, partitions: i32, since: EventTime, started: Instant) -> f64 {
    let group: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", format!("{name}-monitor")).create().unwrap();
    let topic = format!("{name}.observations");
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&topic, 0, partitions - 1);
    while started.elapsed() < Duration::from_secs(120) {
        // While the coordinator ends what the killed process left open, it does not answer.
        let Ok(committed) = group.committed_offsets(list.clone(), Duration::from_secs(1)) else { continue };
        let is_new = |metadata: &str| serde_json::from_str::<Checkpoint>(metadata).is_ok_and(|checkpoint| checkpoint.closed_until > since);
        if committed.elements().iter().all(|element| is_new(element.metadata())) {
            return started.elapsed().as_secs_f64();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no commit of every partition within 120 s");
}

// --- Rebalances

pub fn rebalance(sizes: &Sizes) -> Vec<Rebalance> {
    const PARTITIONS: i32 = 8;
    let runs = sizes.get("runs", 3) as usize;
    let broker = Broker::start();
    let site = site(&broker, "rebalance", PARTITIONS, "commit_interval = '100ms'", "", live::RULES);
    let _stream = Stream::start(&site.brokers, "rebalance.observations", PARTITIONS);
    let mut members = vec![site.run("monitor"), site.run("monitor")];
    members.iter_mut().for_each(Process::wait_ready);
    let subscriber = Subscriber::start(&site.brokers, "rebalance.windows", PARTITIONS);
    let settled = |members: &[Process]| {
        let fair = PARTITIONS / members.len() as i32;
        let all_in = || members.iter().map(assigned).sum::<i32>() == PARTITIONS && members.iter().all(|member| assigned(member) >= fair);
        wait_for("fair shares", 60, || all_in().then_some(()));
        assert!(until_all(&subscriber, EventTime::now(), PARTITIONS, Duration::from_secs(60)).is_some());
    };
    let mut pauses: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for _ in 0..runs {
        settled(&members);
        pauses.entry("nothing happens").or_default().push(pause(&subscriber, PARTITIONS));
        members.push(site.run("monitor"));
        pauses.entry("a third process joins two").or_default().push(pause(&subscriber, PARTITIONS));
        settled(&members);
        let mut left = members.pop().unwrap();
        left.signal("-TERM");
        pauses.entry("one of three leaves (SIGTERM)").or_default().push(pause(&subscriber, PARTITIONS));
        assert!(left.child.wait().unwrap().success());
    }
    finish(members);
    let row = |event: &str| {
        let pauses = &pauses[event];
        println!("{event}: {pauses:.2?}");
        let of = |pick: fn(&(f64, f64)) -> f64| Spread::of(pauses.iter().map(pick).collect::<Vec<_>>());
        Rebalance { event: event.to_owned(), runs, longest_pause_seconds: of(|pause| pause.0), middle_pause_seconds: of(|pause| pause.1) }
    };
    ["nothing happens", "a third process joins two", "one of three leaves (SIGTERM)"].map(row).into()
}

/// Watches for ten seconds: the longest time without a pane, in seconds, of any partition and of the one in the middle.
fn pause(subscriber: &Subscriber, partitions: i32) -> (f64, f64) {
    let (started, until) = (EventTime::now(), Instant::now() + Duration::from_secs(10));
    let mut last = vec![started; partitions as usize];
    let mut longest = vec![0.0_f64; partitions as usize];
    let mut note = |partition: usize, at: EventTime| {
        longest[partition] = longest[partition].max((at.0 - last[partition].0) as f64 / 1e3);
        last[partition] = at;
    };
    subscriber.watch(until, |seen| {
        note(seen.partition as usize, seen.at);
        false
    });
    (0..partitions as usize).for_each(|partition| note(partition, EventTime::now()));
    (percentile(&longest, 1.0), percentile(&longest, 0.5))
}

// --- How many observations a second

pub fn throughput(sizes: &Sizes) -> Vec<Throughput> {
    let (runs, records) = (sizes.get("runs", 3) as usize, sizes.get("records", 1_000_000) as usize);
    let broker = Broker::start();
    let interval_ms = sizes.get("interval", Config::default().kafka.commit_interval.ms() as u64);
    [1, 2, 4]
        .map(|processes| {
            let measured: Vec<(f64, f64)> =
                (0..runs).map(|run| pace(&broker, &format!("throughput-{processes}-{run}"), processes, records, interval_ms)).collect();
            let records_per_second = Spread::of(measured.iter().map(|run| run.0).collect::<Vec<_>>());
            let cpu_microseconds_per_record = Spread::of(measured.iter().map(|run| run.1).collect::<Vec<_>>()).median;
            Throughput { processes, records, runs, records_per_second, cpu_microseconds_per_record }
        })
        .into()
}

// --- Restore

pub fn restore(sizes: &Sizes) -> Restore {
    let runs = sizes.get("runs", 3) as usize;
    let size = Size {
        partitions: 4,
        subjects: sizes.get("subjects", 1_000) as usize,
        panes: sizes.get("panes", 500_000) as usize,
        observations: sizes.get("observations", 500_000) as usize,
    };
    let broker = Broker::start();
    let site = Site::new(&broker, past::RULES);
    let created = site.command(&["topics", "create"]).env("BELLWETHER_KAFKA__CREATE__PARTITIONS", size.partitions.to_string()).status();
    assert!(created.unwrap().success());
    let pasts: Vec<Past> = (0..size.partitions).map(|partition| past(size, partition)).collect();
    past::leave(&site, &pasts);
    let panes: usize = pasts.iter().map(|past| past.windows.len()).sum();
    let observations: i64 = pasts.iter().map(|past| past.committed.1.position - past.committed.0).sum();
    drop(pasts);
    let ends = || ["sentiment.windows", "sentiment.alerts"].map(|topic| ends(&site, topic, size.partitions as i32));
    let ends_before = ends();
    let (mut ready, mut restored, mut cpu, mut most_memory_mib) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..runs {
        let started = Instant::now();
        let mut process = site.run("monitor");
        while get(process.http, "/ready").is_none_or(|(status, _)| status != 200) {
            assert!(process.child.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_secs(300), "{}", process.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        ready.push(started.elapsed().as_secs_f64());
        cpu.push(cpu_seconds(&process));
        most_memory_mib = most_memory_mib.max(memory_mib(&process, "VmHWM"));
        restored.push(process.metric("bellwether_restore_duration_seconds"));
        assert_eq!(process.metric("bellwether_restored_panes_total"), panes as f64);
        assert_eq!(process.metric("bellwether_restored_observations_total"), observations as f64);
        println!(
            "ready after {:.2} s, restored in {:.2} s, {:.2} s of CPU\n{}",
            ready[ready.len() - 1],
            restored[restored.len() - 1],
            cpu[cpu.len() - 1],
            process.log()
        );
        finish(vec![process]);
        assert_eq!(ends(), ends_before, "something was published again");
    }
    let (ready_seconds, restore_seconds, cpu_seconds) = (Spread::of(ready), Spread::of(restored), Spread::of(cpu));
    let (partitions, subjects, observations) = (size.partitions, size.subjects, observations as usize);
    Restore { partitions, subjects, panes, observations, runs, ready_seconds, restore_seconds, cpu_seconds, most_memory_mib }
}

/// Where each partition ends; whatever is published moves it, marks of transactions included.
fn ends(site: &Site, topic: &str, partitions: i32) -> Vec<i64> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &site.brokers).create().unwrap();
    (0..partitions).map(|partition| consumer.fetch_watermarks(topic, partition, Duration::from_secs(20)).unwrap().1).collect()
}

// --- Back-pressure

/// What a flood may add to the memory of a process.
const BOUND_MIB: u64 = 100;

pub fn backpressure(sizes: &Sizes) -> Backpressure {
    let (seconds, factor) = (sizes.get("seconds", 120), sizes.get("factor", 10));
    let broker = Broker::start();
    let site = site(&broker, "flood", 3, "", "", "");
    // News of the demo, again and again: remembered, it would be no flood.
    let mut process = site.run_with("both", &[("BELLWETHER_MODEL__CACHE_TEXTS", "0")]);
    process.wait_ready();
    let producer = live::producer(&site.brokers);
    let scored = |process: &Process| process.metric("bellwether_items_total{outcome=\"scored\"}");
    let lag = |process: &Process| process.metric("bellwether_consumer_lag_records{role=\"classifier\"}") as u64;

    // Busy for twenty seconds: how fast is the model, and how much memory does it take at work?
    let mut sent = 0;
    let (model_pace, memory_before_mib) = {
        let began = Instant::now();
        send(&producer, &mut sent, 4_000);
        wait_for("the model to warm up", 120, || (scored(&process) >= 500.0).then_some(()));
        let (from, start) = (scored(&process), Instant::now());
        wait_for("its pace", 300, || (scored(&process) >= from + 2000.0).then_some(()));
        let pace = (scored(&process) - from) / start.elapsed().as_secs_f64();
        wait_for("an empty queue", 300, || (scored(&process) >= sent as f64).then_some(()));
        println!("{pace:.0} items a second; {sent} items took {:?}", began.elapsed());
        (pace, memory_mib(&process, "VmRSS"))
    };

    let produced_pace = model_pace * factor as f64;
    let flood = Instant::now();
    let sending = std::thread::spawn(move || {
        let mut sent = sent;
        let before = sent;
        while flood.elapsed() < Duration::from_secs(seconds) {
            let due = before + (flood.elapsed().as_secs_f64() * produced_pace) as u64;
            let more = due.saturating_sub(sent);
            send(&producer, &mut sent, more);
            std::thread::sleep(Duration::from_millis(20));
        }
        producer.flush(Duration::from_secs(60)).unwrap();
        sent
    });
    let (mut memory_most_mib, mut most_lag_records, mut most_paused_partitions) = (memory_before_mib, 0, 0);
    let mut course = Vec::new();
    let (mut total, mut sending) = (None, Some(sending));
    loop {
        let (at, memory, lag) = (flood.elapsed().as_secs(), memory_mib(&process, "VmRSS"), lag(&process));
        memory_most_mib = memory_most_mib.max(memory);
        most_lag_records = most_lag_records.max(lag);
        most_paused_partitions = most_paused_partitions.max(process.metric("bellwether_partitions_paused{role=\"classifier\"}") as u64);
        // Every twenty seconds of the flood, then every two minutes.
        let step = if at <= seconds { 20 } else { 120 };
        if course.last().is_none_or(|(last, _, _)| at / step > last / step) {
            course.push((at, memory, lag));
            println!("{at} s: {memory} MiB, lag {lag}");
        }
        if sending.as_ref().is_some_and(|thread| thread.is_finished()) {
            total = sending.take().map(|thread| thread.join().unwrap());
        }
        if total.is_some_and(|total| scored(&process) >= total as f64) {
            break;
        }
        assert!(process.child.try_wait().unwrap().is_none(), "{}", process.log());
        assert!(at < seconds * (factor + 5), "not worked off after {at} s");
        std::thread::sleep(Duration::from_millis(500));
    }
    let items = total.expect("the loop ends with it");
    wait_for("no lag", 30, || (lag(&process) == 0).then_some(()));
    let recovery_seconds = flood.elapsed().as_secs_f64() - seconds as f64;
    course.push((flood.elapsed().as_secs(), memory_mib(&process, "VmRSS"), 0));
    for event in ["revoked", "lost"] {
        assert_eq!(process.metric(&format!("bellwether_rebalances_total{{event=\"{event}\",role=\"classifier\"}}")), 0.0);
    }
    assert_eq!(process.metric("bellwether_partitions_paused{role=\"classifier\"}"), 0.0);
    assert!(
        most_paused_partitions > 0 && memory_most_mib < memory_before_mib + BOUND_MIB,
        "{most_paused_partitions}, {memory_most_mib} MiB"
    );
    finish(vec![process]);
    let mut ids: Vec<String> = read_topic(&site.brokers, "flood.scored").into_iter().map(|record| record.key.unwrap()).collect();
    let count = ids.len() as u64;
    ids.sort();
    ids.dedup();
    assert_eq!((count, ids.len() as u64), (items, items), "each item once");
    Backpressure {
        model_items_per_second: model_pace,
        produced_items_per_second: produced_pace,
        seconds,
        items,
        memory_before_mib,
        memory_most_mib,
        bound_mib: memory_before_mib + BOUND_MIB,
        most_lag_records,
        most_paused_partitions,
        recovery_seconds,
        course,
    }
}

/// Sends so many more items of the demo's news, each with an id of its own.
fn send(producer: &ThreadedProducer<DefaultProducerContext>, sent: &mut u64, more: u64) {
    static NEWS: std::sync::LazyLock<Vec<Value>> = std::sync::LazyLock::new(|| {
        let text = std::fs::read_to_string(root().join("config/scenario/bank-run.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    });
    for _ in 0..more {
        let mut item = NEWS[*sent as usize % NEWS.len()].clone();
        item["id"] = format!("flood-{sent}").into();
        item["published_at"] = EventTime::now().0.into();
        let payload = item.to_string();
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to("flood.raw").partition((*sent % 3) as i32).payload(payload.as_bytes());
        while let Err((error, back)) = producer.send(record) {
            assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
            std::thread::sleep(Duration::from_millis(5));
            record = back;
        }
        *sent += 1;
    }
}
