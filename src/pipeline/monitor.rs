//! One generation of the monitor's shell: observations in, panes and alerts out, offsets with checkpoints committed.
//!
//! What is computed lives in [`super::partition`], what is read back in [`super::restore`]; here is reading and publishing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::classifier::Parts;
use super::partition::{Checkpoint, Counted, Output, PartitionMonitor};
use super::restore::{Replay, Restored, read_back};
use super::{Error, Pace};
use crate::config::Start;
use crate::decode::{Reason, Rejection};
use crate::detect::life::Transition;
use crate::http::tape::TapeItem;
use crate::kafka::consumer::{Offsets, Record, Source, SourceEvent};
use crate::kafka::delivery::Delivery;
use crate::kafka::producer::Outgoing;
use crate::kafka::topics::max_record_bytes;
use crate::news::{Observation, Subject};

pub const ROLE: &str = "monitor";

struct Monitor {
    parts: Parts,
    delivery: Delivery,
    partitions: BTreeMap<i32, PartitionMonitor>,
    /// Partitions with nothing left to be read; `None` before any were assigned.
    at_end: Option<BTreeSet<i32>>,
    committed: BTreeMap<i32, (i64, Checkpoint)>,
    pace: Pace,
    /// An alert is published and not committed: somebody waits for it.
    alerted: bool,
    replay: Replay,
    stop: CancellationToken,
}

/// Runs until `stop`, then publishes and commits what was read.
///
/// # Errors
/// The first thing that makes going on unsafe: nothing after it is committed.
pub fn run(parts: Parts, stop: CancellationToken) -> Result<(), Error> {
    let config = &parts.inputs.config.kafka;
    // A new group reads the whole log: which alerts there are must not depend on when it was started.
    let source = Source::start(
        config,
        ROLE,
        &config.topics.observations,
        Start::Earliest,
        parts.metrics.clone(),
        parts.refused(ROLE),
        stop.clone(),
    )?;
    let largest = max_record_bytes(&parts.inputs.config);
    let mut monitor = Monitor {
        delivery: Delivery::start(config, ROLE, largest, parts.metrics.clone(), source.committer(), parts.waiting(ROLE), stop.clone())?,
        partitions: BTreeMap::new(),
        at_end: None,
        committed: BTreeMap::new(),
        pace: Pace::new(parts.inputs.config.kafka.commit_interval.duration()),
        alerted: false,
        replay: Replay::new(Instant::now()),
        stop,
        parts,
    };
    let interval = monitor.parts.inputs.config.kafka.commit_interval.duration();
    loop {
        let wait = if monitor.alerted { monitor.pace.rest(true).min(interval) } else { interval };
        match source.next(wait) {
            Some(SourceEvent::Batch { records, ended }) => {
                monitor.parts.metrics.records.with_label_values(&[ROLE]).inc_by(records.len() as u64);
                let mut tape = Vec::new();
                for record in &records {
                    monitor.observe(record, &mut tape)?;
                }
                monitor.parts.board.tape(tape);
                monitor.note_ends(&records, &ended);
                monitor.replayed(&ended);
            }
            Some(SourceEvent::Assigned(partitions)) => {
                // A restore reads to the end of the alerts, and would wait for a transaction of this monitor's own.
                monitor.commit()?;
                monitor.assigned(&partitions)?;
            }
            Some(SourceEvent::Revoked { partitions, lost, done }) => {
                if lost {
                    monitor.forget(&partitions);
                }
                monitor.commit()?;
                monitor.forget(&partitions);
                let _ = done.send(());
            }
            Some(SourceEvent::Failed(error)) => return Err(error.into()),
            Some(SourceEvent::Stopped) => {
                monitor.commit()?;
                tracing::info!(role = ROLE, "drained and committed");
                return Ok(());
            }
            None => {}
        }
        if monitor.pace.rest(monitor.alerted).is_zero() {
            monitor.commit()?;
        }
    }
}

