//! The monitor's order of stages, for one partition of `news.observations`. Pure: a function of the observation log.
//!
//! late? ▶ dedupe ▶ open panes ▶ (watermark passes) ▶ closed panes ▶ rolling windows ▶ rules ▶ transitions.
//! Every partition is alone: its subjects, its watermark, its alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::detect::{AlertRecord, Detector};
use crate::enrich::Watchlist;
use crate::news::{EventTime, ItemObservation, Observation, Subject, WatermarkObservation};
use crate::window::{History, OpenPanes, PaneRecord, WatermarkMerge, WindowCounts};

/// What reading one observation led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Yes,
    /// Its pane was closed already.
    Late,
    /// Its pane has counted that id for that subject.
    Duplicate,
}

/// What leaves the monitor when the watermark moves, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Pane(PaneRecord),
    Alert(Box<AlertRecord>),
    /// The rolling window of every subject, for page and metrics.
    View(View),
}

#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub end: EventTime,
    pub windows: BTreeMap<Subject, WindowCounts>,
}

/// What is committed with the offset: enough to replay from there without emitting anything twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Panes and alerts up to here are published.
    pub closed_until: EventTime,
    /// Next offset to be read; records before it are read again only for what open panes and evidence need.
    pub position: i64,
    pub watermarks: WatermarkMerge,
    /// Since when the baseline has seen panes.
    pub since: Option<EventTime>,
}

pub struct PartitionMonitor {
    config: Arc<Config>,
    watermarks: WatermarkMerge,
    panes: OpenPanes,
    history: History,
    detector: Detector,
    closed_until: Option<EventTime>,
    /// Next offset to be read.
    position: i64,
    /// Watermarks at offsets before this were taken in before a restart.
    live_from: i64,
    /// First offset of each pane that a restart would have to read again.
    first_offsets: BTreeMap<EventTime, i64>,
}

impl PartitionMonitor {
    pub fn new(config: Arc<Config>, watchlist: Arc<Watchlist>, position: i64) -> Self {
        Self {
            watermarks: WatermarkMerge::default(),
            panes: OpenPanes::new(config.window.pane.ms()),
            history: History::new(),
            detector: Detector::new(config.clone(), watchlist),
            closed_until: None,
            position,
            live_from: position,
            first_offsets: BTreeMap::new(),
            config,
        }
    }

    /// The state after `checkpoint`, from what was published. Panes and transitions beyond it are left out: the replay
    /// gives them again, the same. `panes` in order of their start, `alerts` in order of publication.
    pub fn restore(
        config: Arc<Config>,
        watchlist: Arc<Watchlist>,
        checkpoint: &Checkpoint,
        panes: &[PaneRecord],
        alerts: &[AlertRecord],
        replay_from: i64,
    ) -> Self {
        let mut monitor = Self::new(config, watchlist, replay_from);
        let until = checkpoint.closed_until;
        let published: Vec<PaneRecord> = panes.iter().filter(|pane| pane.pane_end <= until).cloned().collect();
        monitor.history.push(&published);
        monitor.detector.learn(&published);
        monitor.detector.restore_since(checkpoint.since);
        for alert in alerts.iter().filter(|alert| alert.at <= until) {
            monitor.detector.restore(alert);
        }
        let pane = monitor.config.window.pane.ms();
        let mut end = until.plus(-Self::memory_ms(&monitor.config));
        while end < until {
            end = end.plus(pane);
            monitor.detector.recall(end, &monitor.history);
        }
        monitor.history.forget_before(until.plus(-monitor.retention_ms()));
        monitor.watermarks = checkpoint.watermarks.clone();
        monitor.closed_until = Some(until);
        monitor.live_from = checkpoint.position;
        monitor
    }

    /// How long the rules look back beyond a window to know since when a condition holds: a hop more than they wait,
    /// because what they wait for began at the end of a hop.
    fn memory_ms(config: &Config) -> i64 {
        config.rules.values().map(|rule| rule.hold_for.max(rule.keep_firing_for).ms() + rule.hop.ms()).max().unwrap_or(0)
    }

    fn retention_ms(&self) -> i64 {
        self.config.longest_window_ms() + Self::memory_ms(&self.config)
    }

    /// How far back of `closed_until` panes must be read to restore: windows, memory and the baseline.
    pub fn restore_horizon_ms(config: &Config) -> i64 {
        config.longest_window_ms() + Self::memory_ms(config) + config.look_back_ms()
    }

    /// Reads one observation at `offset`. Outputs follow only from watermarks.
    pub fn observe(&mut self, observation: &Observation, offset: i64) -> (Option<Counted>, Vec<Output>) {
        self.position = offset + 1;
        match observation {
            Observation::Item(item) => (Some(self.count(item, offset)), Vec::new()),
            Observation::Watermark(watermark) if offset >= self.live_from => (None, self.advance(watermark)),
            Observation::Watermark(_) => (None, Vec::new()),
        }
    }

