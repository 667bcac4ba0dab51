//! One feed as it is followed: asked at its interval, read, and what is new of it handed on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use url::Url;

use super::document::{self, Entry};
use super::fetch::{Failure, Fetched, Fetcher};
use super::schedule::{self, Ended};
use super::{Batch, Memory};
use crate::config::{Config, FeedConfig};
use crate::decode::decode;
use crate::metrics::Metrics;
use crate::news::EventTime;

/// How asking a feed ended; the label of `bellwether_feed_fetches_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There were entries that had not been there before.
    New,
    Unchanged,
    /// Too many requests, or none can be taken now.
    Limited,
    Gone,
    /// robots.txt does not allow it.
    Robots,
    /// It would have led to where it must not go.
    Refused,
    Unreachable,
    /// Another status.
    Status,
    TooLarge,
    Malformed,
    /// It was read, and the brokers did not take what came of it.
    Unpublished,
}

impl Outcome {
    pub const ALL: [Self; 11] = [
        Self::New,
        Self::Unchanged,
        Self::Limited,
        Self::Gone,
        Self::Robots,
        Self::Refused,
        Self::Unreachable,
        Self::Status,
        Self::TooLarge,
        Self::Malformed,
        Self::Unpublished,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Unchanged => "unchanged",
            Self::Limited => "limited",
            Self::Gone => "gone",
            Self::Robots => "robots",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Unpublished => "unpublished",
        }
    }

    fn is_well(self) -> bool {
        matches!(self, Self::New | Self::Unchanged)
    }
}

impl From<&Failure> for Outcome {
    fn from(failure: &Failure) -> Self {
        use crate::outbound::Error as Outbound;
        match failure {
            Failure::Robots(_) => Self::Robots,
            Failure::Redirect(_) | Failure::Outbound(Outbound::Private { .. } | Outbound::Address(_)) => Self::Refused,
            Failure::Outbound(Outbound::Large(_)) => Self::TooLarge,
            Failure::Outbound(Outbound::Unreadable(_)) => Self::Malformed,
            Failure::Outbound(Outbound::Unreachable(_) | Outbound::Slow(_)) => Self::Unreachable,
            Failure::Status(_) => Self::Status,
        }
    }
}

/// What all feeds share.
pub struct Desk {
    pub config: Arc<Config>,
    pub metrics: Arc<Metrics>,
    pub fetcher: Fetcher,
    pub sender: mpsc::Sender<Batch>,
}

/// What one request came to.
struct Asked {
    outcome: Outcome,
    retry_after: Option<Duration>,
    /// For people, where it is not well.
    why: String,
}

impl Asked {
    fn well(outcome: Outcome) -> Self {
        Self { outcome, retry_after: None, why: String::new() }
    }

    fn badly(outcome: Outcome, why: impl ToString) -> Self {
        Self { outcome, retry_after: None, why: why.to_string() }
    }
}

impl Desk {
    /// Asks one feed at its interval. Ends where the feed is gone for good.
    pub async fn follow(&self, feed: &FeedConfig, mut memory: Memory) {
        let interval = feed.interval.unwrap_or(self.config.ingest.interval).duration();
        let mut failures = 0;
        tokio::time::sleep(left(memory.not_before)).await;
        loop {
            let asked = self.ask(feed, &mut memory).await;
            self.metrics.feed_fetches.with_label_values(&[asked.outcome.as_str()]).inc();
            let (well, place) = (asked.outcome.is_well(), feed.shown());
            if well {
                self.metrics.feed_last_success.set(EventTime::now().0 as f64 / 1e3);
            }
            match (well, failures) {
                (true, 0) => {}
                (true, _) => {
                    self.metrics.feeds_failing.dec();
                    tracing::info!(source = feed.source, feed = place, failures, "the feed is well again");
                }
                (false, 0) => {
                    self.metrics.feeds_failing.inc();
                    let outcome = asked.outcome.as_str();
                    tracing::warn!(source = feed.source, feed = place, outcome, why = asked.why, "no news from a feed");
                }
                (false, _) => tracing::debug!(source = feed.source, feed = place, failures, why = asked.why, "still no news from a feed"),
            }
            failures = if well { 0 } else { failures + 1 };
            if asked.outcome == Outcome::Gone {
                return;
            }
            let ended = if well { Ended::Well } else { Ended::Badly { times: failures } };
            tokio::time::sleep(schedule::pause(interval, ended, asked.retry_after, chance())).await;
        }
    }

