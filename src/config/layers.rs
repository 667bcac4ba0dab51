//! How a configuration comes together: defaults, the file over them, the environment over that, rules filled up; every
//! problem noted on the way.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{Config, RuleConfig, WebhookConfig};

/// `BELLWETHER_KAFKA__BROKERS=x` becomes `kafka.brokers = "x"`; a value is read as TOML where the key is not text.
pub fn set_from_environment(user: &mut Table, defaults: &Table, name: &str, value: &str, problems: &mut Vec<String>) {
    let mut path: Vec<String> = name["BELLWETHER_".len()..].split("__").map(str::to_ascii_lowercase).collect();
    if path[0] == "rules" {
        return problems.push(format!("{name}: rules cannot be set from the environment; put them into the configuration file"));
    }
    if let [kafka, properties, key] = path.as_mut_slice()
        && kafka == "kafka"
        && properties == "properties"
    {
        // No shell takes a dot in a variable's name.
        *key = key.replace('_', ".");
    }
    let default = path[1..].iter().fold(defaults.get(&path[0]), |at, key| at.and_then(|at| at.get(key)));
    let value = match default {
        Some(Value::String(_)) | None => Value::String(value.to_owned()),
        Some(_) => match format!("value = {value}").parse::<Table>() {
            Ok(mut table) => table.remove("value").expect("the key was just written"),
            Err(_) => return problems.push(format!("{name} = {value:?} is not a TOML value")),
        },
    };
    let (last, sections) = path.split_last().expect("split yields at least one part");
    let mut table = user;
    for section in sections {
        let next = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
        match next.as_table_mut() {
            Some(next) => table = next,
            None => return problems.push(format!("{name}: {section} is not a section")),
        }
    }
    table.insert(last.clone(), value);
}