    fn count(&mut self, item: &ItemObservation, offset: i64) -> Counted {
        let pane = EventTime(item.event_time_ms).floor(self.config.window.pane.ms());
        let pane_end = pane.plus(self.config.window.pane.ms());
        // Needed again after a restart while its pane is open or within reach of an alert's evidence.
        let needed = self.closed_until.is_none_or(|until| pane_end > until.plus(-self.config.longest_window_ms()));
        if needed {
            self.first_offsets.entry(pane).or_insert(offset);
            self.detector.evidence_mut().consider(item);
        }
        if self.closed_until.is_some_and(|until| pane_end <= until) {
            return Counted::Late;
        }
        if self.panes.count(item) { Counted::Yes } else { Counted::Duplicate }
    }

    fn advance(&mut self, watermark: &WatermarkObservation) -> Vec<Output> {
        let Some(watermark) = self.watermarks.merge(watermark) else { return Vec::new() };
        let pane = self.config.window.pane.ms();
        let target = watermark.plus(-self.config.window.allowed_lateness.ms()).floor(pane);
        let mut closed = match self.closed_until {
            Some(closed) => closed,
            None => self.panes.earliest().map_or(target, |earliest| earliest.min(target)),
        };
        let mut outputs = Vec::new();
        while closed < target {
            let mut end = closed.plus(pane);
            if self.history.newest().is_none_or(|newest| newest < end.plus(-self.config.longest_window_ms())) {
                // Nothing in any window: on to the next pane that holds something, and no condition holds meanwhile.
                self.detector.no_data();
                let next = self.panes.earliest().map_or(target, |earliest| earliest.plus(pane).min(target));
                end = end.max(next);
            }
            self.close(end, &mut outputs);
            closed = end;
        }
        self.closed_until = Some(closed.max(target));
        let reach = closed.plus(-self.config.longest_window_ms() - pane);
        self.first_offsets = self.first_offsets.split_off(&reach);
        outputs
    }

    fn close(&mut self, end: EventTime, outputs: &mut Vec<Output>) {
        let records = self.panes.close(end);
        self.history.push(&records);
        self.detector.learn(&records);
        let alerts = self.detector.evaluate(end, &self.history);
        outputs.extend(records.into_iter().map(Output::Pane));
        outputs.extend(alerts.into_iter().map(|alert| Output::Alert(Box::new(alert))));
        if end.0.rem_euclid(self.config.window.hop.ms()) == 0 {
            let windows = self.history.window(end.plus(-self.config.window.size.ms()), end);
            outputs.push(Output::View(View { end, windows }));
        }
        self.history.forget_before(end.plus(-self.retention_ms()));
    }

    /// Offset to commit and what goes with it; `None` before the first watermark.
    pub fn checkpoint(&self) -> Option<(i64, Checkpoint)> {
        let closed_until = self.closed_until?;
        let replay_from = self.first_offsets.values().min().copied().unwrap_or(self.position).min(self.position);
        // While a replay is under way the old position stands: what lies before it is published.
        let position = self.position.max(self.live_from);
        Some((replay_from, Checkpoint { closed_until, position, watermarks: self.watermarks.clone(), since: self.detector.since() }))
    }

