//! Alerts as an Alertmanager takes them: <https://prometheus.io/docs/alerting/latest/alerts_api/>.
//!
//! It knows an alert by its labels, wants it again and again while it fires, and takes it for resolved when it is not told any more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::detect::life::Transition;
use crate::detect::{AlertRecord, Severity};
use crate::news::{EventTime, Subject};

pub const PATH: &str = "api/v2/alerts";
/// How often what is open is told again.
pub const REPEAT: Duration = Duration::from_secs(60);
/// How long what was told holds: several repeats may be lost, as with Prometheus' own alerts.
const HOLDS_MS: i64 = 5 * 60_000;
/// Open alerts that are told again, and in one request.
const MOST: usize = 10_000;
pub const AT_ONCE: usize = 100;

/// What of an alert is told again.
#[derive(Debug, Clone, PartialEq)]
struct Open {
    partition: i32,
    rule: String,
    subject: Subject,
    subject_name: String,
    severity: Severity,
    started_at: EventTime,
    why: String,
    evidence: Option<String>,
}

impl Open {
    fn of(alert: &AlertRecord, partition: i32) -> Self {
        Self {
            partition,
            rule: alert.rule.clone(),
            subject: alert.subject.clone(),
            subject_name: alert.subject_name.clone(),
            severity: alert.severity,
            started_at: alert.started_at,
            why: alert.why.clone(),
            evidence: alert.evidence.iter().find_map(|item| item.url.clone()),
        }
    }

    fn told(&self, ends_at: EventTime) -> Value {
        let mut annotations =
            Map::from_iter([("summary".to_owned(), json!(self.why)), ("subject_name".to_owned(), json!(self.subject_name))]);
        annotations.extend(self.evidence.iter().map(|url| ("evidence".to_owned(), json!(url))));
        json!({
            "labels": {"alertname": self.rule, "subject": self.subject, "severity": self.severity},
            "annotations": annotations,
            "startsAt": self.started_at,
            "endsAt": ends_at.max(self.started_at),
        })
    }

    fn firing(&self, now: EventTime) -> Value {
        self.told(now.max(self.started_at).plus(HOLDS_MS))
    }
}

/// The open alerts of the partitions that are read here.
#[derive(Debug, Default)]
pub struct Book(BTreeMap<String, Open>);

impl Book {
    /// What is to be told of a transition.
    pub fn tell(alert: &AlertRecord, now: EventTime) -> Value {
        let open = Open::of(alert, 0);
        match alert.transition {
            Transition::Firing => json!([open.firing(now)]),
            // Other labels, so to the Alertmanager another alert: the old one ends.
            Transition::Escalated => {
                json!([Open { severity: Severity::Warning, ..open.clone() }.told(alert.at), open.firing(now)])
            }
            // Where its escalation was withheld, the warning is what the Alertmanager has.
            Transition::Resolved if alert.severity == Severity::Critical => {
                json!([open.told(alert.at), Open { severity: Severity::Warning, ..open.clone() }.told(alert.at)])
            }
            Transition::Resolved => json!([open.told(alert.at)]),
        }
    }

    pub fn note(&mut self, alert: &AlertRecord, partition: i32) {
        match alert.transition {
            Transition::Resolved => drop(self.0.remove(&alert.id)),
            _ if self.0.len() >= MOST && !self.0.contains_key(&alert.id) => {}
            _ => drop(self.0.insert(alert.id.clone(), Open::of(alert, partition))),
        }
    }

    /// Whether an alert is told again.
    pub fn has(&self, alert: &AlertRecord) -> bool {
        self.0.contains_key(&alert.id)
    }

    pub fn forget(&mut self, partitions: &[i32]) {
        self.0.retain(|_, open| !partitions.contains(&open.partition));
    }

    /// All that is open, as it is told again.
    pub fn again(&self, now: EventTime) -> Vec<Value> {
        self.0.values().map(|open| open.firing(now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::tests::alert;

    const NOW: EventTime = EventTime(10_000_000);

    #[test]
    fn an_alert_is_told_with_its_labels_its_reason_and_how_long_that_holds() {
        let fired = alert("group:banks", 1_000, 1_000, Transition::Firing);
        let told = Book::tell(&fired, NOW);
        let labels = json!({"alertname": fired.rule, "subject": "group:banks", "severity": fired.severity});
        assert_eq!(told[0]["labels"], labels);
        assert_eq!(told[0]["annotations"]["summary"], json!(fired.why));
        assert_eq!((&told[0]["startsAt"], &told[0]["endsAt"]), (&json!(EventTime(1_000)), &json!(NOW.plus(HOLDS_MS))));
        // From the event time of its end on it is over, however late that is told.
        let resolved = alert("group:banks", 1_000, 5_000, Transition::Resolved);
        assert_eq!(Book::tell(&resolved, NOW)[0]["endsAt"], json!(EventTime(5_000)));
    }

    #[test]
    fn an_alert_that_escalates_ends_as_the_warning_that_it_was() {
        let mut escalated = alert("group:banks", 1_000, 2_000, Transition::Escalated);
        escalated.severity = Severity::Critical;
        let told = Book::tell(&escalated, NOW);
        let of = |place: usize| (told[place]["labels"]["severity"].clone(), told[place]["endsAt"].clone());
        assert_eq!(of(0), (json!("warning"), json!(EventTime(2_000))));
        assert_eq!(of(1), (json!("critical"), json!(NOW.plus(HOLDS_MS))));
    }

    #[test]
    fn an_alert_that_was_critical_ends_as_whatever_it_was_told_to_be() {
        let mut resolved = alert("group:banks", 1_000, 5_000, Transition::Resolved);
        let ended = |resolved: &AlertRecord| -> Vec<Value> {
            let told = Book::tell(resolved, NOW);
            let told = told.as_array().unwrap().iter().filter(|told| told["endsAt"] == json!(EventTime(5_000)));
            told.map(|told| told["labels"]["severity"].clone()).collect()
        };
        resolved.severity = Severity::Warning;
        assert_eq!(ended(&resolved), ["warning"]);
        resolved.severity = Severity::Critical;
        assert_eq!(ended(&resolved), ["critical", "warning"]);
    }

    #[test]
    fn what_is_open_is_told_again_until_it_resolves_or_its_partition_goes() {
        let mut book = Book::default();
        for (subject, partition) in [("market", 0), ("group:banks", 1), ("topic:Macro", 1)] {
            book.note(&alert(subject, 1_000, 1_000, Transition::Firing), partition);
        }
        let subjects = |book: &Book| -> Vec<String> {
            book.again(NOW).iter().map(|told| told["labels"]["subject"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(subjects(&book).len(), 3);
        book.note(&alert("topic:Macro", 1_000, 9_000, Transition::Resolved), 1);
        assert_eq!(subjects(&book).len(), 2);
        book.forget(&[1]);
        assert_eq!(subjects(&book), ["market"]);
    }
}
