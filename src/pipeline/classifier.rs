//! One generation of the classifier, and its order of stages: decode ▶ mask ▶ batch and classify ▶ enrich ▶ publish ▶ commit.
//!
//! Two threads: the intake decodes and hands slabs to the model, the publisher takes the results in the order of
//! arrival. So an offset is finished when its slab is, and a commit needs no bookkeeping of holes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::inputs::Inputs;
use super::observe::{Headline, Judged, Ready, observe};
use super::unpublishable::Unpublishable;
use super::{Error, Pace};
use crate::classify::drift::{DriftMonitor, Reference};
use crate::classify::{Classify, Ticket};
use crate::config::{Config, DriftConfig};
use crate::decode::{Reason, Rejection, decode};
use crate::enrich::{Mentions, Watchlist, subjects};
use crate::http::board::Board;
use crate::kafka::consumer::{Offsets, Record, Source, SourceEvent};
use crate::kafka::delivery::Delivery;
use crate::kafka::producer::Outgoing;
use crate::kafka::topics::{Partitions, max_record_bytes};
use crate::metrics::Metrics;
use crate::news::{
    Classification, EventTime, ModelIdentity, NewsItem, Observation, RawPlace, SCHEMA_VERSION, Scored, WatermarkObservation,
};
use crate::window::{MarketTally, PartitionClock};

pub const ROLE: &str = "classifier";
/// Slabs between intake and publisher: one being classified, one ready. More would only add delay and memory.
const SLABS_IN_FLIGHT: usize = 2;
/// By less than this a clock is moved to keep it right.
const JUMP_MS: i64 = 2_000;
/// Between two warnings of Kafka timestamps that are ahead.
const AHEAD_SAID_EVERY: Duration = Duration::from_secs(60);

/// What a generation of a role works with.
#[derive(Clone)]
pub struct Parts {
    /// What is in force for a generation.
    pub inputs: Inputs,
    pub metrics: Arc<Metrics>,
    pub board: Arc<Board>,
    pub partitions: Partitions,
    /// Raw records whose outputs a topic did not take: they go to the dead letter topic.
    pub(super) unpublishable: Arc<Unpublishable>,
}

