//! Reads topics from their beginning, or from a time on, to where they end now, outside any consumer group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::access::Asks;
use super::{Error, Quiet, client_config};
use crate::config::KafkaConfig;
use crate::news::EventTime;

/// Two clients that read one topic after the other. To connect takes longer than to read a little.
pub struct Reader {
    committed: BaseConsumer<Quiet>,
    uncommitted: BaseConsumer<Quiet>,
    group: String,
    patience: Duration,
    stop: CancellationToken,
}

/// One record on its way through [`Reader::read`].
pub struct Passing<'a> {
    pub partition: i32,
    pub offset: i64,
    /// Kafka timestamp; now, where a record has none.
    pub time: EventTime,
    pub payload: &'a [u8],
    /// Its place among those that are read, from 1.
    pub count: u64,
    /// At most so many come; where transactions have left marks in the log, fewer.
    pub at_most: u64,
}

impl Reader {
    /// In the name of the group `<kafka.group>-<role>`, but no member of it: it needs no right on that.
    /// `patience`: how long the brokers may give nothing. `stop` ends a reading at once.
    ///
    /// # Errors
    /// [`Error::Client`] where the client's properties are not valid.
    pub fn new(config: &KafkaConfig, role: &str, patience: Duration, stop: CancellationToken) -> Result<Self, Error> {
        let group = format!("{}-{role}", config.group);
        let client = |isolation: &str| -> Result<BaseConsumer<Quiet>, Error> {
            let mut client = client_config(config);
            let defaults = [
                // An end is known only from an answer without records, which the broker holds back for so long.
                ("fetch.wait.max.ms", "10"),
                ("queued.max.messages.kbytes", "16384"),
                // With a full queue it would rest for a second.
                ("fetch.queue.backoff.ms", "5"),
            ];
            for (key, value) in defaults.into_iter().filter(|(key, _)| !config.properties.contains_key(*key)) {
                client.set(key, value);
            }
            client
                .set("group.id", &group)
                .set("enable.auto.commit", "false")
                .set("isolation.level", isolation)
                .set("enable.partition.eof", "true")
                .set("auto.offset.reset", "earliest");
            Ok(client.create_with_context(Quiet::default())?)
        };
        let (committed, uncommitted) = (client("read_committed")?, client("read_uncommitted")?);
        Ok(Self { committed, uncommitted, group, patience, stop })
    }

