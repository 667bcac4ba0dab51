//! What the values of a configuration must be, beside each other and by themselves.

use std::path::Path;

use super::{
    Condition, Config, DriftConfig, ExplainConfig, FalseAlarms, NoveltyConfig, PrivacyConfig, RuleConfig, Span, TextMode, listen_address,
    property_value,
};
use crate::news::SubjectKind;
use crate::window::SentimentIndex;
use crate::window::index::HORIZON_HALF_LIVES;

/// 32 bytes each: 32 MB.
const MAX_DRIFT_ITEMS: usize = 1_000_000;
/// Some 500 bytes each: 50 MB for one subject.
const MAX_STORIES: usize = 100_000;

/// More than three a day is no alarm.
const MAX_FALSE_ALARMS: f64 = 100.0;

/// Properties that delivery depends on: Bellwether sets them, and a user's value would break a promise.
const OWN_PROPERTIES: [&str; 12] = [
    "bootstrap.servers",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "transactional.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "auto.offset.reset",
    "enable.idempotence",
    "acks",
    "partition.assignment.strategy",
];

/// Properties that name a file of librdkafka's; some of them may name a folder.
const FILE_PROPERTIES: [&str; 5] =
    ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location", "ssl.crl.location"];

/// `section` is the rule's, or that of what it does otherwise for one subject.
fn check_rule(rule: &RuleConfig, section: &str, check: &mut impl FnMut(bool, String)) {
    check_thresholds(section, rule, check);
    check(rule.min_count > 0, format!("{section}.min_count = 0 must be at least 1"));
    let confidence = rule.confidence;
    check(
        (0.5..1.0).contains(&confidence),
        format!("{section}.confidence = {confidence} must be at least 0.5, which judges the value as it is, and below 1"),
    );
    let market = rule.group_by == SubjectKind::Market;
    check(
        !(market && rule.condition == Condition::Relative),
        format!("{section}.condition = \"relative\" compares with the market; group_by = \"market\" leaves nothing to compare"),
    );
    // The other partitions know the market's counts, but neither its past nor its sources.
    let known = market && matches!(rule.condition, Condition::Share | Condition::Level) && rule.min_sources <= 1;
    check(
        !rule.inhibits || known,
        format!("{section}.inhibits = true needs group_by = \"market\", condition = \"share\" or \"level\", and min_sources = 1"),
    );
}

