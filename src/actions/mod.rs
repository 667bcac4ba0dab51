//! What operators do to alerts: they acknowledge them, and silence subjects.
//!
//! Each is a record of the compacted `sentiment.actions`, which every process reads whole. Nothing that is computed or published depends
//! on it: pages show it, and `bellwether deliver` keeps back what is new of a silenced subject.

mod book;
mod live;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::Event;
use crate::config::Span;
use crate::detect::AlertRecord;
use crate::news::{EventTime, SCHEMA_VERSION, Subject};
pub use book::Book;
pub use live::Actions;

/// How long a silence may last.
pub const SHORTEST: Span = Span::from_ms(60_000);
pub const LONGEST: Span = Span::from_ms(30 * 86_400_000);
/// How long the topic keeps a record: as long as any silence may last, and a day for clocks that differ.
pub const KEPT: Span = Span::from_ms(31 * 86_400_000);
/// Characters of a note.
pub const NOTE: usize = 500;

/// Somebody has an alert in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The alert's id.
    pub alert: String,
    /// The operator's name.
    pub by: String,
    pub at: EventTime,
    /// One line, or empty.
    pub note: String,
}

/// Webhooks are told nothing new of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub subject: Subject,
    /// The operator's name.
    pub by: String,
    pub at: EventTime,
    /// It holds before this time.
    pub until: EventTime,
    /// One line, or empty.
    pub note: String,
}

/// One thing that an operator does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Acknowledge(Acknowledgement),
    /// Takes back the acknowledgement of this alert.
    Withdraw(String),
    Silence(Silence),
    /// Ends the silence of this subject.
    Lift(Subject),
}

/// The value of a record. One without a value takes back what its key had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    schema: u32,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    Acknowledge(Acknowledgement),
    Silence(Silence),
}

impl Action {
    /// `now`: when it is said; `by`: the operator's name.
    ///
    /// # Errors
    /// What is wrong with the alert's id or the note.
    pub fn acknowledge(alert: String, note: &str, by: String, now: EventTime) -> Result<Self, String> {
        Ok(Self::Acknowledge(Acknowledgement { alert: checked_alert(alert)?, by, at: now, note: checked_note(note)? }))
    }

    /// # Errors
    /// What is wrong with the alert's id.
    pub fn withdraw(alert: String) -> Result<Self, String> {
        checked_alert(alert).map(Self::Withdraw)
    }

    /// `lasts`: from `now` on.
    ///
    /// # Errors
    /// What is wrong with subject, length or note.
    pub fn silence(subject: &str, lasts: Span, note: &str, by: String, now: EventTime) -> Result<Self, String> {
        if !(SHORTEST..=LONGEST).contains(&lasts) {
            return Err(format!("for must be at least {} and at most {}", SHORTEST.in_words(), LONGEST.in_words()));
        }
        let subject = checked_subject(subject)?;
        Ok(Self::Silence(Silence { subject, by, at: now, until: now.plus(lasts.ms()), note: checked_note(note)? }))
    }

    /// # Errors
    /// What is wrong with the subject.
    pub fn lift(subject: &str) -> Result<Self, String> {
        checked_subject(subject).map(Self::Lift)
    }

    /// The key of its record.
    pub fn key(&self) -> String {
        match self {
            Self::Acknowledge(Acknowledgement { alert, .. }) | Self::Withdraw(alert) => format!("{ACKNOWLEDGE}{alert}"),
            Self::Silence(Silence { subject, .. }) | Self::Lift(subject) => format!("{SILENCE}{subject}"),
        }
    }

    /// The value of its record; empty where it takes something back.
    pub fn value(&self) -> Vec<u8> {
        let kind = match self {
            Self::Acknowledge(acknowledgement) => Kind::Acknowledge(acknowledgement.clone()),
            Self::Silence(silence) => Kind::Silence(silence.clone()),
            Self::Withdraw(_) | Self::Lift(_) => return Vec::new(),
        };
        serde_json::to_vec(&Record { schema: SCHEMA_VERSION, kind }).expect("a record has a JSON form")
    }

    /// As whoever asked for it is answered, and as the audit log has it.
    pub fn told(&self) -> Value {
        match self {
            Self::Acknowledge(acknowledgement) => json!(acknowledgement),
            Self::Withdraw(alert) => json!({"alert": alert}),
            Self::Silence(silence) => json!(silence),
            Self::Lift(subject) => json!({"subject": subject}),
        }
    }

    pub fn event(&self) -> Event {
        match self {
            Self::Acknowledge(_) => Event::AlertAcknowledged,
            Self::Withdraw(_) => Event::AcknowledgementWithdrawn,
            Self::Silence(_) => Event::SubjectSilenced,
            Self::Lift(_) => Event::SilenceLifted,
        }
    }

