//! An idempotent producer that knows what was acknowledged. Delivery is in order per partition, each record once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer};

use super::{Error, client_config};
use crate::config::KafkaConfig;
use crate::metrics::Metrics;
use crate::news::EventTime;

/// How long a full local queue may stand still before it is an error: the brokers take nothing.
const QUEUE_WAIT: Duration = Duration::from_secs(300);

/// One record to be published. Without `partition` the key decides, as with every Kafka client (murmur2).
#[derive(Default)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub payload: &'a [u8],
    /// Kafka timestamp; `None`: now.
    pub time: Option<EventTime>,
    pub headers: Vec<(&'static str, String)>,
    /// Observe the time from this Kafka timestamp to the acknowledgement, as this stage.
    pub delay_since: Option<(&'static str, EventTime)>,
}

struct Context {
    role: &'static str,
    metrics: Arc<Metrics>,
    failed: AtomicU64,
    cause: Mutex<Option<String>>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.kafka_errors.with_label_values(&[self.role]).inc();
        tracing::warn!(role = self.role, %error, reason, "Kafka client error; it retries by itself");
    }
}

type Delay = Box<Option<(&'static str, EventTime)>>;

impl ProducerContext for Context {
    type DeliveryOpaque = Delay;

    fn delivery(&self, result: &DeliveryResult<'_>, delay: Delay) {
        match result {
            Ok(_) => {
                if let Some((stage, since)) = *delay {
                    let seconds = (EventTime::now().0 - since.0) as f64 / 1e3;
                    self.metrics.delay.with_label_values(&[stage]).observe(seconds.max(0.0));
                }
            }
            Err((error, message)) => {
                self.failed.fetch_add(1, Ordering::SeqCst);
                let cause = format!("{}: {error}", message.topic());
                self.cause.lock().expect("no holder of this lock panics").get_or_insert(cause);
            }
        }
    }
}

pub struct Publisher {
    producer: ThreadedProducer<Context, NoCustomPartitioner>,
}

impl Publisher {
    /// # Errors
    /// [`Error::Client`] where the client's properties are not valid.
    pub fn new(config: &KafkaConfig, role: &'static str, max_bytes: usize, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let mut client = client_config(config);
        let defaults = [("linger.ms", "5"), ("compression.type", "lz4"), ("partitioner", "murmur2_random")];
        for (key, value) in defaults.into_iter().filter(|(key, _)| !config.properties.contains_key(*key)) {
            client.set(key, value);
        }
        client.set("enable.idempotence", "true").set("acks", "all");
        if !config.properties.contains_key("message.max.bytes") {
            client.set("message.max.bytes", max_bytes.to_string());
        }
        let context = Context { role, metrics, failed: AtomicU64::new(0), cause: Mutex::new(None) };
        Ok(Self { producer: client.create_with_context(context)? })
    }

    /// Queues a record; waits while the local queue is full.
    ///
    /// # Errors
    /// [`Error::Publish`] where the client refuses the record or the queue stands still.
    pub fn send(&self, outgoing: Outgoing<'_>) -> Result<(), Error> {
        let mut record: BaseRecord<'_, [u8], [u8], Delay> =
            BaseRecord::with_opaque_to(outgoing.topic, Box::new(outgoing.delay_since)).payload(outgoing.payload);
        if let Some(key) = outgoing.key {
            record = record.key(key);
        }
        if let Some(partition) = outgoing.partition {
            record = record.partition(partition);
        }
        if let Some(time) = outgoing.time {
            record = record.timestamp(time.0);
        }
        if !outgoing.headers.is_empty() {
            let insert = |headers: OwnedHeaders, (key, value): &(&'static str, String)| headers.insert(Header { key, value: Some(value) });
            record = record.headers(outgoing.headers.iter().fold(OwnedHeaders::new(), insert));
        }
        let pause = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if waited < QUEUE_WAIT => {
                    record = back;
                    std::thread::sleep(pause);
                    waited += pause;
                }
                Err((error, _)) => return Err(Error::Publish { lost: 1, cause: format!("{}: {error}", outgoing.topic) }),
            }
        }
    }

    /// Waits until every queued record is acknowledged or has failed.
    ///
    /// # Errors
    /// [`Error::Publish`] if any record since the last call failed, or some are still unanswered after `timeout`.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        let flushed = self.producer.flush(timeout);
        let context = self.producer.context();
        let lost = context.failed.swap(0, Ordering::SeqCst);
        let cause = context.cause.lock().expect("no holder of this lock panics").take();
        if lost > 0 {
            return Err(Error::Publish { lost, cause: cause.unwrap_or_default() });
        }
        flushed.map_err(|error| Error::Publish { lost: self.producer.in_flight_count() as u64, cause: error.to_string() })
    }
}