impl Monitor {
    fn forget(&mut self, partitions: &[i32]) {
        self.partitions.retain(|partition, _| !partitions.contains(partition));
        self.committed.retain(|partition, _| !partitions.contains(partition));
        self.replay.forget(partitions);
        if let Some(at_end) = &mut self.at_end {
            at_end.retain(|partition| !partitions.contains(partition));
        }
        self.parts.board.monitor_revoked(partitions);
    }

    fn note_ends(&mut self, records: &[Record], ended: &[i32]) {
        if let Some(at_end) = &mut self.at_end {
            at_end.retain(|partition| !records.iter().any(|record| record.partition == *partition));
            at_end.extend(ended.iter().filter(|partition| self.partitions.contains_key(partition)));
        }
    }

    fn observe(&mut self, record: &Record, tape: &mut Vec<TapeItem>) -> Result<(), Error> {
        // A record of a partition that was revoked in the same poll belongs to its next owner.
        let Some(partition) = self.partitions.get_mut(&record.partition) else { return Ok(()) };
        let observation: Observation = match serde_json::from_slice(&record.payload) {
            Ok(observation) => observation,
            Err(_) if record.offset < partition.live_from() => {
                partition.skip(record.offset);
                self.parts.metrics.restored_observations.inc();
                return Ok(());
            }
            Err(error) => {
                partition.skip(record.offset);
                let detail = format!("not an observation: line {}, column {}", error.line(), error.column());
                let rejection = Rejection { reason: Reason::InvalidJson, detail };
                let topics = &self.parts.inputs.config.kafka.topics;
                super::publish_dead(&self.delivery, topics, &topics.observations, record, &rejection)?;
                self.parts.metrics.dead_letters.with_label_values(&[rejection.reason.as_str()]).inc();
                return Ok(());
            }
        };
        let started = Instant::now();
        let (counted, outputs) = partition.observe(&observation, record.offset);
        let watermark = partition.watermark();
        if record.offset < partition.live_from() {
            self.parts.metrics.restored_observations.inc();
            return Ok(());
        }
        if let Some(counted) = counted {
            let outcome = match counted {
                Counted::Yes => "counted",
                Counted::Late => "late",
                Counted::Duplicate => "duplicate",
            };
            self.parts.metrics.observations.with_label_values(&[outcome]).inc();
            if let Observation::Item(item) = observation
                && !matches!(counted, Counted::Duplicate)
            {
                tape.extend(TapeItem::of(item));
            }
            return Ok(());
        }
        if let Some(watermark) = watermark {
            self.parts.board.watermark(record.partition, watermark);
        }
        if !outputs.is_empty() {
            self.publish(record, outputs)?;
            self.parts.metrics.hop_duration.observe(started.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn publish(&mut self, record: &Record, outputs: Vec<Output>) -> Result<(), Error> {
        self.alerted |= outputs.iter().any(|output| matches!(output, Output::Alert(_)));
        let (metrics, topics) = (&self.parts.metrics, &self.parts.inputs.config.kafka.topics);
        let explaining = self.parts.inputs.explainer.as_ref().map(|explainer| (explainer, explainer.deadline()));
        for output in outputs {
            match output {
                Output::Pane(pane) => {
                    let payload = super::to_json(&pane);
                    self.delivery.send(Outgoing {
                        topic: &topics.windows,
                        // Beside the observations of the same partition: a restart reads back just its own.
                        partition: Some(record.partition),
                        key: Some(pane.subject.as_str().as_bytes()),
                        payload: &payload,
                        ..Outgoing::default()
                    })?;
                    metrics.panes_published.inc();
                    if pane.subject != Subject::market_counts() {
                        metrics.negative_observations.with_label_values(&["novel"]).inc_by(pane.novel_negative);
                        metrics.negative_observations.with_label_values(&["copy"]).inc_by(pane.negative - pane.novel_negative);
                    }
                }
                Output::Alert(mut alert) => {
                    if let Some((explainer, deadline)) = explaining.filter(|_| alert.transition != Transition::Resolved) {
                        explainer.explain(&mut alert.evidence, deadline);
                    }
                    let payload = super::to_json(&alert);
                    self.delivery.send(Outgoing {
                        topic: &topics.alerts,
                        key: Some(alert.id.as_bytes()),
                        payload: &payload,
                        delay_since: Some(("alerted", record.time)),
                        ..Outgoing::default()
                    })?;
                    metrics.alert_transitions.with_label_values(&[alert.transition.as_str(), alert.severity.as_str()]).inc();
                    tracing::info!(alert = %alert.id, transition = alert.transition.as_str(), severity = alert.severity.as_str(), "alert");
                    self.parts.board.alert(*alert);
                }
                Output::View(view) => {
                    metrics.hops.inc();
                    self.parts.board.view(record.partition, view);
                }
            }
        }
        Ok(())
    }

    /// Reads back the state of these partitions; those with nothing to replay are ready.
    fn assigned(&mut self, partitions: &[i32]) -> Result<(), Error> {
        let config = self.parts.inputs.config.clone();
        if partitions.iter().any(|&partition| partition >= self.parts.partitions.observations) {
            return Err(crate::kafka::Error::Repartitioned(config.kafka.topics.observations.clone()).into());
        }
        let started = Instant::now();
        self.parts.board.monitor_restoring(partitions);
        let mut checkpoints = BTreeMap::new();
        for &partition in partitions {
            let Some((offset, metadata)) = self.delivery.committed(partition, config.kafka.timeout.duration())? else {
                self.partitions.insert(partition, PartitionMonitor::new(config.clone(), self.parts.inputs.watchlist.clone(), 0));
                continue;
            };
            let group = || format!("{}-{ROLE}", config.kafka.group);
            let checkpoint: Checkpoint = serde_json::from_str(&metadata).map_err(|_| Error::Checkpoint { partition, group: group() })?;
            checkpoints.insert(partition, (offset, checkpoint));
        }
        let Some(restored) = read_back(&self.parts, checkpoints, &self.stop)? else { return Ok(()) };
        for (partition, Restored { monitor, alerts }) in restored {
            if monitor.replay_left() > 0 {
                self.replay.begin(partition, monitor.replay_left(), started);
                self.parts.board.monitor_replaying(partition);
            }
            self.partitions.insert(partition, monitor);
            alerts.into_iter().for_each(|alert| self.parts.board.alert(alert));
        }
        let through: Vec<i32> = partitions.iter().copied().filter(|&partition| !self.replay.holds(partition)).collect();
        self.parts.board.monitor_restored(&through);
        self.at_end.get_or_insert_default();
        if self.replay.is_over() {
            self.parts.metrics.restore_duration.set(started.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// After a batch, while observations are replayed.
    fn replayed(&mut self, ended: &[i32]) {
        if self.replay.is_over() {
            return;
        }
        let left = |partition| self.partitions.get(&partition).map_or(0, PartitionMonitor::replay_left);
        let (through, took) = self.replay.went_on(&self.parts.metrics, left, ended);
        self.parts.board.monitor_restored(&through);
        if let Some(took) = took {
            self.parts.metrics.restore_duration.set(took.as_secs_f64());
        }
    }

    fn commit(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let mut offsets = Offsets::new();
        let mut moved = BTreeMap::new();
        for (&partition, monitor) in &self.partitions {
            if let Some(checkpoint) = monitor.checkpoint()
                && self.committed.get(&partition) != Some(&checkpoint)
            {
                offsets.insert(partition, (checkpoint.0, serde_json::to_string(&checkpoint.1).expect("a checkpoint has a JSON form")));
                moved.insert(partition, checkpoint);
            }
        }
        let up_to_date = self.at_end.as_ref().is_some_and(|at_end| at_end.len() == self.partitions.len());
        let stored = super::commit(&self.delivery, &offsets, up_to_date, ROLE, &self.parts)?;
        if stored {
            self.committed.extend(moved);
        }
        self.pace.ended(began, stored);
        self.alerted = false;
        Ok(())
    }
}
