//! The monitor without Kafka, on one thread: dedupe, panes, windows, baselines, rules. Each measurement is a process of its
//! own, so that none has the memory of another.

use std::sync::Arc;
use std::time::Instant;

use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use bellwether::news::{EventTime, Observation, SCHEMA_VERSION, Score};
use bellwether::pipeline::partition::{Output, PartitionMonitor};
use bellwether::window::{PaneRecord, SourceCounts, WatermarkMerge};
use serde::{Deserialize, Serialize};

use crate::stream::{Stream, watermark};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub subjects: usize,
    /// Items per second of event time.
    pub per_second: f64,
    /// Every subject in turn.
    pub in_turn: bool,
    pub pane_seconds: i64,
    /// Length of the rule's windows; 0: the rules of the default configuration.
    pub window_minutes: i64,
    /// Days of panes that are there from the start, one an hour for each subject.
    pub past_days: i64,
    /// Of event time: first what is not measured, then what is.
    pub warm_seconds: i64,
    pub seconds: i64,
}

impl Load {
    pub const DEFAULT: Self = Self {
        subjects: 10_000,
        per_second: 1000.0,
        in_turn: false,
        pane_seconds: 10,
        window_minutes: 0,
        past_days: 0,
        warm_seconds: 0,
        seconds: 600,
    };

    fn config(&self) -> Config {
        let pane = self.pane_seconds;
        let window = format!("[window]\npane='{pane}s'\nsize='10m'\nhop='{}s'\n[http]\nlisten=''\n", pane.max(30));
        let rule = match self.window_minutes {
            0 => String::new(),
            minutes => format!(
                "[detect]\nhistory='1d'\n[rules.share]\ngroup_by='entity'\ncondition='share'\nwindow='{minutes}m'\nhop='{pane}s'\n\
                 min_count=20\nwarning=0.6\ncritical=0.9\nresolve=0.4"
            ),
        };
        Config::from_toml(&format!("{window}{rule}"), &[], None).expect("a good configuration")
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    pub observations: usize,
    pub panes: usize,
    pub transitions: usize,
    /// On-CPU time of the thread, by the observations alone and with what follows from them.
    pub item_microseconds: f64,
    pub microseconds: f64,
    /// Wall time of a watermark that closes a pane.
    pub hop_p50_ms: f64,
    pub hop_p99_ms: f64,
    pub hop_most_ms: f64,
    /// Resident memory at the end, less that at the start.
    pub memory_mib: f64,
    /// Hours of event time, and resident memory less that at the start, ten times on the way.
    pub memory_course: Vec<(f64, f64)>,
}

/// On-CPU time of this thread in seconds.
fn thread_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn resident_mib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux says how much memory a process has");
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok()).expect("the second number") * 4096.0 / 1048576.0
}

/// A monitor that has seen one pane an hour of every subject, for so many days before time 0.
fn after(days: i64, config: &Arc<Config>, stream: &Stream, watchlist: &Arc<Watchlist>) -> PartitionMonitor {
    let pane_ms = config.window.pane.ms();
    let hours = days * 24;
    let mut panes = Vec::with_capacity(hours as usize * stream.names().len());
    for hour in -hours..0 {
        for subject in stream.names() {
            let start = EventTime(hour * 3_600_000);
            let negative = (hour.unsigned_abs() ^ subject.as_str().len() as u64) % 3;
            panes.push(PaneRecord {
                schema: SCHEMA_VERSION,
                subject: subject.clone(),
                pane_start: start,
                pane_end: start.plus(pane_ms),
                count: 4,
                negative,
                neutral: 4 - negative,
                positive: 0,
                score_sum: Score(-500_000 * negative as i64),
                score_square_sum: Score(250_000 * negative as i64),
                sources: SourceCounts::default(),
                novel_negative: negative,
                novel_sources: SourceCounts::default(),
                members: Default::default(),
                stories: Vec::new(),
                index: Score(0),
                index_weight: Score(0),
                buzz: None,
            });
        }
    }
    let checkpoint = serde_json::json!({"closed_until": EventTime(0), "position": 0, "watermarks": WatermarkMerge::default(),
                                        "since": EventTime(-hours * 3_600_000)});
    let checkpoint = serde_json::from_value(checkpoint).expect("of this form");
    PartitionMonitor::restore(config.clone(), watchlist.clone(), &checkpoint, panes, &[], 0)
}

pub fn measure(load: &Load) -> Found {
    let (config, watchlist) = (Arc::new(load.config()), Arc::new(Watchlist::empty()));
    let stream = Stream::new(load.subjects, load.per_second, load.in_turn);
    let before = resident_mib();
    let mut monitor = match load.past_days {
        0 => PartitionMonitor::new(config.clone(), watchlist, 0),
        days => after(days, &config, &stream, &watchlist),
    };
    let (mut next, mut offset, mut panes, mut transitions, mut observations) = (0, 0, 0, 0, 0);
    let (mut by_items, mut by_all, mut hops) = (0.0, 0.0, Vec::new());
    let pane_ms = load.pane_seconds * 1000;
    let (mut end, mut memory_course) = (0, Vec::new());
    while end < (load.warm_seconds + load.seconds) * 1000 {
        end += pane_ms;
        let until = stream.until(end);
        let items: Vec<Observation> = (next..until).map(|index| stream.item(index)).collect();
        let began = thread_seconds();
        for item in &items {
            monitor.observe(item, offset);
            offset += 1;
        }
        let counted = thread_seconds();
        let hop = Instant::now();
        let (_, outputs) = monitor.observe(&watermark(EventTime(end)), offset);
        let hop = hop.elapsed().as_secs_f64() * 1e3;
        let ended = thread_seconds();
        offset += 1;
        next = until;
        let tenths = |end: i64| end / ((load.warm_seconds + load.seconds) * 100);
        if tenths(end) > tenths(end - pane_ms) {
            memory_course.push((end as f64 / 3_600_000.0, (resident_mib() - before).round()));
        }
        if end > load.warm_seconds * 1000 {
            by_items += counted - began;
            by_all += ended - began;
            hops.push(hop);
            observations += items.len();
            panes += outputs.iter().filter(|output| matches!(output, Output::Pane(_))).count();
            transitions += outputs.iter().filter(|output| matches!(output, Output::Alert(_))).count();
        }
    }
    let memory_mib = resident_mib() - before;
    hops.sort_by(f64::total_cmp);
    let at = |share: f64| hops[((share * hops.len() as f64).ceil() as usize).clamp(1, hops.len()) - 1];
    let each = 1e6 / observations as f64;
    Found {
        observations,
        panes,
        transitions,
        item_microseconds: by_items * each,
        microseconds: by_all * each,
        hop_p50_ms: at(0.5),
        hop_p99_ms: at(0.99),
        hop_most_ms: at(1.0),
        memory_mib,
        memory_course,
    }
}
