//! What of the board is shown, as JSON: to pages, and for `/status`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Board, State, SubjectState, rounded};
use crate::decode::Reason;
use crate::detect::life::Waits;
use crate::news::{EventTime, Subject};

impl SubjectState {
    fn points_since(&self, version: u64) -> Value {
        self.points.iter().filter(|(moved, _)| *moved > version).map(|(_, point)| json!(point)).collect()
    }
}

impl Board {
    fn health(&self, state: &State) -> Value {
        let now = EventTime::now().0;
        let mut reasons = self.unready(state);
        let health = if !state.troubles.is_empty() || !state.refusals.is_empty() {
            "degraded"
        } else if !reasons.is_empty() {
            "starting"
        } else {
            "ok"
        };
        reasons.extend(state.troubles.values().chain(state.refusals.values()).cloned());
        let lag: i64 = ["classifier", "monitor"].iter().map(|role| self.metrics.consumer_lag.with_label_values(&[role]).get()).sum();
        let rates = state.rates.iter().rev().take(5);
        let rate = rates.clone().map(|(_, rate)| rate).sum::<f64>() / rates.count().max(1) as f64;
        json!({
            "state": health,
            "reasons": reasons,
            "items_total": self.items_total(),
            "items_per_second": rounded(rate),
            "dead_total": self.metrics.items.with_label_values(&["dead"]).get(),
            "late_total": self.metrics.observations.with_label_values(&["late"]).get(),
            "consumer_lag": lag,
            "watermark_lag_seconds": watermark_lag(state, now).map(rounded),
        })
    }

    fn subject(&self, name: &Subject, subject: &SubjectState) -> Map<String, Value> {
        let window = subject.window.map(|window| {
            json!({
                "count": window.count,
                "negative": window.negative,
                "neutral": window.neutral,
                "positive": window.positive,
                "negative_share": rounded(window.negative_share()),
                "mean_score": rounded(window.mean_score()),
            })
        });
        let index = subject.mood.map(|mood| rounded(mood.index));
        let buzz = subject.mood.and_then(|mood| mood.buzz).map(rounded);
        let Value::Object(map) = json!({ "subject": name, "name": self.watchlist().name_of(name), "kind": name.kind(), "window": window, "index": index, "buzz": buzz })
        else {
            unreachable!("json! of braces is an object")
        };
        map
    }

    /// Everything, for a page that has just opened; and the version it shows.
    pub fn snapshot(&self) -> (Value, u64) {
        let state = self.state();
        let subjects: Vec<Value> = state
            .subjects
            .iter()
            .map(|(name, subject)| {
                let mut map = self.subject(name, subject);
                map.insert("points".into(), subject.points_since(0));
                Value::Object(map)
            })
            .collect();
        let rate: Vec<Value> = state.rates.iter().map(|(t, v)| json!({"t": t, "v": v})).collect();
        let snapshot = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "role": self.roles.as_str(),
            "model": model(&state),
            "now": EventTime::now(),
            "event_time": event_time(&state),
            "health": self.health(&state),
            "rate": rate,
            "window_seconds": self.config().window.size.ms() / 1000,
            "subjects": subjects,
            "alerts": {
                "open": state.open.values().collect::<Vec<_>>(),
                "silent": silent(&state),
                "waiting": waiting(&state),
                "recent": state.recent.iter().map(|(_, alert)| alert).collect::<Vec<_>>(),
            },
            "tape": state.tape.since(0),
            "actions": self.actions.shown(EventTime::now(), |alert| state.open.contains_key(alert)),
        });
        (snapshot, state.version)
    }

    /// What has moved since `version`; and the version it brings the page to.
    pub fn update(&self, version: u64) -> (Value, u64) {
        let state = self.state();
        let subjects: Vec<Value> = state
            .subjects
            .iter()
            .filter(|(_, subject)| subject.moved > version)
            .map(|(name, subject)| {
                let mut map = self.subject(name, subject);
                map.insert("points".into(), subject.points_since(version));
                Value::Object(map)
            })
            .collect();
        let update = json!({
            "model": model(&state),
            "now": EventTime::now(),
            "event_time": event_time(&state),
            "health": self.health(&state),
            "rate_point": state.rates.back().map(|(t, v)| json!({"t": t, "v": v})),
            "subjects": subjects,
            "alerts": {
                "open": state.open.values().collect::<Vec<_>>(),
                "silent": silent(&state),
                "waiting": waiting(&state),
                "recent": state.recent.iter().filter(|(moved, _)| *moved > version).map(|(_, alert)| alert).collect::<Vec<_>>(),
            },
            "tape": state.tape.since(version),
            "actions": self.actions.shown(EventTime::now(), |alert| state.open.contains_key(alert)),
        });
        (update, state.version)
    }

    /// The slowest partition's watermark.
    pub fn event_time(&self) -> Option<EventTime> {
        event_time(&self.state())
    }

    fn role_status(&self, role: &str) -> Value {
        let metrics = &self.metrics;
        let commits = |outcome| metrics.commits.with_label_values(&[role, outcome]).get();
        json!({
            "partitions": metrics.partitions_assigned.with_label_values(&[role]).get(),
            "records_total": metrics.records.with_label_values(&[role]).get(),
            "consumer_lag": metrics.consumer_lag.with_label_values(&[role]).get(),
            "commits_total": commits("ok"),
            "failed_commits_total": commits("error"),
        })
    }

    /// For `/status`: who runs, where, on what.
    pub fn status(&self) -> Value {
        let state = self.state();
        let model = state.model.as_ref().map(|(identity, device)| {
            let nodes: BTreeMap<&str, usize> = state.nodes.iter().map(|(name, count)| (name.as_str(), *count)).collect();
            json!({"name": identity.name, "version": identity.version, "device": device, "nodes": nodes})
        });
        let roles: Map<_, _> = self.roles.names().iter().map(|role| ((*role).to_owned(), self.role_status(role))).collect();
        let dead = |reason: Reason| self.metrics.dead_letters.with_label_values(&[reason.as_str()]).get();
        let dead_letters: BTreeMap<&str, u64> = Reason::ALL.iter().map(|reason| (reason.as_str(), dead(*reason))).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "role": self.roles.as_str(),
            "config_version": self.config().version(),
            "ready": self.unready(&state).is_empty(),
            "roles": roles,
            "dead_letters": dead_letters,
            "model": model,
            "event_time": event_time(&state),
            "health": self.health(&state),
        })
    }
}

fn model(state: &State) -> Option<Value> {
    state.model.as_ref().map(|(identity, device)| json!({"name": identity.name, "version": identity.version, "device": device}))
}

/// Open alerts without data, and since when.
fn silent(state: &State) -> Value {
    state
        .standings
        .values()
        .flat_map(|standing| &standing.silent)
        .map(|(id, since)| (id.clone(), json!(since)))
        .collect::<Map<_, _>>()
        .into()
}

/// Alerts that would have fired by now, by what keeps them back.
fn waiting(state: &State) -> Value {
    let count = |waits: Waits| state.standings.values().filter_map(|standing| standing.waiting.get(&waits)).sum::<u64>();
    Waits::ALL.map(|waits| (waits.as_str().to_owned(), json!(count(waits)))).into_iter().collect::<Map<_, _>>().into()
}

fn event_time(state: &State) -> Option<EventTime> {
    state.watermarks.values().min().copied()
}

/// Seconds of the slowest partition behind the clock.
pub(super) fn watermark_lag(state: &State, now: i64) -> Option<f64> {
    event_time(state).map(|at| (now - at.0) as f64 / 1e3)
}