    /// # Errors
    /// [`Error::Brokers`] where they do not say.
    pub fn partition_count(&self, topic: &str) -> Result<i32, Error> {
        self.serve_events();
        let metadata = self.uncommitted.fetch_metadata(Some(topic), self.patience)?;
        Ok(metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len() as i32))
    }

    /// Calls `each` for every record of the partitions between their beginning (or the first record at the given time)
    /// and their present end. False when it was stopped before.
    ///
    /// The present end is behind every record that was committed before the call, and such a record may stand behind one
    /// of another producer's open transaction: then it waits until that has ended.
    ///
    /// # Errors
    /// [`Error::HangingTransaction`]; [`Error::Denied`]; [`Error::Brokers`] where the brokers fail or give nothing for the
    /// patience.
    pub fn read(&self, topic: &str, partitions: &[(i32, Option<EventTime>)], mut each: impl FnMut(Passing<'_>)) -> Result<bool, Error> {
        let Some((list, at_most)) = self.spans(topic, partitions)? else { return Ok(!self.stop.is_cancelled()) };
        let mut open: BTreeSet<i32> = list.elements_for_topic(topic).iter().map(|element| element.partition()).collect();
        self.committed.assign(&list)?;
        let mut count = 0;
        let mut last_progress = Instant::now();
        while !open.is_empty() {
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            match self.committed.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    count += 1;
                    let payload = message.payload().unwrap_or_default();
                    let time = message.timestamp().to_millis().map_or_else(EventTime::now, EventTime);
                    let (partition, offset) = (message.partition(), message.offset());
                    each(Passing { partition, offset, time, payload, count, at_most: at_most.max(count) });
                    last_progress = Instant::now();
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                    last_progress = Instant::now();
                }
                // Of a group that it is no member of.
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {}
                Some(Err(error)) => {
                    let asks = Asks { operation: "Read", topic: topic.to_owned(), group: self.group.clone(), ..Asks::default() };
                    let denied = error.rdkafka_error_code().and_then(|code| asks.denied(code, format!("reading {topic:?}: {error}")));
                    match denied {
                        Some(denied) => return Err(denied),
                        None if last_progress.elapsed() > self.patience => return Err(error.into()),
                        None => {}
                    }
                }
                None if last_progress.elapsed() > self.patience => {
                    return Err(Error::Brokers(format!("reading {topic} stood still for {:?}", self.patience)));
                }
                None => {}
            }
        }
        self.committed.assign(&TopicPartitionList::new())?;
        Ok(true)
    }

    /// A client gets its token, where it logs in with one, only when it is polled. Nothing is assigned now, so nothing is read.
    fn serve_events(&self) {
        for client in [&self.committed, &self.uncommitted] {
            while client.poll(Duration::ZERO).is_some() {}
        }
    }

    /// Where to begin in each partition that holds something, and how many offsets lie before the ends. `None`: nothing
    /// to read, or stopped.
    fn spans(&self, topic: &str, partitions: &[(i32, Option<EventTime>)]) -> Result<Option<(TopicPartitionList, u64)>, Error> {
        self.serve_events();
        let (mut list, mut times) = (TopicPartitionList::new(), TopicPartitionList::new());
        let mut ends = BTreeMap::new();
        let mut at_most = 0;
        for &(partition, since) in partitions {
            let (low, end) = self.uncommitted.fetch_watermarks(topic, partition, self.patience)?;
            let asked = Instant::now();
            // To such a client the high watermark is where the first open transaction begins.
            while self.committed.fetch_watermarks(topic, partition, self.patience)?.1 < end {
                if self.stop.is_cancelled() {
                    return Ok(None);
                }
                if asked.elapsed() > self.patience {
                    return Err(Error::HangingTransaction { topic: topic.to_owned(), partition, waited: self.patience });
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            match since {
                _ if low >= end => continue,
                Some(since) => {
                    times.add_partition_offset(topic, partition, Offset::Offset(since.0.max(0)))?;
                    ends.insert(partition, end);
                }
                None => {
                    list.add_partition_offset(topic, partition, Offset::Offset(low))?;
                    at_most += end - low;
                }
            }
        }
        if times.count() > 0 {
            // A partition without a record at or after the time answers `End`, which is read as nothing at once.
            for found in self.committed.offsets_for_times(times, self.patience)?.elements_for_topic(topic) {
                list.add_partition_offset(topic, found.partition(), found.offset())?;
                if let Offset::Offset(first) = found.offset() {
                    at_most += (ends[&found.partition()] - first).max(0);
                }
            }
        }
        Ok((list.count() > 0).then_some((list, at_most as u64)))
    }
}

/// What [`follow`] comes upon.
pub enum Followed<'a> {
    /// Without a payload it deletes its key.
    Record { key: &'a [u8], payload: &'a [u8] },
    /// All that was there at first has come.
    UpToDate,
}

/// Reads a topic from its beginning and on, outside any consumer group, until `going` says no. Brokers that go away are waited
/// for.
///
/// # Errors
/// [`Error::Client`] where the client's properties are not valid; [`Error::Denied`]; [`Error::Brokers`] where the topic is gone.
pub fn follow(
    config: &KafkaConfig,
    topic: &str,
    partitions: i32,
    going: impl Fn() -> bool,
    mut each: impl FnMut(Followed<'_>),
) -> Result<(), Error> {
    let mut client = client_config(config);
    client.set("group.id", format!("{}-reader", config.group)).set("enable.auto.commit", "false");
    client.set("isolation.level", "read_committed").set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer<Quiet> = client.create_with_context(Quiet::default())?;
    let mut list = TopicPartitionList::new();
    let mut behind: BTreeSet<i32> = (0..partitions).collect();
    for &partition in &behind {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    while going() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                each(Followed::Record { key: message.key().unwrap_or_default(), payload: message.payload().unwrap_or_default() });
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let was_last = behind.remove(&partition) && behind.is_empty();
                was_last.then(|| each(Followed::UpToDate));
            }
            Some(Err(error)) => end_of_following(topic, error)?,
            None => {}
        }
    }
    Ok(())
}

/// The client tries again by itself, but for what it will never be given.
fn end_of_following(topic: &str, error: KafkaError) -> Result<(), Error> {
    use RDKafkaErrorCode::{GroupAuthorizationFailed, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    let asks = Asks { operation: "Read", topic: topic.to_owned(), ..Asks::default() };
    match error.rdkafka_error_code() {
        // Of a group that it is no member of.
        None | Some(GroupAuthorizationFailed) => Ok(()),
        Some(UnknownTopic | UnknownTopicOrPartition | UnknownPartition) => Err(error.into()),
        Some(code) => asks.denied(code, format!("reading {topic:?}: {error}")).map_or(Ok(()), Err),
    }
}
