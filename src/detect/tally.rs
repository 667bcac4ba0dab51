//! What became of the windows that a rule judged: every one beyond its threshold is in exactly one of these numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::judge::Judgement;
use super::life::{Life, Transition, Waits};
use crate::config::RuleConfig;

/// Windows of one rule, over all subjects and hops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RuleTally {
    /// Not empty, and with a value: no young baseline.
    pub judged: u64,
    /// An alert fired at it.
    pub fired: u64,
    /// Its alert was open.
    pub open: u64,
    /// Held back: the condition had not held for `for`, an alert had resolved less than `cooldown` ago, a market-wide alert
    /// spoke for it, it was in quiet hours.
    pub held_by_for: u64,
    pub held_by_cooldown: u64,
    pub held_by_market: u64,
    pub held_by_quiet_hours: u64,
    /// Beyond the threshold, with too few items or sources, within its interval of it, or only by a rise that is over.
    pub too_few: u64,
}

#[derive(Debug, Default)]
pub struct Tallies(BTreeMap<String, RuleTally>);

impl Tallies {
    pub fn get(&self) -> &BTreeMap<String, RuleTally> {
        &self.0
    }

    /// Notes windows in which nothing could be beyond the threshold.
    pub fn note_quiet(&mut self, name: &str, windows: u64) {
        self.of(name).judged += windows;
    }

    fn of(&mut self, name: &str) -> &mut RuleTally {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), RuleTally::default());
        }
        self.0.get_mut(name).expect("inserted just now")
    }

    /// Notes one judgement; `life` as it stands behind it.
    pub fn note(&mut self, name: &str, rule: &RuleConfig, judgement: &Judgement, life: Option<&Life>, transition: Option<Transition>) {
        let tally = self.of(name);
        let Some(value) = judgement.value else { return };
        tally.judged += 1;
        let beyond = rule.condition.reached(value, rule.thresholds().warning);
        let number = match (judgement.severity, life) {
            (None, Some(life)) if beyond && life.is_open() => &mut tally.open,
            (None, _) if beyond => &mut tally.too_few,
            (None, _) => return,
            (Some(_), Some(life)) if life.is_open() => match transition {
                Some(Transition::Firing) => &mut tally.fired,
                _ => &mut tally.open,
            },
            (Some(_), Some(life)) if life.is_pending() => match life.waits() {
                Some(Waits::Market) => &mut tally.held_by_market,
                Some(Waits::QuietHours) => &mut tally.held_by_quiet_hours,
                None => &mut tally.held_by_for,
            },
            (Some(_), _) => &mut tally.held_by_cooldown,
        };
        *number += 1;
    }
}