    /// What a record says; `None` where it is not one of ours.
    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        let action = match (value.is_empty(), key.strip_prefix(ACKNOWLEDGE), key.strip_prefix(SILENCE)) {
            (true, Some(alert), _) => Self::Withdraw(alert.to_owned()),
            (true, _, Some(subject)) => Self::Lift(Subject(subject.into())),
            (true, ..) => return None,
            (false, ..) => match serde_json::from_slice::<Record>(value).ok().filter(|record| record.schema == SCHEMA_VERSION)?.kind {
                Kind::Acknowledge(acknowledgement) => Self::Acknowledge(acknowledgement),
                Kind::Silence(silence) => Self::Silence(silence),
            },
        };
        (action.key() == key).then_some(action)
    }
}

const ACKNOWLEDGE: &str = "acknowledge/";
const SILENCE: &str = "silence/";

fn checked_alert(alert: String) -> Result<String, String> {
    match AlertRecord::is_id(&alert) {
        true => Ok(alert),
        false => Err("alert must be the id of an alert: its rule, subject and start with \"/\" between".to_owned()),
    }
}

fn checked_subject(subject: &str) -> Result<Subject, String> {
    Subject::parse(subject).ok_or_else(|| "subject must be \"market\", \"topic:LABEL\", \"entity:ID\" or \"group:ID\"".to_owned())
}

fn checked_note(note: &str) -> Result<String, String> {
    let note = note.trim();
    if note.contains(char::is_control) || note.chars().count() > NOTE {
        return Err(format!("note must be one line of at most {NOTE} characters"));
    }
    Ok(note.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALERT: &str = "share-topic/topic:M&A | Deals / Europe/2026-11-30T02:59:00.000Z";
    const NOW: EventTime = EventTime(1_790_000_000_000);

    fn silence(subject: &str, lasts: Span, note: &str) -> Result<Action, String> {
        Action::silence(subject, lasts, note, "ops".into(), NOW)
    }

    #[test]
    fn what_is_written_is_read_back_and_what_is_not_ours_is_not() {
        let hour = Span::from_ms(3_600_000);
        let actions = [
            Action::acknowledge(ALERT.into(), " mine ", "ops".into(), NOW).unwrap(),
            Action::withdraw(ALERT.into()).unwrap(),
            silence("group:banks", hour, "").unwrap(),
            Action::lift("group:banks").unwrap(),
        ];
        for action in &actions {
            assert_eq!(Action::read(action.key().as_bytes(), &action.value()).as_ref(), Some(action));
        }
        assert_eq!(actions[0].key(), format!("acknowledge/{ALERT}"));
        let told = json!({"subject": "group:banks", "by": "ops", "at": NOW, "until": NOW.plus(3_600_000), "note": ""});
        assert_eq!((actions[2].key().as_str(), actions[2].told()), ("silence/group:banks", told));
        let value = actions[2].value();
        for (key, value) in [
            (&b"silence/group:other"[..], &value[..]),
            (b"acknowledge/group:banks", &value),
            (b"silence/group:banks", b"{}"),
            (b"silence/group:banks", b"\xff"),
            (b"\xff", &value),
            (b"other/x", b""),
        ] {
            assert_eq!(Action::read(key, value), None, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_what_it_must_be() {
        let acknowledge = |alert: &str, note: &str| Action::acknowledge(alert.into(), note, "ops".into(), NOW);
        for alert in [
            "",
            "rule",
            "rule/market",
            "rule/market/today",
            "/market/2026-11-30T02:59:00.000Z",
            "rule/market/2026-11-30T02:59:00+01:00",
            "rule/x:y/2026-11-30T02:59:00.000Z",
        ] {
            assert!(acknowledge(alert, "").unwrap_err().starts_with("alert must be"), "{alert}");
            assert!(Action::withdraw(alert.into()).is_err(), "{alert}");
        }
        let longest = "ü".repeat(NOTE);
        assert!(acknowledge(ALERT, &longest).is_ok() && silence("market", LONGEST, &longest).is_ok());
        for note in [longest + "x", "two\nlines".to_owned()] {
            assert!(acknowledge(ALERT, &note).unwrap_err().starts_with("note must be"));
        }
        for subject in ["", "markets", "market:x", "entity:", "rule:x", "entity:a\u{0}"] {
            assert!(silence(subject, SHORTEST, "").unwrap_err().starts_with("subject must be"), "{subject}");
            assert!(Action::lift(subject).is_err(), "{subject}");
        }
        for lasts in [Span::from_ms(59_999), Span::from_ms(30 * 86_400_000 + 1)] {
            assert!(silence("market", lasts, "").unwrap_err().starts_with("for must be"));
        }
    }
}