/// Copies `user` over `base`, noting keys that the defaults do not have and values of another type.
pub fn lay_over(base: &mut Table, user: &Table, path: &str, defaults: &Table, problems: &mut Vec<String>) {
    for (key, value) in user {
        if path == "kafka.properties" && !value.is_str() {
            // Its value may be a password.
            problems.push(format!("{path}.{key:?} must be text, between quotes"));
            continue;
        }
        if path.starts_with("webhooks.") && matches!(key.as_str(), "secret" | "url") && !value.is_str() {
            problems.push(format!("{path}.{key} must be text, between quotes"));
            continue;
        }
        let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let free = matches!(path, "kafka.properties" | "rules") || ["rules.", "webhooks."].iter().any(|section| path.starts_with(section));
        match (defaults.get(key), value) {
            // Sections of the user's own, whose keys are looked at when they are read.
            (None, Value::Table(section)) if path == "webhooks" => {
                let target = base.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
                lay_over(target.as_table_mut().expect("only sections are put there"), section, &name, &Table::new(), problems);
            }
            (Some(Value::Table(inner)), Value::Table(section)) if !free => {
                let target = base.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
                let target = target.as_table_mut().expect("a section of the defaults is a table");
                lay_over(target, section, &name, inner, problems);
            }
            (Some(default), _) if !free && !same_type(default, value) => {
                problems.push(format!("{name} = {value} must be {}, like the default {default}", type_name(default)));
            }
            (None, _) if !free => problems.push(match nearest(key, defaults) {
                Some(near) => format!("{name} is not a known key; did you mean {near}?"),
                None => format!("{name} is not a known key"),
            }),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn same_type(default: &Value, value: &Value) -> bool {
    default.same_type(value) || (default.is_float() && value.is_integer())
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "an array",
        Value::Table(_) => "a section",
        Value::Datetime(_) => "a date",
    }
}

fn nearest(key: &str, table: &Table) -> Option<String> {
    let distances = table.keys().map(|other| (strsim::levenshtein(key, other), other));
    distances.filter(|(distance, _)| *distance <= 3).min().map(|(_, other)| other.clone())
}

/// Gives each rule what it leaves out: window and hop from `[window]`, the rest from `[rule_defaults]`.
pub fn fill_rules(merged: &mut Table, defaults: &Table) {
    let mut base = match merged.remove("rule_defaults") {
        Some(Value::Table(table)) => table,
        _ => Table::new(),
    };
    for (from, to) in [("size", "window"), ("hop", "hop")] {
        // A bad [window] is reported there, not once more for every rule that inherits from it.
        let good = |value: &&Value| value.as_str().is_some_and(|text| humantime::parse_duration(text).is_ok());
        let of = |table: &Table| table.get("window").and_then(|window| window.get(from)).filter(good).cloned();
        if let Some(value) = of(merged).or_else(|| of(defaults)) {
            base.entry(to).or_insert_with(|| value.clone());
        }
    }
    if let Some(Value::Table(rules)) = merged.get_mut("rules") {
        for rule in rules.iter_mut().filter_map(|(_, rule)| rule.as_table_mut()) {
            for (key, value) in &base {
                rule.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

/// Gives each webhook what it leaves out from `[webhook_defaults]`.
pub fn fill_webhooks(merged: &mut Table) {
    let base = merged.remove("webhook_defaults");
    let base = base.as_ref().and_then(Value::as_table);
    if let Some(Value::Table(webhooks)) = merged.get_mut("webhooks") {
        for webhook in webhooks.iter_mut().filter_map(|(_, webhook)| webhook.as_table_mut()) {
            for (key, value) in base.into_iter().flatten() {
                webhook.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

/// Reads section by section and rule by rule, so that one bad value does not hide the next.
pub fn read_sections(mut merged: Table, problems: &mut Vec<String>) -> Option<Config> {
    let mut rules = BTreeMap::new();
    if let Some(Value::Table(tables)) = merged.remove("rules") {
        for (name, table) in tables {
            match read::<RuleConfig>(table, &format!("rules.{name}"), problems) {
                Some(rule) => {
                    rules.insert(name, rule);
                }
                None => continue,
            }
        }
    }
    let mut webhooks = BTreeMap::new();
    if let Some(Value::Table(tables)) = merged.remove("webhooks") {
        for (name, table) in tables {
            if let Some(webhook) = read::<WebhookConfig>(table, &format!("webhooks.{name}"), problems) {
                webhooks.insert(name, webhook);
            }
        }
    }
    let mut take = |key: &str| merged.remove(key).unwrap_or(Value::Table(Table::new()));
    let (kafka, decode) = (read(take("kafka"), "kafka", problems), read(take("decode"), "decode", problems));
    let (privacy, model) = (read(take("privacy"), "privacy", problems), read(take("model"), "model", problems));
    let (watchlist, watermark) = (read(take("watchlist"), "watchlist", problems), read(take("watermark"), "watermark", problems));
    let (window, detect) = (read(take("window"), "window", problems), read(take("detect"), "detect", problems));
    let (novelty, explain) = (read(take("novelty"), "novelty", problems), read(take("explain"), "explain", problems));
    let (http, shutdown) = (read(take("http"), "http", problems), read(take("shutdown"), "shutdown", problems));
    let (drift, log) = (read(take("drift"), "drift", problems), read(take("log"), "log", problems));
    let ingest = read(take("ingest"), "ingest", problems);
    let (health, audit) = (read(take("health"), "health", problems), read(take("audit"), "audit", problems));
    let deliver = read(take("deliver"), "deliver", problems);
    Some(Config {
        kafka: kafka?,
        decode: decode?,
        privacy: privacy?,
        model: model?,
        drift: drift?,
        watchlist: watchlist?,
        watermark: watermark?,
        window: window?,
        novelty: novelty?,
        detect: detect?,
        explain: explain?,
        rules,
        ingest: ingest?,
        http: http?,
        health: health?,
        shutdown: shutdown?,
        log: log?,
        audit: audit?,
        deliver: deliver?,
        webhooks,
    })
}

fn read<T: serde::de::DeserializeOwned>(value: Value, section: &str, problems: &mut Vec<String>) -> Option<T> {
    // One key at a time: each key alone that fails to convert is reported with its own value.
    match value.clone().try_into::<T>() {
        Ok(section) => Some(section),
        Err(error) => {
            let text = error.message().trim().to_owned();
            let culprits: Vec<String> = value
                .as_table()
                .into_iter()
                .flatten()
                .filter(|(_, value)| {
                    value
                        .as_str()
                        .is_some_and(|value| text.starts_with(&format!("{value:?}")) || text.contains(&format!("variant `{value}`")))
                })
                .map(|(key, value)| format!("{section}.{key} = {value}: {text}"))
                .collect();
            match culprits.is_empty() {
                true => problems.push(format!("{section}: {text}")),
                false => problems.extend(culprits),
            }
            None
        }
    }
}
