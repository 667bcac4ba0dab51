//! The life of an alert: a series of judgements → firing, escalated, resolved.
//!
//! `for` delays firing, `keep_firing_for` delays resolving, the `resolve` threshold is the hysteresis between them, and a
//! cooldown follows. What would fire can be made to wait: while a market-wide alert is open, or in quiet hours. All in
//! event time.

use serde::{Deserialize, Serialize};

use super::AlertRecord;
use super::judge::{Judgement, Severity};
use crate::config::RuleConfig;
use crate::news::EventTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transition {
    Firing,
    Escalated,
    Resolved,
}

impl Transition {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Escalated => "escalated",
            Self::Resolved => "resolved",
        }
    }
}

/// Why an alert that would fire does not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waits {
    /// A market-wide alert is open, and speaks for its members.
    Market,
    QuietHours,
}

impl Waits {
    pub const ALL: [Self; 2] = [Self::Market, Self::QuietHours];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::QuietHours => "quiet_hours",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[serde(rename = "q")]
    Quiet { quiet_until: Option<i64> },
    #[serde(rename = "p")]
    Pending { since: i64 },
    #[serde(rename = "o")]
    Open { last_held: i64 },
}

/// One rule on one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    state: State,
    severity: Severity,
    sequence: u32,
    started_at: EventTime,
    waits: Option<Waits>,
    /// Since when an open alert has had no data.
    silent_since: Option<EventTime>,
}

impl Default for Life {
    fn default() -> Self {
        Self::at(State::Quiet { quiet_until: None }, Severity::Warning, 0, EventTime(0))
    }
}

/// The form in a commit's metadata, which has little room.
type Compact = (State, Severity, u32, i64);

impl Serialize for Life {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.state, self.severity, self.sequence, self.started_at.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Life {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (state, severity, sequence, started_at) = Compact::deserialize(deserializer)?;
        Ok(Self::at(state, severity, sequence, EventTime(started_at)))
    }
}

impl Life {
    fn at(state: State, severity: Severity, sequence: u32, started_at: EventTime) -> Self {
        Self { state, severity, sequence, started_at, waits: None, silent_since: None }
    }

    /// The life that published this transition last.
    pub fn restored(record: &AlertRecord, rule: &RuleConfig) -> Self {
        let state = match record.transition {
            Transition::Resolved => State::Quiet { quiet_until: Some(record.at.plus(rule.cooldown.ms()).0) },
            Transition::Firing | Transition::Escalated => State::Open { last_held: record.at.0 },
        };
        Self::at(state, record.severity, record.sequence, record.started_at)
    }

    pub fn severity(&self) -> Severity {
        self.severity
    }

    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    pub fn started_at(&self) -> EventTime {
        self.started_at
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending { .. })
    }

    /// What keeps an alert back that would have fired by now.
    pub fn waits(&self) -> Option<Waits> {
        self.waits
    }

    /// Since when an open alert has had no data.
    pub fn silent_since(&self) -> Option<EventTime> {
        self.silent_since
    }

    /// Nothing left to remember.
    pub fn is_spent(&self, now: EventTime) -> bool {
        matches!(self.state, State::Quiet { quiet_until } if quiet_until.is_none_or(|until| until <= now.0))
    }

    /// One judgement at the end of a hop; at most one transition. `inhibited`: a market-wide alert is open that this one
    /// yields to.
    pub fn step(&mut self, at: EventTime, judgement: &Judgement, rule: &RuleConfig, inhibited: bool) -> Option<Transition> {
        self.waits = None;
        self.silent_since = None;
        if let State::Quiet { quiet_until } = self.state
            && judgement.severity.is_some()
            && quiet_until.is_none_or(|until| until <= at.0)
        {
            self.state = State::Pending { since: at.0 };
        }
        match (self.state, judgement.severity) {
            (State::Pending { .. }, None) => {
                self.state = State::Quiet { quiet_until: None };
                None
            }
            (State::Pending { since }, Some(severity)) if at.0 - since >= rule.hold_for.ms() => {
                self.waits = match severity {
                    _ if inhibited => Some(Waits::Market),
                    Severity::Warning if rule.is_quiet(at) => Some(Waits::QuietHours),
                    _ => None,
                };
                if self.waits.is_some() {
                    return None;
                }
                *self = Self::at(State::Open { last_held: at.0 }, severity, 0, at);
                Some(Transition::Firing)
            }
            (State::Open { .. }, Some(severity)) if severity > self.severity => {
                self.state = State::Open { last_held: at.0 };
                self.severity = severity;
                self.sequence += 1;
                Some(Transition::Escalated)
            }
            (State::Open { .. }, _) if judgement.holds => {
                self.state = State::Open { last_held: at.0 };
                None
            }
            (State::Open { last_held }, _) if at.0 - last_held >= rule.keep_firing_for.ms() => {
                self.state = State::Quiet { quiet_until: Some(at.plus(rule.cooldown.ms()).0) };
                self.sequence += 1;
                Some(Transition::Resolved)
            }
            _ => None,
        }
    }

    /// The window that ends at `at` is empty: a condition that was about to fire no longer holds; an open alert waits for
    /// data.
    pub fn no_data(&mut self, at: EventTime) {
        self.waits = None;
        match self.state {
            State::Pending { .. } => self.state = State::Quiet { quiet_until: None },
            State::Open { .. } => self.silent_since = self.silent_since.or(Some(at)),
            State::Quiet { .. } => {}
        }
    }

    /// As [`Life::step`], but only remembers since when a condition holds: its transitions are published already.
    pub fn recall(&mut self, at: EventTime, judgement: &Judgement) {
        self.silent_since = None;
        match self.state {
            State::Open { last_held } if judgement.holds => self.state = State::Open { last_held: last_held.max(at.0) },
            State::Quiet { quiet_until } if judgement.severity.is_some() && quiet_until.is_none_or(|until| until <= at.0) => {
                self.state = State::Pending { since: at.0 };
            }
            State::Pending { .. } if judgement.severity.is_none() => self.state = State::Quiet { quiet_until: None },
            _ => {}
        }
    }
}
