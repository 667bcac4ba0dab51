//! What the benches on real Kafka share: sites of their own on one broker, and how fast monitors work through a log.
#![allow(dead_code)] // Each bench uses its part.

use std::time::{Duration, Instant};

use bellwether::news::{ItemObservation, Observation, Score, Sentiment, Subject, WatermarkObservation};

use crate::common::past::{fill, keyed};
use crate::common::{Broker, Process, Site, finish, wait_for};

pub fn assigned(process: &Process) -> i32 {
    process.metric("bellwether_partitions_assigned{role=\"monitor\"}") as i32
}

pub fn cpu_seconds(process: &Process) -> f64 {
    wait_for("an answer of /metrics", 30, || Some(process.metric("process_cpu_seconds_total")).filter(|seconds| *seconds > 0.0))
}

/// A line of `/proc/PID/status`, in MiB.
pub fn memory_mib(process: &Process, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let kib = status.lines().find_map(|found| found.strip_prefix(line)?.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no {line} in {status}")) / 1024
}

/// Topics and groups of this name only, so that one broker serves many runs.
pub fn site(broker: &Broker, name: &str, partitions: i32, kafka: &str, properties: &str, rest: &str) -> Site {
    let topics =
        ["raw", "scored", "observations", "windows", "alerts", "dead"].map(|topic| format!("{topic} = '{name}.{topic}'\n")).concat();
    let site = Site::new(
        broker,
        &format!(
            "[kafka]\ngroup = '{name}'\n{kafka}\n[kafka.topics]\n{topics}[kafka.properties]\n{properties}\n[explain]\nheadlines = 0\n{rest}"
        ),
    );
    let created = site.command(&["topics", "create"]).env("BELLWETHER_KAFKA__CREATE__PARTITIONS", partitions.to_string()).output().unwrap();
    assert!(created.status.success(), "topics create: {}", String::from_utf8_lossy(&created.stderr));
    site
}

pub const PACE_PARTITIONS: usize = 8;

/// Records a second that so many monitors work off together, and the CPU time that one costs, in microseconds.
pub fn pace(broker: &Broker, name: &str, processes: usize, records: usize, commit_interval_ms: u64) -> (f64, f64) {
    // They stand still while the topic is filled, and stay members meanwhile.
    let properties = "'session.timeout.ms' = '60000'";
    let site = site(broker, name, PACE_PARTITIONS as i32, &format!("commit_interval = '{commit_interval_ms}ms'"), properties, "");
    let mut monitors: Vec<Process> = (0..processes).map(|_| site.run("monitor")).collect();
    monitors.iter_mut().for_each(Process::wait_ready);
    let fair = (PACE_PARTITIONS / processes) as i32;
    wait_for("fair shares", 60, || monitors.iter().all(|monitor| assigned(monitor) == fair).then_some(()));
    let cpu_before: f64 = monitors.iter().map(cpu_seconds).sum();
    monitors.iter().for_each(|monitor| monitor.signal("-STOP"));
    let logs = (0..PACE_PARTITIONS).map(|partition| busy_log(partition, records / PACE_PARTITIONS));
    fill(&site.brokers, &format!("{name}.observations"), logs);
    let started = Instant::now();
    monitors.iter().for_each(|monitor| monitor.signal("-CONT"));
    let read = || monitors.iter().map(|monitor| monitor.metric("bellwether_records_total{role=\"monitor\"}")).sum::<f64>();
    while read() < records as f64 {
        assert!(started.elapsed() < Duration::from_secs(300), "{} of {records} records after 300 s", read());
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu: f64 = monitors.iter().map(cpu_seconds).sum::<f64>() - cpu_before;
    finish(monitors);
    let (a_second, micros) = (records as f64 / seconds, cpu * 1e6 / records as f64);
    println!("{name}, {commit_interval_ms} ms, {processes} process(es): {a_second:.0} records a second, {micros:.1} µs of CPU each");
    (a_second, micros)
}

/// So many records of one partition: items of 125 subjects, sixty a second of event time, a watermark every ten seconds.
pub fn busy_log(partition: usize, records: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    const START_MS: i64 = 1_794_787_200_000;
    (0..records).map(move |number| {
        let at = START_MS + number as i64 * 1000 / 60;
        let record = match number % 600 {
            599 => Observation::Watermark(WatermarkObservation {
                schema: 1,
                raw_partition: 0,
                raw_partitions: 1,
                watermark_ms: Some(at - 5_000),
                idle: false,
                market: Vec::new(),
            }),
            _ => {
                let sentiment = if number % 9 == 0 { Sentiment::Negative } else { Sentiment::ALL[1 + number % 2] };
                let topic = format!("Topic {}", (number % 125) * PACE_PARTITIONS + partition);
                Observation::Item(ItemObservation {
                    schema: 1,
                    subject: Subject::topic(&topic),
                    id: format!("item-{partition}-{number}"),
                    event_time_ms: at,
                    topic,
                    sentiment,
                    score: Score::from_f64([-0.8, 0.05, 0.7][sentiment.index()]),
                    source: Some(format!("source-{}.example", number % 20)),
                    title: Some(format!("Item {number}, with a headline of an ordinary length for news of its kind")),
                    url: Some(format!("https://source-{}.example/item-{number}", number % 20)),
                    sketch: None,
                    model: None,
                    subjects: Vec::new(),
                })
            }
        };
        keyed(&record)
    })
}