    async fn ask(&self, feed: &FeedConfig, memory: &mut Memory) -> Asked {
        let url = Url::parse(&feed.url).expect("the configuration was checked");
        match self.fetcher.fetch(&url, memory).await {
            Ok(Fetched::NotModified) => Asked::well(Outcome::Unchanged),
            Ok(Fetched::Gone) => Asked::badly(Outcome::Gone, "the server says that it is gone for good; take it out of ingest.feeds"),
            Ok(Fetched::Limited { status, retry_after }) => {
                if let Some(wait) = retry_after {
                    let wait = wait.min(schedule::LONGEST_RETRY_AFTER).as_millis() as i64;
                    let now = EventTime::now();
                    let next = Memory { checked_at: now, not_before: Some(now.plus(wait)), ..memory.clone() };
                    *memory = self.publish(Vec::new(), next).await;
                }
                Asked { retry_after, ..Asked::badly(Outcome::Limited, format!("the server answers {status}")) }
            }
            Ok(Fetched::Document { body, content_type, etag, last_modified, url }) => {
                let read = spawn_blocking(move || document::read(&body, content_type.as_deref(), &url)).await;
                match read {
                    Ok(Ok(entries)) => self.take(feed, memory, entries, (etag, last_modified)).await,
                    Ok(Err(malformed)) => Asked::badly(Outcome::Malformed, malformed),
                    Err(_) => Asked::badly(Outcome::Malformed, "its reader failed"),
                }
            }
            Err(failure) => Asked::badly((&failure).into(), failure),
        }
    }

    /// Publishes what is new of a document.
    async fn take(
        &self,
        feed: &FeedConfig,
        memory: &mut Memory,
        entries: Vec<Entry>,
        validators: (Option<String>, Option<String>),
    ) -> Asked {
        let now = EventTime::now();
        let next = memory.after(&entries, validators.0.as_deref(), validators.1.as_deref(), now);
        if !next.differs_from(memory) {
            return Asked::well(Outcome::Unchanged);
        }
        let mut items = memory.unseen(entries);
        let any = !items.is_empty();
        // Event time runs ahead with the newest, and what comes behind it would be late.
        items.sort_by_key(|(_, entry)| entry.published_at.unwrap_or(now));
        let records = items.into_iter().filter_map(|(id, entry)| Some((id.clone(), self.record(feed, &id, entry, now)?)));
        *memory = self.publish(records.collect(), next.clone()).await;
        match (next.differs_from(memory), any) {
            (true, _) => Asked::badly(Outcome::Unpublished, "the brokers did not take what came of it; it is read again"),
            (false, true) => Asked::well(Outcome::New),
            (false, false) => Asked::well(Outcome::Unchanged),
        }
    }

    /// Waits until it is decided what is remembered.
    async fn publish(&self, items: Vec<(String, Vec<u8>)>, memory: Memory) -> Memory {
        let (remembered, answer) = oneshot::channel();
        let _ = self.sender.send(Batch { items, memory, remembered }).await;
        match answer.await {
            Ok(memory) => memory,
            // The publisher has ended, and the process does so as well.
            Err(_) => std::future::pending().await,
        }
    }

    /// The item as it goes to `news.raw`; `None` for one that the classifier would refuse.
    fn record(&self, feed: &FeedConfig, id: &str, entry: Entry, now: EventTime) -> Option<Vec<u8>> {
        let Entry { title, body, url, published_at, .. } = entry;
        let body = Some(body).filter(|body| !body.is_empty() && *body != title);
        // A date in the future is a clock or a time zone that is wrong: the Kafka timestamp is nearer to the truth.
        let published_at = published_at.filter(|at| *at <= now).map(|at| at.to_string());
        let fields = [
            ("id", Some(id.to_owned())),
            ("title", Some(title).filter(|title| !title.is_empty())),
            ("body", body),
            ("published_at", published_at),
            ("source", Some(feed.source.clone())),
            ("url", url),
            ("lang", feed.lang.clone()),
        ];
        let fields: Map<String, Value> = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect();
        let record = Value::Object(fields).to_string().into_bytes();
        match decode(&record, now, &self.config.decode) {
            Ok(_) => Some(record),
            Err(rejection) => {
                self.metrics.feed_items.with_label_values(&["refused"]).inc();
                tracing::debug!(
                    source = feed.source,
                    reason = rejection.reason.as_str(),
                    detail = rejection.detail,
                    "an entry is no news item"
                );
                None
            }
        }
    }
}

/// How long a server still wants to be left alone.
fn left(not_before: Option<EventTime>) -> Duration {
    let left = not_before.map_or(0, |at| at.0 - EventTime::now().0);
    Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(schedule::LONGEST_RETRY_AFTER)
}

/// From 0 to 1, so that feeds do not go together.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}
