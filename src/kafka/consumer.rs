//! A consumer group member as a source of events, on a thread of its own.
//!
//! A full channel pauses the partitions while polling goes on, so that back-pressure never costs the group membership.
//! A revocation is an event with an acknowledgement: what the reader has begun it finishes and commits before the
//! partitions go. What it has not begun is not handed on any more. A reader that takes too long, or whose partitions are
//! lost already, cannot commit them any more: [`Committer::hold`] says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, ConsumerGroupMetadata, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::access::{self, Asks, Refusal, Refusals};
use super::{Complaints, Error, client_config};
use crate::config::{KafkaConfig, Start};
use crate::metrics::Metrics;
use crate::news::EventTime;

/// An event holds at most so many records or bytes, and the channel so many events: together some 20 MiB, whatever the
/// size of the records.
const BATCH_RECORDS: usize = 128;
const BATCH_BYTES: usize = 4 << 20;
const CHANNEL_EVENTS: usize = 4;
/// What may stand in line for room in the channel before partitions are paused. Pausing throws away what the client has
/// fetched, and it takes up to a second to go on, so it is for a reader that is too slow, not for one that is busy for a
/// moment, with a commit for example.
const WAITING_RECORDS: usize = 4096;
const WAITING_BYTES: usize = 8 << 20;
/// How long half of a full line may take. Until then nothing is polled; a reader that needs longer is too slow.
const LINE_PATIENCE: Duration = Duration::from_secs(1);
/// How long a revocation may wait for the reader to finish, or half of `max.poll.interval.ms`.
const REVOKE_DEADLINE: Duration = Duration::from_secs(30);

/// One record as it came.
#[derive(Debug, Clone)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// Kafka timestamp; now, where a record has none.
    pub time: EventTime,
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

#[derive(Debug)]
pub enum SourceEvent {
    /// Records in order, and the partitions whose end was reached behind them.
    Batch {
        records: Vec<Record>,
        ended: Vec<i32>,
    },
    Assigned(Vec<i32>),
    /// Finish, commit, forget; then answer. `lost`: they belong to another already, do not commit.
    Revoked {
        partitions: Vec<i32>,
        lost: bool,
        done: SyncSender<()>,
    },
    /// Nothing more will come: the brokers refuse, or the member is no longer one.
    Failed(Error),
    /// The last event.
    Stopped,
}

/// Offsets to commit: next offset and metadata by partition.
pub type Offsets = BTreeMap<i32, (i64, String)>;

pub struct Source {
    consumer: Arc<BaseConsumer<Context>>,
    events: Receiver<SourceEvent>,
    topic: String,
    polling: Option<JoinHandle<()>>,
}

/// The partitions whose offsets this member may commit: assigned, or revoked and not yet given up.
#[derive(Default)]
pub struct Held {
    partitions: BTreeSet<i32>,
    /// Why nothing may be committed any more.
    broken: Option<&'static str>,
}

struct Context {
    role: &'static str,
    topic: String,
    metrics: Arc<Metrics>,
    events: SyncSender<SourceEvent>,
    /// Events that wait for room in the channel. Only the polling thread touches it.
    waiting: Mutex<VecDeque<SourceEvent>>,
    assigned: Mutex<BTreeSet<i32>>,
    /// Assigned partitions whose end was reached, with nothing read since. Transactions leave marks in the log that no
    /// reader sees, so offsets alone do not say that all is read.
    at_end: Mutex<BTreeSet<i32>>,
    /// Revoked since the last poll: what was read of them before is not this member's.
    revoked: Mutex<BTreeSet<i32>>,
    /// Records that were read and not handed on.
    inside: AtomicUsize,
    held: Mutex<Held>,
    revoke_deadline: Duration,
    complaints: Complaints,
    refusals: Mutex<Refusals>,
    /// Told who refuses a connection, and why, each time that this changes.
    refused: Box<dyn Fn(Option<String>) + Send + Sync>,
    asks: Asks,
    config: KafkaConfig,
    stop: CancellationToken,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Not all of them come as errors, too.
        if facility == "FAIL" {
            self.note_refusal(message);
        }
        super::log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.get(&self.topic).map(|topic| &topic.partitions);
        let assigned = self.assigned.lock().expect("no holder of this lock panics");
        let at_end = self.at_end.lock().expect("no holder of this lock panics");
        let lag: i64 = partitions
            .into_iter()
            .flatten()
            .filter(|(partition, _)| assigned.contains(partition))
            .map(|(number, partition)| lag(partition, at_end.contains(number)))
            .sum::<i64>()
            + self.inside.load(Ordering::Relaxed) as i64;
        self.metrics.consumer_lag.with_label_values(&[self.role]).set(lag);
        let outlasting =
            self.change_refusals(|refusals| refusals.outlasting(&statistics.brokers, self.config.timeout.duration(), Instant::now()));
        if let Some(refusal) = outlasting {
            self.fail(refusal.into_error(&self.config));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes as an "error" too; it is no news here.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.metrics.kafka_errors.with_label_values(&[self.role]).inc();
        self.complaints.tell(Some(self.role), &error, reason);
        self.note_refusal(reason);
    }

