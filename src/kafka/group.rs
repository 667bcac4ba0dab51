//! Where a consumer group begins that has never read.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::access::Asks;
use super::{Error, Quiet, client_config};
use crate::config::KafkaConfig;

/// How long one attempt to ask what is committed may take: a client that is refused would go on asking.
const COMMITTED_ATTEMPT: Duration = Duration::from_secs(2);

/// A group that has committed nothing for a partition begins at its present end. To be called before its members join: nobody may
/// commit for others, and where there are some, they have done so.
///
/// # Errors
/// [`Error::Denied`]; [`Error::Brokers`] where they do not answer within `patience`.
pub fn begin_at_end(config: &KafkaConfig, role: &str, topic: &str, patience: Duration) -> Result<(), Error> {
    let group = format!("{}-{role}", config.group);
    let mut client = client_config(config);
    client.set("group.id", &group).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    let consumer: BaseConsumer<Quiet> = client.create_with_context(Quiet::default())?;
    let asks = Asks { operation: "Read", topic: topic.to_owned(), group, ..Asks::default() };
    let denied = |error: &KafkaError| {
        let code = error.rdkafka_error_code();
        code.and_then(|code| asks.denied(code, format!("reading what is committed: {error}")))
    };
    let began = Instant::now();
    let committed = loop {
        // Who is refused, the client says when it is polled, and gets its token then, where it logs in with one.
        while let Some(polled) = consumer.poll(Duration::ZERO) {
            if let Some(denied) = polled.err().as_ref().and_then(denied) {
                return Err(denied);
            }
        }
        let asked = consumer.fetch_metadata(Some(topic), COMMITTED_ATTEMPT).and_then(|metadata| {
            let mut all = TopicPartitionList::new();
            for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
                all.add_partition(topic, partition.id());
            }
            consumer.committed_offsets(all, COMMITTED_ATTEMPT)
        });
        match asked {
            Ok(committed) => break committed,
            Err(error) if began.elapsed() >= patience => return Err(denied(&error).unwrap_or_else(|| error.into())),
            Err(error) => {
                if let Some(denied) = denied(&error) {
                    return Err(denied);
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
    };
    let mut ends = TopicPartitionList::new();
    for committed in committed.elements_for_topic(topic) {
        if !matches!(committed.offset(), Offset::Offset(_)) {
            let (_, end) = consumer.fetch_watermarks(topic, committed.partition(), patience)?;
            ends.add_partition_offset(topic, committed.partition(), Offset::Offset(end))?;
        }
    }
    if ends.count() == 0 {
        return Ok(());
    }
    let others = [RDKafkaErrorCode::UnknownMemberId, RDKafkaErrorCode::IllegalGeneration, RDKafkaErrorCode::RebalanceInProgress];
    match consumer.commit(&ends, CommitMode::Sync) {
        Err(error) if !error.rdkafka_error_code().is_some_and(|code| others.contains(&code)) => {
            Err(denied(&error).unwrap_or_else(|| error.into()))
        }
        _ => Ok(()),
    }
}
