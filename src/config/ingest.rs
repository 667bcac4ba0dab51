//! `[ingest]`: the feeds, and how considerate their servers are treated.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use url::Url;

use super::Span;
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
    /// Where health and metrics are, if anywhere.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.metrics_listen.parse().ok()
    }

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
            self.metrics_listen.is_empty() || self.address().is_some(),
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
