//! How bad one window is by one rule, and how to say so in plain words.

use serde::{Deserialize, Serialize};

use super::baseline::{Usual, tail_probability};
use super::interval::{self, Interval};
use super::life::Transition;
use crate::config::{Condition, RuleConfig};
use crate::news::EventTime;
use crate::window::WindowCounts;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Warning,
    Critical,
}

impl Severity {
    pub const ALL: [Self; 2] = [Self::Warning, Self::Critical];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What a rule makes of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// p-value, negative share, mean score or difference of shares; `None` where the rule cannot judge yet (a young
    /// baseline, no other news to compare with).
    pub value: Option<f64>,
    /// Around the value, where it is one that a few items can bring about by chance.
    pub interval: Option<Interval>,
    /// The severity reached, if any.
    pub severity: Option<Severity>,
    /// Still at or beyond `resolve`: an open alert stays open.
    pub holds: bool,
    pub usual: Option<Usual>,
    /// The rest of the market, for a relative rule.
    pub rest: Option<WindowCounts>,
}

/// Judges one window that is not empty. A share, a level or a difference fires when its interval lies beyond the threshold,
/// so that a few items are not enough, and stays open while the value itself is at or beyond `resolve`: a thin window is
/// no reason to calm down. `sources` is asked only where everything else speaks for an alert.
pub fn judge(
    rule: &RuleConfig,
    counts: &WindowCounts,
    usual: Option<Usual>,
    rest: Option<WindowCounts>,
    dispersion: f64,
    sources: impl FnOnce() -> usize,
) -> Judgement {
    let z = || interval::quantile(rule.confidence);
    let share = |counts: &WindowCounts| interval::share(counts.negative, counts.count, z());
    let (interval, judged) = match rule.condition {
        Condition::Surge => (None, counts.novel_negative),
        Condition::Share => (Some(share(counts)), counts.count),
        Condition::Level => (Some(interval::mean(counts, z())), counts.count),
        Condition::Relative => {
            let rest = rest.filter(|rest| rest.count > 0);
            (rest.map(|rest| interval::difference(share(counts), share(&rest))), counts.count)
        }
    };
    let (value, sure) = match (rule.condition, interval) {
        (Condition::Surge, _) => {
            let p = usual.map(|usual| tail_probability(counts.novel_negative, &usual, dispersion));
            (p, p)
        }
        (Condition::Level, Some(interval)) => (Some(interval.estimate), Some(interval.upper)),
        (_, Some(interval)) => (Some(interval.estimate), Some(interval.lower)),
        (_, None) => (None, None),
    };
    let reached = |value: Option<f64>, threshold: f64| value.is_some_and(|value| rule.condition.reached(value, threshold));
    let enough = judged >= rule.min_count;
    let speaks = enough && reached(sure, rule.warning) && (rule.min_sources <= 1 || sources() >= rule.min_sources);
    let severity = speaks.then(|| if reached(sure, rule.critical) { Severity::Critical } else { Severity::Warning });
    Judgement { value, interval, severity, holds: severity.is_some() || reached(value, rule.resolve), usual, rest }
}

impl Judgement {
    /// One sentence that says why.
    pub fn why(&self, rule: &RuleConfig, counts: &WindowCounts, name: &str, end: EventTime, transition: Transition) -> String {
        let window = rule.window.in_words();
        let clock = end.clock();
        let items = format!("{} of {} items about {name} in the {window} to {clock} UTC were negative", counts.negative, counts.count);
        let fact = match (rule.condition, self.usual, self.value) {
            (Condition::Surge, Some(usual), Some(p)) => {
                let expected = match usual.expected {
                    few if few < 0.1 => format!("{few:.3}"),
                    few if few < 1.0 => format!("{few:.2}"),
                    more => format!("{more:.1}"),
                };
                let p = if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.2}") };
                let novel = match counts.novel_negative {
                    novel if novel < counts.negative => format!(", {novel} of them new"),
                    _ => String::new(),
                };
                format!("{items}{novel}; {expected} were expected (p = {p})")
            }
            (Condition::Relative, _, Some(_)) => {
                let rest = self.rest.unwrap_or_default();
                let (share, others) = (counts.negative_share() * 100.0, rest.negative_share() * 100.0);
                format!("{items} ({share:.0}%), against {} of {} in the rest of the market ({others:.0}%)", rest.negative, rest.count)
            }
            (Condition::Level, _, Some(mean)) => format!("{items}; the mean score was {mean:.2}"),
            (_, _, Some(share)) => format!("{items} ({:.0}%)", share * 100.0),
            (_, _, None) => items,
        };
        match transition {
            Transition::Firing => format!("{fact}."),
            Transition::Escalated => format!("Now critical: {fact}."),
            Transition::Resolved if rule.condition == Condition::Surge => format!("No longer unusual: {fact}."),
            Transition::Resolved => format!("Calm again: {fact}."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::news::Score;

    fn rule(name: &str) -> RuleConfig {
        Config::default().rules[name].clone()
    }

    fn counts(negative: u64, neutral: u64) -> WindowCounts {
        let score_sum = Score(-(negative as i64) * 800_000);
        let score_square_sum = Score(negative as i64 * 640_000);
        WindowCounts { count: negative + neutral, negative, neutral, positive: 0, score_sum, score_square_sum, novel_negative: negative }
    }

    #[test]
    fn too_few_items_are_not_judged() {
        assert_eq!(judge(&rule("share-topic"), &counts(19, 0), None, None, 4.0, || 9).severity, None);
        assert_eq!(judge(&rule("share-topic"), &counts(20, 0), None, None, 4.0, || 9).severity, Some(Severity::Critical));
    }

    #[test]
    fn one_source_alone_is_not_enough_where_two_are_asked_for() {
        let rule = RuleConfig { min_sources: 2, ..rule("share-topic") };
        assert_eq!(judge(&rule, &counts(20, 0), None, None, 4.0, || 1).severity, None);
        assert_eq!(judge(&rule, &counts(20, 0), None, None, 4.0, || 2).severity, Some(Severity::Critical));
    }

    #[test]
    fn level_judges_the_mean_score() {
        let judgement = judge(&rule("level-market"), &counts(30, 20), None, None, 4.0, || 9);
        assert_eq!((judgement.value, judgement.severity), (Some(-0.48), Some(Severity::Warning)));
    }

    #[test]
    fn the_reason_is_a_sentence_with_the_figures() {
        let usual = Usual { expected: 1.7, history_ms: 1, shape: 9.0 };
        let judgement = judge(&rule("surge-group"), &counts(31, 9), Some(usual), None, 4.0, || 9);
        let why = judgement.why(&rule("surge-group"), &counts(31, 9), "Regional banks", EventTime(60_000_000), Transition::Firing);
        assert!(
            why.starts_with("31 of 40 items about Regional banks in the 10 minutes to 16:40 UTC were negative; 1.7 were expected (p = "),
            "{why}"
        );
    }
}