    fn generate_oauth_token(&self, property: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let token = access::token(property)?;
        self.change_refusals(Refusals::token_came);
        Ok(token)
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let lost = consumer.assignment_lost();
        let event = if lost { "lost" } else { "revoked" };
        self.metrics.rebalances.with_label_values(&[self.role, event]).inc();
        let partitions = self.partitions(list);
        tracing::info!(role = self.role, ?partitions, lost, "partitions revoked");
        self.set_assigned(|assigned| assigned.retain(|partition| !partitions.contains(partition)));
        if partitions.is_empty() {
            return;
        }
        self.drop_what_was_read_of(&partitions);
        if self.stop.is_cancelled() {
            // The reader drains without being asked, and must not commit these any more.
            self.give_up(&partitions, None);
            return;
        }
        if lost {
            self.give_up(
                &partitions,
                Some(
                    "its partitions were lost to another member: this process stood still, or was cut off, for too long; give it \
                     enough CPU and a steady network, or raise session.timeout.ms",
                ),
            );
        }
        let until = Instant::now() + self.revoke_deadline;
        let (done, finished) = sync_channel(1);
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        // Ahead of the records that wait: those of other partitions need not be finished for it.
        let (batches, mut events): (VecDeque<_>, VecDeque<_>) =
            waiting.drain(..).partition(|event| matches!(event, SourceEvent::Batch { .. }));
        *waiting = batches;
        drop(waiting);
        events.push_back(SourceEvent::Revoked { partitions: partitions.clone(), lost, done });
        let late = !events.into_iter().all(|event| self.hand_on(event, until))
            || finished.recv_timeout(until.saturating_duration_since(Instant::now())) == Err(RecvTimeoutError::Timeout);
        if late {
            tracing::warn!(role = self.role, deadline = ?self.revoke_deadline, "revoked partitions were not finished in time; the next owner reads their last records again");
        }
        let broken = "revoked partitions were not finished in time: the model is too slow for what it is given at once; give it more \
                      cores or a GPU, or lower model.slab_texts";
        self.give_up(&partitions, late.then_some(broken));
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                self.metrics.rebalances.with_label_values(&[self.role, "assigned"]).inc();
                let partitions = self.partitions(list);
                tracing::info!(role = self.role, ?partitions, "partitions assigned");
                self.set_assigned(|assigned| assigned.extend(partitions.iter().copied()));
                self.held.lock().expect("no holder of this lock panics").partitions.extend(partitions.iter().copied());
                self.waiting.lock().expect("no holder of this lock panics").push_back(SourceEvent::Assigned(partitions));
            }
            Rebalance::Error(error) => tracing::warn!(role = self.role, %error, "rebalance failed; the client tries again"),
            Rebalance::Revoke(_) => {}
        }
    }
}

impl Context {
    fn note_refusal(&self, complaint: &str) {
        if let Some(refusal) = Refusal::of(complaint) {
            self.change_refusals(|refusals| refusals.note(refusal));
        }
    }

