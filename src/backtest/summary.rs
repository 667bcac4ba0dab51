//! What came out of a back-test: `summary.json`, and what terminal and report say.

use std::collections::BTreeMap;

use serde::Serialize;

use super::compare::Comparison;
use super::events::{Event, EventScore, score};
use super::{ItemCounts, Outcome, Rejected};
use crate::config::RuleConfig;
use crate::detect::life::Transition;
use crate::detect::tally::RuleTally;
use crate::detect::{AlertRecord, Severity};
use crate::news::{EventTime, ModelIdentity, Subject};

/// One alert from its first transition to its last.
#[derive(Debug, Clone, Serialize)]
pub struct Episode {
    pub id: String,
    pub rule: String,
    pub subject: Subject,
    pub subject_name: String,
    /// The gravest it reached.
    pub severity: Severity,
    pub fired_at: EventTime,
    pub escalated_at: Option<EventTime>,
    /// `None` while open at the end.
    pub resolved_at: Option<EventTime>,
    #[serde(skip)]
    pub records: Vec<AlertRecord>,
}

impl Episode {
    /// Half-open, in which it was open; `end` is where event time stood last.
    pub fn interval(&self, end: EventTime) -> (EventTime, EventTime) {
        (self.fired_at, self.resolved_at.unwrap_or(end).max(self.fired_at.plus(1)))
    }

    pub fn first(&self) -> &AlertRecord {
        &self.records[0]
    }
}

/// In order of their first transition.
pub fn episodes(alerts: &[AlertRecord]) -> Vec<Episode> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut episodes: Vec<Episode> = Vec::new();
    for alert in alerts {
        let place = *places.entry(&alert.id).or_insert_with(|| {
            episodes.push(Episode {
                id: alert.id.clone(),
                rule: alert.rule.clone(),
                subject: alert.subject.clone(),
                subject_name: alert.subject_name.clone(),
                severity: alert.severity,
                fired_at: alert.at,
                escalated_at: None,
                resolved_at: None,
                records: Vec::new(),
            });
            episodes.len() - 1
        });
        let episode = &mut episodes[place];
        episode.severity = episode.severity.max(alert.severity);
        match alert.transition {
            Transition::Firing => {}
            Transition::Escalated => episode.escalated_at = Some(alert.at),
            Transition::Resolved => episode.resolved_at = Some(alert.at),
        }
        episode.records.push(alert.clone());
    }
    episodes
}

/// What one rule did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RuleSummary {
    pub fired: usize,
    /// Reached critical, at once or later.
    pub critical: usize,
    pub escalated: usize,
    pub resolved: usize,
    pub open_at_end: usize,
    pub subjects_alerted: usize,
    /// Subjects that it could judge.
    pub subjects_watched: usize,
    /// Alerts for each subject and each 30 days: what its false alarms are at most.
    pub alerts_per_subject_month: f64,
    /// Of a surge: false alarms that its budget allows for each subject and each 30 days, and over all of this.
    pub budget_per_subject_month: Option<f64>,
    pub false_alarms_expected: Option<f64>,
    pub windows: RuleTally,
}

/// One configuration's part of `summary.json`.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    pub name: String,
    pub config_version: String,
    pub model: Option<ModelIdentity>,
    pub items: ItemCounts,
    pub rejected_first: Vec<Rejected>,
    pub observations: u64,
    pub panes: usize,
    pub subjects: usize,
    pub subject_months: f64,
    pub alerts: AlertSummary,
    pub rules: BTreeMap<String, RuleSummary>,
    pub events: Option<EventScore>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertSummary {
    pub fired: usize,
    pub critical: usize,
    pub escalated: usize,
    pub resolved: usize,
    pub open_at_end: usize,
    pub subjects_alerted: usize,
    pub alerts_per_subject_month: f64,
    /// The mean over all days of the feed, days without an alert too.
    pub alerts_per_day: f64,
    /// Days by their number of alerts that fired, where there were any; UTC.
    pub by_day: BTreeMap<String, usize>,
}

/// `summary.json`: the same files, configurations and kept scores give the same bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub schema: u32,
    pub bellwether: &'static str,
    pub files: Vec<String>,
    /// Event times of the first and the last item.
    pub first_item_at: EventTime,
    pub last_item_at: EventTime,
    pub days: f64,
    pub run: RunSummary,
    pub against: Option<RunSummary>,
    pub comparison: Option<Comparison>,
}

/// The mean budget of these subjects, each with settings of its own where the rule has them; without subjects the rule's.
fn budget(rule: &RuleConfig, subjects: &[&Subject]) -> Option<f64> {
    let (usual, own) = (rule.false_alarms_per_month?.warning, rule.overridden());
    let budgets =
        subjects.iter().map(|subject| own.get(*subject).and_then(|own| own.false_alarms_per_month).map_or(usual, |own| own.warning));
    Some(if subjects.is_empty() { usual } else { budgets.sum::<f64>() / subjects.len() as f64 })
}

