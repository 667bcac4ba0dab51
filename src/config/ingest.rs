//! `[ingest]`: the feeds, and how considerate their servers are treated.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{Span, listen_address};
use crate::outbound;

/// Each is a task and some 10 kB of memory.
const MAX_FEEDS: usize = 10_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestConfig {
    pub interval: Span,
    pub host_pause: Span,
    pub time_limit: Span,
    pub max_body_bytes: usize,
    pub contact: String,
    pub allow_private: Vec<String>,
    pub metrics_listen: String,
    pub feeds: Vec<FeedConfig>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    pub url: String,
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// Instead of `ingest.interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
}

impl FeedConfig {
    /// Its address without what may be a key: a log-in, and what follows the path.
    pub fn shown(&self) -> String {
        let (open, query) = self.url.split_once('?').map_or((self.url.as_str(), ""), |(open, _)| (open, "?***"));
        match open.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
            Some((scheme, rest)) => format!("{scheme}://***@{rest}{query}"),
            None => format!("{open}{query}"),
        }
    }
}

impl IngestConfig {
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        let mut check = |holds: bool, text: String| {
            if !holds {
                problems.push(text);
            }
        };
        for (key, value) in [("interval", self.interval), ("time_limit", self.time_limit)] {
            check(value.ms() > 0, format!("ingest.{key} = \"{value}\" must be longer than nothing"));
        }
        check(self.max_body_bytes > 0, "ingest.max_body_bytes = 0 must be at least 1".into());
        check(
            self.contact.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()),
            format!("ingest.contact = {:?} must be plain ASCII: it is sent as a header", self.contact),
        );
        check(
            self.metrics_listen.is_empty() || listen_address(&self.metrics_listen).is_some(),
            format!("ingest.metrics_listen = {:?} must be an address and port such as \"127.0.0.1:9465\"", self.metrics_listen),
        );
        check(self.feeds.len() <= MAX_FEEDS, format!("ingest.feeds has {} of at most {MAX_FEEDS} feeds", self.feeds.len()));
        for host in &self.allow_private {
            check(
                !host.is_empty() && !host.contains(['/', '[', '*', ' ']),
                format!(
                    "ingest.allow_private: {host:?} must be a host's name or address alone, such as \"feeds.internal\" or \"10.0.0.5\""
                ),
            );
        }
        let mut seen = BTreeSet::new();
        for feed in &self.feeds {
            let place = format!("ingest.feeds, url = {:?}", feed.shown());
            match Url::parse(&feed.url) {
                Ok(url) => {
                    let rule = outbound::check(&url).err().unwrap_or_default();
                    check(rule.is_empty(), format!("{place}: {rule}"));
                }
                Err(error) => check(false, format!("{place} is no address ({error})")),
            }
            check(seen.insert(&feed.url), format!("{place} is there twice"));
            check(!feed.source.trim().is_empty(), format!("{place}: source = \"\" must say who publishes it"));
            check(feed.interval.is_none_or(|interval| interval.ms() > 0), format!("{place}: interval must be longer than nothing"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        Config::from_toml(text, &[], None).unwrap_err().0
    }

    #[test]
    fn what_is_wrong_with_feeds_is_named_without_what_may_be_a_key() {
        let good = "[[ingest.feeds]]\nurl = 'https://wire.example/rss?key=hunter2'\nsource = 'wire'\ninterval = '1m'\n";
        let config = Config::from_toml(good, &[], None).unwrap();
        assert_eq!((config.ingest.feeds[0].interval.map(Span::ms), config.ingest.interval.ms()), (Some(60_000), 300_000));
        let shown = config.display();
        assert!(!shown.contains("hunter2") && shown.contains("https://wire.example/rss?***"), "{shown}");
        let found = problems(&format!(
            "[ingest]\ninterval = '0s'\nmax_body_bytes = 0\ncontact = 'Zürich'\nmetrics_listen = 'here'\nallow_private = ['http://feeds.internal/']\n\
             {good}{good}[[ingest.feeds]]\nurl = 'feeds/rss'\nsource = ' '\n[[ingest.feeds]]\nurl = 'ftp://wire.example/'\nsource = 's'\n\
             [[ingest.feeds]]\nurl = 'https://u:hunter2@wire.example/'\nsource = 's'"
        ));
        let expected = [
            "ingest.interval = \"0s\" must be longer than nothing",
            "ingest.max_body_bytes = 0 must be at least 1",
            "ingest.contact = \"Zürich\" must be plain ASCII: it is sent as a header",
            "ingest.metrics_listen = \"here\" must be an address and port such as \"127.0.0.1:9465\"",
            "ingest.allow_private: \"http://feeds.internal/\" must be a host's name or address alone, such as \"feeds.internal\" or \"10.0.0.5\"",
            "ingest.feeds, url = \"https://wire.example/rss?***\" is there twice",
            "ingest.feeds, url = \"feeds/rss\" is no address (relative URL without a base)",
            "ingest.feeds, url = \"feeds/rss\": source = \"\" must say who publishes it",
            "ingest.feeds, url = \"ftp://wire.example/\": it must begin with https:// or http://, not ftp:",
            "ingest.feeds, url = \"https://***@wire.example/\": it must hold no log-in",
        ];
        assert_eq!(found, expected);
        let unknown = problems("[[ingest.feeds]]\nurl = 'https://wire.example/'\nsource = 's'\ntitle = 'x'");
        assert!(unknown.len() == 1 && unknown[0].starts_with("ingest: ") && unknown[0].contains("unknown field `title`"), "{unknown:?}");
    }
}
