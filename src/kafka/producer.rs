//! An idempotent producer that knows what was acknowledged. Delivery is in order per partition, each record once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer};

use super::access::{self, Asks};
use super::{Complaints, Error, client_config};
use crate::config::KafkaConfig;
use crate::metrics::Metrics;
use crate::news::{EventTime, RawPlace};

/// How long a full local queue may stand still before it is an error: the brokers take nothing.
const QUEUE_WAIT: Duration = Duration::from_secs(300);

/// Answers come within milliseconds; a client that waits for longer may as well sleep.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// One record to be published. Without `partition` the key decides, as with every Kafka client (murmur2).
#[derive(Default)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    /// Empty: none, which in a compacted topic deletes the key.
    pub payload: &'a [u8],
    /// Kafka timestamp; `None`: now.
    pub time: Option<EventTime>,
    pub headers: Vec<(&'static str, String)>,
    /// Observe the time from this Kafka timestamp to the acknowledgement, as this stage.
    pub delay_since: Option<(&'static str, EventTime)>,
    /// The raw record that this one came of: named when it is larger than its topic takes.
    pub origin: Option<RawPlace>,
}

pub(super) struct Context {
    role: &'static str,
    metrics: Arc<Metrics>,
    failed: AtomicU64,
    /// Of the first failure, and whether it is a refusal.
    cause: Mutex<Option<(String, Option<Error>)>>,
    /// The largest record that its topic did not take: a refusal is of a whole batch, and blames all that are in it.
    oversized: Mutex<Option<Oversized>>,
    /// The first partition that was refused a place in the transaction, in librdkafka's words.
    refused: Mutex<Option<String>>,
    complaints: Complaints,
}

struct Oversized {
    topic: String,
    bytes: usize,
    origin: Option<RawPlace>,
}

impl Context {
    fn note_failure(&self, topic: &str, error: &KafkaError, bytes: usize, origin: Option<RawPlace>) {
        self.failed.fetch_add(1, Ordering::SeqCst);
        let code = error.rdkafka_error_code();
        self.cause.lock().expect("no holder of this lock panics").get_or_insert_with(|| {
            let cause = format!("{topic}: {error}");
            let asks = Asks { operation: "Write", topic: topic.to_owned(), ..Asks::default() };
            let denied = code.and_then(|code| asks.denied(code, cause.as_str()));
            (cause, denied)
        });
        if code == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            let mut oversized = self.oversized.lock().expect("no holder of this lock panics");
            if oversized.as_ref().is_none_or(|largest| largest.bytes < bytes) {
                *oversized = Some(Oversized { topic: topic.to_owned(), bytes, origin });
            }
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, property: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        access::token(property)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // The error of the transaction does not say which topic it is about. The partitions of others are not attempted then.
        if facility == "ADDPARTS" && message.contains("authorization failed") {
            let message = access::in_short(message);
            self.refused.lock().expect("no holder of this lock panics").get_or_insert_with(|| message.to_owned());
        }
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.kafka_errors.with_label_values(&[self.role]).inc();
        self.complaints.tell(Some(self.role), &error, reason);
    }
}

/// What a delivery report needs to know of its record.
pub(super) struct Sent {
    delay_since: Option<(&'static str, EventTime)>,
    origin: Option<RawPlace>,
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        match result {
            Ok(_) => {
                if let Some((stage, since)) = sent.delay_since {
                    let seconds = (EventTime::now().0 - since.0) as f64 / 1e3;
                    self.metrics.delay.with_label_values(&[stage]).observe(seconds.max(0.0));
                }
            }
            Err((error, message)) => self.note_failure(message.topic(), error, message.payload_len(), sent.origin),
        }
    }
}

/// The longest that a transaction may stay open. A killed process holds the readers of its topics back for so long.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) fn transaction_timeout(config: &KafkaConfig) -> Duration {
    super::milliseconds(config, "transaction.timeout.ms").unwrap_or(TRANSACTION_TIMEOUT)
}

pub(super) type Client = ThreadedProducer<Context, NoCustomPartitioner>;

pub struct Publisher {
    producer: Arc<Client>,
}

