//! The roles: [`classifier`] and [`monitor`] are the shells that read and write Kafka, [`partition`] is what the monitor
//! computes, [`offline`] runs the same without Kafka. The only files that know the order of stages.

pub mod ask;
pub mod classifier;
mod explainer;
mod inputs;
pub mod monitor;
pub mod observe;
pub mod offline;
pub mod partition;
pub mod restore;
mod unpublishable;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use self::inputs::{Inputs, Swap};
use crate::classify::Classify;
use crate::config::{Config, TopicNames};
use crate::decode::Rejection;
use crate::enrich::Watchlist;
use crate::http::board::Board;
use crate::kafka;
use crate::kafka::consumer::{Offsets, Record};
use crate::kafka::delivery::Delivery;
use crate::kafka::pauses::{Pauses, wait};
use crate::kafka::producer::Outgoing;
use crate::metrics::Metrics;

/// What ends a role, and with it the process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    #[error(transparent)]
    Classify(#[from] crate::classify::Error),
    #[error(
        "partition {partition}: the offset committed for consumer group {group:?} has no checkpoint, so it was not written by Bellwether; \
         delete the group's offsets to read the observation log from its beginning"
    )]
    Checkpoint { partition: i32, group: String },
    #[error(
        "window.pane = \"{configured}\", but {topic} holds panes of {found}, and panes of two lengths do not make a window; set \
         window.pane = \"{found}\" again, or judge everything anew (docs/operations.md, \"Read news again\")"
    )]
    PaneLength { topic: String, found: crate::config::Span, configured: crate::config::Span },
    #[error(transparent)]
    Texts(#[from] crate::privacy::texts::Error),
    #[error("the {0} ended unexpectedly")]
    Panicked(&'static str),
    #[error("draining took longer than shutdown.deadline = \"{0}\"; what was not committed will be read again")]
    Deadline(crate::config::Span),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    Classifier,
    Monitor,
    Both,
}

impl Roles {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classifier => "classifier",
            Self::Monitor => "monitor",
            Self::Both => "both",
        }
    }

    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Classifier => &[classifier::ROLE],
            Self::Monitor => &[monitor::ROLE],
            Self::Both => &[classifier::ROLE, monitor::ROLE],
        }
    }

    /// The right that these roles need on a topic, by its key in `kafka.topics`; docs/operations.md has the whole list.
    fn right_on(self, topic: &str) -> &'static str {
        match (self, topic) {
            (Self::Both, "observations") | (Self::Monitor | Self::Both, "windows" | "alerts") => "Read and Write",
            (Self::Classifier | Self::Both, "raw") | (Self::Monitor, "observations") => "Read",
            (_, "dead") | (Self::Classifier | Self::Both, "scored") | (Self::Classifier, "observations") => "Write",
            _ => "Describe",
        }
    }

    pub fn classifies(self) -> bool {
        self != Self::Monitor
    }

    pub fn monitors(self) -> bool {
        self != Self::Classifier
    }
}

/// Running roles: threads that end with `stop`, or by themselves with an error.
pub struct Running {
    results: Receiver<(&'static str, Result<(), Error>)>,
    open: usize,
    stop: CancellationToken,
    deadline: crate::config::Span,
    swap: Arc<Swap>,
}

/// Checks the topics and starts the roles.
///
/// # Errors
/// [`kafka::Error`] where brokers or topics are not as they must be; nothing has been read then.
pub fn start(
    config: Arc<Config>,
    watchlist: Arc<Watchlist>,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    classify: Option<Arc<dyn Classify>>,
    roles: Roles,
    stop: CancellationToken,
) -> Result<Running, Error> {
    let inputs = Inputs::new(config.clone(), watchlist, classify, roles, &metrics)?;
    let classifies = inputs.classify.is_some();
    let swap = Arc::new(Swap::new(inputs.clone(), &stop));
    let parts = classifier::Parts {
        partitions: kafka::topics::check(&config.kafka, |topic| roles.right_on(topic))?,
        inputs,
        metrics,
        board,
        unpublishable: Arc::default(),
    };
    let (sender, results) = channel();
    let mut open = 0;
    let mut spawn = |role: &'static str, body: Box<dyn FnOnce() -> Result<(), Error> + Send>| {
        let (sender, stop) = (sender.clone(), stop.clone());
        let thread = std::thread::Builder::new().name(role.into()).spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(Err(Error::Panicked(role)));
            // A role that ends takes the other along: half a pipeline is worse than a restart.
            stop.cancel();
            let _ = sender.send((role, result));
        });
        open += 1;
        thread.map(drop).map_err(|error| Error::Kafka(kafka::Error::Client(format!("a thread cannot be started: {error}"))))
    };
    if classifies {
        let (parts, stop, swap) = (parts.clone(), stop.clone(), swap.clone());
        spawn(classifier::ROLE, Box::new(move || generations(Roles::Classifier, parts, &swap, &stop, classifier::run)))?;
    }
    if roles.monitors() {
        let (stop, swap) = (stop.clone(), swap.clone());
        spawn(monitor::ROLE, Box::new(move || generations(Roles::Monitor, parts, &swap, &stop, monitor::run)))?;
    }
    Ok(Running { results, open, stop, deadline: config.shutdown.deadline, swap })
}

