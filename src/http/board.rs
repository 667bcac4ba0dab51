//! What the page, `/ready` and `/status` show: written by the pipeline, read by the HTTP thread.
//!
//! A copy for people to look at; nothing in the pipeline reads it back. Memory is bounded by subjects × points.

mod shown;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use crate::actions::{Action, Actions};
use crate::classify::{Classify, OnnxClassifier};
use crate::config::{Config, DecodeConfig};
use crate::detect::life::{Transition, Waits};
use crate::detect::{AlertRecord, Severity, Standing};
use crate::enrich::Watchlist;
use crate::http::classify::Ask;
use crate::http::news::{Push, Pushed};
use crate::http::tape::{Tape, TapeItem};
use crate::metrics::Metrics;
use crate::news::{EventTime, ModelIdentity, Subject};
use crate::pipeline::Roles;
use crate::pipeline::ask::{self, Reading};
use crate::pipeline::partition::{Mood, View};
use crate::window::WindowCounts;
use shown::watermark_lag;

const MAX_POINTS: usize = 360;
const MAX_RATES: usize = 300;
const MAX_RECENT: usize = 50;

#[derive(Debug, Clone, Copy, Serialize)]
struct Point {
    t: i64,
    mean: Option<f64>,
    index: Option<f64>,
    count: u64,
    negative: u64,
    /// Negative items that repeat no story.
    novel: u64,
    /// How many of those are usual; `None` before the past can tell.
    expected: Option<f64>,
    most: Option<u64>,
}

struct SubjectState {
    partition: i32,
    window: Option<WindowCounts>,
    /// Of a subject with a window.
    mood: Option<Mood>,
    /// With the `State::version` that brought it.
    points: VecDeque<(u64, Point)>,
    /// Value of `State::version` when it moved last.
    moved: u64,
}

#[derive(Default)]
struct State {
    /// Counts changes, so that every reader knows what is new to it.
    version: u64,
    subjects: BTreeMap<Subject, SubjectState>,
    watermarks: BTreeMap<i32, EventTime>,
    open: BTreeMap<String, AlertRecord>,
    /// Whom the metrics show with an open alert, by which rule.
    alerting: BTreeSet<(Subject, String, Severity)>,
    recent: VecDeque<(u64, AlertRecord)>,
    tape: Tape,
    /// By partition: alerts that publish nothing at the moment.
    standings: BTreeMap<i32, Standing>,
    /// By partition: subjects with items in the window, shown or not.
    live: BTreeMap<i32, usize>,
    rates: VecDeque<(i64, f64)>,
    model: Option<(ModelIdentity, String)>,
    nodes: Vec<(String, usize)>,
    classifier_ready: bool,
    monitor_assigned: bool,
    /// Partitions of which panes and transitions are read back.
    restoring: BTreeSet<i32>,
    /// Partitions of which observations are read again.
    replaying: BTreeSet<i32>,
    troubles: BTreeMap<&'static str, String>,
    /// By role: who refuses a connection. A commit says nothing of that: it may need another broker, or none.
    refusals: BTreeMap<&'static str, String>,
    counted: (i64, u64),
    /// By role: records finished, and since when that number has not moved although more wait.
    stalls: BTreeMap<&'static str, (u64, Option<Instant>)>,
}

/// Asks for a reload in somebody's name: what has changed, or why nothing has.
pub type Reload = dyn Fn(&str) -> Result<Value, String> + Send + Sync;

/// Makes known to all processes what somebody of that name does, and waits until the brokers have it; or says why they do not.
/// Blocking.
pub type Act = dyn Fn(&Action, &str) -> Result<(), String> + Send + Sync;