impl RunSummary {
    pub fn of(outcome: &Outcome, events: Option<&[Event]>) -> Self {
        let episodes = episodes(&outcome.alerts);
        let config = &outcome.setup.config;
        let span_ms = outcome.last.0 - outcome.first.0;
        let watched = outcome.watched();
        let rules = config.rules.iter().map(|(name, rule)| {
            let own: Vec<&Episode> = episodes.iter().filter(|episode| episode.rule == *name).collect();
            let covered: Vec<&Subject> = watched.iter().copied().filter(|subject| rule.covers(subject)).collect();
            let subjects_watched = covered.len();
            let months = super::SubjectMonths::of(subjects_watched, span_ms);
            let budget = budget(rule, &covered);
            let counts = Tally::of(own.iter().copied());
            let summary = RuleSummary {
                fired: counts.fired,
                critical: counts.critical,
                escalated: counts.escalated,
                resolved: counts.resolved,
                open_at_end: counts.open_at_end,
                subjects_alerted: counts.subjects,
                subjects_watched,
                alerts_per_subject_month: months.rate(own.len()),
                budget_per_subject_month: budget,
                false_alarms_expected: budget.map(|budget| budget * months.get()),
                windows: outcome.tallies.get(name).copied().unwrap_or_default(),
            };
            (name.clone(), summary)
        });
        let mut by_day = BTreeMap::new();
        for episode in &episodes {
            *by_day.entry(day(episode.fired_at)).or_default() += 1;
        }
        let counts = Tally::of(episodes.iter());
        Self {
            name: outcome.setup.name.clone(),
            config_version: config.version(),
            model: outcome.model.clone(),
            items: outcome.counts.clone(),
            rejected_first: outcome.rejected.clone(),
            observations: outcome.observations,
            panes: outcome.panes.len(),
            subjects: outcome.panes.subjects().len(),
            subject_months: outcome.subject_months().get(),
            alerts: AlertSummary {
                fired: counts.fired,
                critical: counts.critical,
                escalated: counts.escalated,
                resolved: counts.resolved,
                open_at_end: counts.open_at_end,
                subjects_alerted: counts.subjects,
                alerts_per_subject_month: outcome.subject_months().rate(episodes.len()),
                alerts_per_day: episodes.len() as f64 / days(outcome.first, outcome.last).max(1.0),
                by_day,
            },
            rules: rules.collect(),
            events: events.map(|events| score(events, &outcome.alerts, outcome.subject_months())),
        }
    }
}

struct Tally {
    fired: usize,
    critical: usize,
    escalated: usize,
    resolved: usize,
    open_at_end: usize,
    subjects: usize,
}

impl Tally {
    fn of<'episode>(episodes: impl Iterator<Item = &'episode Episode> + Clone) -> Self {
        let count = |is: fn(&Episode) -> bool| episodes.clone().filter(|episode| is(episode)).count();
        let subjects: std::collections::BTreeSet<&Subject> = episodes.clone().map(|episode| &episode.subject).collect();
        Self {
            fired: episodes.clone().count(),
            critical: count(|episode| episode.severity == Severity::Critical),
            escalated: count(|episode| episode.escalated_at.is_some()),
            resolved: count(|episode| episode.resolved_at.is_some()),
            open_at_end: count(|episode| episode.resolved_at.is_none()),
            subjects: subjects.len(),
        }
    }
}

/// `2023-03-10`.
pub fn day(at: EventTime) -> String {
    at.to_string().split('T').next().unwrap_or_default().to_owned()
}

pub fn days(first: EventTime, last: EventTime) -> f64 {
    (last.0 - first.0) as f64 / 86_400_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::tests::alert;
    use crate::config::Config;

    #[test]
    fn subjects_with_a_budget_of_their_own_count_with_it() {
        let text = "[rules.surge]\ngroup_by='group'\ncondition='surge'\nfalse_alarms_per_month={warning=1.0,critical=0.1}\n\
                    [rules.surge.overrides.'group:banks']\nfalse_alarms_per_month={warning=0.2,critical=0.1}";
        let rule = Config::from_toml(text, &[], None).unwrap().rules["surge"].clone();
        let [banks, others] = ["group:banks", "group:others"].map(|name| Subject(name.into()));
        assert_eq!(budget(&rule, &[&banks, &others]), Some(0.6));
        assert_eq!(budget(&rule, &[]), Some(1.0));
    }

    #[test]
    fn transitions_of_one_alert_are_one_episode() {
        let alerts = [
            alert("market", 10, 10, Transition::Firing),
            alert("group:banks", 20, 20, Transition::Firing),
            alert("market", 10, 30, Transition::Escalated),
            alert("market", 10, 40, Transition::Resolved),
        ];
        let episodes = episodes(&alerts);
        assert_eq!(episodes.len(), 2);
        assert_eq!(
            (episodes[0].fired_at, episodes[0].escalated_at, episodes[0].resolved_at),
            (EventTime(10), Some(EventTime(30)), Some(EventTime(40)))
        );
        assert_eq!(episodes[1].interval(EventTime(99)), (EventTime(20), EventTime(99)));
    }
}
