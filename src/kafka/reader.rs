//! Reads a topic from its beginning to where it ends now, outside any consumer group.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Error, Quiet, client_config};
use crate::config::KafkaConfig;
use crate::news::EventTime;

/// Calls `each` for every record of the partitions between their beginning (or the first record at `since`) and their
/// present end. Gives how many there were.
///
/// The present end is behind every record that was committed before the call, and such a record may stand behind one
/// of another producer's open transaction: then it waits until that has ended.
///
/// # Errors
/// [`Error::HangingTransaction`], or [`Error::Brokers`] where the brokers fail or give nothing for `patience`.
pub fn read_all(
    config: &KafkaConfig,
    topic: &str,
    partitions: &[i32],
    since: Option<EventTime>,
    patience: Duration,
    mut each: impl FnMut(i32, i64, &[u8]),
) -> Result<u64, Error> {
    let client = |isolation: &str| -> Result<BaseConsumer<Quiet>, Error> {
        let mut client = client_config(config);
        client
            .set("group.id", format!("{}-reader", config.group))
            .set("enable.auto.commit", "false")
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        Ok(client.create_with_context(Quiet::default())?)
    };
    let (consumer, uncommitted) = (client("read_committed")?, client("read_uncommitted")?);
    let mut list = TopicPartitionList::new();
    let mut open = 0;
    for &partition in partitions {
        let (low, end) = uncommitted.fetch_watermarks(topic, partition, patience)?;
        let asked = Instant::now();
        // To such a client the high watermark is where the first open transaction begins.
        while consumer.fetch_watermarks(topic, partition, patience)?.1 < end {
            if asked.elapsed() > patience {
                return Err(Error::HangingTransaction { topic: topic.to_owned(), partition, waited: patience });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if low < end {
            list.add_partition_offset(topic, partition, since.map_or(Offset::Beginning, |since| Offset::Offset(since.0.max(0))))?;
            open += 1;
        }
    }
    if open == 0 {
        return Ok(0);
    }
    if since.is_some() {
        // A partition without a record at or after the time answers `End`, which is read as nothing at once.
        list = consumer.offsets_for_times(list, patience)?;
    }
    consumer.assign(&list)?;
    let mut count = 0;
    let mut last_progress = Instant::now();
    while open > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                each(message.partition(), message.offset(), message.payload().unwrap_or_default());
                count += 1;
                last_progress = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                open -= 1;
                last_progress = Instant::now();
            }
            Some(Err(error)) if last_progress.elapsed() > patience => return Err(error.into()),
            None if last_progress.elapsed() > patience => {
                return Err(Error::Brokers(format!("reading {topic} stood still for {patience:?}")));
            }
            Some(Err(_)) | None => {}
        }
    }
    Ok(count)
}

/// Reads topics from their beginning and on, outside any consumer group, until `going` says no. For whoever watches:
/// the demo and the tests.
///
/// # Errors
/// [`Error::Client`] where the topics cannot be assigned.
pub fn follow(
    config: &KafkaConfig,
    topics: &[(&str, i32)],
    going: impl Fn() -> bool,
    mut each: impl FnMut(&str, &[u8]),
) -> Result<(), Error> {
    let mut client = client_config(config);
    client.set("group.id", format!("{}-reader", config.group)).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    let consumer: BaseConsumer<Quiet> = client.create_with_context(Quiet::default())?;
    let mut list = TopicPartitionList::new();
    for (topic, partitions) in topics {
        for partition in 0..*partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
    }
    consumer.assign(&list)?;
    while going() {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            each(message.topic(), message.payload().unwrap_or_default());
        }
    }
    Ok(())
}
