//! A stream of observations in real time, and a subscriber that knows when it has seen what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bellwether::news::{EventTime, ItemObservation, Observation, Score, Sentiment, Subject, WatermarkObservation};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::common::wait_for;

/// Short panes, so that something is published all the time.
pub const RULES: &str = "
[window]
pane = '200ms'
size = '2s'
hop = '200ms'
[rules.level]
group_by = 'topic'
condition = 'level'
warning = -0.9
critical = -0.95
resolve = -0.5
";
const TICK: Duration = Duration::from_millis(50);

pub fn producer(brokers: &str) -> ThreadedProducer<DefaultProducerContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("linger.ms", "1").create().unwrap()
}

/// Writes five items and a watermark to every partition, twenty times a second, until it is dropped.
pub struct Stream {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    pub fn start(brokers: &str, topic: &str, partitions: i32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, producer, topic) = (stop.clone(), producer(brokers), topic.to_owned());
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::SeqCst) {
                let began = Instant::now();
                for partition in 0..partitions {
                    for record in tick(partition, &mut number) {
                        let payload = serde_json::to_vec(&record).unwrap();
                        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic).partition(partition).payload(&payload);
                        producer.send(record).map_err(|(error, _)| error).unwrap();
                    }
                }
                std::thread::sleep(TICK.saturating_sub(began.elapsed()));
            }
            producer.flush(Duration::from_secs(60)).unwrap();
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn tick(partition: i32, number: &mut u64) -> Vec<Observation> {
    let now = EventTime::now();
    let item = |number: u64| {
        Observation::Item(ItemObservation {
            schema: 1,
            subject: Subject(format!("topic:Topic {}", partition + 8 * (number % 4) as i32).into()),
            id: format!("live-{number}"),
            event_time_ms: now.0,
            topic: "Topic".into(),
            sentiment: Sentiment::Neutral,
            score: Score::from_f64(0.05),
            source: Some("wire.example".into()),
            title: Some("A headline of an ordinary length, as they come all day long".into()),
            url: None,
            sketch: None,
            model: None,
            subjects: Vec::new(),
        })
    };
    let mut records: Vec<Observation> = (*number..*number + 5).map(item).collect();
    *number += 5;
    let watermark_ms = Some(now.0);
    records.push(Observation::Watermark(WatermarkObservation {
        schema: 1,
        raw_partition: 0,
        raw_partitions: 1,
        watermark_ms,
        idle: false,
        market: Vec::new(),
    }));
    records
}

/// One record as a read-committed subscriber got it.
pub struct Seen {
    pub partition: i32,
    pub at: EventTime,
    pub payload: Vec<u8>,
}

/// A read-committed subscriber of one topic, from its end on.
pub struct Subscriber(BaseConsumer);

impl Subscriber {
    pub fn start(brokers: &str, topic: &str, partitions: i32) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "subscriber")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "20")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            // A topic made just now may have no leader yet.
            let end = || consumer.fetch_watermarks(topic, partition, Duration::from_secs(20)).ok().map(|(_, end)| end);
            let end = wait_for("the end of a partition", 60, end);
            list.add_partition_offset(topic, partition, Offset::Offset(end)).unwrap();
        }
        consumer.assign(&list).unwrap();
        Self(consumer)
    }

    /// What comes until `until`, or until `enough`.
    pub fn watch(&self, until: Instant, mut enough: impl FnMut(Seen) -> bool) {
        while Instant::now() < until {
            let Some(Ok(message)) = self.0.poll(Duration::from_millis(20)) else { continue };
            let payload = message.payload().unwrap_or_default().to_vec();
            if enough(Seen { partition: message.partition(), at: EventTime::now(), payload }) {
                return;
            }
        }
    }
}