impl Parts {
    /// Shows what waits for the brokers as a trouble of the role, until its next commit.
    pub(super) fn waiting(&self, role: &'static str) -> impl Fn(&str) + Send + 'static {
        let board = self.board.clone();
        move |what| board.trouble(role, Some(format!("{role}: the brokers do not answer: {what}")))
    }

    /// Shows that brokers refuse a connection, until they take it.
    pub(super) fn refused(&self, role: &'static str) -> impl Fn(Option<String>) + Send + Sync + 'static {
        let board = self.board.clone();
        move |refusal| board.refused(role, refusal.map(|refusal| format!("{role}: {refusal}")))
    }
}

/// A decoded record, or why it could not be.
enum Decoded {
    Item { item: Box<NewsItem>, masked: BTreeMap<String, u32>, mentions: Mentions, place: RawPlace, time: EventTime },
    Rejected { record: Record, rejection: Rejection },
}

enum Step {
    Slab {
        decoded: Vec<Decoded>,
        ticket: Ticket,
    },
    /// The ends of these partitions were reached.
    Ended(Vec<i32>),
    Event(SourceEvent),
}

/// Runs until `stop`, then drains: what was begun is published and committed, the rest is left to be read again.
///
/// # Errors
/// The first thing that makes going on unsafe: nothing after it is committed.
pub fn run(parts: Parts, stop: CancellationToken) -> Result<(), Error> {
    // Only a process that has a model runs this role.
    let Some(classify) = parts.inputs.classify.clone() else { return Ok(()) };
    let config = &parts.inputs.config.kafka;
    let source = Source::start(config, ROLE, &config.topics.raw, config.start, parts.metrics.clone(), parts.refused(ROLE), stop.clone())?;
    parts.metrics.records_in_flight.set(0);
    let largest = max_record_bytes(&parts.inputs.config);
    let delivery = Delivery::start(config, ROLE, largest, parts.metrics.clone(), source.committer(), parts.waiting(ROLE), stop.clone())?;
    let stage = PublishStage {
        delivery,
        time: ProcessingTime::start(),
        clocks: BTreeMap::new(),
        assigned: false,
        tallies: BTreeMap::new(),
        offsets: BTreeMap::new(),
        finished: BTreeMap::new(),
        pace: Pace::new(parts.inputs.config.kafka.commit_interval.duration()),
        ahead_said_at: None,
        identity: Arc::new(classify.identity().clone()),
        config_version: parts.inputs.config.version().into(),
        drift: watch_drift(parts.inputs.config.drift, classify.drift_reference()),
        parts,
    };
    let (sender, receiver) = sync_channel(SLABS_IN_FLIGHT);
    let intake = Intake {
        config: stage.parts.inputs.config.clone(),
        watchlist: stage.parts.inputs.watchlist.clone(),
        metrics: stage.parts.metrics.clone(),
        unpublishable: stage.parts.unpublishable.clone(),
        classify,
        sender,
        slab: Vec::new(),
        ended: Vec::new(),
        stop: stop.clone(),
    };
    std::thread::scope(|scope| {
        // The publisher owns the receiver: when it ends, the intake's next send fails; `stop` wakes an intake that waits.
        let publishing = scope.spawn(move || {
            let result = stage.run(receiver);
            stop.cancel();
            result
        });
        intake.run(&source);
        publishing.join().unwrap_or(Err(Error::Panicked(ROLE)))
    })
}

/// Says once why drift is not watched, where it is not.
fn watch_drift(config: DriftConfig, reference: Option<&Reference>) -> Option<DriftMonitor> {
    match reference {
        _ if config.items == 0 => tracing::info!("drift is not watched: drift.items = 0"),
        None => tracing::info!("drift is not watched: the model's directory has no metrics.json with a \"reference\""),
        Some(reference) => return Some(DriftMonitor::new(reference, config)),
    }
    None
}

/// Reads events, decodes records and forms slabs.
struct Intake {
    config: Arc<Config>,
    watchlist: Arc<Watchlist>,
    metrics: Arc<Metrics>,
    unpublishable: Arc<Unpublishable>,
    classify: Arc<dyn Classify>,
    sender: SyncSender<Step>,
    slab: Vec<Record>,
    /// Partitions whose end was reached behind the slab.
    ended: Vec<i32>,
    stop: CancellationToken,
}

impl Intake {
    /// Ends with the source, or when the publisher has ended.
    fn run(mut self, source: &Source) {
        let linger = self.config.model.linger.duration();
        let mut oldest = Instant::now();
        loop {
            let wait = if self.slab.is_empty() { Duration::from_secs(1) } else { linger.saturating_sub(oldest.elapsed()) };
            let going = match source.next(wait) {
                // Not begun when the process is told to stop: not committed, so read again, and the drain stays short.
                Some(SourceEvent::Batch { .. }) if self.stop.is_cancelled() => true,
                Some(SourceEvent::Batch { records, ended }) => {
                    if self.slab.is_empty() {
                        oldest = Instant::now();
                    }
                    self.ended.retain(|partition| !records.iter().any(|record| record.partition == *partition));
                    self.ended.extend(ended);
                    self.slab.extend(records);
                    let full = self.slab.len() >= self.config.model.slab_texts;
                    !(full || self.slab.is_empty() || oldest.elapsed() >= linger) || self.flush()
                }
                Some(event) => {
                    if let SourceEvent::Revoked { partitions, .. } = &event {
                        // Not begun: left to the next owner.
                        self.slab.retain(|record| !partitions.contains(&record.partition));
                    }
                    let last = matches!(event, SourceEvent::Stopped);
                    self.flush() && self.sender.send(Step::Event(event)).is_ok() && !last
                }
                None => self.flush(),
            };
            if !going {
                return;
            }
        }
    }

    /// Hands the slab on; false when the publisher has ended.
    fn flush(&mut self) -> bool {
        while !self.slab.is_empty() {
            let rest = self.slab.split_off(self.slab.len().min(self.config.model.slab_texts));
            let records = std::mem::replace(&mut self.slab, rest);
            let decoded: Vec<Decoded> = records.into_iter().map(|record| self.decode(record)).collect();
            let texts = decoded
                .iter()
                .filter_map(|decoded| match decoded {
                    Decoded::Item { item, .. } => Some(item.text()),
                    Decoded::Rejected { .. } => None,
                })
                .collect();
            self.metrics.records_in_flight.add(decoded.len() as i64);
            let ticket = self.classify.submit(texts);
            if self.sender.send(Step::Slab { decoded, ticket }).is_err() {
                return false;
            }
        }
        let ended = std::mem::take(&mut self.ended);
        ended.is_empty() || self.sender.send(Step::Ended(ended)).is_ok()
    }

    fn decode(&self, record: Record) -> Decoded {
        let place = RawPlace { partition: record.partition, offset: record.offset };
        let decoded = match self.unpublishable.contains(place) {
            true => Err(Rejection { reason: Reason::OutputTooLarge, detail: "an output of it is larger than its topic takes".into() }),
            false => decode(&record.payload, record.time, &self.config.decode),
        };
        match decoded {
            Ok(item) => {
                let Ready { item, masked, mentions } = Ready::new(item, &self.config, &self.watchlist);
                for (kind, count) in &masked {
                    self.metrics.masked.with_label_values(&[kind]).inc_by(u64::from(*count));
                }
                Decoded::Item { item: Box::new(item), masked, mentions, place, time: record.time }
            }
            Err(rejection) => Decoded::Rejected { record, rejection },
        }
    }
}

/// Time as silence is measured in: nobody sets it, as the wall clock can be. Says once when that was.
struct ProcessingTime {
    started: Instant,
    /// What the wall clock showed at `started`, by its last reading.
    wall_at_start: EventTime,
}

impl ProcessingTime {
    fn start() -> Self {
        Self { started: Instant::now(), wall_at_start: EventTime::now() }
    }

    /// Milliseconds since the start.
    fn now(&self) -> i64 {
        self.started.elapsed().as_millis() as i64
    }

    fn compare_with_wall_clock(&mut self) {
        let wall_at_start = EventTime::now().plus(-self.now());
        let jump_ms = wall_at_start.0 - std::mem::replace(&mut self.wall_at_start, wall_at_start).0;
        if jump_ms.abs() >= JUMP_MS {
            tracing::warn!(
                role = ROLE,
                jump_ms,
                "the wall clock was set; event time goes on as before. Look after this machine's time service"
            );
        }
    }
}

/// Publishes results in order of arrival, keeps the watermarks, commits.
struct PublishStage {
    parts: Parts,
    delivery: Delivery,
    time: ProcessingTime,
    clocks: BTreeMap<i32, PartitionClock>,
    assigned: bool,
    /// What items add to the market and no watermark has said yet. It goes out in the transaction of the items.
    tallies: BTreeMap<i32, MarketTally>,
    /// Next offsets, finished and not yet committed.
    offsets: BTreeMap<i32, i64>,
    /// The last that was finished of each partition.
    finished: BTreeMap<i32, i64>,
    pace: Pace,
    /// When it was said last that Kafka timestamps are ahead of this machine's clock.
    ahead_said_at: Option<Instant>,
    identity: Arc<ModelIdentity>,
    config_version: Arc<str>,
    drift: Option<DriftMonitor>,
}

impl PublishStage {
    fn run(mut self, steps: Receiver<Step>) -> Result<(), Error> {
        let interval = self.parts.inputs.config.watermark.interval.duration();
        let tick = interval.min(self.parts.inputs.config.kafka.commit_interval.duration());
        loop {
            let wait = if self.offsets.is_empty() { tick } else { self.pace.rest(true).min(tick) };
            let next = steps.recv_timeout(wait);
            // With more in line, one commit serves several slabs.
            let idle = matches!(next, Err(RecvTimeoutError::Timeout));
            match next {
                Ok(Step::Slab { decoded, ticket }) => self.publish(decoded, ticket)?,
                Ok(Step::Event(SourceEvent::Batch { .. })) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Step::Ended(partitions)) => {
                    for partition in partitions {
                        if let Some(clock) = self.clocks.get_mut(&partition) {
                            clock.reached_end();
                        }
                    }
                }
                Ok(Step::Event(SourceEvent::Assigned(partitions))) => {
                    let (now, wall) = (self.time.now(), EventTime::now());
                    for partition in partitions {
                        if partition >= self.parts.partitions.raw {
                            return Err(crate::kafka::Error::Repartitioned(self.parts.inputs.config.kafka.topics.raw.clone()).into());
                        }
                        let committed = self.delivery.committed(partition, self.parts.inputs.config.kafka.timeout.duration())?;
                        let memory = committed.as_ref().map_or("", |(_, memory)| memory);
                        self.clocks.insert(partition, PartitionClock::resumed(memory, now, wall));
                        self.finished.extend(committed.map(|(offset, _)| (partition, offset)));
                    }
                    self.assigned = true;
                    self.parts.board.classifier_assigned();
                }
                Ok(Step::Event(SourceEvent::Revoked { partitions, lost, done })) => {
                    self.release(|partition| !lost && partitions.contains(&partition))?;
                    if lost {
                        self.offsets.retain(|partition, _| !partitions.contains(partition));
                        self.tallies.retain(|partition, _| !partitions.contains(partition));
                    }
                    self.commit()?;
                    // What could not be committed now is the next owner's to read again; a later commit would set it back.
                    for offsets in [&mut self.offsets, &mut self.finished] {
                        offsets.retain(|partition, _| !partitions.contains(partition));
                    }
                    self.clocks.retain(|partition, _| !partitions.contains(partition));
                    self.parts.unpublishable.revoked(&partitions);
                    self.tallies.retain(|partition, _| !partitions.contains(partition));
                    let _ = done.send(());
                }
                Ok(Step::Event(SourceEvent::Failed(error))) => return Err(error.into()),
                Ok(Step::Event(SourceEvent::Stopped)) | Err(RecvTimeoutError::Disconnected) => {
                    self.release(|_| true)?;
                    self.commit()?;
                    tracing::info!(role = ROLE, "drained and committed");
                    return Ok(());
                }
            }
            self.announce()?;
            if self.pace.rest(idle).is_zero() {
                self.commit()?;
            }
        }
    }

    fn publish(&mut self, decoded: Vec<Decoded>, ticket: Ticket) -> Result<(), Error> {
        let mut results = ticket.wait()?.into_iter();
        self.parts.metrics.records.with_label_values(&[ROLE]).inc_by(decoded.len() as u64);
        self.parts.metrics.records_in_flight.sub(decoded.len() as i64);
        let (now, wall) = (self.time.now(), EventTime::now());
        for decoded in decoded {
            let (place, event_time, time) = match &decoded {
                Decoded::Item { item, place, time, .. } => (*place, Some(item.published_at), *time),
                Decoded::Rejected { record, .. } => (RawPlace { partition: record.partition, offset: record.offset }, None, record.time),
            };
            match decoded {
                Decoded::Item { item, masked, mentions, place, time } => {
                    let result = results.next().ok_or(Error::Classify(crate::classify::Error::Stopped))?;
                    if let Some(drift) = &mut self.drift {
                        drift.record(&result);
                    }
                    self.publish_item(*item, masked, &mentions, place, time, result, wall)?;
                }
                Decoded::Rejected { record, rejection } => {
                    super::publish_dead(
                        &self.delivery,
                        &self.parts.inputs.config.kafka.topics,
                        &self.parts.inputs.config.kafka.topics.raw,
                        &record,
                        &rejection,
                    )?;
                    self.parts.metrics.dead_letters.with_label_values(&[rejection.reason.as_str()]).inc();
                    self.parts.metrics.items.with_label_values(&["dead"]).inc();
                }
            }
            self.warn_if_ahead(place, time, wall);
            if let Some(clock) = self.clocks.get_mut(&place.partition) {
                clock.record(event_time, time, now);
                self.finished.insert(place.partition, place.offset + 1);
                self.offsets.insert(place.partition, place.offset + 1);
            }
        }
        if let Some(drift) = &self.drift {
            self.parts.metrics.drift_items.set(drift.items() as i64);
            for (feature, index) in drift.stability_indices().into_iter().flatten() {
                self.parts.metrics.drift_psi.with_label_values(&[feature]).set(index);
            }
        }
        Ok(())
    }

    /// Such a timestamp takes event time with it, and news of correct timestamps behind it is late.
    fn warn_if_ahead(&mut self, place: RawPlace, time: EventTime, wall: EventTime) {
        let ahead_ms = time.0 - wall.0;
        if ahead_ms > self.parts.inputs.config.decode.max_ahead.ms() && self.ahead_said_at.is_none_or(|at| at.elapsed() >= AHEAD_SAID_EVERY)
        {
            self.ahead_said_at = Some(Instant::now());
            let RawPlace { partition, offset } = place;
            tracing::warn!(
                partition,
                offset,
                ahead_ms,
                "a Kafka timestamp is ahead of this machine's clock, so other news may be late: set the clock of its producer, or of this machine"
            );
        }
    }

    fn publish_item(
        &mut self,
        mut item: NewsItem,
        masked: BTreeMap<String, u32>,
        mentions: &Mentions,
        place: RawPlace,
        time: EventTime,
        result: Classification,
        scored_at: EventTime,
    ) -> Result<(), Error> {
        let metrics = &self.parts.metrics;
        let topics = &self.parts.inputs.config.kafka.topics;
        let Classification { topic, sentiment, truncated, unknown_share, .. } = result;
        let about = subjects(&topic.label, mentions);
        let pane = self.parts.inputs.config.window.pane.ms();
        self.tallies.entry(place.partition).or_default().count(item.published_at, sentiment.label, sentiment.score, pane);
        let headline = Headline::outward(&item.id, item.title.as_deref(), &self.parts.inputs.texts);
        let judged = Judged { topic: &topic.label, sentiment: sentiment.label, score: sentiment.score, model: Some(&self.identity) };
        for observation in observe(&item, &headline, &about, judged) {
            let subject = observation.subject.clone();
            let payload = super::to_json(&Observation::Item(observation));
            let key = Some(subject.as_str().as_bytes());
            // The raw record's timestamp travels on, so that every later stage can tell its delay.
            self.delivery.send(Outgoing {
                topic: &topics.observations,
                key,
                payload: &payload,
                time: Some(time),
                origin: Some(place),
                ..Outgoing::default()
            })?;
        }
        metrics.items.with_label_values(&["scored"]).inc();
        metrics.sentiment_items.with_label_values(&[sentiment.label.as_str()]).inc();
        metrics.topic_items.with_label_values(&[&topic.label]).inc();
        metrics.confidence.with_label_values(&["sentiment"]).observe(sentiment.probabilities.top());
        metrics.confidence.with_label_values(&["topic"]).observe(topic.probability);
        metrics.unknown_tokens.observe(unknown_share);
        metrics.news_age.observe((time.0 - item.published_at.0).max(0) as f64 / 1e3);
        if truncated {
            metrics.items_truncated.inc();
        }
        self.parts.inputs.texts.turn_outward(&mut item);
        let scored = Scored {
            schema: SCHEMA_VERSION,
            id: item.id,
            published_at: item.published_at,
            source: item.source,
            url: item.url,
            symbols: item.symbols,
            lang: item.lang,
            title: item.title,
            body: item.body,
            extra: item.extra,
            topic,
            sentiment,
            entities: mentions.entities.clone(),
            groups: mentions.groups.clone(),
            subjects: about,
            truncated,
            masked,
            model: self.identity.clone(),
            config_version: self.config_version.clone(),
            raw: place,
            scored_at,
        };
        let payload = super::to_json(&scored);
        self.delivery.send(Outgoing {
            topic: &topics.scored,
            key: Some(scored.id.as_bytes()),
            payload: &payload,
            time: Some(time),
            delay_since: Some(("scored", time)),
            origin: Some(place),
            ..Outgoing::default()
        })?;
        Ok(())
    }

    /// Writes the watermarks that moved into every partition of the observation log, behind the items they speak of.
    fn announce(&mut self) -> Result<(), Error> {
        self.time.compare_with_wall_clock();
        let now = self.time.now();
        let (raw, config) = (self.parts.partitions.raw, &self.parts.inputs.config);
        let moved = self.clocks.iter_mut().filter_map(|(&partition, clock)| clock.announce(partition, raw, config, now)).collect();
        self.publish_watermarks(moved)
    }

    /// Says of partitions that are given up that event time must wait for their next owner.
    fn release(&mut self, given_up: impl Fn(i32) -> bool) -> Result<(), Error> {
        let clocks = self.clocks.iter().filter(|(partition, _)| given_up(**partition));
        let records = clocks.filter_map(|(&partition, clock)| clock.release(partition, self.parts.partitions.raw)).collect();
        self.publish_watermarks(records)
    }

    /// Says what no watermark has said of the market, with the watermarks as they stand.
    fn settle(&mut self) -> Result<(), Error> {
        let raw = self.parts.partitions.raw;
        let records = self.tallies.keys().filter_map(|&partition| Some(self.clocks.get(&partition)?.restate(partition, raw))).collect();
        self.publish_watermarks(records)
    }

    fn publish_watermarks(&mut self, records: Vec<WatermarkObservation>) -> Result<(), Error> {
        for mut record in records {
            // With its offset in the transaction, whoever does not own the partition any more cannot speak for it.
            if let Some(&finished) = self.finished.get(&record.raw_partition) {
                self.offsets.entry(record.raw_partition).or_insert(finished);
            }
            let mut tally = self.tallies.remove(&record.raw_partition).unwrap_or_default();
            record.market = tally.take();
            while !tally.is_empty() {
                // What one record does not hold goes ahead of the watermark that may close it.
                let market = std::mem::replace(&mut record.market, tally.take());
                self.publish_watermark(WatermarkObservation { watermark_ms: None, idle: false, market, ..record })?;
            }
            self.publish_watermark(record)?;
        }
        Ok(())
    }

    fn publish_watermark(&self, record: WatermarkObservation) -> Result<(), Error> {
        let key = format!("watermark:{}", record.raw_partition);
        let payload = super::to_json(&Observation::Watermark(record));
        for target in 0..self.parts.partitions.observations {
            self.delivery.send(Outgoing {
                topic: &self.parts.inputs.config.kafka.topics.observations,
                partition: Some(target),
                key: Some(key.as_bytes()),
                payload: &payload,
                ..Outgoing::default()
            })?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        self.settle()?;
        let (now, wall) = (self.time.now(), EventTime::now());
        let memory = |(&partition, &offset): (&i32, &i64)| Some((partition, (offset, self.clocks.get(&partition)?.memory(now, wall))));
        let offsets: Offsets = self.offsets.iter().filter_map(memory).collect();
        let up_to_date = self.assigned && self.clocks.values().all(PartitionClock::is_at_end);
        let stored = super::commit(&self.delivery, &offsets, up_to_date, ROLE, &self.parts)?;
        if stored {
            self.offsets.clear();
            self.parts.unpublishable.committed(&offsets);
        }
        self.pace.ended(began, stored);
        Ok(())
    }
}
