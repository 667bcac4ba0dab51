//! What a monitor leaves behind for the next one: panes of a week, observations of a day, open alerts, checkpoints.
//!
//! The last ten minutes are judged by the core itself, so all of it fits together, and the core tells what must come next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether::config::Config;
use bellwether::detect::AlertRecord;
use bellwether::enrich::Watchlist;
use bellwether::news::{EventTime, ItemObservation, Observation, Score, Sentiment, Subject, WatermarkObservation};
use bellwether::pipeline::partition::{Checkpoint, Output, PartitionMonitor};
use bellwether::window::{OpenPanes, PaneRecord, WatermarkMerge};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::BaseRecord;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Acknowledged, Refusals, Site, all_acknowledged, wait_for};

/// A rule with a window of a day, so that a day of observations must be read again for its evidence.
pub const RULES: &str = "
[window]
pane = '10s'
size = '10m'
hop = '30s'
[detect]
history = '7d'
min_history = '1h'
[rules.day]
group_by = 'topic'
condition = 'share'
window = '1d'
hop = '30s'
min_count = 20
warning = 0.6
critical = 0.9
resolve = 0.4
keep_firing_for = '2m'
cooldown = '2m'
[rules.surge]
group_by = 'topic'
condition = 'surge'
false_alarms_per_month = { warning = 0.1, critical = 0.001 }
for = '30s'
";

const PANE_MS: i64 = 10_000;
const DAY_MS: i64 = 86_400_000;
/// Items of one subject that come together.
const BURST: usize = 7;
/// 2026-11-16 00:00 UTC.
const WEEK_START: EventTime = EventTime(1_794_787_200_000);
const WEEK_END: EventTime = EventTime(WEEK_START.0 + 7 * DAY_MS);
/// From here on the core judges.
const JUDGED_FROM: EventTime = EventTime(WEEK_END.0 - 600_000);
/// What comes after the restart ends here.
const NEXT_END: EventTime = EventTime(WEEK_END.0 + 600_000);

#[derive(Clone, Copy)]
pub struct Size {
    pub partitions: usize,
    pub subjects: usize,
    pub panes: usize,
    pub observations: usize,
}

/// One partition.
pub struct Past {
    pub windows: Vec<PaneRecord>,
    pub alerts: Vec<AlertRecord>,
    pub observations: Vec<Observation>,
    pub committed: (i64, Checkpoint),
    /// What is observed next, and what must come of it.
    pub next: Vec<Observation>,
    pub next_windows: Vec<PaneRecord>,
    pub next_alerts: Vec<AlertRecord>,
}

fn subject(number: usize) -> Subject {
    Subject(format!("topic:Topic {number}").into())
}

fn item(number: usize, subject_number: usize, at: EventTime) -> Observation {
    // One subject in a hundred has nothing but bad news.
    let sentiment = match (subject_number % 100, number % 7) {
        (13, _) | (_, 0) => Sentiment::Negative,
        (_, 1 | 2) => Sentiment::Positive,
        _ => Sentiment::Neutral,
    };
    let score = [-0.8, 0.05, 0.7][sentiment.index()];
    Observation::Item(ItemObservation {
        schema: 1,
        subject: subject(subject_number),
        id: format!("item-{number}"),
        event_time_ms: at.0,
        topic: format!("Topic {subject_number}"),
        sentiment,
        score: Score::from_f64(score),
        source: Some(format!("source-{}.example", number % 4)),
        title: Some(format!("Item {number} of the day, with a headline of an ordinary length")),
        url: Some(format!("https://source-{}.example/item-{number}", number % 4)),
        sketch: None,
        model: None,
        subjects: Vec::new(),
    })
}

