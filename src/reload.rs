//! A new configuration, a new watchlist or a new model for a process that runs: checked as a whole, then swapped, or refused.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use toml::Table;

use crate::audit::{Audit, Event};
use crate::classify::{Classify, OnnxClassifier, classify_all, identity};
use crate::config::{Config, ModelConfig};
use crate::enrich::Watchlist;
use crate::http::board::Board;
use crate::metrics::Metrics;
use crate::news::{ModelIdentity, Sentiment};
use crate::pipeline::{Inputs, Roles, Swap};

/// Headlines whose sentiment is plain, by which a new model is compared with the one in force.
const PROBES: &str = include_str!("../config/scenario/probes.txt");
/// A model that agrees with less of them is not a better one of the same kind: the wrong directory, labels in another order, a broken
/// export.
const LEAST_AGREEMENT: f64 = 0.7;
/// What a process has opened or joined by the time that it runs.
const FIXED: [&str; 7] = ["kafka", "http", "health", "shutdown", "log", "audit", "window.pane"];

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Configuration(#[from] crate::config::Problems),
    #[error("{} can only be changed by a restart", .0.join(", "))]
    Fixed(Vec<String>),
    #[error(transparent)]
    Inputs(#[from] crate::pipeline::Error),
    #[error(transparent)]
    Model(#[from] crate::classify::Error),
    #[error(
        "the model {} {} says the same as the one in force of {alike} of {probes} plain headlines, and must of {}%: \
         is it the right directory, and are its labels in order?",
        model.name, model.version, LEAST_AGREEMENT * 100.0
    )]
    Stranger { model: ModelIdentity, alike: usize, probes: usize },
}

/// What is in force now that was not before.
#[derive(Debug, PartialEq)]
pub struct Changes {
    /// Keys of the configuration.
    pub keys: Vec<String>,
    pub watchlist: bool,
    pub model: Option<ModelIdentity>,
}

/// Reloads one process.
pub struct Reload {
    pub file: Option<PathBuf>,
    pub roles: Roles,
    pub metrics: Arc<Metrics>,
    pub board: Arc<Board>,
    pub audit: Arc<Audit>,
    pub swap: Arc<Swap>,
    /// One at a time.
    pub turn: Mutex<()>,
}

impl Reload {
    /// Reads configuration, watchlist, keys and model anew, and puts them in force if all of it is right. `actor`: who asked.
    ///
    /// # Errors
    /// Why everything stays as it is.
    pub fn run(&self, actor: &str) -> Result<Changes, Refusal> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.swap.inputs();
        let reloaded = self.checked(&before);
        let outcome = if reloaded.is_ok() { "ok" } else { "refused" };
        self.metrics.reloads.with_label_values(&[outcome]).inc();
        let (inputs, changes, model) = match reloaded {
            Ok(reloaded) => reloaded,
            Err(refusal) => {
                let event = match refusal {
                    Refusal::Model(_) | Refusal::Stranger { .. } => Event::ModelRefused,
                    _ => Event::ConfigurationRefused,
                };
                self.audit.tell(event, actor, json!({"why": refusal.to_string()}));
                tracing::warn!(actor, %refusal, "reload refused; everything stays as it is");
                return Err(refusal);
            }
        };
        let config = inputs.config.clone();
        if let Some(model) = &changes.model {
            let old = before.classify.as_ref().map(|classify| json!(classify.identity()));
            self.audit.tell(Event::ModelChanged, actor, json!({"from": old, "to": model}));
        }
        if let Some(model) = model {
            self.board.model(&model);
        }
        let from = before.config.version();
        let detail = json!({"from": from, "to": config.version(), "keys": changes.keys, "watchlist": changes.watchlist});
        self.audit.tell(Event::ConfigurationChanged, actor, detail);
        self.board.reconfigured(config.clone(), inputs.watchlist.clone());
        self.swap.replace(inputs);
        tracing::info!(actor, config_version = config.version(), keys = ?changes.keys, watchlist = changes.watchlist, model = ?changes.model, "reloaded");
        Ok(changes)
    }

    /// What would be in force, what of it is other than before, and the model, if it is another one.
    fn checked(&self, before: &Inputs) -> Result<(Inputs, Changes, Option<Arc<OnnxClassifier>>), Refusal> {
        let config = Config::load(self.file.as_deref())?;
        let keys = changed_keys(&before.config, &config);
        let fixed: Vec<String> = keys.iter().filter(|key| is_fixed(key)).cloned().collect();
        if !fixed.is_empty() {
            return Err(Refusal::Fixed(fixed));
        }
        let watchlist = Watchlist::of(&config)?;
        let other = before.classify.as_ref().map(|old| self.other_model(old.as_ref(), &before.config.model, &config.model));
        let other = other.transpose()?.flatten();
        let classify = other.clone().map(|other| other as Arc<dyn Classify>).or_else(|| before.classify.clone());
        let identity = |classify: &Arc<dyn Classify>| classify.identity().clone();
        let model = classify.as_ref().map(identity).filter(|new| Some(new) != before.classify.as_ref().map(identity).as_ref());
        let changes = Changes { keys, watchlist: !watchlist.is_same(&before.watchlist), model };
        let inputs = Inputs::new(Arc::new(config), watchlist, classify, self.roles, &self.metrics)?;
        Ok((inputs, changes, other))
    }

    /// A model whose files or settings are others than those in force; `None` where they are the same.
    fn other_model(&self, old: &dyn Classify, before: &ModelConfig, config: &ModelConfig) -> Result<Option<Arc<OnnxClassifier>>, Refusal> {
        let same_settings = json!(before) == json!(config);
        let is_old = |identity: &ModelIdentity| same_settings && identity == old.identity();
        if identity(config)?.as_ref().is_some_and(is_old) {
            return Ok(None);
        }
        let new = OnnxClassifier::start(config, self.metrics.clone())?;
        // Where only a start can tell which files a device takes.
        if is_old(new.identity()) {
            return Ok(None);
        }
        let probes: Vec<String> = PROBES.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let sentiments = |model: &dyn Classify| -> Result<Vec<Sentiment>, Refusal> {
            Ok(classify_all(model, probes.clone(), probes.len())?.iter().map(|result| result.sentiment.label).collect())
        };
        let (own, others) = (sentiments(old)?, sentiments(&new)?);
        let alike = own.iter().zip(&others).filter(|(own, other)| own == other).count();
        if (alike as f64) < LEAST_AGREEMENT * probes.len() as f64 {
            return Err(Refusal::Stranger { model: new.identity().clone(), alike, probes: probes.len() });
        }
        Ok(Some(Arc::new(new)))
    }
}

