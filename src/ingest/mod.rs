//! Feeds as a source: RSS and Atom, asked again and again, to `news.raw`; what is remembered of them, to `news.feeds`.
//!
//! ```text
//!  a task for each feed: rests, asks, reads ──▶ one thread: items and memory in one transaction ──▶ news.raw, news.feeds
//!            ▲                                                   │
//!            └────────────── what is remembered now ─────────────┘
//! ```
//!
//! A feed goes on only with what is committed, so an entry is published once, whatever is killed when.

mod desk;
pub mod document;
mod fetch;
mod memory;
mod schedule;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::desk::Outcome;
pub use self::memory::Memory;

use self::desk::Desk;
use self::fetch::Fetcher;
use crate::config::Config;
use crate::kafka;
use crate::kafka::consumer::Offsets;
use crate::kafka::delivery::Delivery;
use crate::kafka::pauses::{Pauses, wait};
use crate::kafka::producer::Outgoing;
use crate::kafka::reader::Reader;
use crate::kafka::topics::{max_record_bytes, partition_count};
use crate::metrics::Metrics;
use crate::pipeline::Error;

pub const ROLE: &str = "ingest";

/// What has been read and not published; each has the items of one document.
const WAITING: usize = 4;
/// For a read of what is remembered.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Asks the feeds of the configuration until `stop`. `begun`: set once what is remembered of them has been read back.
///
/// # Errors
/// [`Error::Kafka`] where brokers or topics are not as they must be, or another process has taken over;
/// [`Error::Deadline`] where the last commit takes too long.
pub fn run(config: Arc<Config>, metrics: Arc<Metrics>, begun: Arc<AtomicBool>, stop: &CancellationToken) -> Result<(), Error> {
    let (sender, ended) = channel();
    let (deadline, stopping) = (config.shutdown.deadline, stop.clone());
    let body = move || {
        let publisher = Publisher { config, metrics, begun, stop: stopping.clone() };
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
    begun: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Publisher {
    fn run(&self) -> Result<(), Error> {
        let Some((delivery, memories)) = self.begin()? else { return Ok(()) };
        self.begun.store(true, Ordering::Relaxed);
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
        let (mut error, mut pauses) = (error, Pauses::default());
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
            let pause = pauses.after(Duration::ZERO);
            tracing::warn!(role = ROLE, %error, ?pause, "begins anew, from what is committed");
            self.metrics.generations.with_label_values(&[ROLE]).inc();
            wait(&self.stop, pause);
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
