//! How far event time is complete. Pure: what the clock says is an argument.
//!
//! The classifier keeps a [`PartitionClock`] per raw partition and writes what it says into the observation log; the
//! monitor merges what it reads there with [`WatermarkMerge`]. So the same log gives the same watermarks, live or replayed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Config, WatermarkConfig, WindowConfig};
use crate::news::{EventTime, SCHEMA_VERSION, WatermarkObservation};

/// A watermark that closes panes waits no longer than this for the one before it, whatever `watermark.interval` is.
const CLOSING_INTERVAL_MS: i64 = 20;

/// Watermark of one raw partition, as its reader sees it. `now` is processing time: milliseconds of a clock that nobody
/// sets, counted from wherever its owner likes. The wall clock is only asked for what is kept over a restart.
#[derive(Debug, Clone)]
pub struct PartitionClock {
    /// Newest event time seen; never later than the record's Kafka timestamp, so that one date in the future stops nothing.
    newest: Option<EventTime>,
    last_record_at: i64,
    at_end: bool,
    /// When records came again after idleness, while event time still waits for the other partitions to speak.
    resumed_at: Option<i64>,
    announced: Option<(Option<EventTime>, bool)>,
    announced_at: i64,
}

impl PartitionClock {
    pub fn new(now: i64) -> Self {
        Self { newest: None, last_record_at: now, at_end: false, resumed_at: None, announced: None, announced_at: i64::MIN }
    }

    /// What a restart must know, for the metadata of a commit: newest event time and when, by the wall clock, the last
    /// record was read.
    pub fn memory(&self, now: i64, wall: EventTime) -> String {
        serde_json::json!([self.newest.map(|newest| newest.0), wall.0 - (now - self.last_record_at)]).to_string()
    }

    /// The clock after a restart; a fresh one where `memory` says nothing.
    pub fn resumed(memory: &str, now: i64, wall: EventTime) -> Self {
        match serde_json::from_str::<(Option<i64>, i64)>(memory) {
            Ok((newest, last_record_at)) => {
                let silence = wall.0.saturating_sub(last_record_at).max(0);
                Self { newest: newest.map(EventTime), last_record_at: now - silence, ..Self::new(now) }
            }
            Err(_) => Self::new(now),
        }
    }

    /// A record was read: its event time (`None` for a rejection) and its Kafka timestamp.
    pub fn record(&mut self, event_time: Option<EventTime>, record_time: EventTime, now: i64) {
        if matches!(self.announced, Some((_, true))) {
            self.resumed_at = Some(now);
        }
        self.newest = self.newest.max(event_time.map(|at| at.min(record_time)));
        self.last_record_at = now;
        self.at_end = false;
    }

    /// The reader has reached the log's end.
    pub fn reached_end(&mut self) {
        self.at_end = true;
    }

    /// Nothing has been read since the log's end was reached.
    pub fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// Watermark and idleness now. While a partition at its end is silent, event time is taken to go on at the pace of
    /// the clock: a burst followed by silence is still judged, and a replay faster than the clock never becomes late.
    fn state(&self, config: &WatermarkConfig, now: i64) -> (Option<EventTime>, bool) {
        // After a silence news comes to all partitions at once, and is read from one after the other: whoever is first
        // must not run ahead of those still on record as idle.
        if let (Some(resumed_at), Some((watermark, _))) = (self.resumed_at, self.announced)
            && now - resumed_at < config.resume_after.ms()
        {
            return (watermark, false);
        }
        let silence = now - self.last_record_at;
        let idle = self.at_end && silence >= config.idle_after.ms();
        let progress = if idle { silence } else { 0 };
        (self.newest.map(|newest| newest.plus(progress - config.disorder.ms())), idle)
    }

    /// The record to write into the observation log now, if there is news and the interval has passed.
    pub fn announce(&mut self, partition: i32, partitions: i32, config: &Config, now: i64) -> Option<WatermarkObservation> {
        let (watermark, idle) = self.state(&config.watermark, now);
        // That it is idle no longer is said at once.
        let resumes = matches!(self.announced, Some((_, true))) && !idle;
        let interval = config.watermark.interval.ms();
        let interval = if self.closes_more(watermark, &config.window) { interval.min(CLOSING_INTERVAL_MS) } else { interval };
        if !resumes && now.saturating_sub(self.announced_at) < interval {
            return None;
        }
        // Without an item and not idle there is nothing to say yet.
        if (watermark.is_none() && !idle) || self.announced == Some((watermark, idle)) {
            return None;
        }
        self.announced = Some((watermark, idle));
        self.announced_at = now;
        Some(WatermarkObservation {
            schema: SCHEMA_VERSION,
            raw_partition: partition,
            raw_partitions: partitions,
            watermark_ms: watermark.map(|at| at.0),
            idle,
            market: Vec::new(),
        })
    }

