//! Alerts against events that are known: precision, recall, delay, false alarms.
//!
//! An alert is true where it fires or escalates within an event on its subject, or on a member that it names; an event is
//! found by the first such transition, and its delay runs from the event's start to it. What is notified counts, not what
//! is merely open.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, SubjectMonths};
use crate::detect::AlertRecord;
use crate::detect::life::Transition;
use crate::news::{EventTime, Subject};

/// Something that happened to a subject, from `start` to `end`, both included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub subject: Subject,
    pub start: EventTime,
    pub end: EventTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Event {
    /// True where the alert tells of this event: it fires or escalates within it, on its subject or, of the market, with
    /// the subject among its members.
    pub fn holds(&self, alert: &AlertRecord) -> bool {
        let about = alert.subject == self.subject || alert.members.iter().any(|member| member.subject == self.subject);
        about && alert.transition != Transition::Resolved && (self.start..=self.end).contains(&alert.at)
    }
}

/// Reads events from CSV (a header `subject,start,end`, and `name` where wanted) or JSON lines with these fields.
///
/// # Errors
/// Names the file and the line.
pub fn read(path: &Path) -> Result<Vec<Event>, Error> {
    let fail = |what: String| Error::file(path, what);
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let kind = path.extension().map(|kind| kind.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let mut events = Vec::new();
    let mut keep = |line: u64, event: Result<Event, String>| -> Result<(), Error> {
        let event = event.and_then(check).map_err(|what| fail(format!("line {line}: {what}")))?;
        events.push(event);
        Ok(())
    };
    match kind.as_str() {
        "csv" => {
            let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
            let header = reader.headers().map_err(|error| fail(error.to_string()))?.clone();
            for (number, row) in reader.records().enumerate() {
                let line = row.as_ref().ok().and_then(|row| row.position()).map_or(number as u64 + 2, csv::Position::line);
                let event = row.and_then(|row| row.deserialize(Some(&header))).map_err(|error| reason(&error));
                keep(line, event)?;
            }
        }
        "jsonl" | "ndjson" | "json" => {
            for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
                keep(line, serde_json::from_str(text).map_err(|error| error.to_string()))?;
            }
        }
        _ => return Err(fail("the name must end in .csv or .jsonl".into())),
    }
    if events.is_empty() {
        return Err(fail("has no events".into()));
    }
    events.sort_by(|one, two| (one.start, &one.subject).cmp(&(two.start, &two.subject)));
    Ok(events)
}

/// Without the place, which the caller gives.
fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        _ => error.to_string(),
    }
}

fn check(event: Event) -> Result<Event, String> {
    let subject = event.subject.as_str();
    let known =
        subject == "market" || ["topic:", "entity:", "group:"].iter().any(|kind| subject.len() > kind.len() && subject.starts_with(kind));
    match () {
        () if !known => Err(format!("subject {subject:?} must be market, topic:…, entity:… or group:…")),
        () if event.end < event.start => Err(format!("end {} lies before start {}", event.end, event.start)),
        () => Ok(event),
    }
}

/// How a run did against the events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventScore {
    pub events: usize,
    pub events_found: usize,
    pub alerts: usize,
    pub true_alerts: usize,
    /// True alerts among all; `None` without an alert.
    pub precision: Option<f64>,
    /// Events found among all.
    pub recall: f64,
    /// From the start of the events that were found to the first alert on each.
    pub delay_seconds_median: Option<f64>,
    pub delay_seconds_p90: Option<f64>,
    /// False alerts for each subject of the feed and each 30 days of it.
    pub false_alarms_per_subject_month: f64,
    pub outcomes: Vec<EventOutcome>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventOutcome {
    #[serde(flatten)]
    pub event: Event,
    /// Id of the alert that found it.
    pub found_by: Option<String>,
    pub found_at: Option<EventTime>,
    pub delay_seconds: Option<f64>,
}

/// `alerts` holds transitions in order of their time; `subject_months` how much was watched.
pub fn score(events: &[Event], alerts: &[AlertRecord], subject_months: SubjectMonths) -> EventScore {
    let outcomes: Vec<EventOutcome> = events
        .iter()
        .map(|event| {
            let found = alerts.iter().find(|alert| event.holds(alert));
            EventOutcome {
                event: event.clone(),
                found_by: found.map(|alert| alert.id.clone()),
                found_at: found.map(|alert| alert.at),
                delay_seconds: found.map(|alert| (alert.at.0 - event.start.0) as f64 / 1e3),
            }
        })
        .collect();
    let fired: Vec<&AlertRecord> = alerts.iter().filter(|alert| alert.transition == Transition::Firing).collect();
    let is_true = |id: &str| alerts.iter().any(|alert| alert.id == id && events.iter().any(|event| event.holds(alert)));
    let true_alerts = fired.iter().filter(|alert| is_true(&alert.id)).count();
    let mut delays: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.delay_seconds).collect();
    delays.sort_by(f64::total_cmp);
    let found = delays.len();
    EventScore {
        events: events.len(),
        events_found: found,
        alerts: fired.len(),
        true_alerts,
        precision: (!fired.is_empty()).then(|| true_alerts as f64 / fired.len() as f64),
        recall: found as f64 / events.len() as f64,
        delay_seconds_median: quantile(&delays, 0.5),
        delay_seconds_p90: quantile(&delays, 0.9),
        false_alarms_per_subject_month: subject_months.rate(fired.len() - true_alerts),
        outcomes,
    }
}

