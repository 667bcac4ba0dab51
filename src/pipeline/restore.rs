//! What a monitor reads back when partitions are assigned: promise 3, outputs are the state.
//!
//! First its panes and transitions, then, on the way of all observations, those that lie before the committed position.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::classifier::Parts;
use super::partition::{Checkpoint, PartitionMonitor};
use crate::config::{Config, Span};
use crate::detect::AlertRecord;
use crate::kafka::reader::Reader;
use crate::metrics::Metrics;
use crate::news::{EventTime, SCHEMA_VERSION, Score, Subject};
use crate::window::{PaneRecord, SourceCounts};

/// How long the brokers may be silent.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the log says how far a restore is.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// A partition's state as of its checkpoint, and the transitions that made it, in the order of their publication.
pub struct Restored {
    pub monitor: PartitionMonitor,
    pub alerts: Vec<AlertRecord>,
}

/// Reads back what was published for these partitions; offset and checkpoint of each. `None`: stopped before.
///
/// # Errors
/// [`Error::PaneLength`]; those of the brokers.
pub fn read_back(
    parts: &Parts,
    checkpoints: BTreeMap<i32, (i64, Checkpoint)>,
    stop: &CancellationToken,
) -> Result<Option<BTreeMap<i32, Restored>>, Error> {
    if checkpoints.is_empty() {
        return Ok(Some(BTreeMap::new()));
    }
    let started = Instant::now();
    let (config, topics) = (&parts.inputs.config, &parts.inputs.config.kafka.topics);
    let reader = Reader::new(&config.kafka, super::monitor::ROLE, PATIENCE, stop.clone())?;
    let mut pasts: BTreeMap<i32, Past> =
        checkpoints.iter().map(|(&partition, (_, checkpoint))| (partition, Past::new(config, checkpoint.closed_until))).collect();
    let spans: Vec<(i32, Option<EventTime>)> = pasts.iter().map(|(&partition, past)| (partition, Some(past.from))).collect();
    let mut progress = Progress::new("panes", started);
    let whole = reader.read(&topics.windows, &spans, |passing| {
        if let Some(past) = pasts.get_mut(&passing.partition) {
            past.take(passing.payload);
        }
        parts.metrics.restored_panes.inc();
        progress.tell(&parts.metrics, passing.count, passing.at_most);
    })?;
    if !whole {
        return Ok(None);
    }
    progress.done(&parts.metrics);
    if let Some(found) = pasts.values().find_map(|past| past.of_another_length) {
        return Err(Error::PaneLength { topic: topics.windows.clone(), found, configured: config.window.pane });
    }
    let owners: HashMap<&str, i32> =
        pasts.iter().flat_map(|(&partition, past)| past.subjects.iter().map(move |subject| (subject.as_str(), partition))).collect();
    let Some(mut alerts) = published_alerts(&reader, &topics.alerts, &owners)? else { return Ok(None) };
    let mut restored = BTreeMap::new();
    for (partition, (offset, checkpoint)) in checkpoints {
        let panes = pasts.remove(&partition).map(Past::in_order).unwrap_or_default();
        let alerts = alerts.remove(&partition).unwrap_or_default();
        let count = panes.len();
        let monitor = PartitionMonitor::restore(config.clone(), parts.inputs.watchlist.clone(), &checkpoint, panes, &alerts, offset);
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(partition, panes = count, replay_from = offset, until = %checkpoint.closed_until, seconds, "state restored");
        restored.insert(partition, Restored { monitor, alerts });
    }
    Ok(Some(restored))
}

/// Transitions of these subjects by their partition, in the order of their publication. `None`: stopped before.
fn published_alerts(reader: &Reader, topic: &str, owners: &HashMap<&str, i32>) -> Result<Option<BTreeMap<i32, Vec<AlertRecord>>>, Error> {
    #[derive(Deserialize)]
    struct Head {
        subject: Subject,
    }
    let all: Vec<(i32, Option<EventTime>)> = (0..reader.partition_count(topic)?).map(|partition| (partition, None)).collect();
    let mut alerts: BTreeMap<(EventTime, String, u32), (i32, AlertRecord)> = BTreeMap::new();
    let whole = reader.read(topic, &all, |passing| {
        if let Ok(head) = serde_json::from_slice::<Head>(passing.payload)
            && let Some(&partition) = owners.get(head.subject.as_str())
            && let Ok(alert) = serde_json::from_slice::<AlertRecord>(passing.payload)
        {
            alerts.insert((alert.at, alert.id.clone(), alert.sequence), (partition, alert));
        }
    })?;
    let mut by_partition: BTreeMap<i32, Vec<AlertRecord>> = BTreeMap::new();
    for (partition, alert) in alerts.into_values() {
        by_partition.entry(partition).or_default().push(alert);
    }
    Ok(whole.then_some(by_partition))
}