    /// True where panes close by this watermark that were open by the last that was said: alerts wait for it.
    fn closes_more(&self, watermark: Option<EventTime>, window: &WindowConfig) -> bool {
        let closed = |watermark: EventTime| watermark.plus(-window.allowed_lateness.ms()).floor(window.pane.ms());
        let said = self.announced.and_then(|(said, _)| said);
        watermark.map(closed) > said.map(closed)
    }

    /// What was said last, to be said again; nothing yet holds event time back.
    pub fn restate(&self, partition: i32, partitions: i32) -> WatermarkObservation {
        let (watermark, idle) = self.announced.unwrap_or((None, false));
        let watermark_ms = watermark.map(|at| at.0);
        WatermarkObservation {
            schema: SCHEMA_VERSION,
            raw_partition: partition,
            raw_partitions: partitions,
            watermark_ms,
            idle,
            market: Vec::new(),
        }
    }

    /// The record to write when the partition is given up: not idle any more, so that event time waits for the next
    /// owner. Otherwise what arrives between two owners would be late.
    pub fn release(&self, partition: i32, partitions: i32) -> Option<WatermarkObservation> {
        let (watermark, idle) = self.announced?;
        idle.then(|| WatermarkObservation {
            schema: SCHEMA_VERSION,
            raw_partition: partition,
            raw_partitions: partitions,
            watermark_ms: watermark.map(|at| at.0),
            idle: false,
            market: Vec::new(),
        })
    }
}

/// What the log says of one raw partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartitionWatermark {
    watermark_ms: Option<i64>,
    idle: bool,
}

/// The monitor's watermark: the minimum over raw partitions that are not idle; never moves back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Compact", from = "Compact")]
pub struct WatermarkMerge {
    raw_partitions: i32,
    partitions: BTreeMap<i32, PartitionWatermark>,
    merged_ms: Option<i64>,
}

/// The form in a commit's metadata, of which Kafka takes 4,096 bytes: a few bytes per raw partition, as the distance
/// from the merged watermark. `[partition, distance in ms or null, 1 if idle]`.
#[derive(Serialize, Deserialize)]
struct Compact {
    n: i32,
    at: Option<i64>,
    p: Vec<(i32, Option<i64>, u8)>,
}

impl From<WatermarkMerge> for Compact {
    fn from(merge: WatermarkMerge) -> Self {
        let base = merge.merged_ms.unwrap_or(0);
        let compact =
            |(partition, state): (i32, PartitionWatermark)| (partition, state.watermark_ms.map(|at| at - base), u8::from(state.idle));
        Self { n: merge.raw_partitions, at: merge.merged_ms, p: merge.partitions.into_iter().map(compact).collect() }
    }
}

impl From<Compact> for WatermarkMerge {
    fn from(compact: Compact) -> Self {
        let base = compact.at.unwrap_or(0);
        let full = |(partition, distance, idle): (i32, Option<i64>, u8)| {
            (partition, PartitionWatermark { watermark_ms: distance.map(|distance| base + distance), idle: idle != 0 })
        };
        Self { raw_partitions: compact.n, merged_ms: compact.at, partitions: compact.p.into_iter().map(full).collect() }
    }
}

impl WatermarkMerge {
    /// Takes one watermark record in; gives the merged watermark where it moved on.
    pub fn merge(&mut self, record: &WatermarkObservation) -> Option<EventTime> {
        self.raw_partitions = self.raw_partitions.max(record.raw_partitions);
        let entry = self.partitions.entry(record.raw_partition).or_insert(PartitionWatermark { watermark_ms: None, idle: false });
        entry.watermark_ms = entry.watermark_ms.max(record.watermark_ms);
        entry.idle = record.idle;
        // Until every partition has spoken, nobody knows how far behind a silent one is.
        if (self.partitions.len() as i32) < self.raw_partitions {
            return None;
        }
        let active = self.partitions.values().filter(|partition| !partition.idle);
        let minimum = active.clone().map(|partition| partition.watermark_ms).min();
        let candidate = match minimum {
            Some(minimum) => minimum,
            // All idle: the one furthest on; idle partitions hold nothing back.
            None => self.partitions.values().filter_map(|partition| partition.watermark_ms).max(),
        };
        if candidate > self.merged_ms {
            self.merged_ms = candidate;
            return candidate.map(EventTime);
        }
        None
    }