    fn change_refusals<T>(&self, change: impl FnOnce(&mut Refusals) -> T) -> T {
        let mut refusals = self.refusals.lock().expect("no holder of this lock panics");
        let before = refusals.said(&self.config);
        let changed = change(&mut refusals);
        let after = refusals.said(&self.config);
        drop(refusals);
        if before != after {
            (self.refused)(after);
        }
        changed
    }

    fn fail(&self, error: Error) {
        self.waiting.lock().expect("no holder of this lock panics").push_back(SourceEvent::Failed(error));
    }

    fn partitions(&self, list: &TopicPartitionList) -> Vec<i32> {
        list.elements_for_topic(&self.topic).iter().map(|element| element.partition()).collect()
    }

    /// From now on these cannot be committed; with a reason, nothing can.
    fn give_up(&self, partitions: &[i32], broken: Option<&'static str>) {
        let mut held = self.held.lock().expect("no holder of this lock panics");
        held.partitions.retain(|partition| !partitions.contains(partition));
        held.broken = held.broken.or(broken);
    }

    fn set_assigned(&self, change: impl FnOnce(&mut BTreeSet<i32>)) {
        let mut assigned = self.assigned.lock().expect("no holder of this lock panics");
        change(&mut assigned);
        self.metrics.partitions_assigned.with_label_values(&[self.role]).set(assigned.len() as i64);
    }

    fn drop_what_was_read_of(&self, partitions: &[i32]) {
        self.revoked.lock().expect("no holder of this lock panics").extend(partitions);
        self.at_end.lock().expect("no holder of this lock panics").retain(|partition| !partitions.contains(partition));
        for event in self.waiting.lock().expect("no holder of this lock panics").iter_mut() {
            if let SourceEvent::Batch { records, ended } = event {
                let before = records.len();
                records.retain(|record| !partitions.contains(&record.partition));
                ended.retain(|partition| !partitions.contains(partition));
                self.inside.fetch_sub(before - records.len(), Ordering::Relaxed);
            }
        }
    }

    /// Takes out of one round of polling what was read before its partition was revoked.
    fn keep_what_is_held(&self, records: &mut Vec<Record>, ended: &mut Vec<i32>) {
        let revoked = std::mem::take(&mut *self.revoked.lock().expect("no holder of this lock panics"));
        if !revoked.is_empty() {
            records.retain(|record| !revoked.contains(&record.partition));
            ended.retain(|partition| !revoked.contains(partition));
        }
    }

    /// Ahead of what waits; false where there was no room in time.
    fn hand_on(&self, mut event: SourceEvent, until: Instant) -> bool {
        loop {
            match self.events.try_send(event) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return true,
                Err(TrySendError::Full(_)) if Instant::now() >= until => return false,
                Err(TrySendError::Full(back)) => event = back,
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Puts what was read behind what waits; small reads grow into one batch while the channel is full.
    fn wait_in_line(&self, mut records: Vec<Record>, mut ended: Vec<i32>) {
        if records.is_empty() && ended.is_empty() {
            return;
        }
        self.inside.fetch_add(records.len(), Ordering::Relaxed);
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        if let Some(SourceEvent::Batch { records: before, ended: ended_before }) = waiting.back_mut()
            && !is_full(before)
        {
            ended_before.retain(|partition| !records.iter().any(|record| record.partition == *partition));
            before.append(&mut records);
            ended_before.append(&mut ended);
            return;
        }
        waiting.push_back(SourceEvent::Batch { records, ended });
    }

    fn note_ends(&self, records: &[Record], ended: &[i32]) {
        let mut at_end = self.at_end.lock().expect("no holder of this lock panics");
        at_end.retain(|partition| !records.iter().any(|record| record.partition == *partition));
        at_end.extend(ended);
    }

    /// How full the line is: 1 and more are full.
    fn waiting(&self) -> f64 {
        let waiting = self.waiting.lock().expect("no holder of this lock panics");
        let (mut count, mut bytes) = (0, 0);
        for event in waiting.iter() {
            if let SourceEvent::Batch { records, .. } = event {
                count += records.len();
                bytes += size(records);
            }
        }
        f64::max(count as f64 / WAITING_RECORDS as f64, bytes as f64 / WAITING_BYTES as f64)
    }

    /// Moves waiting events into the channel as far as there is room; true when none is left.
    fn forward(&self) -> bool {
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        while let Some(event) = waiting.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    waiting.push_front(event);
                    return false;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.stop.cancel();
                    return true;
                }
            }
        }
        true
    }
}

