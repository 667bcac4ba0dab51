//! How bad one window is by one rule, and how to say so in plain words.

use serde::{Deserialize, Serialize};

use super::interval::{self, Interval};
use super::life::Transition;
use super::surge::{Prior, Rise, Surge, Usual};
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
    /// False alarms per month, negative share, mean score or difference of shares; `None` where the rule cannot judge yet
    /// (a young baseline, no other news to compare with).
    pub value: Option<f64>,
    /// Around the value, where it is one that a few items can bring about by chance.
    pub interval: Option<Interval>,
    /// The severity reached, if any.
    pub severity: Option<Severity>,
    /// Still at or beyond `resolve`: an open alert stays open.
    pub holds: bool,
    /// Of a surge: what was usual, how this compares.
    pub surge: Option<(Usual, Surge)>,
    /// The rise, where it goes on, has `min_count` negative items and says more than the window.
    pub rise: Option<Rise>,
    /// How often chance would do this, by what speaks; where nothing has `min_count` items, by all.
    pub false_alarms_per_month: Option<f64>,
    /// The rest of the market, for a relative rule.
    pub rest: Option<WindowCounts>,
}

/// Judges one window that is not empty. A share, a level or a difference fires when its interval lies beyond the threshold,
/// so that a few items are not enough, and stays open while the value itself is at or beyond `resolve`: a thin window is
/// no reason to calm down. `sources` is asked only where everything else speaks for an alert: how many there are in the
/// window, or since a rise began.
pub fn judge(
    rule: &RuleConfig,
    counts: &WindowCounts,
    usual: Option<Usual>,
    rest: Option<WindowCounts>,
    sources: impl FnOnce(Option<EventTime>) -> usize,
) -> Judgement {
    let surge = usual.map(|usual| (usual, usual.judge(counts.novel_negative, rule.window.ms(), rule.hop.ms())));
    let z = || interval::quantile(rule.confidence);
    let share = |counts: &WindowCounts| interval::share(counts.negative, counts.count, z());
    let interval = match rule.condition {
        Condition::Surge => None,
        Condition::Share => Some(share(counts)),
        Condition::Level => Some(interval::mean(counts, z())),
        Condition::Relative => rest.filter(|rest| rest.count > 0).map(|rest| interval::difference(share(counts), share(&rest))),
    };
    let window = |surge: &Surge| if counts.novel_negative >= rule.min_count { surge.window } else { f64::INFINITY };
    let rise = surge.and_then(|(usual, surge)| {
        usual.rise.filter(|rise| rise.is_rising && rise.negative >= rule.min_count && surge.rise < window(&surge))
    });
    let (value, speaking) = match rule.condition {
        Condition::Surge => {
            let speaking = |(_, surge): (Usual, Surge)| if rise.is_some() { surge.rise } else { window(&surge) };
            (surge.map(|(_, surge)| surge.false_alarms_per_month()), surge.map(speaking))
        }
        condition => {
            let sure = interval.map(|interval| if condition == Condition::Level { interval.upper } else { interval.lower });
            (interval.map(|interval| interval.estimate), sure.filter(|_| counts.count >= rule.min_count))
        }
    };
    let limits = rule.thresholds();
    let reached = |value: Option<f64>, limit: f64| value.is_some_and(|value| rule.condition.reached(value, limit));
    let speaks = reached(speaking, limits.warning) && (rule.min_sources <= 1 || sources(rise.map(|rise| rise.since)) >= rule.min_sources);
    let severity = speaks.then(|| if reached(speaking, limits.critical) { Severity::Critical } else { Severity::Warning });
    let holds = severity.is_some() || reached(value, limits.resolve);
    let false_alarms_per_month = surge.and_then(|_| speaking.filter(|speaking| speaking.is_finite()).or(value));
    Judgement { value, interval, severity, holds, surge, rise, false_alarms_per_month, rest }
}

