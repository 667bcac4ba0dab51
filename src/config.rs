//! The configuration: one struct per section, validated as a whole before any socket opens.
//!
//! Defaults live once, in `config/bellwether.toml`, embedded here. A user's file is laid over them, then the
//! environment (`BELLWETHER_SECTION__KEY`). [`Config::load`] reports every problem at once, each with key, value and rule.

mod calendar;
mod http;
mod ingest;
mod layers;
mod rules;
mod validate;
mod webhooks;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

pub use calendar::{QuietHours, TimeZone};
pub use http::HttpConfig;
pub use ingest::{FeedConfig, IngestConfig};
pub use rules::{Condition, FalseAlarms, RuleConfig, RuleOverride, Thresholds};
pub use webhooks::{DeliverConfig, Format, WebhookConfig};

use crate::detect::baseline::Reach;
use crate::news::hex;

/// `config/bellwether.toml`, every key with its default.
pub const DEFAULTS: &str = include_str!("../config/bellwether.toml");

/// A length of time in whole milliseconds. TOML: text with a unit, such as `"30s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(u64);

impl Span {
    pub const fn from_ms(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    pub fn ms(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// For sentences: `10 minutes`, where the length is a whole number of a unit.
    pub fn in_words(self) -> String {
        let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond")];
        let (unit, name) =
            units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit)).unwrap_or((1, "millisecond"));
        let count = self.0 / unit;
        format!("{count} {name}{}", if count == 1 { "" } else { "s" })
    }

    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.duration()).fmt(formatter)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = humantime::parse_duration(&text)
            .map_err(|_| serde::de::Error::custom(format!("{text:?} must be a duration such as \"30s\" or \"10m\"")))?;
        Ok(Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub kafka: KafkaConfig,
    pub decode: DecodeConfig,
    pub privacy: PrivacyConfig,
    pub model: ModelConfig,
    pub drift: DriftConfig,
    pub watchlist: WatchlistConfig,
    pub watermark: WatermarkConfig,
    pub window: WindowConfig,
    pub novelty: NoveltyConfig,
    pub detect: DetectConfig,
    pub explain: ExplainConfig,
    pub rules: BTreeMap<String, RuleConfig>,
    pub ingest: IngestConfig,
    pub http: HttpConfig,
    pub health: HealthConfig,
    pub shutdown: ShutdownConfig,
    pub log: LogConfig,
    pub audit: AuditConfig,
    pub deliver: DeliverConfig,
    pub webhooks: BTreeMap<String, WebhookConfig>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    pub brokers: String,
    pub group: String,
    pub start: Start,
    pub transactions: bool,
    pub instance: String,
    pub commit_interval: Span,
    pub timeout: Span,
    pub topics: TopicNames,
    pub create: CreateConfig,
    pub properties: BTreeMap<String, String>,
}

