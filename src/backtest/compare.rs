//! Two configurations over the same news: what each found alone, what both found, and who was first.

use serde::Serialize;

use super::Outcome;
use super::summary::{Episode, episodes};
use crate::news::{EventTime, Subject};

/// Alerts on one subject whose open times overlap, of either configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spell {
    pub subject: Subject,
    pub subject_name: String,
    pub start: EventTime,
    pub end: EventTime,
    /// Ids of the alerts of the configuration, and of the one it is held against.
    pub alerts: Vec<String>,
    pub against_alerts: Vec<String>,
    /// First firing of each.
    pub fired_at: Option<EventTime>,
    pub against_fired_at: Option<EventTime>,
    /// How much later the configuration fired than the one it is held against; negative where it was first.
    pub later_seconds: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub both: usize,
    pub alone: usize,
    pub against_alone: usize,
    /// In order of their start.
    pub spells: Vec<Spell>,
}

impl Comparison {
    pub fn of(run: &Outcome, against: &Outcome) -> Self {
        Self::between(&episodes(&run.alerts), &episodes(&against.alerts), run.end.max(against.end))
    }

    fn between(one: &[Episode], two: &[Episode], end: EventTime) -> Self {
        let sides = one.iter().map(|episode| (episode, false)).chain(two.iter().map(|episode| (episode, true)));
        let mut all: Vec<(&Episode, bool)> = sides.collect();
        all.sort_by(|(one, of_one), (two, of_two)| {
            (&one.subject, one.fired_at, of_one, &one.id).cmp(&(&two.subject, two.fired_at, of_two, &two.id))
        });
        let mut spells: Vec<Spell> = Vec::new();
        for (episode, of_against) in all {
            let (start, until) = episode.interval(end);
            let overlaps = spells.last().is_some_and(|spell| spell.subject == episode.subject && start < spell.end);
            if !overlaps {
                spells.push(Spell {
                    subject: episode.subject.clone(),
                    subject_name: episode.subject_name.clone(),
                    start,
                    end: until,
                    alerts: Vec::new(),
                    against_alerts: Vec::new(),
                    fired_at: None,
                    against_fired_at: None,
                    later_seconds: None,
                });
            }
            let spell = spells.last_mut().expect("pushed where there was none");
            spell.end = spell.end.max(until);
            let (ids, fired) = match of_against {
                false => (&mut spell.alerts, &mut spell.fired_at),
                true => (&mut spell.against_alerts, &mut spell.against_fired_at),
            };
            ids.push(episode.id.clone());
            fired.get_or_insert(start);
        }
        for spell in &mut spells {
            spell.later_seconds = spell.fired_at.zip(spell.against_fired_at).map(|(own, other)| (own.0 - other.0) as f64 / 1e3);
        }
        spells.sort_by(|one, two| (one.start, &one.subject).cmp(&(two.start, &two.subject)));
        let count = |own: bool, other: bool| {
            spells.iter().filter(|spell| spell.fired_at.is_some() == own && spell.against_fired_at.is_some() == other).count()
        };
        Self { both: count(true, true), alone: count(true, false), against_alone: count(false, true), spells }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::tests::alert;
    use crate::detect::life::Transition;

    #[test]
    fn alerts_that_overlap_are_one_finding_and_the_first_is_told() {
        let spans = |subject: &str, spans: &[(i64, i64)]| -> Vec<Episode> {
            let alerts: Vec<_> = spans
                .iter()
                .flat_map(|&(from, to)| [alert(subject, from, from, Transition::Firing), alert(subject, from, to, Transition::Resolved)])
                .collect();
            episodes(&alerts)
        };
        let mut one = spans("market", &[(10_000, 20_000), (50_000, 60_000)]);
        one.extend(spans("group:banks", &[(1_000, 2_000)]));
        // The second begins while the first and the other's are open: all one.
        let two = spans("market", &[(8_000, 12_000), (19_000, 30_000), (90_000, 95_000)]);
        let comparison = Comparison::between(&one, &two, EventTime(100_000));
        assert_eq!((comparison.both, comparison.alone, comparison.against_alone), (1, 2, 1));
        let both = comparison.spells.iter().find(|spell| spell.later_seconds.is_some()).unwrap();
        assert_eq!((both.later_seconds, both.alerts.len(), both.against_alerts.len()), (Some(2.0), 1, 2));
        assert_eq!((both.start, both.end), (EventTime(8_000), EventTime(30_000)));
        assert_eq!(comparison.spells[0].subject.as_str(), "group:banks");
    }
}