pub struct Board {
    config: RwLock<Arc<Config>>,
    watchlist: RwLock<Arc<Watchlist>>,
    metrics: Arc<Metrics>,
    roles: Roles,
    state: Mutex<State>,
    /// Once the roles run.
    reload: OnceLock<Box<Reload>>,
    /// Likewise.
    push: OnceLock<Box<Push>>,
    /// Likewise.
    ask: OnceLock<Box<Ask>>,
    /// Likewise.
    act: OnceLock<Box<Act>>,
    actions: Arc<Actions>,
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

impl Board {
    pub fn new(config: Arc<Config>, watchlist: Arc<Watchlist>, metrics: Arc<Metrics>, roles: Roles) -> Self {
        let (config, watchlist) = (RwLock::new(config), RwLock::new(watchlist));
        let (reload, push, ask, act) = (OnceLock::new(), OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { config, watchlist, metrics, roles, state: Mutex::default(), reload, push, ask, act, actions: Arc::default() }
    }

    /// What operators ask for a reload; told once.
    pub fn reload_by(&self, reload: Box<Reload>) {
        let _ = self.reload.set(reload);
    }

    /// `None` while the process starts.
    pub fn reload(&self, actor: &str) -> Option<Result<Value, String>> {
        self.reload.get().map(|reload| reload(actor))
    }

    /// What operators push news by; told once.
    pub fn push_by(&self, push: Box<Push>) {
        let _ = self.push.set(push);
    }

    pub fn takes_news(&self) -> bool {
        self.push.get().is_some()
    }

    /// # Errors
    /// Why not all of it is in Kafka.
    pub fn push(&self, items: &[Pushed]) -> Result<(), String> {
        self.push.get().map_or_else(|| Err("the process is starting".to_owned()), |push| push(items))
    }

    /// What the model says of a text that somebody tries; told once.
    pub fn ask_by(&self, ask: Box<Ask>) {
        let _ = self.ask.set(ask);
    }

    /// `None` while the process starts.
    pub fn ask(&self, text: &str) -> Option<Result<Reading, ask::Error>> {
        self.ask.get().map(|ask| ask(text))
    }

    /// Items that came by, the newest last.
    pub fn tape(&self, items: Vec<TapeItem>) {
        if items.is_empty() {
            return;
        }
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        state.tape.add(version, items);
    }

    /// What operators act on alerts by; told once.
    pub fn act_by(&self, act: Box<Act>) {
        let _ = self.act.set(act);
    }

    pub fn takes_actions(&self) -> bool {
        self.act.get().is_some()
    }

    /// # Errors
    /// Why it is not in Kafka.
    pub fn act(&self, action: &Action, actor: &str) -> Result<(), String> {
        self.act.get().map_or_else(|| Err("the process is starting".to_owned()), |act| act(action, actor))
    }

    /// What operators have done.
    pub fn actions(&self) -> &Arc<Actions> {
        &self.actions
    }

    /// What an item must be.
    pub fn decoding(&self) -> DecodeConfig {
        self.config().decode.clone()
    }

    /// Others are in force now.
    pub fn reconfigured(&self, config: Arc<Config>, watchlist: Arc<Watchlist>) {
        *self.config.write().expect("no holder of this lock panics") = config;
        *self.watchlist.write().expect("no holder of this lock panics") = watchlist;
    }

    fn config(&self) -> Arc<Config> {
        self.config.read().expect("no holder of this lock panics").clone()
    }

    fn watchlist(&self) -> Arc<Watchlist> {
        self.watchlist.read().expect("no holder of this lock panics").clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// The model that is in force now.
    pub fn model(&self, classifier: &OnnxClassifier) {
        let (identity, device, nodes) = (classifier.identity(), classifier.device().to_string(), classifier.nodes());
        self.metrics.model_info.reset();
        self.metrics.model_info.with_label_values(&[&identity.name, &identity.version, &device]).set(1);
        self.metrics.device_nodes.reset();
        for (name, count) in nodes {
            self.metrics.device_nodes.with_label_values(&[name]).set(*count as i64);
        }
        let mut state = self.state();
        state.model = Some((identity.clone(), device));
        state.nodes = nodes.to_vec();
    }

    /// What is wrong with a role while it goes on; `None` once it is right again.
    pub fn trouble(&self, role: &'static str, trouble: Option<String>) {
        let mut state = self.state();
        match trouble {
            Some(trouble) => state.troubles.insert(role, trouble),
            None => state.troubles.remove(role),
        };
    }

    /// What brokers refuse a role a connection, and why; `None` once all take it.
    pub fn refused(&self, role: &'static str, refusal: Option<String>) {
        let mut state = self.state();
        match refusal {
            Some(refusal) => state.refusals.insert(role, refusal),
            None => state.refusals.remove(role),
        };
    }

    /// A role has lost what it had and begins anew.
    pub fn generation_ended(&self, role: &'static str, cause: String) {
        self.trouble(role, Some(cause));
        self.begins_anew(role);
    }

    /// A role joins its group again, and reads back what it needs.
    pub fn begins_anew(&self, role: &'static str) {
        if role == crate::pipeline::monitor::ROLE {
            let partitions: Vec<i32> = {
                let mut state = self.state();
                state.monitor_assigned = false;
                state.restoring.clear();
                state.replaying.clear();
                state.subjects.values().map(|subject| subject.partition).chain(state.watermarks.keys().copied()).collect()
            };
            self.monitor_revoked(&partitions);
        } else {
            self.state().classifier_ready = false;
        }
    }

    pub fn classifier_assigned(&self) {
        self.state().classifier_ready = true;
    }

    pub fn monitor_restoring(&self, partitions: &[i32]) {
        let mut state = self.state();
        state.monitor_assigned = true;
        state.restoring.extend(partitions);
    }

    pub fn monitor_replaying(&self, partition: i32) {
        let mut state = self.state();
        state.restoring.remove(&partition);
        state.replaying.insert(partition);
    }

    pub fn monitor_restored(&self, partitions: &[i32]) {
        let mut state = self.state();
        let State { restoring, replaying, .. } = &mut *state;
        [restoring, replaying].into_iter().for_each(|under_way| under_way.retain(|partition| !partitions.contains(partition)));
    }

    /// The partitions' subjects belong to another monitor now.
    pub fn monitor_revoked(&self, partitions: &[i32]) {
        let mut state = self.state();
        let gone: Vec<Subject> =
            state.subjects.iter().filter(|(_, subject)| partitions.contains(&subject.partition)).map(|(name, _)| name.clone()).collect();
        for subject in &gone {
            state.subjects.remove(subject);
            self.clear_metrics(subject);
        }
        state.open.retain(|_, alert| !gone.contains(&alert.subject));
        state.watermarks.retain(|partition, _| !partitions.contains(partition));
        state.standings.retain(|partition, _| !partitions.contains(partition));
        state.live.retain(|partition, _| !partitions.contains(partition));
        drop(state);
        self.monitor_restored(partitions);
        let mut state = self.state();
        self.count_open(&mut state);
        self.count_standings(&state);
    }

    fn clear_metrics(&self, subject: &Subject) {
        let metrics = &self.metrics;
        let own = [&metrics.subject_score, &metrics.subject_negative_ratio, &metrics.subject_items, &metrics.subject_index];
        for gauge in own.into_iter().chain([&metrics.subject_buzz]) {
            let _ = gauge.remove_label_values(&[subject.as_str()]);
        }
    }

    fn set_mood(&self, subject: &Subject, mood: Option<Mood>) {
        let Some(mood) = mood else { return };
        self.metrics.subject_index.with_label_values(&[subject.as_str()]).set(mood.index);
        if let Some(buzz) = mood.buzz {
            self.metrics.subject_buzz.with_label_values(&[subject.as_str()]).set(buzz);
        }
    }

    pub fn watermark(&self, partition: i32, watermark: EventTime) {
        let mut state = self.state();
        state.watermarks.insert(partition, watermark);
    }

    /// The rolling windows at a hop of one partition; subjects of it that are not there have no data.
    pub fn view(&self, partition: i32, view: View) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let names: BTreeSet<Subject> = state
            .subjects
            .iter()
            .filter(|(name, subject)| subject.partition == partition && subject.window.is_some() && !view.windows.contains_key(*name))
            .map(|(name, _)| name.clone())
            .collect();
        let left = names.into_iter().map(|name| (name, None));
        for (name, window) in view.windows.into_iter().map(|(name, window)| (name, Some(window))).chain(left) {
            let labels = [name.as_str()];
            let mood = window.and_then(|_| view.moods.get(&name).copied());
            match window {
                Some(window) => {
                    self.metrics.subject_score.with_label_values(&labels).set(window.mean_score());
                    self.metrics.subject_negative_ratio.with_label_values(&labels).set(window.negative_share());
                    self.metrics.subject_items.with_label_values(&labels).set(window.count as f64);
                    self.set_mood(&name, mood);
                }
                None => self.clear_metrics(&name),
            }
            let usual = mood.and_then(|mood| mood.usual);
            let point = Point {
                t: view.end.0,
                mean: window.map(|window| rounded(window.mean_score())),
                index: mood.map(|mood| rounded(mood.index)),
                count: window.map_or(0, |window| window.count),
                negative: window.map_or(0, |window| window.negative),
                novel: window.map_or(0, |window| window.novel_negative),
                expected: usual.map(|usual| rounded(usual.expected)),
                most: usual.map(|usual| usual.most),
            };
            let subject = state.subjects.entry(name).or_insert_with(|| SubjectState {
                partition,
                window: None,
                mood: None,
                points: VecDeque::new(),
                moved: 0,
            });
            subject.window = window;
            subject.mood = mood;
            subject.moved = version;
            subject.partition = partition;
            subject.points.push_back((version, point));
            if subject.points.len() > MAX_POINTS {
                subject.points.pop_front();
            }
        }
        self.forget_silent(&mut state, partition);
        state.standings.insert(partition, view.standing);
        self.count_standings(&state);
        state.live.insert(partition, view.subjects);
        self.metrics.subjects.set(state.live.values().sum::<usize>() as i64);
    }

    /// As many subjects without a window as may be shown keep their course; those that have been silent for longest do not.
    fn forget_silent(&self, state: &mut State, partition: i32) {
        let most = self.config().http.subjects;
        let of_partition = state.subjects.iter().filter(|(_, subject)| subject.partition == partition && subject.window.is_none());
        let mut silent: Vec<(u64, Subject)> = of_partition.map(|(name, subject)| (subject.moved, name.clone())).collect();
        if silent.len() > most {
            silent.sort_unstable();
            silent.iter().take(silent.len() - most).for_each(|(_, name)| drop(state.subjects.remove(name)));
        }
    }

    pub fn alert(&self, alert: AlertRecord) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        match alert.transition {
            Transition::Resolved => drop(state.open.remove(&alert.id)),
            Transition::Firing | Transition::Escalated => drop(state.open.insert(alert.id.clone(), alert.clone())),
        }
        state.recent.push_front((version, alert));
        state.recent.truncate(MAX_RECENT);
        self.count_open(&mut state);
    }