/// Where a consumer group without committed offsets begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    Earliest,
    Latest,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicNames {
    pub raw: String,
    pub scored: String,
    pub observations: String,
    pub windows: String,
    pub alerts: String,
    pub dead: String,
    /// Of `ingest`.
    pub feeds: String,
    /// Of webhooks.
    pub undelivered: String,
    /// Of operators.
    pub actions: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateConfig {
    pub partitions: i32,
    pub replication_factor: i32,
    pub retention: Span,
    pub windows_retention: Span,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeConfig {
    pub max_bytes: usize,
    pub max_age: Span,
    pub max_ahead: Span,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyConfig {
    pub text: TextMode,
    /// With `text = "encrypted"`.
    pub keys: PathBuf,
}

/// What of a news text is in the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextMode {
    /// As it came; the model reads it so, too.
    Full,
    /// Personal data masked, as for the two below: [`crate::privacy`].
    Masked,
    None,
    /// For those who hold the keys: [`crate::privacy::texts`].
    Encrypted,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    pub directory: PathBuf,
    pub topic_directory: PathBuf,
    pub sentiment_directory: PathBuf,
    pub onnxruntime: PathBuf,
    pub device: Device,
    pub sessions: usize,
    pub threads_per_session: usize,
    pub batch_texts: usize,
    pub batch_tokens: usize,
    pub slab_texts: usize,
    pub linger: Span,
    /// 0: none.
    pub cache_texts: usize,
    pub gpu_memory_mib: usize,
    pub engine_cache: PathBuf,
}

/// Where the model runs. TOML: `"cpu"`, `"cuda:0"`, `"tensorrt:0"` or `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Auto,
    Cpu,
    Cuda(i32),
    TensorRt(i32),
}

impl Device {
    /// False for `auto`, which has not chosen yet.
    pub fn is_gpu(self) -> bool {
        matches!(self, Self::Cuda(_) | Self::TensorRt(_))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(index) => write!(formatter, "cuda:{index}"),
            Self::TensorRt(index) => write!(formatter, "tensorrt:{index}"),
        }
    }
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} must be \"cpu\", \"cuda:N\", \"tensorrt:N\" or \"auto\"");
        let (kind, index) = match text.split_once(':') {
            Some((kind, index)) => (kind, index.parse::<u16>().map_err(|_| wrong())?.into()),
            None => (text, 0),
        };
        match kind {
            "auto" if !text.contains(':') => Ok(Self::Auto),
            "cpu" if !text.contains(':') => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(index)),
            "tensorrt" => Ok(Self::TensorRt(index)),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How many of the last results are compared with the model's reference.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftConfig {
    pub items: usize,
    pub min_items: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchlistConfig {
    pub file: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatermarkConfig {
    pub disorder: Span,
    pub idle_after: Span,
    pub resume_after: Span,
    pub interval: Span,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    pub pane: Span,
    pub allowed_lateness: Span,
    pub size: Span,
    pub hop: Span,
    pub index_half_life: Span,
    pub evidence: usize,
}

/// When two headlines tell one story.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoveltyConfig {
    pub horizon: Span,
    pub similarity: f64,
    pub max_stories: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectConfig {
    pub history: Span,
    pub min_history: Span,
    pub rise: Span,
    pub dispersion: f64,
}

/// Which headlines of an alert get their words, and how long it waits for them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainConfig {
    /// 0: none.
    pub headlines: usize,
    pub within: Span,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    pub stall_after: Span,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownConfig {
    pub deadline: Span,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub level: String,
    pub format: LogFormat,
}

/// Where it is told what was done to the process, and by whom: [`crate::audit`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// Empty: nowhere.
    pub file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Everything wrong with a configuration, each line one problem with key, value and rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} problem(s) in the configuration:\n  {}", .0.len(), .0.join("\n  "))]
pub struct Problems(pub Vec<String>);

impl Default for Config {
    fn default() -> Self {
        Self::from_toml("", &[], None).expect("config/bellwether.toml is valid; a test holds it to that")
    }
}

impl Config {
    /// Reads `file` (or nothing), lays it and the environment over the defaults, and validates the whole.
    ///
    /// Relative paths inside the file are relative to the file's folder, then to the working directory.
    ///
    /// # Errors
    /// All problems at once; an unreadable file is one problem.
    pub fn load(file: Option<&Path>) -> Result<Self, Problems> {
        let user = match file {
            Some(file) => {
                let problem = |what: String| Problems(vec![format!("{}{what}", file.display())]);
                let text = std::fs::read_to_string(file).map_err(|error| problem(format!(" cannot be read: {error}")))?;
                text.parse().map_err(|error| problem(format!(" is not TOML: {}", unreadable(&text, &error))))?
            }
            None => Table::new(),
        };
        let environment: Vec<(String, String)> = std::env::vars().filter(|(name, _)| is_override(name)).collect();
        Self::from_table(user, &environment, file.and_then(Path::parent))
    }

    /// As [`Config::load`], from text. `environment` holds `BELLWETHER_SECTION__KEY` pairs.
    pub fn from_toml(text: &str, environment: &[(String, String)], folder: Option<&Path>) -> Result<Self, Problems> {
        let user = text.parse().map_err(|error| Problems(vec![unreadable(text, &error)]))?;
        Self::from_table(user, environment, folder)
    }

