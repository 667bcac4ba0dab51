//! Feeds as a source: RSS and Atom, asked again and again, to `news.raw`; what is remembered of them, to `news.feeds`.
//!
//! ```text
//!  a task for each feed: rests, asks, reads ──▶ one thread: items and memory in one transaction ──▶ news.raw, news.feeds
//!            ▲                                                   │
//!            └────────────── what is remembered now ─────────────┘
//! ```
//!
//! A feed goes on only with what is committed, so an entry is published once, whatever is killed when.

mod document;
mod fetch;
mod memory;
mod schedule;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use url::Url;

pub use self::memory::Memory;

use self::document::Entry;
use self::fetch::{Failure, Fetched, Fetcher};
use self::schedule::Ended;
use crate::config::{Config, FeedConfig};
use crate::decode::decode;
use crate::http::board::Board;
use crate::kafka;
use crate::kafka::consumer::Offsets;
use crate::kafka::delivery::Delivery;
use crate::kafka::producer::Outgoing;
use crate::kafka::reader::Reader;
use crate::kafka::topics::{max_record_bytes, partition_count};
use crate::metrics::Metrics;
use crate::news::EventTime;
use crate::pipeline::Error;

pub const ROLE: &str = "ingest";

/// What has been read and not published; each has the items of one document.
const WAITING: usize = 4;
/// For a read of what is remembered.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

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

/// What is remembered, by the feeds' URLs.
type Memories = HashMap<String, Memory>;
/// What publishes, and what was remembered when it began.
type Begun = (Delivery, Memories);

/// What came of one document, and what is remembered from then on.
struct Batch {
    /// Id and record.
    items: Vec<(String, Vec<u8>)>,
    memory: Memory,
    /// Told what is remembered now: this memory once it is committed, else what was committed before.
    remembered: oneshot::Sender<Memory>,
}

