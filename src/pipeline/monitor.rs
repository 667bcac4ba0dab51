//! The monitor's shell: observations in, panes and alerts out, offsets with checkpoints committed.
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
use crate::kafka::consumer::{Committer, Offsets, Record, Source, SourceEvent};
use crate::kafka::producer::{Outgoing, Publisher};
use crate::kafka::reader::read_all;
use crate::kafka::topics::partition_count;
use crate::news::{EventTime, Observation};
use crate::window::PaneRecord;

pub const ROLE: &str = "monitor";
const FLUSH_TIMEOUT: Duration = Duration::from_secs(330);
/// How long the brokers may be silent during a restore.
const RESTORE_PATIENCE: Duration = Duration::from_secs(60);

struct Monitor {
    parts: Parts,
    publisher: Publisher,
    committer: Committer,
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
    let publisher = Publisher::new(config, ROLE, crate::kafka::topics::max_record_bytes(&parts.config), parts.metrics.clone())?;
    let mut monitor = Monitor {
        committer: source.committer(),
        publisher,
        partitions: BTreeMap::new(),
        committed: BTreeMap::new(),
        committed_at: Instant::now(),
        parts,
    };
    let interval = monitor.parts.config.kafka.commit_interval.duration();
    loop {
        match source.next(interval) {
            Some(SourceEvent::Batch { records, .. }) => {
                for record in records {
                    monitor.observe(&record)?;
                }
            }
            Some(SourceEvent::Assigned(partitions)) => {
                monitor.parts.board.monitor_restoring(&partitions);
                for &partition in &partitions {
                    monitor.restore(partition)?;
                }
                monitor.parts.board.monitor_restored(&partitions);
            }
            Some(SourceEvent::Revoked { partitions, lost, done }) => {
                monitor.publisher.flush(FLUSH_TIMEOUT)?;
                if !lost {
                    monitor.commit()?;
                }
                for partition in &partitions {
                    monitor.partitions.remove(partition);
                    monitor.committed.remove(partition);
                }
                monitor.parts.board.monitor_revoked(&partitions);
                let _ = done.send(());
            }
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
    fn observe(&mut self, record: &Record) -> Result<(), Error> {
        // A record of a partition that was revoked in the same poll belongs to its next owner.
        let Some(partition) = self.partitions.get_mut(&record.partition) else { return Ok(()) };
        let observation: Observation = match serde_json::from_slice(&record.payload) {
            Ok(observation) => observation,
            Err(error) => {
                let detail = format!("not an observation: line {}, column {}", error.line(), error.column());
                let rejection = Rejection { reason: Reason::InvalidJson, detail };
                let topics = &self.parts.config.kafka.topics;
                super::publish_dead(&self.publisher, topics, &topics.observations, record, &rejection)?;
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
                    self.publisher.send(Outgoing {
                        topic: &topics.windows,
                        // Beside the observations of the same partition: a restart reads back just its own.
                        partition: Some(record.partition),
                        key: Some(pane.subject.as_str().as_bytes()),
                        payload: &payload,
                        ..Outgoing::default()
                    })?;
                    metrics.panes_published.inc();
                }
                Output::Alert(alert) => {
                    let payload = super::to_json(&alert);
                    self.publisher.send(Outgoing {
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

    /// Reads back what was published for a partition: promise 3, outputs are the state.
    fn restore(&mut self, partition: i32) -> Result<(), Error> {
        let started = Instant::now();
        let config = &self.parts.config;
        let committed = self.committer.committed(partition, config.kafka.timeout.duration())?;
        let (offset, checkpoint) = match committed {
            None => {
                let fresh = PartitionMonitor::new(config.clone(), self.parts.watchlist.clone(), 0);
                self.partitions.insert(partition, fresh);
                return Ok(());
            }
            Some((offset, metadata)) => match serde_json::from_str::<Checkpoint>(&metadata) {
                Ok(checkpoint) => (offset, checkpoint),
                Err(_) => return Err(Error::Checkpoint { partition, group: format!("{}-{ROLE}", config.kafka.group) }),
            },
        };
        let since = checkpoint.closed_until.plus(-PartitionMonitor::restore_horizon_ms(config));
        let mut panes: BTreeMap<(EventTime, String), PaneRecord> = BTreeMap::new();
        let topics = &config.kafka.topics;
        read_all(&config.kafka, &topics.windows, &[partition], Some(since), RESTORE_PATIENCE, |_, _, payload| {
            if let Ok(pane) = serde_json::from_slice::<PaneRecord>(payload)
                && pane.pane_start >= since
            {
                // A pane published again overwrites itself.
                panes.insert((pane.pane_start, pane.subject.0.clone()), pane);
            }
        })?;
        let panes: Vec<PaneRecord> = panes.into_values().collect();
        let alerts = self.published_alerts(&panes)?;
        let monitor = PartitionMonitor::restore(config.clone(), self.parts.watchlist.clone(), &checkpoint, &panes, &alerts, offset);
        self.partitions.insert(partition, monitor);
        let seconds = started.elapsed().as_secs_f64();
        self.parts.metrics.restored_panes.inc_by(panes.len() as u64);
        self.parts.metrics.restore_duration.set(seconds);
        for alert in alerts {
            self.parts.board.alert(alert);
        }
        tracing::info!(partition, panes = panes.len(), replay_from = offset, until = %checkpoint.closed_until, seconds, "state restored");
        Ok(())
    }

    /// Transitions of this partition's subjects, in the order of their publication.
    fn published_alerts(&self, panes: &[PaneRecord]) -> Result<Vec<AlertRecord>, Error> {
        let config = &self.parts.config.kafka;
        let own: std::collections::BTreeSet<&str> = panes.iter().map(|pane| pane.subject.as_str()).collect();
        let count = partition_count(config, &config.topics.alerts)?;
        let mut alerts: BTreeMap<(EventTime, String, u32), AlertRecord> = BTreeMap::new();
        let all: Vec<i32> = (0..count).collect();
        read_all(config, &config.topics.alerts, &all, None, RESTORE_PATIENCE, |_, _, payload| {
            if let Ok(alert) = serde_json::from_slice::<AlertRecord>(payload)
                && own.contains(alert.subject.as_str())
            {
                alerts.insert((alert.at, alert.id.clone(), alert.sequence), alert);
            }
        })?;
        Ok(alerts.into_values().collect())
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.committed_at = Instant::now();
        self.publisher.flush(FLUSH_TIMEOUT)?;
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
        if super::commit(&self.committer, &mut offsets, ROLE, &self.parts) {
            self.committed.extend(moved);
        }
        Ok(())
    }
}