    fn from_table(mut user: Table, environment: &[(String, String)], folder: Option<&Path>) -> Result<Self, Problems> {
        let defaults: Table = DEFAULTS.parse().map_err(|error| Problems(vec![format!("the defaults: {error}")]))?;
        let mut problems = Vec::new();
        for (name, value) in environment {
            layers::set_from_environment(&mut user, &defaults, name, value, &mut problems);
        }
        let mut merged = defaults.clone();
        if user.get("rules").is_some_and(Value::is_table) {
            merged.insert("rules".into(), Value::Table(Table::new()));
        }
        layers::lay_over(&mut merged, &user, "", &defaults, &mut problems);
        layers::fill_rules(&mut merged, &defaults);
        layers::fill_webhooks(&mut merged);
        let mut config = match layers::read_sections(merged, &mut problems) {
            Some(config) if problems.is_empty() => config,
            _ => return Err(Problems(problems)),
        };
        config.resolve_paths(folder);
        config.validate(&mut problems);
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// A relative path is looked for beside the configuration file, in the working directory, and in the folders above
    /// the binary, so that a checkout works from anywhere.
    fn resolve_paths(&mut self, folder: Option<&Path>) {
        let binary = std::env::current_exe().unwrap_or_default();
        let above_binary = binary.ancestors().skip(1).take(3);
        let folders: Vec<PathBuf> = folder.into_iter().chain([Path::new("")]).chain(above_binary).map(Path::to_owned).collect();
        let ModelConfig { directory, topic_directory, sentiment_directory, .. } = &mut self.model;
        let HttpConfig { tokens, tls_certificate, tls_key, .. } = &mut self.http;
        let others = [&mut self.watchlist.file, &mut self.privacy.keys, tokens, tls_certificate, tls_key];
        for path in [directory, topic_directory, sentiment_directory].into_iter().chain(others) {
            if path.as_os_str().is_empty() || path.is_absolute() {
                continue;
            }
            if let Some(found) = folders.iter().map(|folder| folder.join(&*path)).find(|candidate| candidate.exists()) {
                *path = found;
            }
        }
    }

    /// The longest window of any rule or of the page, in milliseconds: how many panes must be at hand.
    pub fn longest_window_ms(&self) -> i64 {
        self.rules.values().map(|rule| rule.window.ms()).fold(self.window.size.ms(), i64::max)
    }

    /// All lengths of windows that are looked at.
    pub fn window_sizes_ms(&self) -> impl Iterator<Item = i64> {
        self.rules.values().map(|rule| rule.window.ms()).chain([self.window.size.ms()])
    }

    /// True where a rule must know the market's counts on every partition.
    pub fn watches_market(&self) -> bool {
        self.rules.values().any(|rule| rule.inhibits || rule.condition == Condition::Relative)
    }

    /// How a surge rule with windows of this length looks back.
    pub fn reach(&self, window_ms: i64) -> Reach {
        let DetectConfig { history, min_history, rise, .. } = self.detect;
        Reach { window_ms, history_ms: history.ms(), min_history_ms: min_history.ms(), rise_ms: rise.ms(), refit: 1 }
    }

    /// The furthest that any surge rule, or the buzz, looks back beyond its window, in milliseconds.
    pub fn look_back_ms(&self) -> i64 {
        let surges = self.rules.values().filter(|rule| rule.condition == Condition::Surge && rule.window.ms() > 0);
        let windows = surges.map(|rule| rule.window.ms()).chain(Some(self.window.size.ms()).filter(|&size| size > 0));
        windows.map(|window_ms| self.reach(window_ms).look_back_ms()).max().unwrap_or(0)
    }

    /// The first 12 hex digits of SHA-256 over what decides alerts: two processes with the same version judge alike.
    pub fn version(&self) -> String {
        let judged =
            serde_json::json!([self.window, self.novelty, self.detect, self.rules, self.watermark, self.decode, self.privacy.text]);
        hex(&Sha256::digest(judged.to_string())[..6])
    }

    /// The effective configuration as TOML, secrets as `***`.
    pub fn display(&self) -> String {
        let mut shown = self.clone();
        for (key, value) in &mut shown.kafka.properties {
            if is_secret(key) {
                *value = "***".into();
            }
        }
        for feed in &mut shown.ingest.feeds {
            feed.url = feed.shown();
        }
        for webhook in shown.webhooks.values_mut().filter(|webhook| !webhook.secret.is_empty()) {
            webhook.secret = "***".into();
        }
        toml::to_string(&shown).expect("every field has a TOML form")
    }
}

/// Where something listens, if anywhere.
pub fn listen_address(text: &str) -> Option<std::net::SocketAddr> {
    text.parse().ok()
}

impl TopicNames {
    /// Of the roles; feeds, webhooks and operators have one more each.
    pub fn of_roles(&self) -> [(&'static str, &str); 6] {
        [
            ("raw", &self.raw),
            ("scored", &self.scored),
            ("observations", &self.observations),
            ("windows", &self.windows),
            ("alerts", &self.alerts),
            ("dead", &self.dead),
        ]
    }
}

/// A property's value; `file:/run/secrets/password` stands for what is in that file. `None` where it cannot be read.
pub fn property_value(value: &str) -> Option<String> {
    match value.strip_prefix("file:") {
        Some(path) => std::fs::read_to_string(path).ok().map(|text| text.trim_end_matches(['\r', '\n']).to_owned()),
        None => Some(value.to_owned()),
    }
}

fn is_secret(key: &str) -> bool {
    ["password", "secret", "passphrase", "private", "sasl.jaas", "ssl.key.pem", "oauthbearer.config"].iter().any(|word| key.contains(word))
}

/// Why a file is not TOML, with the lines around, unless a secret may stand in them.
fn unreadable(text: &str, error: &toml::de::Error) -> String {
    let whole = error.to_string().trim_end().to_owned();
    let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count());
    match text.lines().any(|line| is_secret(line) && whole.contains(line.trim())) {
        true => format!("TOML parse error at line {}: {}", line + 1, error.message()),
        false => whole,
    }
}

fn is_override(name: &str) -> bool {
    name.strip_prefix("BELLWETHER_").is_some_and(|rest| rest.contains("__"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Subject;

    fn problems(text: &str) -> Vec<String> {
        Config::from_toml(text, &[], None).unwrap_err().0
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = Config::from_toml("", &[], None).unwrap();
        assert_eq!(config.rules["surge-group"].window, config.window.size);
        assert_eq!(config.longest_window_ms(), 600_000);
    }

    #[test]
    fn all_problems_are_reported_at_once_with_key_value_and_rule() {
        let found = problems(
            "[window]\npane = '7s'\n[decode]\nmax_bytes = 0\n[http]\nlisten = 'nowhere'\n\
             [rules.bank-run]\ngroup_by = 'group'\ncondition = 'share'\nwarning = 0.8\ncritical = 0.6\nresolve = 0.5",
        );
        let expected = [
            "window.size = \"10m\" must be a multiple of window.pane = \"7s\"",
            "rules.bank-run.hop = \"30s\" must be a multiple of window.pane = \"7s\"",
            "rules.bank-run.critical = 0.6 must be at least as bad as warning = 0.8",
            "decode.max_bytes = 0 must be at least 1",
            "http.listen = \"nowhere\" must be an address and port such as \"127.0.0.1:8080\"",
        ];
        for line in expected {
            assert!(found.iter().any(|problem| problem == line), "{line:?} not in {found:#?}");
        }
    }

    #[test]
    fn a_hop_that_does_not_divide_its_window_is_named() {
        let found =
            problems("[rules.r]\ngroup_by='market'\ncondition='level'\nwarning=-0.3\ncritical=-0.5\nresolve=-0.1\nwindow='10m'\nhop='70s'");
        assert_eq!(found, ["rules.r.hop = \"1m 10s\" must divide window = \"10m\""]);
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_named_with_a_hint() {
        let found = problems("[kafka]\nbroker = 'x'\ncommit_interval = 5\n[detct]\nhistory = '1d'");
        assert!(found.contains(&"kafka.broker is not a known key; did you mean brokers?".to_owned()), "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("kafka.commit_interval = 5 must be text")), "{found:?}");
        assert!(found.contains(&"detct is not a known key; did you mean detect?".to_owned()), "{found:?}");
    }

    #[test]
    fn drift_is_off_at_0_items_and_never_needs_more_than_it_keeps() {
        assert_eq!(Config::from_toml("[drift]\nitems = 0", &[], None).unwrap().drift.items, 0);
        assert_eq!(problems("[drift]\nitems = 100"), ["drift.min_items = 500 must be at least 1 and at most drift.items = 100"]);
        assert_eq!(problems("[drift]\nmin_items = 0"), ["drift.min_items = 0 must be at least 1 and at most drift.items = 2000"]);
        assert_eq!(problems("[drift]\nitems = 2000000").len(), 1);
    }

    #[test]
    fn a_bad_duration_is_named() {
        let found = problems("[window]\nsize = 'soon'");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("window.size = \"soon\""), "{found:?}");
    }

    #[test]
    fn an_address_that_others_reach_needs_tokens_or_a_word() {
        let open = "[http]\nlisten = '0.0.0.0:8080'\n";
        assert_eq!(
            problems(open),
            ["http.listen = \"0.0.0.0:8080\" can be reached from other machines, and http.tokens = \"\" lets everybody in. Make a token \
                 (bellwether token NAME --role viewer >>FILE) and set http.tokens = \"FILE\"; or, where something else keeps strangers out, \
                 set http.open = true"]
        );
        assert!(Config::from_toml(&format!("{open}open = true"), &[], None).is_ok());
        for loopback in ["127.0.0.1:8080", "127.9.9.9:1", "[::1]:8080", ""] {
            assert!(Config::from_toml(&format!("[http]\nlisten = '{loopback}'"), &[], None).is_ok(), "{loopback}");
        }
        for others in ["192.0.2.1:8080", "[::]:8080", "[2001:db8::1]:8080"] {
            assert_eq!(problems(&format!("[http]\nlisten = '{others}'")).len(), 1, "{others}");
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokens"), format!("desk viewer {}\n", "0".repeat(64))).unwrap();
        let with_tokens = format!("{open}tokens = 'tokens'");
        let config = Config::from_toml(&with_tokens, &[], Some(folder.path())).unwrap();
        assert_eq!(config.http.tokens, folder.path().join("tokens"), "relative to the configuration file");
        let found = Config::from_toml(&format!("{with_tokens}\nopen = true"), &[], Some(folder.path())).unwrap_err().0;
        assert!(found.len() == 1 && found[0].starts_with("http.open = true has no meaning with http.tokens = "), "{found:?}");
    }

    #[test]
    fn everything_wrong_with_http_is_named_at_once() {
        let found = problems(
            "[http]\nmetrics_listen = '127.0.0.1:8080'\ntokens = '/nowhere/tokens'\ntls_key = '/nowhere/key.pem'\nsession = '0s'\n\
             time_limit = '0s'\nburst = 0\nrequests_per_second = 0\nmax_body_bytes = 0\nconnections = 10\nevent_streams = 10",
        );
        let expected = [
            "http.metrics_listen = \"127.0.0.1:8080\" must differ from http.listen; \"\" serves the metrics there",
            "http.session = \"0s\" must be longer than nothing",
            "http.time_limit = \"0s\" must be longer than nothing",
            "http.requests_per_second = 0 must be at least 1",
            "http.burst = 0 must be at least 1",
            "http.max_body_bytes = 0 must be at least 1",
            "http.event_streams = 10 must be fewer than http.connections = 10: an event stream keeps its connection",
            "http.tokens = \"/nowhere/tokens\" cannot be read (No such file or directory (os error 2)): bellwether token NAME --role viewer \
             >>/nowhere/tokens makes it",
            "http.tls_key is set and http.tls_certificate is not: TLS needs both",
        ];
        assert_eq!(found, expected);
        assert_eq!(problems("[http]\nconnections = 100001"), ["http.connections = 100001 must be at most 100000: each is an open file"]);
        assert!(problems("[http]\nmetrics_listen = 'x'")[0].contains("such as \"127.0.0.1:9464\""));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let environment = [("BELLWETHER_KAFKA__BROKERS", "a:1"), ("BELLWETHER_MODEL__SESSIONS", "3")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::from_toml("[kafka]\nbrokers = 'b:2'", &environment, None).unwrap();
        assert_eq!((config.kafka.brokers.as_str(), config.model.sessions), ("a:1", 3));
    }

    #[test]
    fn properties_come_from_files_and_the_environment_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let environment = [("BELLWETHER_KAFKA__PROPERTIES__SASL_PASSWORD".to_owned(), format!("file:{}", file.path().display()))];
        let config = Config::from_toml("", &environment, None).unwrap();
        assert_eq!(property_value(&config.kafka.properties["sasl.password"]).unwrap(), "hunter2");
        let missing = [("BELLWETHER_KAFKA__PROPERTIES__SASL_PASSWORD".to_owned(), "file:/nowhere".to_owned())];
        assert!(Config::from_toml("", &missing, None).unwrap_err().0[0].contains("the file cannot be read"));
    }

    #[test]
    fn secrets_are_hidden_and_own_properties_refused() {
        let config = Config::from_toml("[kafka.properties]\n'sasl.password' = 'hunter2'\n'client.id' = 'x'", &[], None).unwrap();
        let shown = config.display();
        assert!(!shown.contains("hunter2") && shown.contains("***") && shown.contains("client.id"), "{shown}");
        for own in ["group.id", "group.instance.id", "isolation.level", "transactional.id"] {
            let found = problems(&format!("[kafka.properties]\n'{own}' = 'x'"));
            assert!(found.len() == 1 && found[0].contains(own), "{found:?}");
        }
    }

    #[test]
    fn what_librdkafka_holds_secret_is_shown_by_nothing() {
        // What it keeps out of its own dump of a configuration (_RK_SENSITIVE in rdkafka_conf.c of 2.12.1), and their aliases; not
        // the places of files and the name of the user, which errors name, and the CAs, which are public.
        let secrets = [
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.password",
            "sasl.password",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.assertion.private.key.pem",
        ];
        for secret in secrets {
            let shown = Config::from_toml(&format!("[kafka.properties]\n'{secret}' = 'hunter2'"), &[], None).unwrap().display();
            assert!(shown.contains(&format!("\"{secret}\" = \"***\"")) && !shown.contains("hunter2"), "{shown}");
            // Nor where it is written wrong.
            for wrong in ["'hunter2", "\"hunter2\" x", "hunter2"] {
                let found = problems(&format!("[kafka.properties]\n'{secret}' = {wrong}\n'client.id' = 'x'")).join("\n");
                assert!(!found.contains("hunter2") && found.contains("line 2"), "{found}");
            }
            let number = problems(&format!("[kafka.properties]\n'{secret}' = 8711")).join("\n");
            assert!(!number.contains("8711") && number.contains(secret), "{number}");
        }
        assert!(problems("[kafka]\nbrokers = 'a").join("\n").contains("brokers = 'a"), "other lines are shown");
        let shown = Config::from_toml("[kafka.properties]\n'sasl.username' = 'desk'", &[], None).unwrap().display();
        assert!(shown.contains("desk"), "{shown}");
    }

    #[test]
    fn a_file_or_a_way_to_log_in_that_is_not_there_is_named() {
        let found = problems(
            "[kafka.properties]\n'ssl.ca.location' = 'probe'\n'ssl.key.location' = '/nowhere'\n'sasl.oauthbearer.method' = 'oidc'",
        );
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("sasl.oauthbearer.method") && found[0].contains("sasl.oauthbearer.config"), "{found:?}");
        assert_eq!(found[1], "kafka.properties.\"ssl.key.location\" = \"/nowhere\": the file cannot be read");
    }

    #[test]
    fn the_effective_configuration_reads_back_as_itself() {
        let config = Config::default();
        let again = Config::from_toml(&config.display(), &[], None).unwrap();
        assert_eq!(config.version(), again.version());
        assert_eq!(config.display(), again.display());
    }

    #[test]
    fn what_is_wrong_with_novelty_grouping_and_overrides_is_named() {
        let market = "group_by='market'\nmin_count=9\nwarning=0.5\ncritical=0.7\nresolve=0.4";
        let found = problems(&format!(
            "[novelty]\nsimilarity = 0.0\nmax_stories = 0\n[rules.a]\ncondition='share'\ninhibits=true\nmin_sources=2\n{market}\n\
             [rules.b]\ncondition='relative'\nconfidence=1.0\n{market}\n\
             [rules.c]\ncondition='share'\n{market}\n[rules.c.overrides.'topic:Macro']\nwarning=0.9"
        ));
        let expected = [
            "rules.a.inhibits = true needs group_by = \"market\", condition = \"share\" or \"level\", and min_sources = 1",
            "rules.b.confidence = 1 must be at least 0.5, which judges the value as it is, and below 1",
            "rules.b.condition = \"relative\" compares with the market; group_by = \"market\" leaves nothing to compare",
            "rules.c.overrides.\"topic:Macro\": the rule does not judge that subject; it is written as in an alert, such as \"topic:Macro\"",
            "rules.c.overrides.\"topic:Macro\".critical = 0.7 must be at least as bad as warning = 0.9",
            "novelty.similarity = 0 must be above 0 and at most 1; 1 takes only equal headlines for copies",
            "novelty.max_stories = 0 must lie between 1 and 100000: each is kept in memory, for each subject",
        ];
        assert_eq!(found, expected);
        let rest = "group_by='topic'\ncondition='share'\nwarning=0.5\ncritical=0.7\nresolve=0.4";
        let found = problems(&format!(
            "[rules.d]\n{rest}\nquiet_hours=['at night']\n[rules.e]\n{rest}\ntime_zone='Mars'\n[rules.f]\n{rest}\n[rules.f.overrides.'topic:x']\nwindow='1h'"
        ));
        assert!(found[0].starts_with("rules.d: \"at night\" must be hours such as"), "{found:?}");
        assert!(found[1].starts_with("rules.e.time_zone = \"Mars\": \"Mars\" must be a time zone such as"), "{found:?}");
        assert!(found[2].contains("unknown field `window`"), "{found:?}");
    }

    #[test]
    fn overrides_and_quiet_hours_survive_being_shown() {
        let text = "[rules.r]\ngroup_by='topic'\ncondition='share'\nwarning=0.5\ncritical=0.7\nresolve=0.4\nquiet_hours=['Sat-Sun 00:00-24:00']\n\
                    time_zone='Europe/London'\n[rules.r.overrides.'topic:Legal | Regulation']\nwarning=0.6\nfor='5m'\n\
                    [rules.s]\ngroup_by='group'\ncondition='surge'\nfalse_alarms_per_month={warning=1.0,critical=0.1}\n\
                    [rules.s.overrides.'group:banks']\nfalse_alarms_per_month={warning=0.5,critical=0.1}";
        let config = Config::from_toml(text, &[], None).unwrap();
        let own = &config.rules["r"].overridden()[&Subject::topic("Legal | Regulation")];
        assert_eq!((own.warning, own.critical, own.hold_for.ms()), (Some(0.6), Some(0.7), 300_000));
        assert_eq!(Config::from_toml(&config.display(), &[], None).unwrap().version(), config.version());
        assert_ne!(Config::from_toml(&text.replace("0.6", "0.65"), &[], None).unwrap().version(), config.version());
    }

    #[test]
    fn a_surge_has_a_budget_and_nothing_else_has_one() {
        let surge = "[rules.r]\ngroup_by='market'\ncondition='surge'\n";
        assert!(problems(surge)[0].starts_with("rules.r.false_alarms_per_month is missing"));
        let found = problems(&format!("{surge}warning=1e-4\nfalse_alarms_per_month={{warning=0.1,critical=1.0}}"));
        assert!(
            found[0].starts_with("rules.r.warning = 0.0001 is not for a surge") && found[1].contains("must be at most warning"),
            "{found:?}"
        );
        let level = "[rules.r]\ngroup_by='market'\ncondition='level'\nfalse_alarms_per_month={warning=1.0,critical=0.1}";
        assert!(problems(level)[0].contains("is for surges only"));
        assert!(problems("[kafka.create]\nwindows_retention='29d'")[0].contains("detect.history, detect.rise"));
    }

    #[test]
    fn a_surge_calms_down_below_a_hundred_times_its_budget_and_at_the_usual_at_the_latest() {
        let resolve = |window: &str| {
            let rule = "group_by='market'\ncondition='surge'\nfalse_alarms_per_month={warning=1.0,critical=0.1}";
            let text = format!("[rules.r]\n{rule}\nwindow='{window}'\nhop='{window}'");
            Config::from_toml(&text, &[], None).unwrap().rules["r"].thresholds().resolve
        };
        assert_eq!((resolve("10m"), resolve("6h")), (100.0, 12.0));
    }

    #[test]
    fn rules_of_a_file_replace_the_default_rules() {
        let config =
            Config::from_toml("[rules.only]\ngroup_by='market'\ncondition='level'\nwarning=-0.3\ncritical=-0.5\nresolve=-0.1", &[], None)
                .unwrap();
        assert_eq!(config.rules.keys().collect::<Vec<_>>(), ["only"]);
        assert_eq!(config.rules["only"].cooldown.ms(), 900_000);
    }
}