/// Asks the feeds of the configuration until `stop`.
///
/// # Errors
/// [`Error::Kafka`] where brokers or topics are not as they must be, or another process has taken over;
/// [`Error::Deadline`] where the last commit takes too long.
pub fn run(config: Arc<Config>, metrics: Arc<Metrics>, board: &Arc<Board>, stop: &CancellationToken) -> Result<(), Error> {
    let (sender, ended) = channel();
    let (deadline, board, stopping) = (config.shutdown.deadline, board.clone(), stop.clone());
    let body = move || {
        let publisher = Publisher { config, metrics, board, stop: stopping.clone() };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| publisher.run())).unwrap_or(Err(Error::Panicked(ROLE)));
        stopping.cancel();
        let _ = sender.send(result);
    };
    let no_thread = |error| Error::Kafka(kafka::Error::Client(format!("a thread cannot be started: {error}")));
    std::thread::Builder::new().name(ROLE.into()).spawn(body).map_err(no_thread)?;
    let mut stopped: Option<Instant> = None;
    loop {
        match ended.recv_timeout(Duration::from_millis(100)) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Panicked(ROLE)),
            Err(RecvTimeoutError::Timeout) if stop.is_cancelled() => {
                if stopped.get_or_insert_with(Instant::now).elapsed() > deadline.duration() {
                    return Err(Error::Deadline(deadline));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

struct Publisher {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    stop: CancellationToken,
}

impl Publisher {
    fn run(&self) -> Result<(), Error> {
        let Some((delivery, memories)) = self.begin()? else { return Ok(()) };
        self.board.ingesting();
        tracing::info!(feeds = self.config.ingest.feeds.len(), remembered = memories.len(), "asking the feeds");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(32)
            .thread_name("feeds")
            .enable_all()
            .build()
            .map_err(|error| kafka::Error::Client(format!("the feeds cannot be asked: {error}")))?;
        let batches = self.ask_all(&runtime, memories);
        let ended = self.serve(delivery, batches);
        // What looks a name up, or reads a document, is not waited for.
        runtime.shutdown_background();
        ended
    }

    /// Publishes what the feeds bring, until none of them brings any more.
    fn serve(&self, mut delivery: Delivery, mut batches: mpsc::Receiver<Batch>) -> Result<(), Error> {
        while let Some(batch) = batches.blocking_recv() {
            let committed = self.publish(&delivery, &batch);
            let Err(error) = committed else {
                let _ = batch.remembered.send(batch.memory);
                continue;
            };
            // The first must go before the next begins: it ends what it has begun.
            drop(delivery);
            let Some((anew, mut memories)) = self.begin_anew(error)? else { return Ok(()) };
            delivery = anew;
            let url = &batch.memory.url;
            let _ = batch.remembered.send(memories.remove(url).unwrap_or_else(|| Memory::blank(url)));
        }
        Ok(())
    }

    /// Takes over from whoever published before, and reads back what is remembered. `None`: stopped meanwhile.
    fn begin(&self) -> Result<Option<Begun>, kafka::Error> {
        let kafka = &self.config.kafka;
        partition_count(kafka, &kafka.topics.raw, "Write")?;
        let partitions = partition_count(kafka, &kafka.topics.feeds, "Read and Write")?;
        let waiting = |what: &str| tracing::debug!(what, "waiting for the brokers");
        let delivery = Delivery::alone(kafka, ROLE, max_record_bytes(&self.config), self.metrics.clone(), waiting, self.stop.clone())?;
        let reader = Reader::new(kafka, ROLE, PATIENCE, self.stop.clone())?;
        let partitions: Vec<_> = (0..partitions).map(|partition| (partition, None)).collect();
        let mut memories: Memories = HashMap::new();
        let whole = reader.read(&kafka.topics.feeds, &partitions, |passing| {
            let Ok(memory) = serde_json::from_slice::<Memory>(passing.payload) else { return };
            // Of several the last one: they may stand in several partitions, where there were fewer once.
            if memories.get(&memory.url).is_none_or(|other| other.checked_at <= memory.checked_at) {
                memories.insert(memory.url.clone(), memory);
            }
        })?;
        Ok(whole.then_some((delivery, memories)))
    }

    /// After a failure that may pass.
    fn begin_anew(&self, error: kafka::Error) -> Result<Option<Begun>, Error> {
        let (mut error, mut pause) = (error, SHORTEST_PAUSE);
        loop {
            if self.stop.is_cancelled() && error.is_passing() {
                tracing::warn!(role = ROLE, %error, "stopped without its last commit; what was in it is read again");
                return Ok(None);
            }
            // Another process publishes now: to begin anew would fence that one.
            if !error.is_passing() || matches!(error, kafka::Error::Fenced { .. }) {
                tracing::error!(role = ROLE, %error, "role ended");
                return Err(error.into());
            }
            tracing::warn!(role = ROLE, %error, ?pause, "begins anew, from what is committed");
            self.metrics.generations.with_label_values(&[ROLE]).inc();
            let until = Instant::now() + pause;
            while !self.stop.is_cancelled() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(50));
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            match self.begin() {
                Ok(begun) => return Ok(begun),
                Err(again) => error = again,
            }
        }
    }

    fn publish(&self, delivery: &Delivery, batch: &Batch) -> Result<(), kafka::Error> {
        let topics = &self.config.kafka.topics;
        for (id, record) in &batch.items {
            delivery.send(Outgoing { topic: &topics.raw, key: Some(id.as_bytes()), payload: record, ..Outgoing::default() })?;
        }
        let record = serde_json::to_vec(&batch.memory).expect("a memory has a JSON form");
        delivery.send(Outgoing {
            topic: &topics.feeds,
            key: Some(batch.memory.url.as_bytes()),
            payload: &record,
            ..Outgoing::default()
        })?;
        delivery.commit(&Offsets::default())?;
        self.metrics.feed_items.with_label_values(&["published"]).inc_by(batch.items.len() as u64);
        Ok(())
    }

    /// Begins a task for each feed; they end with `stop`, and with them what is received here.
    fn ask_all(&self, runtime: &tokio::runtime::Runtime, mut memories: Memories) -> mpsc::Receiver<Batch> {
        let (sender, batches) = mpsc::channel(WAITING);
        let desk = Desk { config: self.config.clone(), metrics: self.metrics.clone(), fetcher: Fetcher::new(&self.config.ingest), sender };
        let (desk, stop) = (Arc::new(desk), self.stop.clone());
        let feeds = self.config.ingest.feeds.clone().into_iter();
        let feeds: Vec<_> = feeds.map(|feed| (memories.remove(&feed.url).unwrap_or_else(|| Memory::blank(&feed.url)), feed)).collect();
        runtime.spawn(async move {
            let mut tasks = JoinSet::new();
            for (memory, feed) in feeds {
                let (desk, stop) = (desk.clone(), stop.clone());
                tasks.spawn(async move {
                    tokio::select! { () = stop.cancelled() => {}, () = desk.follow(&feed, memory) => {} }
                });
            }
            while let Some(ended) = tasks.join_next().await {
                if ended.is_err() {
                    tracing::error!("a feed's task ended unexpectedly; the process ends, too");
                    stop.cancel();
                }
            }
            // Without feeds, too, a process runs until it is stopped.
            stop.cancelled().await;
        });
        batches
    }
}

/// What all feeds share.
struct Desk {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    fetcher: Fetcher,
    sender: mpsc::Sender<Batch>,
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
    async fn follow(&self, feed: &FeedConfig, mut memory: Memory) {
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