    fn count_open(&self, state: &mut State) {
        for severity in Severity::ALL {
            let count = state.open.values().filter(|alert| alert.severity == severity).count();
            self.metrics.open_alerts.with_label_values(&[severity.as_str()]).set(count as i64);
        }
        let alerting: BTreeSet<_> = state.open.values().map(|alert| (alert.subject.clone(), alert.rule.clone(), alert.severity)).collect();
        // One by one: a scrape behind a reset would see no alert.
        for (subject, rule, severity) in state.alerting.difference(&alerting) {
            let _ = self.metrics.subject_alerts.remove_label_values(&[subject.as_str(), rule, severity.as_str()]);
        }
        for (subject, rule, severity) in &alerting {
            self.metrics.subject_alerts.with_label_values(&[subject.as_str(), rule, severity.as_str()]).set(1);
        }
        state.alerting = alerting;
    }

    fn count_standings(&self, state: &State) {
        self.metrics.silent_alerts.set(state.standings.values().map(|standing| standing.silent.len() as i64).sum());
        for waits in Waits::ALL {
            let count: u64 = state.standings.values().filter_map(|standing| standing.waiting.get(&waits)).sum();
            self.metrics.waiting_alerts.with_label_values(&[waits.as_str()]).set(count as i64);
        }
    }

