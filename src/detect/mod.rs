//! Rules over windows → alert transitions. Pure and deterministic: evaluated when the watermark passes a hop.
//!
//! [`mod@judge`] says how bad a window is, [`life`] turns a series of judgements into firing, escalated and resolved,
//! [`baseline`] knows what is usual, [`surge`] how often chance would bring more, [`evidence`] which headlines stand behind it.

pub mod baseline;
pub mod evidence;
pub mod judge;
pub mod life;
pub mod series;
pub mod surge;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::{Condition, Config, RuleConfig};
use crate::enrich::Watchlist;
use crate::news::{EventTime, SCHEMA_VERSION, Subject, SubjectKind};
use crate::window::{History, PaneRecord, WindowCounts};
use baseline::Baseline;
use evidence::{Evidence, EvidenceItem};
use judge::{Judgement, judge};
use life::{Life, Transition};
use surge::Prior;

pub use judge::Severity;

/// One record of `sentiment.alerts`: one transition of one alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertRecord {
    pub schema: u32,
    /// `<rule>/<subject>/<start>`: the same alert found again has the same id.
    pub id: String,
    pub rule: String,
    pub condition: Condition,
    pub subject: Subject,
    pub subject_name: String,
    pub transition: Transition,
    pub severity: Severity,
    /// Place in the alert's transitions, from 0.
    pub sequence: u32,
    pub started_at: EventTime,
    /// End of the window judged.
    pub at: EventTime,
    pub window: AlertWindow,
    pub baseline: Option<AlertBaseline>,
    pub p_value: Option<f64>,
    /// How often chance alone would raise such an alarm, per subject and month of 30 days.
    pub false_alarms_per_month: Option<f64>,
    pub threshold: Threshold,
    pub why: String,
    pub evidence: Vec<EvidenceItem>,
    pub config_version: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertWindow {
    pub start: EventTime,
    pub end: EventTime,
    pub count: u64,
    pub negative: u64,
    pub neutral: u64,
    pub positive: u64,
    pub negative_share: Option<f64>,
    pub mean_score: Option<f64>,
    /// Distinct sources.
    pub sources: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertBaseline {
    /// Negative items expected in a window of this length.
    pub expected_negative: f64,
    pub history_hours: f64,
    /// Whose past the expectation rests on most.
    pub prior: Prior,
    /// Set where a slow rise says more than the window.
    pub rise: Option<AlertRise>,
}

/// A slow rise, from when the CUSUM was last 0 to the end of the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertRise {
    pub since: EventTime,
    pub negative: u64,
    pub expected_negative: f64,
}

/// The threshold that was crossed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    pub name: String,
    pub value: f64,
}

/// All rules over the subjects of one monitor partition.
pub struct Detector {
    config: Arc<Config>,
    watchlist: Arc<Watchlist>,
    config_version: String,
    /// By length of window in milliseconds: one for each that a surge rule has.
    baselines: BTreeMap<i64, Baseline>,
    evidence: Evidence,
    /// By rule, then subject; only where there is something to remember.
    lives: BTreeMap<String, BTreeMap<Subject, Life>>,
}

fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

impl Detector {
    pub fn new(config: Arc<Config>, watchlist: Arc<Watchlist>) -> Self {
        let config_version = config.version();
        let surges = config.rules.values().filter(|rule| rule.condition == Condition::Surge).map(|rule| rule.window.ms());
        let baselines = surges.map(|window_ms| (window_ms, Baseline::new(config.reach(window_ms), config.detect.dispersion))).collect();
        let evidence = Evidence::new(config.window.pane.ms(), config.window.evidence);
        Self { config, watchlist, config_version, baselines, evidence, lives: BTreeMap::new() }
    }

    /// Start of what the baseline has seen; part of a checkpoint, because the panes alone do not tell how long it was quiet before them.
    pub fn since(&self) -> Option<EventTime> {
        self.baselines.values().next().and_then(Baseline::since)
    }

