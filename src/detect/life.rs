//! The life of an alert: a series of judgements → firing, escalated, resolved.
//!
//! `for` delays firing, `keep_firing_for` delays resolving, the `resolve` threshold is the hysteresis between them, and a
//! cooldown follows. All in event time.

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

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Quiet { quiet_until: Option<EventTime> },
    Pending { since: EventTime },
    Open { last_held: EventTime },
}

/// One rule on one subject.
#[derive(Debug, Clone)]
pub struct Life {
    state: State,
    severity: Severity,
    sequence: u32,
    started_at: EventTime,
}

impl Default for Life {
    fn default() -> Self {
        Self { state: State::Quiet { quiet_until: None }, severity: Severity::Warning, sequence: 0, started_at: EventTime(0) }
    }
}

impl Life {
    /// The life that published this transition last.
    pub fn restored(record: &AlertRecord, rule: &RuleConfig) -> Self {
        let state = match record.transition {
            Transition::Resolved => State::Quiet { quiet_until: Some(record.at.plus(rule.cooldown.ms())) },
            Transition::Firing | Transition::Escalated => State::Open { last_held: record.at },
        };
        Self { state, severity: record.severity, sequence: record.sequence, started_at: record.started_at }
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

    /// Nothing left to remember.
    pub fn is_spent(&self, now: EventTime) -> bool {
        matches!(self.state, State::Quiet { quiet_until } if quiet_until.is_none_or(|until| until <= now))
    }

    /// One judgement at the end of a hop; at most one transition.
    pub fn step(&mut self, at: EventTime, judgement: &Judgement, rule: &RuleConfig) -> Option<Transition> {
        if let State::Quiet { quiet_until } = self.state
            && judgement.severity.is_some()
            && quiet_until.is_none_or(|until| until <= at)
        {
            self.state = State::Pending { since: at };
        }
        match (self.state, judgement.severity) {
            (State::Pending { .. }, None) => {
                self.state = State::Quiet { quiet_until: None };
                None
            }
            (State::Pending { since }, Some(severity)) if at.0 - since.0 >= rule.hold_for.ms() => {
                *self = Self { state: State::Open { last_held: at }, severity, sequence: 0, started_at: at };
                Some(Transition::Firing)
            }
            (State::Open { .. }, Some(severity)) if severity > self.severity => {
                self.state = State::Open { last_held: at };
                self.severity = severity;
                self.sequence += 1;
                Some(Transition::Escalated)
            }
            (State::Open { .. }, _) if judgement.holds => {
                self.state = State::Open { last_held: at };
                None
            }
            (State::Open { last_held }, _) if at.0 - last_held.0 >= rule.keep_firing_for.ms() => {
                self.state = State::Quiet { quiet_until: Some(at.plus(rule.cooldown.ms())) };
                self.sequence += 1;
                Some(Transition::Resolved)
            }
            _ => None,
        }
    }

    /// The window is empty: a condition that was about to fire no longer holds; an open alert waits for data.
    pub fn no_data(&mut self) {
        if matches!(self.state, State::Pending { .. }) {
            self.state = State::Quiet { quiet_until: None };
        }
    }

    /// As [`Life::step`], but only remembers since when a condition holds: its transitions are published already.
    pub fn recall(&mut self, at: EventTime, judgement: &Judgement) {
        match self.state {
            State::Open { last_held } if judgement.holds => self.state = State::Open { last_held: last_held.max(at) },
            State::Quiet { quiet_until } if judgement.severity.is_some() && quiet_until.is_none_or(|until| until <= at) => {
                self.state = State::Pending { since: at };
            }
            State::Pending { .. } if judgement.severity.is_none() => self.state = State::Quiet { quiet_until: None },
            _ => {}
        }
    }
}