impl Judgement {
    /// One sentence that says why.
    pub fn why(&self, rule: &RuleConfig, counts: &WindowCounts, name: &str, end: EventTime, transition: Transition) -> String {
        let window = rule.window.in_words();
        let clock = end.clock();
        let items = format!("{} of {} items about {name} in the {window} to {clock} UTC were negative", counts.negative, counts.count);
        let fact = match (rule.condition, self.surge, self.value) {
            (Condition::Surge, Some((usual, _)), _) => {
                let novel = match counts.novel_negative {
                    novel if novel < counts.negative => format!(", {novel} of them new"),
                    _ => String::new(),
                };
                let fact = match self.rise {
                    // What is over does not rise.
                    Some(rise) if transition != Transition::Resolved => format!(
                        "negative items about {name} have been rising since {} UTC: {} where {} were expected",
                        rise.since.clock_seen_from(end),
                        rise.negative,
                        few(rise.expected)
                    ),
                    _ => format!("{items}{novel}; {} were expected", few(usual.expected)),
                };
                let young = match usual.prior {
                    Prior::Own => "",
                    Prior::Pooled => ", with little past of its own to go by",
                };
                format!("{fact}{young} (by chance {})", how_often(self.false_alarms_per_month.unwrap_or(f64::INFINITY)))
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
            Transition::Firing => format!("{}.", capital(&fact)),
            Transition::Escalated => format!("Now critical: {fact}."),
            Transition::Resolved if rule.condition == Condition::Surge => format!("No longer unusual: {fact}."),
            Transition::Resolved => format!("Calm again: {fact}."),
        }
    }
}

/// An expected number, with two digits that tell something.
fn few(expected: f64) -> String {
    match expected {
        few if few < 0.1 => format!("{few:.3}"),
        few if few < 1.0 => format!("{few:.2}"),
        more => format!("{more:.1}"),
    }
}

/// `once in 3 months`, from a frequency per month of 30 days.
fn how_often(per_month: f64) -> String {
    let days = 30.0 / per_month;
    match days {
        days if days < 1.0 => "more than once a day".into(),
        days if days < 60.0 => format!("once in {days:.0} days"),
        days if days < 730.0 => format!("once in {:.0} months", days / 30.0),
        days if days < 365_000.0 => format!("once in {:.0} years", days / 365.0),
        _ => "less than once in 1,000 years".into(),
    }
}

fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::news::Score;

    use crate::detect::surge::Tail;

