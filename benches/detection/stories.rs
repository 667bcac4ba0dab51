//! What is decided before counts are judged: copies of a story, and floods from one source. Invented headlines through the
//! whole monitor, its novelty included.

use std::collections::HashSet;
use std::sync::Arc;

use bellwether::config::Config;
use bellwether::detect::AlertRecord;
use bellwether::enrich::Watchlist;
use bellwether::news::{EventTime, ItemObservation, Observation, Score, Sentiment, Subject, WatermarkObservation};
use bellwether::pipeline::offline::OfflineMonitor;
use bellwether::pipeline::partition::Output;

use crate::streams::{DAY, Kind, LEARN, LENGTH, Random, WINDOW, stream};
use crate::{EPOCH_MS, MINUTE_MS, MONTHS};

const RULES: &str = "
[window]
pane = '1m'
size = '10m'
hop = '2m'
[rules.surge]
group_by = 'topic'
condition = 'surge'
min_count = 1
false_alarms_per_month = { warning = 1.0, critical = 0.02 }
[rules.corroborated]
group_by = 'topic'
condition = 'surge'
min_count = 1
min_sources = 3
false_alarms_per_month = { warning = 1.0, critical = 0.02 }
";

/// Mean negative items per window.
const RATES: [f64; 3] = [0.3, 2.0, 12.0];
const SUBJECTS: usize = 12;
const SOURCES: usize = 20;
/// Of a surge or a flood, in units of √μ + 1 as in [`crate::streams::SIZES`]; over ten minutes.
const SIZE: f64 = 16.0;

/// What is added to streams with a day's course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    Calm,
    /// Three stories a day of every subject are told again by fifteen other sources within half an hour, a word changed.
    Copied,
    /// The same, every copy with a headline of its own: what copies would do if they were counted.
    Retold,
    /// Every four days ten minutes of items that one source alone has.
    Flooded,
    /// The same from all sources.
    Surging,
}

impl Feed {
    pub const ALL: [Self; 5] = [Self::Calm, Self::Copied, Self::Retold, Self::Flooded, Self::Surging];

    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "nothing added",
            Self::Copied => "copies of stories",
            Self::Retold => "copies, were each counted",
            Self::Flooded => "floods from one source",
            Self::Surging => "surges from many sources",
        }
    }
}

/// What the two rules made of a feed; the second wants three sources.
pub struct FeedResult {
    pub feed: Feed,
    pub items: usize,
    /// Alerts per subject and month of either rule.
    pub alerts: [f64; 2],
    /// Part of the alerts of the first rule that are marked `single_source`.
    pub marked: f64,
    /// Of floods and surges: part that either rule tells of until ten minutes after their end, 0 to 1.
    pub told: Option<[f64; 2]>,
}

fn word(number: usize) -> String {
    const SYLLABLES: [&str; 16] = ["ba", "ro", "ti", "lem", "sa", "ku", "vor", "ne", "mi", "dal", "po", "fes", "gar", "lu", "hin", "zo"];
    (0..3).map(|place| SYLLABLES[number >> (4 * place) & 15]).collect()
}

fn headline(random: &mut Random) -> Vec<usize> {
    (0..9).map(|_| random.below(4096)).collect()
}

/// One headline: minute, subject, source, words.
type Told = (usize, usize, usize, Vec<usize>);

