//! The records of `sentiment.alerts`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::evidence::EvidenceItem;
use super::judge::Severity;
use super::life::Transition;
use super::surge::Prior;
use crate::config::Condition;
use crate::news::{EventTime, ModelIdentity, Subject};

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
    /// Around share, mean score or difference; `None` for a surge.
    pub interval: Option<AlertInterval>,
    /// What a relative rule compares with.
    pub rest_of_market: Option<RestOfMarket>,
    pub threshold: Threshold,
    /// Three quarters or more of the novel negative items, in the window or since the rise began, are of one named source,
    /// which may be an error or worse.
    pub single_source: bool,
    pub why: String,
    pub evidence: Vec<EvidenceItem>,
    /// Of an alert of the market: the subjects with most novel negative items.
    pub members: Vec<Member>,
    /// Which models scored the negative items; more than one where the model changed within the window.
    #[serde(default)]
    pub models: Vec<Arc<ModelIdentity>>,
    pub config_version: String,
}

impl AlertRecord {
    /// Whether a text has the form of an alert's id. Labels of topics may have a "/" in them.
    pub fn is_id(text: &str) -> bool {
        let parts = text.split_once('/').and_then(|(rule, rest)| rest.rsplit_once('/').map(|(subject, start)| (rule, subject, start)));
        parts.is_some_and(|(rule, subject, start)| {
            !rule.is_empty()
                && !rule.contains(char::is_control)
                && Subject::parse(subject).is_some()
                && EventTime::parse(start).is_some_and(|at| at.to_string() == start)
        })
    }
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
    /// Negative items that repeat no story.
    pub novel_negative: u64,
    /// Distinct sources of these.
    pub novel_sources: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertInterval {
    pub lower: f64,
    pub estimate: f64,
    pub upper: f64,
    /// One-sided, for each bound by itself.
    pub confidence: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestOfMarket {
    pub count: u64,
    pub negative: u64,
    pub negative_share: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub subject: Subject,
    pub subject_name: String,
    pub novel_negative: u64,
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