    pub fn watermark(&self) -> Option<EventTime> {
        self.watermarks.current()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Sentiment;
    use crate::window::panes::tests::item;

    fn config() -> Arc<Config> {
        let text = "[window]\npane='10s'\nsize='2m'\nhop='10s'\n[detect]\nmin_history='20m'\n\
                    [rules.share]\ngroup_by='market'\ncondition='share'\nmin_count=5\nwarning=0.6\ncritical=0.9\nresolve=0.4\nkeep_firing_for='30s'\ncooldown='1m'\n\
                    [rules.surge]\ngroup_by='topic'\ncondition='surge'\nmin_count=5\nfor='20s'\nfalse_alarms_per_month={warning=1.0,critical=0.001}";
        Arc::new(Config::from_toml(text, &[], None).unwrap())
    }

    fn watermark(ms: i64) -> Observation {
        Observation::Watermark(WatermarkObservation { schema: 1, raw_partition: 0, raw_partitions: 1, watermark_ms: Some(ms), idle: false })
    }

    /// Two hours of items and watermarks with two bad spells, as a log.
    fn log() -> Vec<Observation> {
        let mut log = Vec::new();
        for second in (0..7200).step_by(3) {
            let bad = (4200..4500).contains(&second) || (6000..6100).contains(&second);
            let sentiment = if bad || second % 81 == 0 { Sentiment::Negative } else { Sentiment::Positive };
            // A little disorder, and every tenth item delivered twice.
            let at = (second + (second * 7) % 11) * 1000;
            for subject in ["market", "topic:Macro"] {
                let observation = Observation::Item(item(subject, &second.to_string(), at, sentiment));
                log.push(observation.clone());
                if second % 30 == 0 {
                    log.push(observation);
                }
            }
            if second % 6 == 0 {
                log.push(watermark((second - 12) * 1000));
            }
        }
        log
    }

    fn run(monitor: &mut PartitionMonitor, log: &[Observation], from: usize) -> Vec<Output> {
        log.iter().enumerate().skip(from).flat_map(|(offset, record)| monitor.observe(record, offset as i64).1).collect()
    }

    fn fresh() -> PartitionMonitor {
        PartitionMonitor::new(config(), Arc::new(Watchlist::empty()), 0)
    }

    fn published(outputs: &[Output]) -> (Vec<PaneRecord>, Vec<AlertRecord>) {
        let panes = outputs.iter().filter_map(|output| if let Output::Pane(pane) = output { Some(pane.clone()) } else { None });
        let alerts = outputs.iter().filter_map(|output| if let Output::Alert(alert) = output { Some((**alert).clone()) } else { None });
        (panes.collect(), alerts.collect())
    }

    #[test]
    fn alerts_fire_and_resolve_over_the_log() {
        let outputs = run(&mut fresh(), &log(), 0);
        let (panes, alerts) = published(&outputs);
        let steps: Vec<(&str, &str)> = alerts.iter().map(|alert| (alert.rule.as_str(), alert.transition.as_str())).collect();
        assert!(
            steps.contains(&("share", "firing")) && steps.contains(&("surge", "firing")) && steps.contains(&("share", "resolved")),
            "{steps:?}"
        );
        let counted: u64 = panes.iter().map(|pane| pane.count).sum();
        let closed: u64 =
            panes.iter().map(|pane| (pane.subject.as_str(), pane.pane_start)).collect::<std::collections::BTreeSet<_>>().len() as u64;
        assert_eq!(closed, panes.len() as u64, "a pane is published once");
        let until = panes.last().unwrap().pane_end.0;
        let expected = (0..7200).step_by(3).filter(|second| (second + (second * 7) % 11) * 1000 < until).count() as u64;
        assert_eq!(counted, 2 * expected);
    }

    #[test]
    fn a_restart_anywhere_publishes_the_same_and_nothing_twice() {
        let log = log();
        let straight = run(&mut fresh(), &log, 0);
        for stop in (100..log.len()).step_by(331) {
            let mut first = fresh();
            let mut outputs = run(&mut first, &log[..stop], 0);
            let Some((offset, checkpoint)) = first.checkpoint() else { continue };
            let (panes, alerts) = published(&outputs);
            let mut second = PartitionMonitor::restore(config(), Arc::new(Watchlist::empty()), &checkpoint, &panes, &alerts, offset);
            outputs.extend(run(&mut second, &log, offset as usize));
            assert_eq!(outputs, straight, "stopped before record {stop}, replayed from {offset}");
        }
    }

    #[test]
    fn a_crash_after_publishing_and_before_committing_repeats_the_same_records() {
        let log = log();
        let mut first = fresh();
        let mut outputs = run(&mut first, &log[..2000], 0);
        let (offset, checkpoint) = first.checkpoint().unwrap();
        let uncommitted: Vec<Output> =
            log[2000..2600].iter().enumerate().flat_map(|(at, record)| first.observe(record, 2000 + at as i64).1).collect();
        outputs.extend(uncommitted.clone());
        let (panes, alerts) = published(&outputs);
        let mut second = PartitionMonitor::restore(config(), Arc::new(Watchlist::empty()), &checkpoint, &panes, &alerts, offset);
        let again = run(&mut second, &log[..2600], offset as usize);
        assert_eq!(again, uncommitted);
    }

    #[test]
    fn late_items_are_kept_out_of_closed_panes() {
        let mut monitor = fresh();
        let early = Observation::Item(item("market", "a", 5_000, Sentiment::Negative));
        assert_eq!(monitor.observe(&early, 0).0, Some(Counted::Yes));
        assert_eq!(monitor.observe(&early, 1).0, Some(Counted::Duplicate));
        let outputs = monitor.observe(&watermark(10_000), 2).1;
        assert!(matches!(&outputs[0], Output::Pane(pane) if pane.count == 1));
        assert_eq!(monitor.observe(&Observation::Item(item("market", "b", 5_000, Sentiment::Negative)), 3).0, Some(Counted::Late));
        assert!(monitor.observe(&watermark(20_000), 4).1.iter().all(|output| !matches!(output, Output::Pane(_))));
    }

    #[test]
    fn a_long_silence_is_crossed_in_one_step() {
        let mut monitor = fresh();
        monitor.observe(&Observation::Item(item("market", "a", 5_000, Sentiment::Negative)), 0);
        monitor.observe(&watermark(10_000), 1);
        let outputs = monitor.observe(&watermark(10_000 + 365 * 86_400_000), 2).1;
        assert!(outputs.len() < 40, "{}", outputs.len());
        let (offset, checkpoint) = monitor.checkpoint().unwrap();
        assert_eq!((offset, checkpoint.position), (3, 3));
        assert_eq!(checkpoint.closed_until, EventTime(10_000 + 365 * 86_400_000));
    }
}
