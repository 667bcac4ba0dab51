//! The only door to `rdkafka`: a consumer that is a source of events, a producer that counts what failed, the delivery
//! that stores outputs and offsets together, topics, and an embedded broker for the demo.

mod access;
mod certificate;
pub mod consumer;
pub mod delivery;
pub mod embedded;
pub mod group;
mod inquiry;
pub mod pauses;
pub mod producer;
pub mod push;
pub mod reader;
pub mod topics;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, DefaultClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::KafkaConfig;
use crate::news::RawPlace;

/// What ends a role, or only its present generation: see [`Self::is_passing`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "kafka.brokers = {brokers:?}: no answer within {waited:?} ({cause}); are the brokers up, and are the address and kafka.properties.\"security.protocol\" right?"
    )]
    Unreachable { brokers: String, waited: Duration, cause: String },
    #[error("Kafka topic {0:?} does not exist; create it with `bellwether topics create`")]
    MissingTopic(String),
    #[error(
        "Kafka topics {one:?} ({one_count} partitions) and {two:?} ({two_count} partitions) must have the same number of partitions: \
         make one of them anew (docs/operations.md, Partitions)"
    )]
    NotCoPartitioned { one: String, one_count: i32, two: String, two_count: i32 },
    #[error("Kafka refuses: {cause}; {mend}")]
    Denied { cause: String, mend: String },
    #[error("the certificate of the broker {broker} is not believed: {fault}; {mend}")]
    Untrusted { broker: String, fault: String, mend: String },
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
            Self::MissingTopic(_) | Self::NotCoPartitioned { .. } | Self::Denied { .. } | Self::Untrusted { .. } => false,
            Self::Client(_) | Self::Create(_) => false,
        }
    }
}

impl From<rdkafka::error::KafkaError> for Error {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        let cause = error.to_string();
        let denied = error.rdkafka_error_code().and_then(|code| access::Asks::default().denied(code, cause.as_str()));
        match (denied, error) {
            (Some(denied), _) => denied,
            (None, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_)) => Self::Client(cause),
            (None, _) => Self::Brokers(cause),
        }
    }
}

/// What was told, and when. A broker that is gone, or that does not take a certificate, is missed many times a second.
struct Told<K>(Mutex<BTreeMap<K, Instant>>);

impl<K: Ord> Told<K> {
    const AGAIN_AFTER: Duration = Duration::from_secs(10);

    const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// False where it was told a moment ago.
    fn is_news(&self, what: K) -> bool {
        let mut told = self.0.lock().expect("no holder of this lock panics");
        told.retain(|_, at| at.elapsed() < Self::AGAIN_AFTER);
        match told.entry(what) {
            Entry::Vacant(place) => {
                place.insert(Instant::now());
                true
            }
            Entry::Occupied(_) => false,
        }
    }
}

/// What librdkafka says. The user's own properties go to all clients, and to some they mean nothing: that is no news.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    static FAILURES: Told<String> = Told::new();
    if facility == "FAIL" && !FAILURES.is_news(access::in_short(message).to_owned()) {
        return;
    }
    let level = if facility == "CONFWARN" && message.contains("will be ignored by this") { RDKafkaLogLevel::Debug } else { level };
    DefaultClientContext.log(level, facility, message);
}

/// The errors of a client, by code and broker.
struct Complaints(Told<(i32, String)>);

impl Default for Complaints {
    fn default() -> Self {
        Self(Told::new())
    }
}

impl Complaints {
    fn tell(&self, role: Option<&str>, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().map_or(0, |code| code as i32);
        // A reason begins with the broker that it is about, where it is about one.
        let broker = reason.split_once(": ").map_or("", |(broker, _)| broker);
        if self.0.is_news((code, broker.to_owned())) {
            tracing::warn!(role, %error, reason, "Kafka client error; it retries by itself");
        }
    }
}

/// For clients that only read or ask: the end of a partition comes as an "error" and is none.
#[derive(Default)]
struct Quiet {
    complaints: Complaints,
    heard: Mutex<Heard>,
}

/// Why such a client may have no answer.
#[derive(Default)]
struct Heard {
    refusal: Option<access::Refusal>,
    /// What the client has complained of last.
    complaint: Option<String>,
}

impl Quiet {
    fn hear(&self, complaint: &str) {
        let mut heard = self.heard.lock().expect("no holder of this lock panics");
        heard.refusal = access::Refusal::of(complaint).or_else(|| heard.refusal.take());
        heard.complaint = Some(access::in_short(complaint).to_owned());
    }
}

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Not all of them come as errors, too.
        if facility == "FAIL" {
            self.hear(message);
        }
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // A reader has the name of a group and is no member: the rights of members are not asked of it.
        let of_no_matter = [RDKafkaErrorCode::PartitionEOF, RDKafkaErrorCode::GroupAuthorizationFailed];
        if error.rdkafka_error_code().is_some_and(|code| of_no_matter.contains(&code)) {
            return;
        }
        self.complaints.tell(None, &error, reason);
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.hear(reason);
        }
    }

    fn generate_oauth_token(&self, property: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        access::token(property)
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
        // A token is read from its file each time that one is needed.
        let value = if key == access::TOKEN { Some(value.clone()) } else { crate::config::property_value(value) };
        client.set(key, value.unwrap_or_default());
    }
    client.set("bootstrap.servers", &config.brokers);
    client
}