/// Runs a role in generations: a failure that may pass ends one, with all its state, and the next joins the group anew
/// and goes on from what is committed.
fn generations(
    roles: Roles,
    mut parts: classifier::Parts,
    swap: &Swap,
    stop: &CancellationToken,
    generation: impl Fn(classifier::Parts, CancellationToken) -> Result<(), Error>,
) -> Result<(), Error> {
    let role = roles.as_str();
    let mut pauses = Pauses::default();
    while !stop.is_cancelled() {
        let began = Instant::now();
        let turn;
        (parts.inputs, turn) = swap.begin();
        let error = match generation(parts.clone(), turn.child_token()) {
            Ok(()) if turn.is_cancelled() && !stop.is_cancelled() => {
                tracing::info!(role, "goes on with what was reloaded");
                parts.board.begins_anew(role);
                continue;
            }
            Err(Error::Kafka(error)) if error.is_passing() && stop.is_cancelled() => {
                tracing::warn!(role, %error, "stopped without its last commit; what was in it is read again");
                return Ok(());
            }
            Err(Error::Kafka(error)) if error.is_passing() => error,
            ended => return ended,
        };
        let lasted = began.elapsed();
        match &error {
            // Another process has this one's name: to begin anew would fence that one.
            kafka::Error::Fenced { .. } if !parts.inputs.config.kafka.instance.is_empty() => return Err(error.into()),
            // An alert or a pane, or a dead letter: there is nowhere else to put it.
            kafka::Error::OutputTooLarge { origin, .. } if !origin.is_some_and(|origin| parts.unpublishable.add(origin)) => {
                return Err(error.into());
            }
            _ => {}
        }
        parts.metrics.generations.with_label_values(&[role]).inc();
        parts.board.generation_ended(role, format!("{role}: {error}"));
        let pause = pauses.after(lasted);
        tracing::warn!(role, %error, ?pause, "begins anew, from what is committed");
        wait(stop, pause);
        if stop.is_cancelled() {
            return Ok(());
        }
        match kafka::topics::check(&parts.inputs.config.kafka, |topic| roles.right_on(topic)) {
            Ok(partitions) => parts.partitions = partitions,
            Err(error) if error.is_passing() => tracing::warn!(role, %error, "the brokers do not answer"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Running {
    /// For a reload.
    pub fn swap(&self) -> Arc<Swap> {
        self.swap.clone()
    }

    /// Blocks until all roles have ended: by an error, or drained after `stop` within the deadline.
    pub fn wait(mut self) -> Result<(), Error> {
        let mut outcome = Ok(());
        let mut left = None;
        while self.open > 0 {
            let slice = Duration::from_millis(100);
            match self.results.recv_timeout(slice) {
                Ok((role, result)) => {
                    self.open -= 1;
                    if let Err(error) = result {
                        tracing::error!(role, %error, "role ended");
                        outcome = outcome.and(Err(error));
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.stop.is_cancelled() => {
                    let rest: Duration = left.unwrap_or(self.deadline.duration());
                    if rest.is_zero() {
                        return outcome.and(Err(Error::Deadline(self.deadline)));
                    }
                    left = Some(rest.saturating_sub(slice));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        outcome
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records hold only what JSON can say")
}

/// Sends a record that cannot be processed whole to the dead letter topic, with the reason in its headers.
fn publish_dead(delivery: &Delivery, topics: &TopicNames, from: &str, record: &Record, rejection: &Rejection) -> Result<(), kafka::Error> {
    tracing::warn!(
        kafka_topic = from,
        partition = record.partition,
        offset = record.offset,
        reason = rejection.reason.as_str(),
        detail = rejection.detail,
        "record rejected, sent to the dead letter topic"
    );
    delivery.send(Outgoing {
        topic: &topics.dead,
        key: record.key.as_deref(),
        payload: &record.payload,
        headers: vec![
            ("bellwether.reason", rejection.reason.as_str().to_owned()),
            ("bellwether.detail", rejection.detail.clone()),
            ("bellwether.topic", from.to_owned()),
            ("bellwether.partition", record.partition.to_string()),
            ("bellwether.offset", record.offset.to_string()),
            ("bellwether.timestamp_ms", record.time.0.to_string()),
        ],
        ..Outgoing::default()
    })
}

/// When to commit: `kafka.commit_interval` after the last commit, or at once where somebody waits for it. A commit costs the
/// brokers much and a role its time, so that at least twice as long as the last one took, and no less than
/// [`SHORTEST_COMMIT_INTERVAL`], lies between two.
struct Pace {
    interval: Duration,
    last_ended: Instant,
    shortest: Duration,
}

const SHORTEST_COMMIT_INTERVAL: Duration = Duration::from_millis(20);

impl Pace {
    fn new(interval: Duration) -> Self {
        Self { interval, last_ended: Instant::now(), shortest: SHORTEST_COMMIT_INTERVAL }
    }

    /// How long until the next one is due. `awaited`: somebody waits for it, and no more work that could go with it.
    fn rest(&self, awaited: bool) -> Duration {
        let interval = if awaited { self.shortest.min(self.interval) } else { self.interval };
        interval.saturating_sub(self.last_ended.elapsed())
    }

    /// From its end: a slow commit must not follow on every slab. One that was not `stored` is tried again after the
    /// interval, whoever waits.
    fn ended(&mut self, began: Instant, stored: bool) {
        self.last_ended = Instant::now();
        self.shortest = if stored { SHORTEST_COMMIT_INTERVAL.max(2 * began.elapsed()) } else { self.interval };
    }
}

/// Commits what is finished; true when the offsets are stored. Without transactions an offset that could not be stored
/// costs only a repetition: it stays, and goes with the next commit. `up_to_date`: no record is left to be read.
///
/// # Errors
/// Those that end the generation.
fn commit(
    delivery: &Delivery,
    offsets: &Offsets,
    up_to_date: bool,
    role: &'static str,
    parts: &classifier::Parts,
) -> Result<bool, kafka::Error> {
    let began = Instant::now();
    let committed = delivery.commit(offsets);
    let count = |outcome| parts.metrics.commits.with_label_values(&[role, outcome]).inc();
    match committed {
        // All that there is is committed already: a role that began anew is well again.
        Ok(false) if up_to_date => {}
        Ok(false) => return Ok(true),
        Ok(true) => {
            count("ok");
            parts.metrics.commit_duration.with_label_values(&[role]).observe(began.elapsed().as_secs_f64());
        }
        Err(kafka::Error::Commit(cause)) => {
            count("error");
            tracing::warn!(role, cause, "commit failed; it is tried again with the next one");
            parts.board.trouble(role, Some(format!("{role}: offsets cannot be committed: {cause}")));
            return Ok(false);
        }
        Err(error) => {
            count("error");
            return Err(error);
        }
    }
    parts.board.trouble(role, None);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_is_awaited_comes_at_once_unless_the_last_was_slow_or_failed() {
        let interval = Duration::from_secs(60);
        let mut pace = Pace::new(interval);
        let nearly = |rest: Duration, whole: Duration| rest.abs_diff(whole) < Duration::from_secs(5);
        assert!(pace.rest(true) <= SHORTEST_COMMIT_INTERVAL);
        assert!(nearly(pace.rest(false), interval));
        let ten_seconds_ago = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        pace.ended(ten_seconds_ago, true);
        assert!(nearly(pace.rest(true), Duration::from_secs(20)), "{:?}", pace.rest(true));
        pace.ended(Instant::now(), false);
        assert!(nearly(pace.rest(true), interval), "{:?}", pace.rest(true));
        pace.ended(Instant::now(), true);
        assert!(pace.rest(true) <= SHORTEST_COMMIT_INTERVAL);
    }
}