/// The panes of one partition that are read back.
struct Past {
    /// Earlier panes matter to nothing.
    from: EventTime,
    /// Sources, members and stories matter to windows and novelty, not to the baseline: earlier panes are kept without.
    whole_from: EventTime,
    pane_ms: i64,
    panes: Vec<PaneRecord>,
    subjects: BTreeSet<String>,
    of_another_length: Option<Span>,
}

impl Past {
    fn new(config: &Config, until: EventTime) -> Self {
        Self {
            from: until.plus(-PartitionMonitor::restore_horizon_ms(config)),
            // A story may have begun in the middle of a pane.
            whole_from: until.plus(-PartitionMonitor::retention_ms(config).max(config.novelty.horizon.ms() + config.window.pane.ms())),
            pane_ms: config.window.pane.ms(),
            panes: Vec::new(),
            subjects: BTreeSet::new(),
            of_another_length: None,
        }
    }

    /// Takes one record of the topic; what is none of ours, or too old, is passed over.
    fn take(&mut self, payload: &[u8]) {
        /// [`PaneRecord`] but for what is most of it.
        #[derive(Deserialize)]
        struct Head {
            subject: Subject,
            pane_start: EventTime,
            pane_end: EventTime,
            count: u64,
            negative: u64,
            neutral: u64,
            positive: u64,
            score_sum: Score,
            score_square_sum: Score,
            novel_negative: u64,
            index: Score,
            index_weight: Score,
            buzz: Option<f64>,
        }
        let Ok(head) = serde_json::from_slice::<Head>(payload) else { return };
        if head.pane_start < self.from {
            return;
        }
        let length = head.pane_end.0.saturating_sub(head.pane_start.0);
        if length != self.pane_ms {
            self.of_another_length = self.of_another_length.or(Some(Span::from_ms(u64::try_from(length).unwrap_or(0))));
            return;
        }
        if !self.subjects.contains(head.subject.as_str()) {
            self.subjects.insert(head.subject.as_str().to_owned());
        }
        if head.pane_start >= self.whole_from {
            self.panes.extend(serde_json::from_slice::<PaneRecord>(payload));
            return;
        }
        let Head { subject, pane_start, pane_end, count, negative, neutral, positive, score_sum, score_square_sum, .. } = head;
        let Head { novel_negative, index, index_weight, buzz, .. } = head;
        self.panes.push(PaneRecord {
            schema: SCHEMA_VERSION,
            subject,
            pane_start,
            pane_end,
            count,
            negative,
            neutral,
            positive,
            score_sum,
            score_square_sum,
            sources: SourceCounts::default(),
            novel_negative,
            novel_sources: SourceCounts::default(),
            members: BTreeMap::new(),
            stories: Vec::new(),
            index,
            index_weight,
            buzz,
        });
    }

    /// In the order of their start; of a pane that was published again the last.
    fn in_order(mut self) -> Vec<PaneRecord> {
        self.panes.sort_by(|one, other| (one.pane_start, &one.subject).cmp(&(other.pane_start, &other.subject)));
        self.panes.dedup_by(|later, kept| {
            let again = later.pane_start == kept.pane_start && later.subject == kept.subject;
            if again {
                std::mem::swap(later, kept);
            }
            again
        });
        self.panes
    }
}

/// Says in log and metrics how far a part of a restore is: at its beginning, every second, at its end.
struct Progress {
    what: &'static str,
    started: Instant,
    said: Option<Instant>,
    read: u64,
}

impl Progress {
    fn new(what: &'static str, now: Instant) -> Self {
        Self { what, started: now, said: None, read: 0 }
    }

    fn due(&mut self, now: Instant) -> bool {
        let due = self.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY);
        if due {
            self.said = Some(now);
        }
        due
    }

    fn tell(&mut self, metrics: &Metrics, read: u64, of: u64) {
        self.read = read;
        if self.due(Instant::now()) {
            metrics.restore_remaining.with_label_values(&[self.what]).set((of - read.min(of)) as i64);
            tracing::info!(what = self.what, read, of, "restoring");
        }
    }

    fn done(&self, metrics: &Metrics) {
        metrics.restore_remaining.with_label_values(&[self.what]).set(0);
        let (what, read, seconds) = (self.what, self.read, self.started.elapsed().as_secs_f64());
        tracing::info!(what, read, of = read, seconds, "restoring");
    }
}

/// The replays under way: observations that the last owner of a partition had read and that are needed again.
pub struct Replay {
    partitions: BTreeSet<i32>,
    /// Offsets between where they began and where they end.
    of: u64,
    progress: Progress,
}

impl Replay {
    pub fn new(started: Instant) -> Self {
        Self { partitions: BTreeSet::new(), of: 0, progress: Progress::new("observations", started) }
    }