    /// Once a second, by the HTTP thread: the rate of items, and the gauges that only time moves.
    pub fn tick(&self) {
        let now = EventTime::now().0;
        let total = self.items_total();
        let mut state = self.state();
        let (last, before) = std::mem::replace(&mut state.counted, (now, total));
        if last > 0 && now > last {
            let rate = (total - before) as f64 * 1000.0 / (now - last) as f64;
            state.rates.push_back((now, rounded(rate)));
            if state.rates.len() > MAX_RATES {
                state.rates.pop_front();
            }
        }
        if let Some(lag) = watermark_lag(&state, now) {
            self.metrics.watermark_lag.set(lag);
        }
        let ready = self.unready(&state).is_empty();
        self.metrics.ready.set(i64::from(ready));
        let restoring = !state.restoring.is_empty();
        for role in self.roles.names() {
            let records = self.metrics.records.with_label_values(&[role]).get();
            let begun = *role == crate::pipeline::classifier::ROLE && self.metrics.records_in_flight.get() > 0;
            let waits = (begun || self.metrics.consumer_lag.with_label_values(&[role]).get() > 0) && !restoring;
            let (before, since) = state.stalls.get(role).copied().unwrap_or_default();
            let since = (waits && records == before).then(|| since.unwrap_or_else(Instant::now));
            state.stalls.insert(role, (records, since));
        }
    }