    /// As [`Detector::since`], read back.
    pub fn restore_since(&mut self, since: Option<EventTime>) {
        self.baselines.values_mut().for_each(|baseline| baseline.restore_since(since));
    }

    pub fn evidence_mut(&mut self) -> &mut Evidence {
        &mut self.evidence
    }

    /// Learns from closed panes; call before [`Detector::evaluate`] for the hop that they end at.
    pub fn learn(&mut self, records: &[PaneRecord]) {
        for baseline in self.baselines.values_mut() {
            records.iter().for_each(|record| baseline.push(&record.subject, record.pane_start, record.negative));
        }
    }

    /// Judges all rules whose hop ends at `end`; the transitions are in order of rule and subject.
    pub fn evaluate(&mut self, end: EventTime, history: &History) -> Vec<AlertRecord> {
        let config = self.config.clone();
        let mut records = Vec::new();
        self.each_judgement(&config, end, history, |detector, rule, name, subject, counts, judgement| {
            let Some(life) = detector.life(name, subject, &judgement) else { return };
            if let Some(transition) = life.step(end, &judgement, rule) {
                let (severity, sequence, started_at) = (life.severity(), life.sequence(), life.started_at());
                records.push(detector.record(
                    rule,
                    name,
                    subject,
                    counts,
                    &judgement,
                    transition,
                    (severity, sequence, started_at),
                    end,
                    history,
                ));
            }
        });
        self.baselines.values_mut().for_each(|baseline| baseline.forget_before(end));
        self.evidence.forget_before(end.plus(-config.longest_window_ms()));
        self.lives.values_mut().for_each(|lives| lives.retain(|_, life| !life.is_spent(end)));
        records
    }

    /// Judges again a hop whose transitions were published before a restart, only to recover since when conditions hold.
    pub fn recall(&mut self, end: EventTime, history: &History) {
        let config = self.config.clone();
        self.each_judgement(&config, end, history, |detector, _, name, subject, _, judgement| {
            if let Some(life) = detector.life(name, subject, &judgement) {
                life.recall(end, &judgement);
            }
        });
    }

    /// Event time crosses a silence in which every window is empty.
    pub fn no_data(&mut self) {
        self.lives.values_mut().flat_map(BTreeMap::values_mut).for_each(Life::no_data);
    }

    /// Takes back a transition that was published before a restart. Call in the order of their publication.
    pub fn restore(&mut self, record: &AlertRecord) {
        let Some(rule) = self.config.rules.get(&record.rule) else { return };
        self.lives.entry(record.rule.clone()).or_default().insert(record.subject.clone(), Life::restored(record, rule));
    }

    /// The life of a rule on a subject; a new one only where the judgement gives it something to remember.
    fn life(&mut self, rule: &str, subject: &Subject, judgement: &Judgement) -> Option<&mut Life> {
        if judgement.severity.is_none() {
            return self.lives.get_mut(rule)?.get_mut(subject);
        }
        if !self.lives.contains_key(rule) {
            self.lives.insert(rule.to_owned(), BTreeMap::new());
        }
        Some(self.lives.get_mut(rule).expect("inserted just now").entry(subject.clone()).or_default())
    }

    fn each_judgement(
        &mut self,
        config: &Config,
        end: EventTime,
        history: &History,
        mut act: impl FnMut(&mut Self, &RuleConfig, &str, &Subject, &WindowCounts, Judgement),
    ) {
        let mut windows: HashMap<i64, BTreeMap<Subject, WindowCounts>> = HashMap::new();
        for (name, rule) in &config.rules {
            if end.0.rem_euclid(rule.hop.ms()) != 0 {
                continue;
            }
            let size = rule.window.ms();
            let start = end.plus(-size);
            let window = windows.entry(size).or_insert_with(|| history.window(start, end));
            for (subject, life) in self.lives.get_mut(name).into_iter().flatten() {
                if !window.contains_key(subject) {
                    life.no_data();
                }
            }
            // A subject that is not in the window is "no data": its alert neither fires nor resolves.
            for (subject, counts) in window.iter() {
                if subject.kind() != rule.group_by
                    || !(rule.subjects.is_empty() || rule.subjects.iter().any(|only| only == subject.local()))
                {
                    continue;
                }
                let baseline = self.baselines.get_mut(&size).filter(|_| rule.condition == Condition::Surge);
                let usual = baseline.and_then(|baseline| baseline.usual(subject, start));
                let sources = || history.distinct_sources(subject, start, end);
                let judgement = judge(rule, counts, usual, sources);
                act(self, rule, name, subject, counts, judgement);
            }
        }
    }

