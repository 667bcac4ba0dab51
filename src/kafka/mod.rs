//! The only door to `rdkafka`: a consumer that is a source of events, a producer that counts what failed, topics, and an
//! embedded broker for the demo.

pub mod consumer;
pub mod embedded;
pub mod producer;
pub mod reader;
pub mod topics;

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::KafkaConfig;

/// What ends a role: the brokers cannot be used as they should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("kafka.brokers = {brokers:?}: no answer within {waited:?} ({cause}); are the brokers up and is the address right?")]
    Unreachable { brokers: String, waited: Duration, cause: String },
    #[error("Kafka topic {0:?} does not exist; create it with `bellwether topics create`")]
    MissingTopic(String),
    #[error("Kafka topics {one:?} ({one_count} partitions) and {two:?} ({two_count} partitions) must have the same number of partitions")]
    NotCoPartitioned { one: String, one_count: i32, two: String, two_count: i32 },
    #[error("Kafka client: {0}")]
    Client(String),
    #[error("{lost} record(s) could not be published: {cause}; nothing was committed, they will be read again")]
    Publish { lost: u64, cause: String },
    #[error("creating Kafka topics: {0}")]
    Create(String),
}

impl From<rdkafka::error::KafkaError> for Error {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        Self::Client(error.to_string())
    }
}

/// For clients that only read or ask: the end of a partition comes as an "error" and is none.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!(%error, reason, "Kafka client error; it retries by itself");
        }
    }
}

impl ConsumerContext for Quiet {}

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