impl Config {
    /// Adds a line for each rule that a value breaks.
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        let mut check = |holds: bool, text: String| {
            if !holds {
                problems.push(text);
            }
        };
        let positive = |span: Span| span.ms() > 0;
        let pane = self.window.pane;
        check(positive(pane), format!("window.pane = \"{pane}\" must be longer than nothing"));
        let multiple = |span: Span| positive(span) && positive(pane) && span.ms() % pane.ms() == 0;
        let mut windows = vec![("window".to_owned(), "size", self.window.size, self.window.hop)];
        windows.extend(self.rules.iter().map(|(name, rule)| (format!("rules.{name}"), "window", rule.window, rule.hop)));
        for (section, key, size, hop) in windows {
            check(multiple(size), format!("{section}.{key} = \"{size}\" must be a multiple of window.pane = \"{pane}\""));
            check(multiple(hop), format!("{section}.hop = \"{hop}\" must be a multiple of window.pane = \"{pane}\""));
            check(positive(hop) && size.ms() % hop.ms().max(1) == 0, format!("{section}.hop = \"{hop}\" must divide {key} = \"{size}\""));
        }
        for (name, rule) in &self.rules {
            check(!name.contains('/'), format!("rules.{name}: a rule's name must not contain \"/\""));
            check_rule(rule, &format!("rules.{name}"), &mut check);
            for (subject, own) in rule.overridden() {
                let section = format!("rules.{name}.overrides.{:?}", subject.as_str());
                let covered = rule.covers(&subject);
                check(
                    covered,
                    format!("{section}: the rule does not judge that subject; it is written as in an alert, such as \"topic:Macro\""),
                );
                check_rule(&own, &section, &mut check);
            }
        }
        let kafka = &self.kafka;
        check(!kafka.brokers.trim().is_empty(), "kafka.brokers = \"\" must name at least one host:port".into());
        check(!kafka.group.trim().is_empty(), "kafka.group = \"\" must be a name".into());
        check(
            positive(kafka.commit_interval),
            format!("kafka.commit_interval = \"{}\" must be longer than nothing", kafka.commit_interval),
        );
        let mut names = kafka.topics.of_roles().to_vec();
        let topics = &kafka.topics;
        names.extend([("feeds", topics.feeds.as_str()), ("undelivered", &topics.undelivered), ("actions", &topics.actions)]);
        for (index, (key, name)) in names.iter().enumerate() {
            check(!name.trim().is_empty(), format!("kafka.topics.{key} = \"\" must be a topic's name"));
            let twin = names[..index].iter().find(|(_, other)| other == name);
            check(
                twin.is_none(),
                format!("kafka.topics.{key} = {name:?} must differ from kafka.topics.{}", twin.map_or("", |twin| twin.0)),
            );
        }
        for (key, value) in &kafka.properties {
            let is_file = FILE_PROPERTIES.contains(&key.as_str()) && value != "probe";
            let readable = property_value(value).is_some_and(|value| !is_file || std::fs::metadata(value).is_ok());
            check(readable, format!("kafka.properties.\"{key}\" = {value:?}: the file cannot be read"));
            let oidc = (key == "sasl.oauthbearer.method" && value == "oidc") || key == "enable.sasl.oauthbearer.unsecure.jwt";
            check(
                !oidc,
                format!(
                    "kafka.properties.\"{key}\" = {value:?}: no token is fetched or made here; have one written to a file, and set \
                     \"sasl.oauthbearer.config\" = \"file:/path\" (docs/operations.md, \"Log-in\")"
                ),
            );
            check(!OWN_PROPERTIES.contains(&key.as_str()), format!("kafka.properties.\"{key}\" is set by Bellwether itself; remove it"));
        }
        let half_life = self.window.index_half_life;
        check(positive(half_life), format!("window.index_half_life = \"{half_life}\" must be longer than nothing"));
        let create = &kafka.create;
        check(create.partitions > 0, format!("kafka.create.partitions = {} must be at least 1", create.partitions));
        check(create.replication_factor > 0, format!("kafka.create.replication_factor = {} must be at least 1", create.replication_factor));
        check(
            create.windows_retention.ms() >= self.look_back_ms(),
            format!(
                "kafka.create.windows_retention = \"{}\" must be at least \"{}\": detect.history, detect.rise and whole slices of both",
                create.windows_retention,
                Span::from_ms(self.look_back_ms() as u64)
            ),
        );
        check(
            create.windows_retention >= self.novelty.horizon,
            format!(
                "kafka.create.windows_retention = \"{}\" must be at least novelty.horizon = \"{}\"",
                create.windows_retention, self.novelty.horizon
            ),
        );
        check(
            create.windows_retention.ms() >= SentimentIndex::horizon_ms(half_life.ms()),
            format!(
                "window.index_half_life = \"{half_life}\" must be at most a {HORIZON_HALF_LIVES}th of kafka.create.windows_retention = \"{}\"",
                create.windows_retention
            ),
        );
        let PrivacyConfig { text, keys } = &self.privacy;
        check(
            (*text == TextMode::Encrypted) != keys.as_os_str().is_empty(),
            "privacy.text = \"encrypted\" and privacy.keys belong together: set both, or neither".into(),
        );
        check(self.decode.max_bytes > 0, "decode.max_bytes = 0 must be at least 1".into());
        let model = &self.model;
        let empty = |path: &Path| path.as_os_str().is_empty();
        check(
            empty(&model.topic_directory) == empty(&model.sentiment_directory),
            "model.topic_directory and model.sentiment_directory must be set together".into(),
        );
        check(
            empty(&model.directory) != empty(&model.topic_directory),
            "set either model.directory, or model.topic_directory and model.sentiment_directory with model.directory = \"\"".into(),
        );
        for (key, value) in [
            ("threads_per_session", model.threads_per_session),
            ("batch_texts", model.batch_texts),
            ("batch_tokens", model.batch_tokens),
            ("slab_texts", model.slab_texts),
            ("gpu_memory_mib", model.gpu_memory_mib),
        ] {
            check(value > 0, format!("model.{key} = 0 must be at least 1"));
        }
        let DriftConfig { items, min_items } = self.drift;
        check(items <= MAX_DRIFT_ITEMS, format!("drift.items = {items} must be at most {MAX_DRIFT_ITEMS}: each is kept in memory"));
        check(
            items == 0 || (1..=items).contains(&min_items),
            format!("drift.min_items = {min_items} must be at least 1 and at most drift.items = {items}"),
        );
        check(
            positive(self.watermark.interval),
            format!("watermark.interval = \"{}\" must be longer than nothing", self.watermark.interval),
        );
        check(
            positive(self.health.stall_after),
            format!("health.stall_after = \"{}\" must be longer than nothing", self.health.stall_after),
        );
        check(positive(self.shutdown.deadline), format!("shutdown.deadline = \"{}\" must be longer than nothing", self.shutdown.deadline));
        let NoveltyConfig { similarity, max_stories, .. } = self.novelty;
        check(
            similarity > 0.0 && similarity <= 1.0,
            format!("novelty.similarity = {similarity} must be above 0 and at most 1; 1 takes only equal headlines for copies"),
        );
        check(
            (1..=MAX_STORIES).contains(&max_stories),
            format!("novelty.max_stories = {max_stories} must lie between 1 and {MAX_STORIES}: each is kept in memory, for each subject"),
        );
        let detect = &self.detect;
        check(detect.dispersion > 0.0, format!("detect.dispersion = {} must be above 0", detect.dispersion));
        check(
            detect.history >= detect.min_history,
            format!("detect.history = \"{}\" must be at least detect.min_history = \"{}\"", detect.history, detect.min_history),
        );
        check(positive(detect.rise), format!("detect.rise = \"{}\" must be longer than nothing", detect.rise));
        let ExplainConfig { headlines, within } = self.explain;
        check(
            headlines == 0 || positive(within),
            format!("explain.within = \"{within}\" must be longer than nothing; explain.headlines = 0 turns it off"),
        );
        let levels = ["error", "warn", "info", "debug", "trace"];
        check(levels.contains(&self.log.level.as_str()), format!("log.level = {:?} must be one of {}", self.log.level, levels.join(", ")));
        let metrics = &self.deliver.metrics_listen;
        check(
            metrics.is_empty() || listen_address(metrics).is_some(),
            format!("deliver.metrics_listen = {metrics:?} must be an address and port such as \"127.0.0.1:9466\""),
        );
        for (name, webhook) in &self.webhooks {
            webhook.validate(name, |rule| self.rules.contains_key(rule), &mut check);
        }
        self.ingest.validate(problems);
        self.http.validate(problems);
    }
}