/// Observations of one partition between two times at the day's pace, in order, with a watermark every ten seconds.
fn observations(size: Size, partition: usize, from: EventTime, to: EventTime) -> Vec<Observation> {
    let gap_ms = DAY_MS as f64 / (size.observations / size.partitions) as f64;
    let count = ((to.0 - from.0) as f64 / gap_ms) as usize;
    let own = size.subjects / size.partitions;
    let mut log = Vec::with_capacity(count + 9000);
    let mut said = from;
    for number in 0..count {
        let at = EventTime(from.0 + (number as f64 * gap_ms) as i64);
        while said.plus(PANE_MS) <= at {
            said = said.plus(PANE_MS);
            log.push(watermark(said));
        }
        // The items of a burst share a pane.
        let burst = number / BURST;
        log.push(item(number, (burst % own) * size.partitions + partition, at));
    }
    while said < to {
        said = said.plus(PANE_MS);
        log.push(watermark(said));
    }
    log
}

fn watermark(at: EventTime) -> Observation {
    Observation::Watermark(WatermarkObservation {
        schema: 1,
        raw_partition: 0,
        raw_partitions: 1,
        watermark_ms: Some(at.0),
        idle: false,
        market: Vec::new(),
    })
}

fn sort_out(outputs: Vec<Output>) -> (Vec<PaneRecord>, Vec<AlertRecord>) {
    let (mut panes, mut alerts) = (Vec::new(), Vec::new());
    for output in outputs {
        match output {
            Output::Pane(pane) => panes.push(pane),
            Output::Alert(alert) => alerts.push(*alert),
            Output::View(_) => {}
        }
    }
    (panes, alerts)
}

fn observe(monitor: &mut PartitionMonitor, log: &[Observation], first: usize) -> (Vec<PaneRecord>, Vec<AlertRecord>) {
    sort_out(log.iter().zip(first..).flat_map(|(record, offset)| monitor.observe(record, offset as i64).1).collect())
}

/// Panes of one partition before the day that is observed: as many as are still wanted, evenly over subjects and time.
fn earlier_panes(size: Size, partition: usize, count: usize) -> Vec<PaneRecord> {
    let own = size.subjects / size.partitions;
    let slots = (6 * DAY_MS / PANE_MS) as usize;
    let mut panes: Vec<PaneRecord> = (0..count)
        .map(|number| {
            let start = WEEK_START.plus((number * slots / count) as i64 * PANE_MS);
            let subject_number = (number % own) * size.partitions + partition;
            let negative = if subject_number % 100 == 13 { BURST as u64 } else { 1 };
            PaneRecord {
                schema: 1,
                subject: subject(subject_number),
                pane_start: start,
                pane_end: start.plus(PANE_MS),
                count: BURST as u64,
                negative,
                neutral: BURST as u64 - negative,
                positive: 0,
                score_sum: Score::from_f64(-0.8 * negative as f64),
                score_square_sum: Score::from_f64(0.64 * negative as f64),
                sources: [("source-0.example", 3), ("source-1.example", 4)].into(),
                novel_negative: negative,
                novel_sources: [("source-0.example", negative)].into(),
                members: BTreeMap::new(),
                stories: Vec::new(),
                index: Score::from_f64(-0.8 * negative as f64 / BURST as f64),
                index_weight: Score::from_f64(BURST as f64),
                buzz: None,
            }
        })
        .collect();
    panes.sort_by(|one, other| (one.pane_start, &one.subject).cmp(&(other.pane_start, &other.subject)));
    panes.dedup_by(|one, other| (one.pane_start, &one.subject) == (other.pane_start, &other.subject));
    panes
}

