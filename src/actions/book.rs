//! The acknowledgements and silences that hold, from the records of the topic in their order.

use std::collections::BTreeMap;

use super::{Acknowledgement, Action, KEPT, Silence};
use crate::news::{EventTime, Subject};

/// Of either. Beyond that the oldest acknowledgement goes, or the silence that ends first; no operator is let get there.
const MOST: usize = 1_000;
/// How long an acknowledgement is shown by a process that has no such alert open.
const SHOWN_MS: i64 = 86_400_000;

#[derive(Debug, Default)]
pub struct Book {
    acknowledgements: BTreeMap<String, Acknowledgement>,
    silences: BTreeMap<Subject, Silence>,
}

impl Book {
    /// Takes the next record of the topic, and forgets what is over. False where the record is not one of ours.
    pub fn note(&mut self, key: &[u8], value: &[u8], now: EventTime) -> bool {
        let Some(action) = Action::read(key, value) else { return false };
        match action {
            Action::Acknowledge(said) => drop(self.acknowledgements.insert(said.alert.clone(), said)),
            Action::Withdraw(alert) => drop(self.acknowledgements.remove(&alert)),
            Action::Silence(said) => drop(self.silences.insert(said.subject.clone(), said)),
            Action::Lift(subject) => drop(self.silences.remove(&subject)),
        }
        self.acknowledgements.retain(|_, said| said.at.plus(KEPT.ms()) > now);
        self.silences.retain(|_, said| said.until > now);
        keep_latest(&mut self.acknowledgements, |said| said.at);
        keep_latest(&mut self.silences, |said| said.until);
        true
    }

    pub fn is_silenced(&self, subject: &Subject, now: EventTime) -> bool {
        self.silences.get(subject).is_some_and(|said| said.until > now)
    }

    /// Whether one more subject may be silenced, or this one anew.
    pub fn has_room_for(&self, subject: &Subject, now: EventTime) -> bool {
        self.silences.contains_key(subject) || self.silences(now).count() < MOST
    }

    pub fn silences(&self, now: EventTime) -> impl Iterator<Item = &Silence> {
        self.silences.values().filter(move |said| said.until > now)
    }

    /// Those of the last day, and of alerts that are open.
    pub fn acknowledgements(&self, now: EventTime, open: impl Fn(&str) -> bool) -> impl Iterator<Item = &Acknowledgement> {
        self.acknowledgements.values().filter(move |said| said.at.plus(SHOWN_MS) > now || open(&said.alert))
    }
}

fn keep_latest<Key: Ord + Clone, Said>(said: &mut BTreeMap<Key, Said>, time: impl Fn(&Said) -> EventTime) {
    while said.len() > MOST {
        let first = said.iter().min_by_key(|(_, said)| time(said)).map(|(key, _)| key.clone());
        first.and_then(|key| said.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    const HOUR_MS: i64 = 3_600_000;

    fn alert(number: usize) -> String {
        format!("rule/entity:e{number}/2026-11-30T02:59:00.000Z")
    }

    fn note(book: &mut Book, action: &Action, now: EventTime) {
        assert!(book.note(action.key().as_bytes(), &action.value(), now));
    }

    fn acknowledge(book: &mut Book, number: usize, now: EventTime) {
        note(book, &Action::acknowledge(alert(number), "", "ops".into(), now).unwrap(), now);
    }

    fn silence(book: &mut Book, subject: &str, hours: i64, now: EventTime) {
        let lasts = Span::from_ms((hours * HOUR_MS) as u64);
        note(book, &Action::silence(subject, lasts, "", "ops".into(), now).unwrap(), now);
    }

    #[test]
    fn a_silence_holds_until_its_end_or_until_it_is_lifted_and_the_last_word_counts() {
        let (mut book, now) = (Book::default(), EventTime(HOUR_MS));
        let at = |hours: i64| now.plus(hours * HOUR_MS);
        let banks = Subject::group("banks");
        silence(&mut book, "group:banks", 2, now);
        silence(&mut book, "market", 5, now);
        assert!(book.is_silenced(&banks, at(2).plus(-1)) && !book.is_silenced(&banks, at(2)));
        assert!(!book.is_silenced(&Subject::entity("one"), now), "a group's members are subjects of their own");
        silence(&mut book, "group:banks", 1, at(0));
        assert!(!book.is_silenced(&banks, at(1)), "shorter than before");
        note(&mut book, &Action::lift("market").unwrap(), at(1));
        assert_eq!(book.silences(now).count(), 0, "one was lifted, the other one is over and forgotten");
        assert!(!book.note(b"silence/market", b"{\"schema\":2}", now));
    }

    #[test]
    fn an_acknowledgement_is_shown_for_a_day_and_for_as_long_as_its_alert_is_open() {
        let (mut book, now) = (Book::default(), EventTime(HOUR_MS));
        (0..2).for_each(|number| acknowledge(&mut book, number, now));
        let shown = |book: &Book, hours: i64| {
            let shown = book.acknowledgements(now.plus(hours * HOUR_MS), |id| id == alert(1));
            shown.map(|said| said.alert.clone()).collect::<Vec<_>>()
        };
        assert_eq!(shown(&book, 23), [alert(0), alert(1)]);
        assert_eq!(shown(&book, 24), [alert(1)]);
        note(&mut book, &Action::withdraw(alert(1)).unwrap(), now);
        assert_eq!(shown(&book, 24), Vec::<String>::new());
        acknowledge(&mut book, 2, now.plus(KEPT.ms()));
        assert_eq!(book.acknowledgements.len(), 1, "as long as the topic keeps it");
    }

    #[test]
    fn a_book_is_bounded_and_what_matters_least_goes() {
        let (mut book, now) = (Book::default(), EventTime(HOUR_MS));
        for number in 0..MOST + 5 {
            let at = now.plus(number as i64);
            acknowledge(&mut book, number, at);
            assert_eq!(book.has_room_for(&Subject::entity("new"), at), number < MOST);
            silence(&mut book, &format!("entity:e{number}"), 1, at);
        }
        assert_eq!((book.acknowledgements.len(), book.silences.len()), (MOST, MOST));
        assert!(!book.acknowledgements.contains_key(&alert(4)) && book.acknowledgements.contains_key(&alert(5)));
        assert!(!book.is_silenced(&Subject::entity("e4"), now) && book.is_silenced(&Subject::entity("e5"), now));
        assert!(book.has_room_for(&Subject::entity("e5"), now));
    }
}