/// The limits of a rule: a budget of false alarms for a surge, `warning`, `critical` and `resolve` for all others.
fn check_thresholds(section: &str, rule: &RuleConfig, check: &mut impl FnMut(bool, String)) {
    let limits = [("warning", rule.warning), ("critical", rule.critical), ("resolve", rule.resolve)];
    if rule.condition == Condition::Surge {
        for (key, value) in limits.iter().filter_map(|(key, value)| Some((key, (*value)?))) {
            check(false, format!("{section}.{key} = {value} is not for a surge: false_alarms_per_month is what it is judged by"));
        }
        let Some(FalseAlarms { warning, critical }) = rule.false_alarms_per_month else {
            return check(
                false,
                format!("{section}.false_alarms_per_month is missing: a surge needs it, such as {{ warning = 1.0, critical = 0.02 }}"),
            );
        };
        for (key, value) in [("warning", warning), ("critical", critical)] {
            check(
                value > 0.0 && value <= MAX_FALSE_ALARMS,
                format!("{section}.false_alarms_per_month.{key} = {value} must lie above 0 and at most at {MAX_FALSE_ALARMS}"),
            );
        }
        return check(
            critical <= warning,
            format!("{section}.false_alarms_per_month.critical = {critical} must be at most warning = {warning}"),
        );
    }
    check(
        rule.false_alarms_per_month.is_none(),
        format!("{section}.false_alarms_per_month is for surges only: set warning, critical and resolve"),
    );
    let [Some(warning), Some(critical), Some(resolve)] = limits.map(|(_, value)| value) else {
        let missing: Vec<&str> = limits.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
        return check(false, format!("{section}: missing field `{}`", missing.join("`, `")));
    };
    check(
        rule.condition.reached(critical, warning),
        format!("{section}.critical = {critical} must be at least as bad as warning = {warning}"),
    );
    check(rule.condition.reached(warning, resolve), format!("{section}.resolve = {resolve} must be no worse than warning = {warning}"));
    let signed = matches!(rule.condition, Condition::Level | Condition::Relative);
    let range = if signed { -1.0..=1.0 } else { 0.0..=1.0 };
    for (key, value) in [("warning", warning), ("critical", critical), ("resolve", resolve)] {
        let (low, high) = (range.start(), range.end());
        check(range.contains(&value), format!("{section}.{key} = {value} must lie between {low} and {high}"));
    }
}