/// Linear interpolation between the order statistics (type 7 of Hyndman and Fan 1996); `None` of nothing.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share * last as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::tests::alert;

    fn written(name: &str, text: &str) -> Result<Vec<Event>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string().rsplit('/').next().unwrap().to_owned())
    }

    fn event(subject: &str, start: i64, end: i64) -> Event {
        Event { subject: Subject(subject.into()), start: EventTime(start), end: EventTime(end), name: None }
    }

    #[test]
    fn csv_and_json_lines_give_the_same_events() {
        let csv = written(
            "e.csv",
            "subject,start,end,name\ngroup:banks,2023-03-09T00:00:00Z,2023-03-12T00:00:00Z,\nmarket,1970-01-01T00:00:01Z,1970-01-01T00:00:02Z,Start\n",
        );
        let json = written(
            "e.jsonl",
            "{\"subject\":\"market\",\"start\":\"1970-01-01T00:00:01Z\",\"end\":\"1970-01-01T00:00:02Z\",\"name\":\"Start\"}\n\n\
             {\"subject\":\"group:banks\",\"start\":\"2023-03-09T00:00:00Z\",\"end\":\"2023-03-12T00:00:00Z\"}\n",
        );
        assert_eq!(csv, json);
        assert_eq!(csv.unwrap()[0].subject, Subject::market());
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong() {
        for (name, text, expected) in [
            ("e.csv", "subject,start,end\nmarket,yesterday,2023-03-12T00:00:00Z\n", "e.csv: line 2: \"yesterday\" is not an RFC 3339 time"),
            ("e.csv", "subject,start,end\nmarket,2023-03-12T00:00:00Z,2023-03-11T00:00:00Z\n", "e.csv: line 2: end 2023-03-11"),
            ("e.csv", "subject,start\nmarket,2023-03-12T00:00:00Z\n", "e.csv: line 2: missing field `end`"),
            (
                "e.jsonl",
                "\n{\"subject\":\"banks\",\"start\":\"2023-03-12T00:00:00Z\",\"end\":\"2023-03-12T00:00:00Z\"}",
                "e.jsonl: line 2: subject \"banks\" must be market, topic:",
            ),
            ("e.jsonl", "nothing", "e.jsonl: line 1: "),
            ("e.jsonl", "", "e.jsonl: has no events"),
            ("e.txt", "x", "e.txt: the name must end in .csv or .jsonl"),
        ] {
            let error = written(name, text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn what_fires_or_escalates_within_an_event_finds_it() {
        let hour = 3_600_000;
        let alerts = [
            alert("market", 1, 1, Transition::Firing),                      // before the first event: false
            alert("group:banks", 2 * hour, 2 * hour, Transition::Firing),   // finds the second after an hour
            alert("group:banks", 2 * hour, 3 * hour, Transition::Resolved), // says nothing
            alert("market", 4 * hour, 4 * hour, Transition::Firing),        // before the third, but
            alert("market", 4 * hour, 6 * hour, Transition::Escalated),     // within it
        ];
        let events = [event("market", 2, hour), event("group:banks", hour, 3 * hour), event("market", 5 * hour, 7 * hour)];
        let score = score(&events, &alerts, SubjectMonths::of(3, 15 * 86_400_000));
        assert_eq!((score.events, score.events_found, score.alerts, score.true_alerts), (3, 2, 3, 2));
        assert_eq!((score.precision, score.recall), (Some(2.0 / 3.0), 2.0 / 3.0));
        assert_eq!((score.delay_seconds_median, score.delay_seconds_p90), (Some(3600.0), Some(3600.0)));
        // One false alert on three subjects in half a month.
        assert!((score.false_alarms_per_subject_month - 1.0 / 1.5).abs() < 1e-12);
        assert_eq!(score.outcomes[0].found_by, None);
        assert_eq!(score.outcomes[2].found_at, Some(EventTime(6 * hour)));
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.9), Some(7.0));
        assert_eq!(quantile(&[0.0, 10.0], 0.9), Some(9.0));
    }

    #[test]
    fn without_an_alert_there_is_no_precision() {
        let score = score(&[event("market", 0, 1)], &[], SubjectMonths::of(1, 1));
        assert_eq!((score.precision, score.recall, score.delay_seconds_median), (None, 0.0, None));
    }
}
