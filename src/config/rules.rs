//! `[rules]`: what each looks at, by what limits, and how its alerts live.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{QuietHours, Span, TimeZone};
use crate::detect::surge::MONTH_MS;
use crate::news::{EventTime, Subject, SubjectKind};

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// How often chance alone would bring as many negative items, given the subject's past.
    Surge,
    /// Negative items among all items.
    Share,
    /// Mean score.
    Level,
    /// Negative share less that of the rest of the market.
    Relative,
}

impl Condition {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Surge => "surge",
            Self::Share => "share",
            Self::Level => "level",
            Self::Relative => "relative",
        }
    }

    /// True where `value` is at least as bad as `threshold`: shares grow worse upwards, the others downwards.
    pub fn reached(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Share | Self::Relative => value >= threshold,
            Self::Surge | Self::Level => value <= threshold,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    pub group_by: SubjectKind,
    pub subjects: Vec<String>,
    pub condition: Condition,
    pub window: Span,
    pub hop: Span,
    pub min_count: u64,
    pub min_sources: usize,
    pub confidence: f64,
    /// With `critical` and `resolve` for every condition but a surge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve: Option<f64>,
    #[serde(rename = "for")]
    pub hold_for: Span,
    pub keep_firing_for: Span,
    pub cooldown: Span,
    pub inhibits: bool,
    pub yields: bool,
    pub quiet_hours: Vec<QuietHours>,
    pub time_zone: TimeZone,
    /// For a surge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_alarms_per_month: Option<FalseAlarms>,
    #[serde(default)]
    pub overrides: BTreeMap<Subject, RuleOverride>,
}

/// What a rule does otherwise for one subject. Group, condition, window and hop stay.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleOverride {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_sources: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve: Option<f64>,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold_for: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yields: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<Vec<QuietHours>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_alarms_per_month: Option<FalseAlarms>,
}

/// Expected false alarms per subject and month of 30 days: the budget of a surge rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FalseAlarms {
    pub warning: f64,
    pub critical: f64,
}

/// A surge calms down when chance would bring as much this many times as often as the warning's budget allows, or as often
/// as in one of twenty windows.
const SURGE_HYSTERESIS: f64 = 100.0;
const SURGE_CALM: f64 = 0.05;

/// Limits of a rule, in the unit of its condition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    pub warning: f64,
    pub critical: f64,
    pub resolve: f64,
}

impl RuleConfig {
    /// What the rule's value is compared with; validation has seen to it that all of it is there.
    pub fn thresholds(&self) -> Thresholds {
        let set = |value: Option<f64>| value.unwrap_or(f64::NAN);
        match self.false_alarms_per_month {
            Some(FalseAlarms { warning, critical }) => {
                // Two tests, half of the budget each: hence twice.
                let calm = 2.0 * SURGE_CALM * MONTH_MS / self.window.ms().max(1) as f64;
                Thresholds { warning, critical, resolve: (warning * SURGE_HYSTERESIS).min(calm).max(warning) }
            }
            None => Thresholds { warning: set(self.warning), critical: set(self.critical), resolve: set(self.resolve) },
        }
    }

    /// True where the rule judges this subject.
    pub fn covers(&self, subject: &Subject) -> bool {
        subject.kind() == self.group_by && (self.subjects.is_empty() || self.subjects.iter().any(|only| only == subject.local()))
    }

    pub fn is_quiet(&self, at: EventTime) -> bool {
        self.quiet_hours.iter().any(|hours| hours.hold(at, self.time_zone))
    }

    /// The rule as it stands for each subject that has settings of its own.
    pub fn overridden(&self) -> BTreeMap<Subject, Self> {
        self.overrides.iter().map(|(subject, own)| (subject.clone(), self.with(own))).collect()
    }

    fn with(&self, own: &RuleOverride) -> Self {
        Self {
            min_count: own.min_count.unwrap_or(self.min_count),
            min_sources: own.min_sources.unwrap_or(self.min_sources),
            confidence: own.confidence.unwrap_or(self.confidence),
            warning: own.warning.or(self.warning),
            critical: own.critical.or(self.critical),
            resolve: own.resolve.or(self.resolve),
            hold_for: own.hold_for.unwrap_or(self.hold_for),
            keep_firing_for: own.keep_firing_for.unwrap_or(self.keep_firing_for),
            cooldown: own.cooldown.unwrap_or(self.cooldown),
            yields: own.yields.unwrap_or(self.yields),
            quiet_hours: own.quiet_hours.clone().unwrap_or_else(|| self.quiet_hours.clone()),
            false_alarms_per_month: own.false_alarms_per_month.or(self.false_alarms_per_month),
            overrides: BTreeMap::new(),
            ..self.clone()
        }
    }
}