/// Records between the read position, or the end where that was reached, and the end; librdkafka's own `consumer_lag` counts
/// from the committed offset, which trails.
fn lag(partition: &Partition, at_end: bool) -> i64 {
    match partition.app_offset.max(if at_end { partition.eof_offset } else { -1 }) {
        read if read >= 0 => (partition.ls_offset - read).max(0),
        _ => partition.consumer_lag.max(0),
    }
}

fn is_full(records: &[Record]) -> bool {
    records.len() >= BATCH_RECORDS || size(records) >= BATCH_BYTES
}

fn size(records: &[Record]) -> usize {
    records.iter().map(|record| record.payload.len()).sum()
}

impl Source {
    /// Joins the group `<kafka.group>-<role>` and reads `topic` until `stop`; the last event is [`SourceEvent::Stopped`].
    /// `refused` is told what brokers refuse a connection, and why; `None` once all take it again.
    ///
    /// # Errors
    /// [`Error::Client`] where the client's properties are not valid.
    pub fn start(
        config: &KafkaConfig,
        role: &'static str,
        topic: &str,
        start: Start,
        metrics: Arc<Metrics>,
        refused: impl Fn(Option<String>) + Send + Sync + 'static,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let group = format!("{}-{role}", config.group);
        let (sender, events) = sync_channel(CHANNEL_EVENTS);
        let context = Context {
            role,
            topic: topic.to_owned(),
            metrics,
            events: sender,
            waiting: Mutex::default(),
            assigned: Mutex::default(),
            at_end: Mutex::default(),
            revoked: Mutex::default(),
            inside: AtomicUsize::new(0),
            held: Mutex::default(),
            revoke_deadline: super::milliseconds(config, "max.poll.interval.ms")
                .map_or(REVOKE_DEADLINE, |most| REVOKE_DEADLINE.min(most / 2)),
            complaints: Complaints::default(),
            refusals: Mutex::default(),
            refused: Box::new(refused),
            asks: Asks { operation: "Read", topic: topic.to_owned(), group: group.clone(), ..Asks::default() },
            config: config.clone(),
            stop,
        };
        let reset = match start {
            Start::Earliest => "earliest",
            Start::Latest => "latest",
        };
        let mut client = client_config(config);
        let defaults = [
            ("statistics.interval.ms", "1000"),
            // Bounds the client's own buffer; the default is 64 MiB a topic.
            ("queued.max.messages.kbytes", "8192"),
            // With that buffer full the client would rest for a second.
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.wait.max.ms", "50"),
            // How long a killed process holds its partitions; heartbeats come from a thread of the client's own.
            ("session.timeout.ms", "10000"),
            // A member that loses its request for the topic's metadata, as where a broker comes back just then, joins its group
            // at the next refresh: after five minutes, by default.
            ("topic.metadata.refresh.interval.ms", "10000"),
        ];
        for (key, value) in defaults.into_iter().filter(|(key, _)| !config.properties.contains_key(*key)) {
            client.set(key, value);
        }
        client
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", reset)
            .set("partition.assignment.strategy", "cooperative-sticky");
        if !config.instance.is_empty() {
            client.set("group.instance.id", &config.instance);
        }
        context.metrics.partitions_paused.with_label_values(&[role]).set(0);
        let consumer: Arc<BaseConsumer<Context>> = Arc::new(client.create_with_context(context)?);
        consumer.subscribe(&[topic])?;
        let polled = consumer.clone();
        let polling = thread::Builder::new()
            .name(format!("{role}-source"))
            .spawn(move || poll(&polled))
            .map_err(|error| Error::Client(format!("a thread cannot be started: {error}")))?;
        Ok(Self { consumer, events, topic: topic.to_owned(), polling: Some(polling) })
    }