    fn usual(expected: f64, rise: Option<Rise>) -> Usual {
        Usual { expected, shape: 4.0, prior: Prior::Own, history_ms: 1, tail: Tail::EXACT, rise }
    }

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
        assert_eq!(judge(&rule("share-topic"), &counts(19, 0), None, None, |_| 9).severity, None);
        assert_eq!(judge(&rule("share-topic"), &counts(20, 0), None, None, |_| 9).severity, Some(Severity::Critical));
    }

    #[test]
    fn one_source_alone_is_not_enough_where_two_are_asked_for() {
        let rule = RuleConfig { min_sources: 2, ..rule("share-topic") };
        assert_eq!(judge(&rule, &counts(20, 0), None, None, |_| 1).severity, None);
        assert_eq!(judge(&rule, &counts(20, 0), None, None, |_| 2).severity, Some(Severity::Critical));
    }

    #[test]
    fn a_relative_rule_judges_the_difference_to_the_rest_of_the_market() {
        let text = "[rules.r]\ngroup_by='topic'\ncondition='relative'\nmin_count=5\nwarning=0.15\ncritical=0.6\nresolve=0.1";
        let rule = Config::from_toml(text, &[], None).unwrap().rules["r"].clone();
        let market = counts(220, 880);
        let judged = |negative: u64, neutral: u64| {
            judge(&rule, &counts(negative, neutral), None, Some(market.without(&counts(negative, neutral))), |_| 9)
        };
        let judgement = judged(20, 20);
        assert_eq!(judgement.severity, Some(Severity::Warning));
        assert_eq!(judgement.rest.unwrap().count, 1060);
        assert!((judgement.value.unwrap() - (0.5 - 200.0 / 1060.0)).abs() < 1e-12);
        assert_eq!(judged(3, 3).severity, None, "half of few is no difference");
        assert!(judged(3, 3).holds, "but an open alert stays open");
        assert_eq!(judged(38, 2).severity, Some(Severity::Critical));
        assert_eq!(
            judge(&rule, &counts(5, 0), None, Some(counts(5, 0).without(&counts(5, 0))), |_| 9).value,
            None,
            "nothing to compare with"
        );
        let why = judgement.why(&rule, &counts(20, 20), "Macro", EventTime(60_000_000), Transition::Firing);
        assert!(why.ends_with("were negative (50%), against 200 of 1060 in the rest of the market (19%)."), "{why}");
    }

    #[test]
    fn level_judges_the_mean_score() {
        let judgement = judge(&rule("level-market"), &counts(30, 20), None, None, |_| 9);
        assert_eq!((judgement.value, judgement.severity), (Some(-0.48), Some(Severity::Warning)));
    }

    #[test]
    fn the_reason_is_a_sentence_with_the_figures() {
        let usual = usual(1.7, None);
        let judgement = judge(&rule("surge-group"), &counts(31, 9), Some(usual), None, |_| 9);
        let why = judgement.why(&rule("surge-group"), &counts(31, 9), "Regional banks", EventTime(60_000_000), Transition::Firing);
        assert_eq!(
            why,
            "31 of 40 items about Regional banks in the 10 minutes to 16:40 UTC were negative; 1.7 were expected (by chance less than once in 1,000 years)."
        );
    }

    #[test]
    fn a_slow_rise_and_a_young_subject_are_called_so() {
        let rise = Rise {
            cusum: 12.0,
            is_rising: true,
            drift: 0.5,
            since: EventTime(36_000_000),
            negative: 40,
            expected: 12.25,
            step_ms: 3_600_000,
            tail: Tail::EXACT,
        };
        let usual = Usual { prior: Prior::Pooled, ..usual(1.7, Some(rise)) };
        let judgement = judge(&rule("surge-group"), &counts(3, 9), Some(usual), None, |_| 9);
        assert_eq!(judgement.severity, Some(Severity::Critical));
        let why = judgement.why(&rule("surge-group"), &counts(3, 9), "Regional banks", EventTime(60_000_000), Transition::Firing);
        assert!(
            why.starts_with(
                "Negative items about Regional banks have been rising since 10:00 UTC: 40 where 12.2 were expected, with little past of its own"
            ),
            "{why}"
        );
        let later = EventTime(60_000_000 + 86_400_000);
        let why = judgement.why(&rule("surge-group"), &counts(3, 9), "Regional banks", later, Transition::Firing);
        assert!(why.contains("rising since 1 January 10:00 UTC"), "{why}");
        let why = judgement.why(&rule("surge-group"), &counts(0, 9), "Regional banks", later, Transition::Resolved);
        assert!(why.starts_with("No longer unusual: 0 of 9 items about Regional banks in the 10 minutes"), "{why}");
        // It no longer rises, but it is not over either.
        let past = Usual { rise: Some(Rise { is_rising: false, ..rise }), ..usual };
        let judgement = judge(&rule("surge-group"), &counts(1, 9), Some(past), None, |_| 9);
        assert_eq!((judgement.severity, judgement.holds), (None, true));
        // Nor does it speak for a window that fires by itself: what it says is of the window.
        let past = Usual { rise: Some(Rise { is_rising: false, cusum: 60.0, ..rise }), ..usual };
        let by_window = judge(&rule("surge-group"), &counts(14, 9), Some(past), None, |_| 9);
        let (surge, told) = (by_window.surge.unwrap().1, by_window.false_alarms_per_month.unwrap());
        assert!(by_window.severity.is_some() && by_window.rise.is_none() && surge.rise < surge.window && told == surge.window);
        let why = by_window.why(&rule("surge-group"), &counts(14, 9), "Regional banks", EventTime(60_000_000), Transition::Firing);
        assert!(why.starts_with("14 of 23 items about Regional banks"), "{why}");
        // Few items make no rise, however improbable.
        let usual = Usual { rise: Some(Rise { negative: 2, ..rise }), ..usual };
        assert_eq!(judge(&rule("surge-group"), &counts(3, 9), Some(usual), None, |_| 9).severity, None);
    }

    #[test]
    fn a_frequency_is_said_in_a_fitting_unit() {
        let said = [100.0, 10.0, 0.1, 0.01, 1e-9].map(how_often);
        assert_eq!(
            said,
            ["more than once a day", "once in 3 days", "once in 10 months", "once in 8 years", "less than once in 1,000 years"]
        );
    }
}