impl Publisher {
    /// # Errors
    /// [`Error::Client`] where the client's properties are not valid.
    pub fn new(config: &KafkaConfig, role: &'static str, max_bytes: usize, metrics: Arc<Metrics>) -> Result<Self, Error> {
        Self::with_transactions(config, role, max_bytes, metrics, None)
    }

    /// As [`Self::new`], with a transactional id. Nothing may be sent outside a transaction then.
    pub(super) fn with_transactions(
        config: &KafkaConfig,
        role: &'static str,
        max_bytes: usize,
        metrics: Arc<Metrics>,
        transactional_id: Option<&str>,
    ) -> Result<Self, Error> {
        let mut client = client_config(config);
        if let Some(id) = transactional_id {
            client.set("transactional.id", id);
            if !config.properties.contains_key("transaction.timeout.ms") {
                client.set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
            }
        }
        let defaults = [("linger.ms", "1"), ("compression.type", "lz4"), ("partitioner", "murmur2_random")];
        for (key, value) in defaults.into_iter().filter(|(key, _)| !config.properties.contains_key(*key)) {
            client.set(key, value);
        }
        client.set("enable.idempotence", "true").set("acks", "all");
        if !config.properties.contains_key("message.max.bytes") {
            client.set("message.max.bytes", max_bytes.to_string());
        }
        let context = Context {
            role,
            metrics,
            failed: AtomicU64::new(0),
            cause: Mutex::new(None),
            oversized: Mutex::new(None),
            refused: Mutex::new(None),
            complaints: Complaints::default(),
        };
        Ok(Self { producer: Arc::new(client.create_with_context(context)?) })
    }

    /// Queues a record; waits while the local queue is full.
    ///
    /// # Errors
    /// [`Error::Publish`] where the client refuses the record or the queue stands still.
    pub fn send(&self, outgoing: Outgoing<'_>) -> Result<(), Error> {
        let sent = Sent { delay_since: outgoing.delay_since, origin: outgoing.origin };
        let mut record: BaseRecord<'_, [u8], [u8], Box<Sent>> = BaseRecord::with_opaque_to(outgoing.topic, Box::new(sent));
        if !outgoing.payload.is_empty() {
            record = record.payload(outgoing.payload);
        }
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
                Err((error, _)) => {
                    self.producer.context().note_failure(outgoing.topic, &error, outgoing.payload.len(), outgoing.origin);
                    return self.failure();
                }
            }
        }
    }

    /// Waits until every queued record is acknowledged or has failed.
    ///
    /// # Errors
    /// [`Error::OutputTooLarge`], [`Error::Denied`] or [`Error::Publish`] if any record since the last call failed, or
    /// some are still unanswered after `timeout`.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.settle();
        let flushed = self.producer.flush(timeout);
        self.failure()?;
        flushed.map_err(|error| Error::Publish { lost: self.producer.in_flight_count() as u64, cause: error.to_string() })
    }

    /// Waits a while for every queued record to be answered. The client's own flush, which is part of a commit, sleeps up to
    /// 100 ms when the last answer goes to the thread that takes delivery reports.
    pub(super) fn settle(&self) {
        let until = Instant::now() + SETTLE_LIMIT;
        while self.producer.in_flight_count() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// # Errors
    /// If a record has failed since the last call: [`Error::OutputTooLarge`], [`Error::Denied`] or [`Error::Publish`].
    pub(super) fn failure(&self) -> Result<(), Error> {
        let context = self.producer.context();
        let lost = context.failed.swap(0, Ordering::SeqCst);
        let cause = context.cause.lock().expect("no holder of this lock panics").take();
        let oversized = context.oversized.lock().expect("no holder of this lock panics").take();
        if let Some(Oversized { topic, bytes, origin }) = oversized {
            return Err(Error::OutputTooLarge { topic, bytes, origin });
        }
        match cause {
            Some((_, Some(denied))) => Err(denied),
            Some((cause, None)) => Err(Error::Publish { lost, cause }),
            None => Ok(()),
        }
    }

    /// Which partition the brokers did not take into the transaction.
    pub(super) fn refused(&self) -> Option<String> {
        self.producer.context().refused.lock().expect("no holder of this lock panics").clone()
    }

    pub(super) fn client(&self) -> &Arc<Client> {
        &self.producer
    }
}