    pub fn current(&self) -> Option<EventTime> {
        self.merged_ms.map(EventTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::default()
    }

    fn record(raw_partition: i32, watermark_ms: Option<i64>, idle: bool) -> WatermarkObservation {
        WatermarkObservation { schema: 1, raw_partition, raw_partitions: 2, watermark_ms, idle, market: Vec::new() }
    }

    #[test]
    fn a_partition_trails_its_newest_item_by_the_disorder() {
        let mut clock = PartitionClock::new(0);
        assert_eq!(clock.announce(0, 1, &config(), 1_000), None);
        clock.record(Some(EventTime(100_000)), EventTime(200_000), 1_000);
        clock.record(Some(EventTime(90_000)), EventTime(200_000), 1_100);
        assert_eq!(clock.announce(0, 1, &config(), 1_100).unwrap().watermark_ms, Some(95_000));
        assert_eq!(clock.announce(0, 1, &config(), 1_200), None, "nothing new");
    }

    #[test]
    fn the_end_of_a_pane_is_said_at_once() {
        let mut clock = PartitionClock::new(0);
        let mut said = |event_time: i64, now: i64| {
            clock.record(Some(EventTime(event_time)), EventTime(event_time), now);
            clock.announce(0, 1, &config(), now).and_then(|record| record.watermark_ms)
        };
        assert_eq!(said(101_000, 1_000), Some(96_000));
        assert_eq!(said(102_000, 1_030), None, "within a pane of 10 s there is time");
        assert_eq!(said(104_999, 1_060), None);
        assert_eq!(said(105_000, 1_090), Some(100_000));
        assert_eq!(said(115_000, 1_100), None, "a backlog of panes is said in few records");
        assert_eq!(said(125_000, 1_110), Some(120_000));
        assert_eq!(said(126_000, 1_700), Some(121_000));
    }

    #[test]
    fn a_date_in_the_future_does_not_drive_the_watermark() {
        let mut clock = PartitionClock::new(0);
        clock.record(Some(EventTime(900_000)), EventTime(200_000), 0);
        assert_eq!(clock.announce(0, 1, &config(), 1_000).unwrap().watermark_ms, Some(195_000));
    }

    #[test]
    fn silence_at_the_end_is_idle_and_event_time_goes_on_with_the_clock() {
        let mut clock = PartitionClock::new(0);
        clock.record(Some(EventTime(100_000)), EventTime(100_000), 0);
        clock.announce(0, 1, &config(), 0);
        assert_eq!(clock.announce(0, 1, &config(), 60_000), None, "not at the end: there is a backlog, not silence");
        clock.reached_end();
        let idle = clock.announce(0, 1, &config(), 60_000).unwrap();
        assert_eq!((idle.watermark_ms, idle.idle), (Some(155_000), true));
        clock.record(Some(EventTime(101_000)), EventTime(101_000), 60_100);
        let back = clock.announce(0, 1, &config(), 60_100).unwrap();
        assert_eq!((back.watermark_ms, back.idle), (Some(155_000), false), "said at once, and event time waits");
    }

    #[test]
    fn after_a_silence_event_time_waits_for_the_other_partitions_to_speak() {
        let mut clock = PartitionClock::new(0);
        clock.record(Some(EventTime(0)), EventTime(900_000), 0);
        clock.reached_end();
        clock.announce(0, 1, &config(), 40_000);
        clock.record(Some(EventTime(800_000)), EventTime(900_000), 50_000);
        assert_eq!(clock.announce(0, 1, &config(), 50_000).unwrap().watermark_ms, Some(35_000));
        assert_eq!(clock.announce(0, 1, &config(), 50_900), None);
        assert_eq!(clock.announce(0, 1, &config(), 51_000).unwrap().watermark_ms, Some(795_000));
    }

    #[test]
    fn the_merge_waits_for_all_partitions_and_leaves_idle_ones_out() {
        let mut merge = WatermarkMerge::default();
        assert_eq!(merge.merge(&record(0, Some(50), false)), None, "partition 1 has not spoken");
        assert_eq!(merge.merge(&record(1, None, true)), Some(EventTime(50)));
        assert_eq!(merge.merge(&record(1, Some(10), false)), None, "never back");
        assert_eq!(merge.merge(&record(0, Some(90), false)), None, "partition 1 holds it");
        assert_eq!(merge.merge(&record(1, Some(70), false)), Some(EventTime(70)));
        assert_eq!(merge.merge(&record(1, Some(70), true)), Some(EventTime(90)));
    }

    #[test]
    fn three_hundred_partitions_fit_into_the_metadata_of_a_commit() {
        let mut merge = WatermarkMerge::default();
        for partition in 0..300 {
            let watermark_ms = Some(1_700_000_000_000 + i64::from(partition) * 37);
            merge.merge(&WatermarkObservation {
                schema: 1,
                raw_partition: partition,
                raw_partitions: 300,
                watermark_ms,
                idle: partition % 3 == 0,
                market: Vec::new(),
            });
        }
        let json = serde_json::to_string(&merge).unwrap();
        assert!(json.len() < 4_096 - 200, "{} bytes", json.len());
        assert_eq!(serde_json::from_str::<WatermarkMerge>(&json).unwrap(), merge);
    }

    #[test]
    fn a_partition_given_up_while_idle_holds_event_time_for_its_next_owner() {
        let mut clock = PartitionClock::new(0);
        clock.record(Some(EventTime(100_000)), EventTime(100_000), 0);
        assert_eq!(clock.release(1, 2), None, "nothing was said yet");
        clock.announce(1, 2, &config(), 0);
        assert_eq!(clock.release(1, 2), None, "it holds already");
        clock.reached_end();
        clock.announce(1, 2, &config(), 60_000);
        let mut merge = WatermarkMerge::default();
        merge.merge(&record(1, Some(155_000), true));
        assert_eq!(merge.merge(&record(0, Some(160_000), false)), Some(EventTime(160_000)));
        assert_eq!(merge.merge(&clock.release(1, 2).unwrap()), None);
        assert_eq!(merge.merge(&record(0, Some(500_000), false)), None, "event time waits");
    }

    #[test]
    fn a_clock_resumed_after_a_restart_goes_on_in_silence() {
        let mut clock = PartitionClock::new(0);
        clock.record(Some(EventTime(100_000)), EventTime(100_000), 0);
        let memory = clock.memory(20_000, EventTime(1_000_000));
        // The next process counts from its own start.
        let mut resumed = PartitionClock::resumed(&memory, 100, EventTime(1_030_000));
        resumed.reached_end();
        let idle = resumed.announce(0, 1, &config(), 10_100).unwrap();
        assert_eq!((idle.watermark_ms, idle.idle), (Some(155_000), true));
        assert_eq!(PartitionClock::resumed("", 7, EventTime(1_000_000)).last_record_at, 7);
    }

    #[test]
    fn a_wall_clock_set_back_before_a_restart_makes_no_silence() {
        let mut clock = PartitionClock::new(0);
        clock.record(Some(EventTime(100_000)), EventTime(100_000), 0);
        let memory = clock.memory(0, EventTime(5_000_000));
        let mut resumed = PartitionClock::resumed(&memory, 0, EventTime(1_400_000));
        resumed.reached_end();
        assert_eq!(resumed.announce(0, 1, &config(), 0).unwrap().watermark_ms, Some(95_000));
        assert!(resumed.announce(0, 1, &config(), 30_000).unwrap().idle, "after as long a silence as ever");
    }

    proptest::proptest! {
        #[test]
        fn the_merged_watermark_never_retreats(steps in proptest::collection::vec((0i32..3, proptest::option::of(0i64..1000), proptest::bool::ANY), 0..100)) {
            let mut merge = WatermarkMerge::default();
            let mut last = None;
            for (partition, watermark_ms, idle) in steps {
                merge.merge(&WatermarkObservation { schema: 1, raw_partition: partition, raw_partitions: 3, watermark_ms, idle, market: Vec::new() });
                proptest::prop_assert!(merge.current() >= last);
                last = merge.current();
            }
        }
    }
}