/// All headlines in the order of their minutes, and where floods or surges begin: subject and minute.
fn tell(feed: Feed) -> (Vec<Told>, Vec<(usize, usize)>) {
    let (mut told, mut planted) = (Vec::new(), Vec::new());
    for subject in 0..SUBJECTS {
        let rate = RATES[subject % RATES.len()];
        let mut random = Random::new(0x5704_1E50 ^ subject as u64);
        for (minute, &count) in stream(Kind::Daily, rate, 0x57_0000 + subject as u64).iter().enumerate() {
            for _ in 0..count {
                told.push((minute, subject, random.below(SOURCES), headline(&mut random)));
            }
        }
        // Apart, so that every feed has the same news below.
        let mut random = Random::new(0xC0_9135 ^ subject as u64);
        if matches!(feed, Feed::Copied | Feed::Retold) {
            for _ in 0..3 * LENGTH / DAY {
                let (start, story) = (random.below(LENGTH - 30), headline(&mut random));
                for copy in 0..16 {
                    let later = if copy == 0 { 0 } else { random.below(30) };
                    let mut words = if copy > 0 && feed == Feed::Retold { headline(&mut random) } else { story.clone() };
                    if copy > 0 {
                        words[8] = random.below(4096);
                    }
                    told.push((start + later, subject, copy % SOURCES, words));
                }
            }
        }
        if matches!(feed, Feed::Flooded | Feed::Surging) {
            for number in 0..7 {
                let start = LEARN + number * 4 * DAY + random.below(DAY);
                planted.push((subject, start));
                for _ in 0..(SIZE * (rate.sqrt() + 1.0)) as usize {
                    let source = if feed == Feed::Flooded { SOURCES } else { random.below(SOURCES) };
                    told.push((start + random.below(WINDOW), subject, source, headline(&mut random)));
                }
            }
        }
    }
    told.sort_by_key(|(minute, subject, ..)| (*minute, *subject));
    (told, planted)
}

fn alerts(told: &[Told]) -> Vec<AlertRecord> {
    let config = Arc::new(Config::from_toml(RULES, &[], None).expect("these rules are valid"));
    let mut monitor = OfflineMonitor::new(&config, &Arc::new(Watchlist::empty()), 1);
    let mut alerts = Vec::new();
    let mut next = told.iter().enumerate().peekable();
    for minute in 0..LENGTH {
        while let Some((number, (_, subject, source, words))) = next.next_if(|(_, item)| item.0 == minute) {
            let title: Vec<String> = words.iter().map(|&number| word(number)).collect();
            monitor.observe(
                0,
                &Observation::Item(ItemObservation {
                    schema: 1,
                    subject: Subject::topic(&format!("T{subject}")),
                    id: number.to_string(),
                    event_time_ms: EPOCH_MS + minute as i64 * MINUTE_MS,
                    topic: format!("T{subject}"),
                    sentiment: Sentiment::Negative,
                    score: Score::from_f64(-0.8),
                    source: Some(format!("source-{source}.example")),
                    title: Some(title.join(" ")),
                    url: None,
                    sketch: None,
                    model: None,
                    subjects: Vec::new(),
                }),
            );
        }
        let watermark_ms = Some(EPOCH_MS + (minute as i64 + 1) * MINUTE_MS);
        let passed = WatermarkObservation { schema: 1, raw_partition: 0, raw_partitions: 1, watermark_ms, idle: false, market: Vec::new() };
        let (_, outputs) = monitor.observe(0, &Observation::Watermark(passed));
        alerts.extend(outputs.into_iter().filter_map(|output| if let Output::Alert(alert) = output { Some(*alert) } else { None }));
    }
    alerts
}

fn evaluate(feed: Feed) -> FeedResult {
    let (told, planted) = tell(feed);
    let at = |minute: usize| EventTime(EPOCH_MS + minute as i64 * MINUTE_MS);
    // Escalations belong to an alert that has been counted.
    let mut seen = HashSet::new();
    let mut first = alerts(&told);
    first.retain(|alert| seen.insert(alert.id.clone()) && alert.at >= at(LEARN));
    let of = |rule: &'static str| first.iter().filter(move |alert| alert.rule == rule);
    let rules = ["surge", "corroborated"];
    let told_of = |rule: &'static str| {
        let found = |&&(subject, start): &&(usize, usize)| {
            let subject = Subject::topic(&format!("T{subject}"));
            of(rule).any(|alert| alert.subject == subject && alert.at > at(start) && alert.at <= at(start + 2 * WINDOW))
        };
        planted.iter().filter(found).count() as f64 / planted.len() as f64
    };
    FeedResult {
        feed,
        items: told.len(),
        alerts: rules.map(|rule| of(rule).count() as f64 / SUBJECTS as f64 / MONTHS),
        marked: of("surge").filter(|alert| alert.single_source).count() as f64 / of("surge").count().max(1) as f64,
        told: (!planted.is_empty()).then(|| rules.map(told_of)),
    }
}

pub fn all() -> Vec<FeedResult> {
    Feed::ALL.map(evaluate).into()
}