    fn record(
        &self,
        rule: &RuleConfig,
        name: &str,
        subject: &Subject,
        counts: &WindowCounts,
        judgement: &Judgement,
        transition: Transition,
        (severity, sequence, started_at): (Severity, u32, EventTime),
        end: EventTime,
        history: &History,
    ) -> AlertRecord {
        let start = end.plus(-rule.window.ms());
        let subject_name = self.watchlist.name_of(subject);
        let phrase = if subject.kind() == SubjectKind::Market { "the market" } else { &subject_name };
        let window = AlertWindow {
            start,
            end,
            count: counts.count,
            negative: counts.negative,
            neutral: counts.neutral,
            positive: counts.positive,
            negative_share: Some(rounded(counts.negative_share())),
            mean_score: Some(rounded(counts.mean_score())),
            sources: history.distinct_sources(subject, start, end),
        };
        let limits = rule.thresholds();
        let value = match (transition, severity) {
            (Transition::Resolved, _) => limits.resolve,
            (_, Severity::Warning) => limits.warning,
            (_, Severity::Critical) => limits.critical,
        };
        let threshold_name = match rule.condition {
            Condition::Surge => "false_alarms_per_month",
            Condition::Share => "negative_share",
            Condition::Level => "mean_score",
        };
        AlertRecord {
            schema: SCHEMA_VERSION,
            id: format!("{name}/{subject}/{started_at}"),
            rule: name.to_owned(),
            condition: rule.condition,
            subject: subject.clone(),
            transition,
            severity,
            sequence,
            started_at,
            at: end,
            why: judgement.why(rule, counts, phrase, end, transition),
            evidence: self.evidence.top(subject, start, end),
            window,
            baseline: judgement.surge.map(|(usual, surge)| AlertBaseline {
                expected_negative: rounded(usual.expected),
                history_hours: rounded(usual.history_ms as f64 / 3_600_000.0),
                prior: usual.prior,
                rise: usual.rise.filter(|_| surge.rise < surge.window).map(|rise| AlertRise {
                    since: rise.since,
                    negative: rise.negative,
                    expected_negative: rounded(rise.expected),
                }),
            }),
            p_value: judgement.surge.map(|(_, surge)| surge.p_value),
            false_alarms_per_month: judgement.surge.map(|(_, surge)| surge.false_alarms_per_month()),
            threshold: Threshold { name: threshold_name.into(), value },
            config_version: self.config_version.clone(),
            subject_name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Sentiment;
    use crate::window::OpenPanes;
    use crate::window::panes::tests::item;

    const RULE: &str = "[window]\npane='1m'\nsize='5m'\nhop='1m'\n[rules.bank]\ngroup_by='group'\ncondition='share'\nmin_count=4\n\
                        warning=0.6\ncritical=0.9\nresolve=0.4\nkeep_firing_for='2m'\ncooldown='10m'";

    fn minutes(count: i64) -> i64 {
        count * 60_000
    }

    /// Feeds `per_minute[m]` = (negative, neutral) items of minute `m` and gives (minute, transition, severity).
    fn run(config: &str, per_minute: &[(usize, usize)]) -> Vec<(i64, Transition, Severity)> {
        let config = Arc::new(Config::from_toml(config, &[], None).unwrap());
        let mut detector = Detector::new(config.clone(), Arc::new(Watchlist::empty()));
        let (mut panes, mut history) = (OpenPanes::new(config.window.pane.ms()), History::new());
        let mut seen = Vec::new();
        for (minute, &(negative, neutral)) in per_minute.iter().enumerate() {
            let minute = minute as i64;
            for index in 0..negative + neutral {
                let sentiment = if index < negative { Sentiment::Negative } else { Sentiment::Neutral };
                panes.count(&item("group:banks", &format!("{minute}-{index}"), minutes(minute) + 1, sentiment));
            }
            let end = EventTime(minutes(minute + 1));
            let closed = panes.close(end);
            history.push(&closed);
            detector.learn(&closed);
            seen.extend(detector.evaluate(end, &history).into_iter().map(|record| (minute, record.transition, record.severity)));
        }
        seen
    }

    #[test]
    fn a_share_rule_fires_escalates_and_resolves() {
        let mut minutes = vec![(0, 2), (4, 0), (6, 0), (8, 0), (9, 0), (9, 0)];
        minutes.extend([(0, 9); 8]);
        let seen = run(RULE, &minutes);
        assert_eq!(seen[0], (1, Transition::Firing, Severity::Warning));
        assert_eq!(seen[1], (3, Transition::Escalated, Severity::Critical));
        assert_eq!(seen[2].1, Transition::Resolved);
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn an_empty_window_is_no_data_and_resolves_nothing() {
        let mut minutes = vec![(5, 0); 3];
        minutes.extend([(0, 0); 60]);
        assert_eq!(run(RULE, &minutes).len(), 1);
    }

    #[test]
    fn cooldown_keeps_an_alert_from_firing_again_at_once() {
        let mut minutes = vec![(5, 0); 2];
        minutes.extend([(0, 9); 8]);
        minutes.extend([(90, 0); 3]);
        let resolved = run(RULE, &minutes);
        assert_eq!(resolved.iter().map(|step| step.1).collect::<Vec<_>>(), [Transition::Firing, Transition::Resolved]);
        minutes.extend([(90, 0); 12]);
        assert_eq!(run(RULE, &minutes).last().unwrap().1, Transition::Firing);
    }

    #[test]
    fn a_condition_must_hold_as_long_as_the_rule_says() {
        let config = format!("{RULE}\nfor='3m'");
        assert_eq!(run(&config, &[(5, 0), (5, 0), (0, 90), (0, 9)]), []);
        assert_eq!(run(&config, &[(5, 0); 5])[0].0, 3);
    }

    const SURGE: &str = "[window]\npane='1m'\nsize='10m'\nhop='1m'\n[detect]\nmin_history='30m'\n[rules.bank]\ngroup_by='group'\n\
                         condition='surge'\nmin_count=4\nfalse_alarms_per_month={warning=1.0,critical=0.001}";

    #[test]
    fn a_surge_fires_on_what_the_past_does_not_explain_and_only_then() {
        let quiet: Vec<(usize, usize)> = (0..240).map(|minute| (usize::from(minute % 20 == 0), 2)).collect();
        assert_eq!(run(SURGE, &quiet), []);
        let mut burst = quiet.clone();
        burst.extend([(4, 2); 6]);
        let seen = run(SURGE, &burst);
        assert_eq!(seen[0].1, Transition::Firing);
        assert!((240..244).contains(&seen[0].0), "{seen:?}");
        assert_eq!(seen[1].2, Severity::Critical);
    }

    #[test]
    fn a_subject_that_is_always_negative_does_not_surge() {
        let always: Vec<(usize, usize)> = vec![(4, 2); 300];
        assert_eq!(run(SURGE, &always), []);
    }

    #[test]
    fn a_surge_says_nothing_before_it_has_seen_enough() {
        assert_eq!(run(SURGE, &[(9, 0); 20]), []);
    }
}