    pub fn is_over(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Adds a partition of which so many offsets are to be read again.
    pub fn begin(&mut self, partition: i32, left: i64, started: Instant) {
        if self.is_over() {
            *self = Self::new(started);
        }
        self.partitions.insert(partition);
        self.of += left as u64;
    }

    pub fn holds(&self, partition: i32) -> bool {
        self.partitions.contains(&partition)
    }

    pub fn forget(&mut self, partitions: &[i32]) {
        self.partitions.retain(|partition| !partitions.contains(partition));
    }

    /// After a batch: what each partition still has to read, and whether its end was reached. Gives those that are
    /// through; when they all are, how long it took.
    pub fn went_on(&mut self, metrics: &Metrics, left: impl Fn(i32) -> i64, ended: &[i32]) -> (Vec<i32>, Option<Duration>) {
        let through: Vec<i32> =
            self.partitions.iter().copied().filter(|&partition| left(partition) <= 0 || ended.contains(&partition)).collect();
        self.forget(&through);
        let left: u64 = self.partitions.iter().map(|&partition| left(partition) as u64).sum();
        self.progress.tell(metrics, self.of - left.min(self.of), self.of);
        if !self.is_over() || through.is_empty() {
            return (through, None);
        }
        self.progress.done(metrics);
        (through, Some(self.progress.started.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pane(subject: &str, start_ms: i64, length_ms: i64, count: u64) -> Vec<u8> {
        let (pane_start, pane_end) = (EventTime(start_ms), EventTime(start_ms + length_ms));
        let sources = [("wire.example", count)].into();
        let (subject, score_sum) = (Subject(subject.into()), Score(0));
        let record = PaneRecord {
            schema: 1,
            subject,
            pane_start,
            pane_end,
            count,
            negative: 0,
            neutral: count,
            positive: 0,
            score_sum,
            score_square_sum: Score(0),
            sources,
            novel_negative: 0,
            novel_sources: SourceCounts::default(),
            members: BTreeMap::new(),
            stories: Vec::new(),
            index: Score(0),
            index_weight: Score(0),
            buzz: None,
        };
        serde_json::to_vec(&record).unwrap()
    }

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn panes_come_in_order_once_and_old_ones_without_their_sources() {
        let config = Config::default();
        let mut past = Past::new(&config, EventTime(40 * DAY_MS));
        for (subject, start_ms, count) in
            [("b", 35 * DAY_MS, 1), ("a", 35 * DAY_MS, 2), ("b", 40 * DAY_MS - 10_000, 3), ("a", 35 * DAY_MS, 4), ("too old", DAY_MS, 5)]
        {
            past.take(&pane(subject, start_ms, 10_000, count));
        }
        past.take(b"not a pane");
        let panes = past.in_order();
        let seen: Vec<(&str, u64, usize)> = panes.iter().map(|pane| (pane.subject.as_str(), pane.count, pane.sources.len())).collect();
        assert_eq!(seen, [("a", 4, 0), ("b", 1, 0), ("b", 3, 1)]);
    }

    #[test]
    fn panes_of_another_length_are_noticed() {
        let mut past = Past::new(&Config::default(), EventTime(30 * DAY_MS));
        past.take(&pane("market", 29 * DAY_MS, 30_000, 1));
        past.take(&pane("market", 29 * DAY_MS + 30_000, 10_000, 1));
        assert_eq!(past.of_another_length, Some(Span::from_ms(30_000)));
        assert_eq!(past.panes.len(), 1);
    }

    #[test]
    fn progress_is_said_at_the_beginning_and_then_once_a_second() {
        let start = Instant::now();
        let mut progress = Progress::new("panes", start);
        let said: Vec<u64> = (0..50).filter(|tenths| progress.due(start + Duration::from_millis(100 * tenths))).collect();
        assert_eq!(said, [0, 10, 20, 30, 40]);
    }

    #[test]
    fn a_replay_is_over_when_every_partition_is_through_or_at_its_end() {
        let metrics = Metrics::new();
        let mut replay = Replay::new(Instant::now());
        replay.begin(0, 100, Instant::now());
        replay.begin(1, 50, Instant::now());
        let left = |zero: i64, one: i64| move |partition: i32| if partition == 0 { zero } else { one };
        assert_eq!(replay.went_on(&metrics, left(40, 20), &[]), (vec![], None));
        assert_eq!(replay.went_on(&metrics, left(0, 20), &[]), (vec![0], None));
        let (through, took) = replay.went_on(&metrics, left(0, 20), &[1]);
        assert!(through == [1] && took.is_some() && replay.is_over());
    }

    #[test]
    fn a_partition_that_is_revoked_is_not_waited_for() {
        let mut replay = Replay::new(Instant::now());
        replay.begin(3, 100, Instant::now());
        replay.forget(&[3]);
        assert!(replay.is_over());
    }
}