    /// The next event, or `None` after `timeout`.
    pub fn next(&self, timeout: Duration) -> Option<SourceEvent> {
        match self.events.recv_timeout(timeout) {
            // What was revoked meanwhile belongs to its next owner.
            Ok(SourceEvent::Batch { mut records, ended }) => {
                self.consumer.context().inside.fetch_sub(records.len(), Ordering::Relaxed);
                let assigned = self.consumer.context().assigned.lock().expect("no holder of this lock panics");
                records.retain(|record| assigned.contains(&record.partition));
                Some(SourceEvent::Batch { records, ended })
            }
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(SourceEvent::Stopped),
        }
    }

    /// A handle that commits, for the thread that knows what is finished.
    pub fn committer(&self) -> Committer {
        Committer { consumer: self.consumer.clone(), topic: self.topic.clone() }
    }
}

impl Drop for Source {
    /// Leaves the group, unless it is a static member, once the last [`Committer`] is gone, too.
    fn drop(&mut self) {
        self.consumer.context().stop.cancel();
        let Some(polling) = self.polling.take() else { return };
        // It may wait for room in the channel, or for a revocation to be answered.
        while !polling.is_finished() {
            let _ = self.events.recv_timeout(Duration::from_millis(20));
        }
        let _ = polling.join();
    }
}

/// Commits offsets of one source's partitions.
pub struct Committer {
    consumer: Arc<BaseConsumer<Context>>,
    topic: String,
}

impl Committer {
    /// Commits and waits for the answer.
    pub fn commit(&self, offsets: &Offsets) -> Result<(), Error> {
        Ok(self.consumer.commit(&self.list(offsets)?, CommitMode::Sync)?)
    }

    /// Holds the partitions of `offsets`: while the guard lives, none of them passes to another member by a revocation.
    ///
    /// # Errors
    /// [`Error::Aborted`] where some of them are not this member's any more.
    pub fn hold(&self, offsets: &Offsets) -> Result<MutexGuard<'_, Held>, Error> {
        let held = self.consumer.context().held.lock().expect("no holder of this lock panics");
        if let Some(broken) = held.broken {
            return Err(Error::Aborted(broken.into()));
        }
        match offsets.keys().find(|partition| !held.partitions.contains(partition)) {
            Some(partition) => Err(Error::Aborted(format!("partition {partition} of {} belongs to another member now", self.topic))),
            None => Ok(held),
        }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Who this member is in its group, for the broker to refuse one that no longer is.
    pub(super) fn group_metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    pub(super) fn list(&self, offsets: &Offsets) -> Result<TopicPartitionList, Error> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (&partition, (offset, _)) in offsets {
            list.add_partition(&self.topic, partition).set_offset(Offset::Offset(*offset))?;
        }
        for ((_, metadata), mut element) in offsets.values().zip(list.elements_for_topic(&self.topic)) {
            element.set_metadata(metadata);
        }
        Ok(list)
    }

    /// The committed next offset and its metadata, if any.
    pub fn committed(&self, partition: i32, timeout: Duration) -> Result<Option<(i64, String)>, Error> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        let committed = self.consumer.committed_offsets(list, timeout).map_err(|error| {
            let asks = &self.consumer.context().asks;
            let denied = error.rdkafka_error_code().and_then(|code| asks.denied(code, format!("reading what is committed: {error}")));
            denied.unwrap_or_else(|| error.into())
        })?;
        Ok(committed.elements_for_topic(&self.topic).first().and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
            _ => None,
        }))
    }
}

