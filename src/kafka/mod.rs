//! The only door to `rdkafka`: a consumer that is a source of events, a producer that counts what failed, the delivery
//! that stores outputs and offsets together, topics, and an embedded broker for the demo.

pub mod consumer;
pub mod delivery;
pub mod embedded;
pub mod producer;
pub mod reader;
pub mod topics;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::KafkaConfig;
use crate::news::RawPlace;

/// What ends a role, or only its present generation: see [`Self::is_passing`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("kafka.brokers = {brokers:?}: no answer within {waited:?} ({cause}); are the brokers up and is the address right?")]
    Unreachable { brokers: String, waited: Duration, cause: String },
    #[error("Kafka topic {0:?} does not exist; create it with `bellwether topics create`")]
    MissingTopic(String),
    #[error(
        "Kafka topics {one:?} ({one_count} partitions) and {two:?} ({two_count} partitions) must have the same number of partitions: \
         make one of them anew (docs/operations.md, Partitions)"
    )]
    NotCoPartitioned { one: String, one_count: i32, two: String, two_count: i32 },
    #[error("Kafka refuses: {cause}; {mend}")]
    Denied { cause: String, mend: &'static str },
    #[error("Kafka client: {0}")]
    Client(String),
    #[error("the brokers do not do what was asked: {0}")]
    Brokers(String),
    #[error(
        "{topic}, partition {partition}: a transaction has been open for {waited:?}, and nothing behind it can be read; \
         kafka-transactions.sh find-hanging shows whose it is, and abort ends it"
    )]
    HangingTransaction { topic: String, partition: i32, waited: Duration },
    #[error("{lost} record(s) could not be published: {cause}; their offsets were not committed, so they are read again")]
    Publish { lost: u64, cause: String },
    #[error("offsets could not be committed: {0}")]
    Commit(String),
    #[error("{0}; the transaction was aborted, what was in it is read again")]
    Aborted(String),
    #[error("{id:?} was fenced ({cause}): another process has the same kafka.instance; give each a name of its own")]
    Fenced { id: String, cause: String },
    #[error(
        "Kafka topic {topic:?} does not take an output of {bytes} bytes: raise its max.message.bytes \
         (`bellwether topics create --dry-run` shows how far) or lower decode.max_bytes"
    )]
    OutputTooLarge { topic: String, bytes: usize, origin: Option<RawPlace> },
    #[error("Kafka topic {0:?} has other partitions than before")]
    Repartitioned(String),
    #[error("creating Kafka topics: {0}")]
    Create(String),
}

impl Error {
    /// Whether a role may begin anew: join its group again, go on from what is committed.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Publish { .. } | Self::Commit(_) | Self::Aborted(_) | Self::Fenced { .. } | Self::OutputTooLarge { .. } => true,
            Self::Unreachable { .. } | Self::Brokers(_) | Self::HangingTransaction { .. } | Self::Repartitioned(_) => true,
            Self::MissingTopic(_) | Self::NotCoPartitioned { .. } | Self::Denied { .. } | Self::Client(_) | Self::Create(_) => false,
        }
    }
}

/// What to do about an error code that only a person with rights on the cluster can mend.
fn mend(code: RDKafkaErrorCode) -> Option<&'static str> {
    Some(match code {
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            "give this user Read on the topics it reads and Write and Describe on those it writes (docs/operations.md has the list)"
        }
        RDKafkaErrorCode::GroupAuthorizationFailed => "give this user Read on the consumer groups <kafka.group>-*",
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
            "give this user Write and Describe on the transactional ids <kafka.group>-*, or set kafka.transactions = false"
        }
        RDKafkaErrorCode::ClusterAuthorizationFailed => "give this user IdempotentWrite on the cluster",
        RDKafkaErrorCode::InvalidTransactionTimeout => {
            "lower transaction.timeout.ms in kafka.properties, or raise the brokers' transaction.max.timeout.ms"
        }
        RDKafkaErrorCode::InvalidTimestamp => {
            "set this machine's clock, or raise the topic's message.timestamp.after.max.ms (`bellwether topics create --dry-run` shows how far)"
        }
        RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::Authentication => {
            "check the user and the password in kafka.properties"
        }
        _ => return None,
    })
}

impl From<rdkafka::error::KafkaError> for Error {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        let cause = error.to_string();
        match (error.rdkafka_error_code().and_then(mend), error) {
            (Some(mend), _) => Self::Denied { cause, mend },
            (None, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_)) => Self::Client(cause),
            (None, _) => Self::Brokers(cause),
        }
    }
}

/// What librdkafka says. The user's own properties go to all clients, and to some they mean nothing: that is no news.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    let level = if facility == "CONFWARN" && message.contains("will be ignored by this") { RDKafkaLogLevel::Debug } else { level };
    DefaultClientContext.log(level, facility, message);
}

/// The errors of a client, by code and broker, and when each was told last. A broker that is gone is missed many times a second.
#[derive(Default)]
struct Complaints(Mutex<BTreeMap<(i32, String), Instant>>);

impl Complaints {
    const AGAIN_AFTER: Duration = Duration::from_secs(10);

    fn tell(&self, role: Option<&str>, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().map_or(0, |code| code as i32);
        // A reason begins with the broker that it is about, where it is about one.
        let broker = reason.split_once(": ").map_or("", |(broker, _)| broker);
        let mut told = self.0.lock().expect("no holder of this lock panics");
        told.retain(|_, at| at.elapsed() < Self::AGAIN_AFTER);
        if let Entry::Vacant(place) = told.entry((code, broker.to_owned())) {
            place.insert(Instant::now());
            tracing::warn!(role, %error, reason, "Kafka client error; it retries by itself");
        }
    }
}

/// For clients that only read or ask: the end of a partition comes as an "error" and is none.
#[derive(Default)]
struct Quiet(Complaints);

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            self.0.tell(None, &error, reason);
        }
    }
}

impl ConsumerContext for Quiet {}

/// A property of the user's that is a number of milliseconds.
fn milliseconds(config: &KafkaConfig, key: &str) -> Option<Duration> {
    let set = config.properties.get(key).and_then(|value| crate::config::property_value(value));
    set.and_then(|value| value.trim().parse().ok()).map(Duration::from_millis)
}

/// What all clients share: the brokers and the user's own properties.
fn client_config(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("client.id", "bellwether");
    for (key, value) in &config.properties {
        client.set(key, crate::config::property_value(value).unwrap_or_default());
    }
    client.set("bootstrap.servers", &config.brokers);
    client
}
