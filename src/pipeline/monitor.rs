//! One generation of the monitor's shell: observations in, panes and alerts out, offsets with checkpoints committed.
//!
//! What is computed lives in [`super::partition`]; here is reading, restoring, publishing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Error;
use super::classifier::Parts;
use super::partition::{Checkpoint, Counted, Output, PartitionMonitor};
use crate::config::Start;
use crate::decode::{Reason, Rejection};
use crate::detect::AlertRecord;
use crate::kafka::consumer::{Offsets, Record, Source, SourceEvent};
use crate::kafka::delivery::Delivery;
use crate::kafka::producer::Outgoing;
use crate::kafka::reader::read_all;
use crate::kafka::topics::{max_record_bytes, partition_count};
use crate::news::{EventTime, Observation, Subject};
use crate::window::PaneRecord;

pub const ROLE: &str = "monitor";
/// How long the brokers may be silent during a restore.
const RESTORE_PATIENCE: Duration = Duration::from_secs(60);

struct Monitor {
    parts: Parts,
    delivery: Delivery,
    partitions: BTreeMap<i32, PartitionMonitor>,
    committed: BTreeMap<i32, (i64, Checkpoint)>,
    committed_at: Instant,
}

/// Runs until `stop`, then publishes and commits what was read.
///
/// # Errors
/// The first thing that makes going on unsafe: nothing after it is committed.
pub fn run(parts: Parts, stop: CancellationToken) -> Result<(), Error> {
    let config = &parts.config.kafka;
    // A new group reads the whole log: which alerts there are must not depend on when it was started.
    let source = Source::start(config, ROLE, &config.topics.observations, Start::Earliest, parts.metrics.clone(), stop)?;
    let largest = max_record_bytes(&parts.config);
    let mut monitor = Monitor {
        delivery: Delivery::start(config, ROLE, largest, parts.metrics.clone(), source.committer())?,
        partitions: BTreeMap::new(),
        committed: BTreeMap::new(),
        committed_at: Instant::now(),
        parts,
    };
    let interval = monitor.parts.config.kafka.commit_interval.duration();
    loop {
        match source.next(interval) {
            Some(SourceEvent::Batch { records, .. }) => {
                monitor.parts.metrics.records.with_label_values(&[ROLE]).inc_by(records.len() as u64);
                for record in records {
                    monitor.observe(&record)?;
                }
            }
            Some(SourceEvent::Assigned(partitions)) => {
                if partitions.iter().any(|&partition| partition >= monitor.parts.partitions.observations) {
                    return Err(crate::kafka::Error::Repartitioned(monitor.parts.config.kafka.topics.observations.clone()).into());
                }
                monitor.parts.board.monitor_restoring(&partitions);
                monitor.restore(&partitions)?;
                monitor.parts.board.monitor_restored(&partitions);
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
        if monitor.committed_at.elapsed() >= interval {
            monitor.commit()?;
        }
    }
}

impl Monitor {
    fn forget(&mut self, partitions: &[i32]) {
        self.partitions.retain(|partition, _| !partitions.contains(partition));
        self.committed.retain(|partition, _| !partitions.contains(partition));
        self.parts.board.monitor_revoked(partitions);
    }

    fn observe(&mut self, record: &Record) -> Result<(), Error> {
        // A record of a partition that was revoked in the same poll belongs to its next owner.
        let Some(partition) = self.partitions.get_mut(&record.partition) else { return Ok(()) };
        let observation: Observation = match serde_json::from_slice(&record.payload) {
            Ok(observation) => observation,
            Err(error) => {
                let detail = format!("not an observation: line {}, column {}", error.line(), error.column());
                let rejection = Rejection { reason: Reason::InvalidJson, detail };
                let topics = &self.parts.config.kafka.topics;
                super::publish_dead(&self.delivery, topics, &topics.observations, record, &rejection)?;
                self.parts.metrics.dead_letters.with_label_values(&[rejection.reason.as_str()]).inc();
                return Ok(());
            }
        };
        let started = Instant::now();
        let (counted, outputs) = partition.observe(&observation, record.offset);
        let watermark = partition.watermark();
        if let Some(counted) = counted {
            let outcome = match counted {
                Counted::Yes => "counted",
                Counted::Late => "late",
                Counted::Duplicate => "duplicate",
            };
            self.parts.metrics.observations.with_label_values(&[outcome]).inc();
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

    fn publish(&self, record: &Record, outputs: Vec<Output>) -> Result<(), Error> {
        let (metrics, topics) = (&self.parts.metrics, &self.parts.config.kafka.topics);
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
                Output::Alert(alert) => {
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

    /// Reads back what was published for these partitions: promise 3, outputs are the state.
    fn restore(&mut self, partitions: &[i32]) -> Result<(), Error> {
        let started = Instant::now();
        let config = self.parts.config.clone();
        let mut checkpoints: BTreeMap<i32, (i64, Checkpoint)> = BTreeMap::new();
        for &partition in partitions {
            match self.delivery.committed(partition, config.kafka.timeout.duration())? {
                None => {
                    let fresh = PartitionMonitor::new(config.clone(), self.parts.watchlist.clone(), 0);
                    self.partitions.insert(partition, fresh);
                }
                Some((offset, metadata)) => {
                    let group = || format!("{}-{ROLE}", config.kafka.group);
                    let checkpoint = serde_json::from_str(&metadata).map_err(|_| Error::Checkpoint { partition, group: group() })?;
                    checkpoints.insert(partition, (offset, checkpoint));
                }
            }
        }
        let horizon = PartitionMonitor::restore_horizon_ms(&config);
        let sinces: BTreeMap<i32, EventTime> =
            checkpoints.iter().map(|(&partition, (_, checkpoint))| (partition, checkpoint.closed_until.plus(-horizon))).collect();
        let Some(&since) = sinces.values().min() else { return Ok(()) };
        let mut panes: BTreeMap<i32, BTreeMap<(EventTime, String), PaneRecord>> = BTreeMap::new();
        let (topics, read): (_, Vec<i32>) = (&config.kafka.topics, checkpoints.keys().copied().collect());
        read_all(&config.kafka, &topics.windows, &read, Some(since), RESTORE_PATIENCE, |partition, _, payload| {
            if let Ok(pane) = serde_json::from_slice::<PaneRecord>(payload)
                && pane.pane_start >= sinces[&partition]
            {
                // A pane published again overwrites itself.
                panes.entry(partition).or_default().insert((pane.pane_start, pane.subject.0.clone()), pane);
            }
        })?;
        let owners = panes.iter().flat_map(|(&partition, panes)| panes.keys().map(move |(_, subject)| (subject.as_str(), partition)));
        let mut alerts = self.published_alerts(&owners.collect())?;
        for (partition, (offset, checkpoint)) in checkpoints {
            let panes: Vec<PaneRecord> = panes.remove(&partition).unwrap_or_default().into_values().collect();
            let alerts = alerts.remove(&partition).unwrap_or_default();
            let restored = PartitionMonitor::restore(config.clone(), self.parts.watchlist.clone(), &checkpoint, &panes, &alerts, offset);
            self.partitions.insert(partition, restored);
            self.parts.metrics.restored_panes.inc_by(panes.len() as u64);
            let (panes, seconds) = (panes.len(), started.elapsed().as_secs_f64());
            tracing::info!(partition, panes, replay_from = offset, until = %checkpoint.closed_until, seconds, "state restored");
            for alert in alerts {
                self.parts.board.alert(alert);
            }
        }
        self.parts.metrics.restore_duration.set(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Transitions of these subjects by their partition, in the order of their publication.
    fn published_alerts(&self, owners: &BTreeMap<&str, i32>) -> Result<BTreeMap<i32, Vec<AlertRecord>>, Error> {
        let config = &self.parts.config.kafka;
        let count = partition_count(config, &config.topics.alerts)?;
        let mut alerts: BTreeMap<(EventTime, String, u32), (i32, AlertRecord)> = BTreeMap::new();
        let all: Vec<i32> = (0..count).collect();
        read_all(config, &config.topics.alerts, &all, None, RESTORE_PATIENCE, |_, _, payload| {
            if let Ok(alert) = serde_json::from_slice::<AlertRecord>(payload)
                && let Some(&partition) = owners.get(alert.subject.as_str())
            {
                alerts.insert((alert.at, alert.id.clone(), alert.sequence), (partition, alert));
            }
        })?;
        let mut by_partition: BTreeMap<i32, Vec<AlertRecord>> = BTreeMap::new();
        for (partition, alert) in alerts.into_values() {
            by_partition.entry(partition).or_default().push(alert);
        }
        Ok(by_partition)
    }

    fn commit(&mut self) -> Result<(), Error> {
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
        if super::commit(&self.delivery, &mut offsets, ROLE, &self.parts)? {
            self.committed.extend(moved);
        }
        // From its end: a slow commit must not follow on every batch.
        self.committed_at = Instant::now();
        Ok(())
    }
}