fn poll(consumer: &BaseConsumer<Context>) {
    let context = consumer.context();
    let mut paused = false;
    let mut full_since: Option<Instant> = None;
    while !context.stop.is_cancelled() {
        let room = context.forward();
        let waiting = context.waiting();
        full_since = match full_since {
            Some(_) if waiting <= 0.5 => None,
            None if waiting >= 1.0 => Some(Instant::now()),
            full_since => full_since,
        };
        let pause = full_since.is_some_and(|since| paused || since.elapsed() >= LINE_PATIENCE);
        if full_since.is_some() && !pause {
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        if pause != paused {
            set_paused(consumer, pause);
            paused = pause;
        }
        // With room, wait for news; without, look often whether there is some.
        let mut wait = if room { Duration::from_millis(100) } else { Duration::from_millis(2) };
        let (mut records, mut bytes, mut ended) = (Vec::new(), 0, Vec::new());
        loop {
            let polled = consumer.poll(wait);
            context.keep_what_is_held(&mut records, &mut ended);
            let Some(polled) = polled else { break };
            wait = Duration::ZERO;
            match polled {
                Ok(message) => {
                    bytes += message.payload_len();
                    ended.retain(|&partition| partition != message.partition());
                    records.push(Record {
                        partition: message.partition(),
                        offset: message.offset(),
                        time: message.timestamp().to_millis().map_or_else(EventTime::now, EventTime),
                        key: message.key().map(<[u8]>::to_vec),
                        payload: message.payload().unwrap_or_default().to_vec(),
                    });
                }
                Err(KafkaError::PartitionEOF(partition)) => ended.push(partition),
                Err(error) => {
                    if let Some(failure) = failure(&error, &context.asks) {
                        context.fail(failure);
                    }
                    // All others are counted and logged by the context, and the client tries again.
                    break;
                }
            }
            if records.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                break;
            }
        }
        if paused && !records.is_empty() {
            // Assigned after the pause: these partitions wait, too.
            set_paused(consumer, true);
        }
        context.note_ends(&records, &ended);
        // A rebalance during the poll has put its event in front: the records read in this round belong behind an assignment.
        context.wait_in_line(records, ended);
    }
    // What still waits was never handed on and is not committed: it is read again.
    let _ = context.events.send(SourceEvent::Stopped);
}

/// What an error from polling means for the member; `None`: the client goes on by itself.
fn failure(error: &KafkaError, asks: &Asks) -> Option<Error> {
    let code = error.rdkafka_error_code()?;
    let (cause, topic) = (error.to_string(), &asks.topic);
    match (error, asks.denied(code, cause.as_str())) {
        // A broker refuses a connection, which is not all of them: see `Refusals`.
        _ if matches!(code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => None,
        (_, Some(denied)) => Some(denied),
        (_, None) if matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Some(Error::Aborted(format!("{topic}: {cause}")))
        }
        (_, None) if code == RDKafkaErrorCode::FencedInstanceId => Some(Error::Fenced { id: "its kafka.instance".into(), cause }),
        (KafkaError::MessageConsumptionFatal(_), None) => Some(Error::Aborted(format!("the consumer cannot go on: {cause}"))),
        _ => None,
    }
}

fn set_paused(consumer: &BaseConsumer<Context>, pause: bool) {
    let context = consumer.context();
    let assignment = consumer.assignment();
    let result = assignment.and_then(|assignment| {
        let count = if pause { assignment.count() as i64 } else { 0 };
        context.metrics.partitions_paused.with_label_values(&[context.role]).set(count);
        if pause { consumer.pause(&assignment) } else { consumer.resume(&assignment) }
    });
    if let Err(error) = result {
        tracing::warn!(role = context.role, %error, pause, "pausing or resuming partitions failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_waits_behind_the_read_position_or_the_end_that_was_reached() {
        let partition =
            |app_offset, eof_offset, ls_offset| Partition { app_offset, eof_offset, ls_offset, consumer_lag: 7, ..Partition::default() };
        assert_eq!(lag(&partition(10, -1001, 25), false), 15);
        // The last two offsets are marks of transactions, which no reader sees.
        assert_eq!(lag(&partition(10, 12, 12), true), 0);
        // What has come since the end was reached counts, whether or not any of it was read: the partition may be paused.
        assert_eq!(lag(&partition(10, 12, 112), true), 100);
        assert_eq!(lag(&partition(-1001, 0, 50), true), 50);
        // An end that is known and not reached by the reader says nothing.
        assert_eq!(lag(&partition(10, 100, 100), false), 90);
        assert_eq!(lag(&partition(-1001, -1001, 50), false), 7, "before anything was read, from the committed offset");
    }
}