pub fn past(size: Size, partition: usize) -> Past {
    let config = Arc::new(Config::from_toml(RULES, &[], None).unwrap());
    let day = observations(size, partition, WEEK_END.plus(-DAY_MS), WEEK_END);
    let is_judged = |observation: &Observation| match observation {
        Observation::Item(item) => item.event_time_ms >= JUDGED_FROM.0,
        Observation::Watermark(watermark) => watermark.watermark_ms.unwrap() > JUDGED_FROM.0,
    };
    let judged = day.iter().position(is_judged).unwrap();
    let mut open = OpenPanes::new(PANE_MS);
    for observation in &day[..judged] {
        if let Observation::Item(item) = observation {
            open.count(item);
        }
    }
    let of_the_day = open.close(JUDGED_FROM);
    let wanted = (size.panes / size.partitions).saturating_sub(of_the_day.len());
    let mut windows = earlier_panes(size, partition, wanted);
    windows.extend(of_the_day);

    let mut watermarks = WatermarkMerge::default();
    let Observation::Watermark(last) = watermark(JUDGED_FROM) else { unreachable!() };
    watermarks.merge(&last);
    let before = Checkpoint {
        closed_until: JUDGED_FROM,
        position: judged as i64,
        watermarks,
        since: Some(WEEK_START),
        market: BTreeMap::new(),
        owns_market: false,
    };
    let mut monitor = PartitionMonitor::restore(config, Arc::new(Watchlist::empty()), &before, windows.clone(), &[], 0);
    let (panes, alerts) = observe(&mut monitor, &day, 0);
    windows.extend(panes);
    let committed = monitor.checkpoint().unwrap();

    let next = observations(size, partition, WEEK_END, NEXT_END);
    let (next_windows, next_alerts) = observe(&mut monitor, &next, day.len());
    Past { windows, alerts, observations: day, committed, next, next_windows, next_alerts }
}

/// Writes it all to the topics of the site, and the checkpoints to the group `bellwether-monitor`.
pub fn leave(site: &Site, pasts: &[Past]) {
    let windows = |past: &'_ Past| past.windows.iter().map(|pane| (pane.subject.to_string(), json(pane))).collect::<Vec<_>>();
    fill(&site.brokers, "sentiment.windows", pasts.iter().map(windows));
    fill(&site.brokers, "news.observations", pasts.iter().map(|past| past.observations.iter().map(keyed)));
    // A compacted topic takes no record without a key.
    fill(&site.brokers, "sentiment.alerts", pasts.iter().map(|past| past.alerts.iter().map(|alert| (alert.id.clone(), json(alert)))));
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &site.brokers).set("group.id", "bellwether-monitor").create().unwrap();
    let mut list = TopicPartitionList::new();
    for (partition, past) in pasts.iter().enumerate() {
        list.add_partition_offset("news.observations", partition as i32, Offset::Offset(past.committed.0)).unwrap();
    }
    for (past, mut element) in pasts.iter().zip(list.elements()) {
        element.set_metadata(serde_json::to_string(&past.committed.1).unwrap());
    }
    // A coordinator is made with its first group.
    wait_for("the checkpoints to be committed", 60, || consumer.commit(&list, CommitMode::Sync).ok());
}

/// What is observed after the restart.
pub fn go_on(site: &Site, pasts: &[Past]) {
    fill(&site.brokers, "news.observations", pasts.iter().map(|past| past.next.iter().map(keyed)));
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

pub fn keyed(observation: &Observation) -> (String, Vec<u8>) {
    let key = match observation {
        Observation::Item(item) => item.subject.to_string(),
        Observation::Watermark(watermark) => format!("watermark:{}", watermark.raw_partition),
    };
    (key, json(observation))
}

/// Sends the records of each partition, key and value, in order, as fast as the brokers take them.
pub fn fill<Records: IntoIterator<Item = (String, Vec<u8>)>>(brokers: &str, topic: &str, partitions: impl IntoIterator<Item = Records>) {
    let producer: Acknowledged = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .create_with_context(Refusals::default())
        .unwrap();
    for (partition, records) in partitions.into_iter().enumerate() {
        for (key, payload) in records {
            let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic).partition(partition as i32).key(&key[..]).payload(&payload);
            while let Err((error, back)) = producer.send(record) {
                assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
                std::thread::sleep(Duration::from_millis(5));
                record = back;
            }
        }
    }
    all_acknowledged(&producer, topic);
}