    /// The roles that have not got on for `health.stall_after` although records wait for them; empty while all is well.
    pub fn stalled(&self) -> Vec<String> {
        let limit = self.config().health.stall_after;
        let state = self.state();
        let stalled = state.stalls.iter().filter_map(|(role, (_, since))| since.map(|since| (role, since.elapsed())));
        stalled
            .filter(|(_, elapsed)| *elapsed >= limit.duration())
            .map(|(role, elapsed)| format!("{role}: records wait, and none was finished for {} s", elapsed.as_secs()))
            .collect()
    }

    fn items_total(&self) -> u64 {
        ["scored", "dead"].iter().map(|outcome| self.metrics.items.with_label_values(&[outcome]).get()).sum()
    }

    /// Why the process is not ready; empty when it is.
    pub fn not_ready(&self) -> Vec<String> {
        self.unready(&self.state())
    }

    fn unready(&self, state: &State) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.roles.classifies() && state.model.is_none() {
            reasons.push("the model is being loaded".to_owned());
        }
        if self.roles.classifies() && !state.classifier_ready {
            reasons.push("classifier: no partitions assigned yet".to_owned());
        }
        if self.roles.monitors() && !state.monitor_assigned {
            reasons.push("monitor: no partitions assigned yet".to_owned());
        }
        if !state.restoring.is_empty() {
            reasons.push(format!("monitor: restoring {} partition(s)", state.restoring.len()));
        }
        if !state.replaying.is_empty() {
            reasons.push(format!("monitor: reading the observations of {} partition(s) again", state.replaying.len()));
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::HttpConfig;
    use crate::detect::UsualCount;
    use crate::news::Score;

    fn board() -> Board {
        Board::new(Arc::new(Config::default()), Arc::new(Watchlist::empty()), Arc::new(Metrics::new()), Roles::Monitor)
    }

    fn mood() -> Mood {
        Mood { index: -0.25, buzz: Some(1.5), usual: Some(UsualCount { expected: 0.4, most: 2 }) }
    }

    fn view(end: i64, subjects: &[&str]) -> View {
        let counts = WindowCounts { count: 4, negative: 1, neutral: 3, positive: 0, score_sum: Score(-800_000), ..WindowCounts::default() };
        let windows = subjects.iter().map(|name| (Subject((*name).into()), counts)).collect();
        let moods = subjects.iter().map(|name| (Subject((*name).into()), mood())).collect();
        View { end: EventTime(end), subjects: subjects.len(), windows, moods, standing: Standing::default() }
    }

    #[test]
    fn an_update_holds_only_what_moved_and_an_emptied_window_says_so() {
        let board = board();
        board.view(0, view(1000, &["market", "topic:Macro"]));
        let (snapshot, version) = board.snapshot();
        assert_eq!(snapshot["subjects"].as_array().unwrap().len(), 2);
        board.view(0, view(2000, &["market"]));
        let (update, version) = board.update(version);
        let subjects = update["subjects"].as_array().unwrap();
        assert_eq!(subjects.len(), 2);
        assert_eq!(subjects[1]["window"], Value::Null);
        assert_eq!(subjects[1]["points"][0]["mean"], Value::Null);
        assert_eq!(board.update(version).0["subjects"].as_array().unwrap().len(), 0);
        assert!(!board.metrics.render().contains("subject_items{subject=\"topic:Macro\"}"));
    }

    #[test]
    fn those_silent_for_longest_are_forgotten_and_those_not_shown_are_counted() {
        let config = Config { http: HttpConfig { subjects: 2, ..Config::default().http }, ..Config::default() };
        let board = Board::new(Arc::new(config), Arc::new(Watchlist::empty()), Arc::new(Metrics::new()), Roles::Monitor);
        for (end, name) in [(1000, "entity:one"), (2000, "entity:two"), (3000, "entity:three"), (4000, "entity:four")] {
            board.view(0, View { subjects: 70, ..view(end, &[name]) });
            // Of another partition, which forgets for itself.
            board.view(1, View { subjects: 5, ..view(end, &["market"]) });
        }
        let (snapshot, _) = board.snapshot();
        let mut names: Vec<&str> =
            snapshot["subjects"].as_array().unwrap().iter().map(|subject| subject["subject"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["entity:four", "entity:three", "entity:two", "market"]);
        assert!(board.metrics.render().contains("bellwether_subjects 75"), "of both partitions, shown or not");
    }

    #[test]
    fn index_and_buzz_are_shown_and_exported() {
        let board = board();
        board.view(0, view(1000, &["market", "group:banks", "entity:one"]));
        let subject = |name: &str| {
            let (snapshot, _) = board.snapshot();
            snapshot["subjects"].as_array().unwrap().iter().find(|subject| subject["subject"] == name).unwrap().clone()
        };
        let shown = subject("entity:one");
        assert_eq!((&shown["index"], &shown["buzz"], &shown["points"][0]["index"]), (&json!(-0.25), &json!(1.5), &json!(-0.25)));
        let metrics = board.metrics.render();
        assert!(metrics.contains("bellwether_subject_index{subject=\"group:banks\"} -0.25"), "{metrics}");
        assert!(metrics.contains("bellwether_subject_buzz_ratio{subject=\"market\"} 1.5"), "{metrics}");
        assert!(metrics.contains("bellwether_subject_index{subject=\"entity:one\"} -0.25"), "{metrics}");
        board.view(0, view(2000, &["market"]));
        assert_eq!(subject("group:banks")["buzz"], Value::Null);
        assert!(!board.metrics.render().contains("subject_index{subject=\"group:banks\"}"));
    }

    #[test]
    fn whoever_has_an_open_alert_is_exported_under_its_rule_until_it_resolves_or_goes_away() {
        use crate::backtest::tests::alert;
        let board = board();
        let exported = |severity: Severity| {
            let line = |subject: &str| {
                format!("subject_open_alerts{{rule=\"bank-run\",severity=\"{}\",subject=\"{subject}\"}} 1", severity.as_str())
            };
            let metrics = board.metrics.render();
            ["entity:one", "entity:two"].map(|subject| metrics.contains(&line(subject)))
        };
        let firing = |subject| AlertRecord { severity: Severity::Warning, ..alert(subject, 0, 0, Transition::Firing) };
        board.view(0, view(1000, &["entity:one"]));
        board.view(1, view(1000, &["entity:two"]));
        board.alert(firing("entity:one"));
        board.alert(firing("entity:two"));
        assert_eq!(exported(Severity::Warning), [true, true]);
        board.alert(AlertRecord { severity: Severity::Critical, ..alert("entity:one", 0, 1000, Transition::Escalated) });
        assert_eq!((exported(Severity::Warning), exported(Severity::Critical)), ([false, true], [true, false]));
        board.alert(alert("entity:one", 0, 2000, Transition::Resolved));
        board.monitor_revoked(&[1]);
        assert!(!board.metrics.render().contains("subject_open_alerts{"));
    }

    #[test]
    fn readiness_names_what_is_missing() {
        let board = board();
        assert_eq!(board.not_ready(), ["monitor: no partitions assigned yet"]);
        board.monitor_restoring(&[0, 1]);
        assert_eq!(board.not_ready(), ["monitor: restoring 2 partition(s)"]);
        board.monitor_replaying(1);
        board.monitor_restored(&[0]);
        assert_eq!(board.not_ready(), ["monitor: reading the observations of 1 partition(s) again"]);
        board.monitor_restored(&[1]);
        assert!(board.not_ready().is_empty());
    }

    #[test]
    fn trouble_is_degraded_with_its_reason_until_it_is_over() {
        let board = board();
        board.monitor_restoring(&[]);
        board.trouble("monitor", Some("offsets cannot be committed".into()));
        let health = board.snapshot().0["health"].clone();
        assert_eq!((health["state"].as_str(), health["reasons"][0].as_str()), (Some("degraded"), Some("offsets cannot be committed")));
        board.trouble("monitor", None);
        assert_eq!(board.snapshot().0["health"]["state"], "ok");
    }

    #[test]
    fn revoked_partitions_take_their_subjects_along() {
        let board = board();
        board.view(0, view(1000, &["market"]));
        board.view(1, view(1000, &["topic:Macro"]));
        board.monitor_revoked(&[0]);
        let (snapshot, _) = board.snapshot();
        assert_eq!(snapshot["subjects"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn points_are_bounded() {
        let board = board();
        (0..1000).for_each(|end| board.view(0, view(end, &["market"])));
        assert_eq!(board.snapshot().0["subjects"][0]["points"].as_array().unwrap().len(), MAX_POINTS);
    }
}