fn is_fixed(key: &str) -> bool {
    FIXED.iter().any(|fixed| key == *fixed || key.strip_prefix(fixed).is_some_and(|rest| rest.starts_with('.')))
}

/// The keys whose values differ, sorted.
fn changed_keys(before: &Config, after: &Config) -> Vec<String> {
    let table = |config: &Config| Table::try_from(config).expect("a configuration has a TOML form");
    let mut keys = Vec::new();
    compare(&table(before), &table(after), "", &mut keys);
    keys.sort();
    keys
}

fn compare(before: &Table, after: &Table, path: &str, keys: &mut Vec<String>) {
    let all: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in all {
        let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (before.get(key), after.get(key)) {
            (Some(toml::Value::Table(one)), Some(toml::Value::Table(other))) => compare(one, other, &name, keys),
            (one, other) if one != other => keys.push(name),
            _ => {}
        }
    }
}

/// For whoever asked over HTTP.
impl From<&Changes> for Value {
    fn from(changes: &Changes) -> Self {
        json!({"keys": changes.keys, "watchlist": changes.watchlist, "model": changes.model})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_differ_are_named_and_those_that_need_a_restart_told_apart() {
        let config = |text: &str| Config::from_toml(text, &[], None).unwrap();
        let changed = changed_keys(
            &config(""),
            &config("[kafka]\ngroup='other'\n[window]\npane='5s'\nsize='5m'\n[explain]\nheadlines=1\n[kafka.properties]\n'a.b'='c'"),
        );
        // The rules have their window from [window].
        let own: Vec<&String> = changed.iter().filter(|key| !key.starts_with("rules.")).collect();
        assert_eq!(own, ["explain.headlines", "kafka.group", "kafka.properties.a.b", "window.pane", "window.size"]);
        assert!(changed.iter().any(|key| key == "rules.share-topic.window"));
        let fixed: Vec<&String> = changed.iter().filter(|key| is_fixed(key)).collect();
        assert_eq!(fixed, ["kafka.group", "kafka.properties.a.b", "window.pane"]);
        assert!(!is_fixed("kafkaesque") && !is_fixed("window.pane_size"));
        assert_eq!(changed_keys(&config(""), &config("")), Vec::<String>::new());
    }

    #[test]
    fn probes_are_plain_and_enough_to_tell_a_stranger_by() {
        let lines: Vec<&str> = PROBES.lines().filter(|line| !line.is_empty()).collect();
        assert!(lines.len() >= 30, "{}", lines.len());
        let distinct: std::collections::BTreeSet<&&str> = lines.iter().collect();
        assert_eq!(distinct.len(), lines.len());
    }
}
