//! One webhook: transitions in the order of their partition, each tried until it is taken or given up, and only then committed.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::alertmanager::{Book, REPEAT};
use super::post::{Outcome, Said};
use super::{Line, Standing};
use crate::config::{Config, Format, Start, WebhookConfig};
use crate::detect::AlertRecord;
use crate::kafka::Error;
use crate::kafka::consumer::{Committer, Offsets, Record, Source, SourceEvent};
use crate::kafka::group::begin_at_end;
use crate::kafka::pauses::wait;
use crate::kafka::producer::{Outgoing, Publisher};
use crate::kafka::reader::Reader;
use crate::kafka::topics::max_record_bytes;
use crate::metrics::Metrics;
use crate::news::EventTime;

/// Between two attempts: doubled each time, and never quite the same, so that receivers that come back are not met by all at once.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Records that wait behind one that is tried again. Beyond that nothing more is read.
const WAITING: usize = 1024;
/// How long brokers may take for one thing.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(200);

pub struct Receiver {
    pub config: Arc<Config>,
    pub line: Line,
    pub webhook: WebhookConfig,
    pub metrics: Arc<Metrics>,
    pub standing: Arc<Standing>,
    pub role: &'static str,
}

/// A record that is tried.
struct Trying {
    attempts: u32,
    since: Instant,
    due: Instant,
}

/// One membership of the group.
struct Run<'run> {
    receiver: &'run Receiver,
    source: Source,
    committer: Committer,
    reader: Reader,
    undelivered: Publisher,
    waiting: VecDeque<Record>,
    trying: Option<Trying>,
    /// For an Alertmanager.
    book: Option<Book>,
    repeat_at: Instant,
    stop: CancellationToken,
}

impl Receiver {
    /// Runs until `stop`; an attempt that is under way is waited for.
    ///
    /// # Errors
    /// Those that end a generation.
    pub fn run(&self, stop: CancellationToken) -> Result<(), Error> {
        let kafka = &self.config.kafka;
        let topic = &kafka.topics.alerts;
        // Who is new is told what happens from now on, and not all that ever happened.
        begin_at_end(kafka, self.role, topic, PATIENCE)?;
        let source = Source::start(kafka, self.role, topic, Start::Earliest, self.metrics.clone(), |_| {}, stop.clone())?;
        let mut run = Run {
            receiver: self,
            committer: source.committer(),
            source,
            reader: Reader::new(kafka, self.role, PATIENCE, stop.clone())?,
            undelivered: Publisher::new(kafka, self.role, max_record_bytes(&self.config), self.metrics.clone())?,
            waiting: VecDeque::new(),
            trying: None,
            book: (self.webhook.format == Format::Alertmanager).then(Book::default),
            repeat_at: Instant::now() + REPEAT,
            stop,
        };
        loop {
            if !run.take()? {
                return Ok(());
            }
            run.show_delay();
            run.attempt()?;
            run.repeat();
        }
    }
}

impl Run<'_> {
    /// Takes what the source has; false where nothing more will come.
    fn take(&mut self) -> Result<bool, Error> {
        if self.stop.is_cancelled() {
            return Ok(false);
        }
        let until_due = self.trying.as_ref().map_or(Duration::ZERO, |trying| trying.due.saturating_duration_since(Instant::now()));
        let patience = if self.waiting.is_empty() { TICK } else { until_due.min(TICK) };
        if self.waiting.len() >= WAITING {
            wait(&self.stop, patience);
            return Ok(true);
        }
        match self.source.next(patience) {
            Some(SourceEvent::Batch { records, .. }) => self.waiting.extend(records),
            Some(SourceEvent::Assigned(partitions)) => {
                self.recall(&partitions)?;
                self.receiver.standing.set(&self.receiver.line.name, true);
            }
            Some(SourceEvent::Revoked { partitions, done, .. }) => {
                let front = self.waiting.front().map(|record| (record.partition, record.offset));
                self.waiting.retain(|record| !partitions.contains(&record.partition));
                if front != self.waiting.front().map(|record| (record.partition, record.offset)) {
                    self.trying = None;
                }
                if let Some(book) = &mut self.book {
                    book.forget(&partitions);
                }
                let _ = done.send(());
            }
            Some(SourceEvent::Failed(error)) => return Err(error),
            Some(SourceEvent::Stopped) => return Ok(false),
            None => {}
        }
        Ok(true)
    }

    /// What is open, of what was told of these partitions: the topic says it.
    fn recall(&mut self, partitions: &[i32]) -> Result<(), Error> {
        let Some(book) = &mut self.book else { return Ok(()) };
        let mut told = BTreeMap::new();
        for &partition in partitions {
            let committed = self.committer.committed(partition, PATIENCE)?;
            told.insert(partition, committed.map_or(0, |(next, _)| next));
        }
        let (receiver, spans) = (self.receiver, partitions.iter().map(|partition| (*partition, None)).collect::<Vec<_>>());
        self.reader.read(&receiver.config.kafka.topics.alerts, &spans, |passing| {
            if passing.offset < told[&passing.partition]
                && let Ok(alert) = serde_json::from_slice::<AlertRecord>(passing.payload)
                && receiver.repeats(&alert)
            {
                book.note(&alert, passing.partition);
            }
        })?;
        self.repeat_at = Instant::now();
        Ok(())
    }

    /// Tries the first of what waits, when it is time.
    fn attempt(&mut self) -> Result<(), Error> {
        let Some(record) = self.waiting.front() else { return Ok(()) };
        let now = Instant::now();
        if self.trying.as_ref().is_some_and(|trying| trying.due > now) {
            return Ok(());
        }
        let receiver = self.receiver;
        let outcome = match serde_json::from_slice::<AlertRecord>(&record.payload) {
            // A record without content says only that one was deleted.
            _ if record.payload.is_empty() => None,
            Err(_) => Some(Outcome::Refused(Said::only("not a record of an alert"))),
            Ok(alert) if !receiver.webhook.wants(&alert) => None,
            Ok(alert) => {
                let outcome = receiver.line.tell(&alert, &record.payload);
                if let (Outcome::Taken(_), Some(book)) = (&outcome, &mut self.book)
                    && receiver.repeats(&alert)
                {
                    book.note(&alert, record.partition);
                }
                Some(outcome)
            }
        };
        match outcome {
            None => return self.done(false),
            Some(Outcome::Taken(_)) => receiver.count("delivered"),
            Some(Outcome::Refused(said)) => self.give_up(&said)?,
            Some(Outcome::Failed { said, not_before }) => {
                let trying = self.trying.get_or_insert(Trying { attempts: 0, since: now, due: now });
                trying.attempts += 1;
                receiver.metrics.webhook_failures.with_label_values(&[&receiver.line.name]).inc();
                let limit = receiver.webhook.give_up_after.duration();
                let pause = pause(trying.attempts).max(not_before.unwrap_or_default());
                if trying.since.elapsed() + pause < limit {
                    trying.due = Instant::now() + pause;
                    let (webhook, host, attempts) = (&receiver.line.name, receiver.line.host(), trying.attempts);
                    tracing::warn!(
                        webhook,
                        host,
                        why = said.status,
                        attempts,
                        ?pause,
                        "a webhook did not take a transition; it is tried again"
                    );
                    return Ok(());
                }
                let status = format!("not taken for {}: {}", receiver.webhook.give_up_after, said.status);
                self.give_up(&Said { status, ..said })?;
            }
        }
        self.done(true)
    }

    /// The first of what waits needs no further attempt. `told`: somebody knows of it, and need not hear it again.
    fn done(&mut self, told: bool) -> Result<(), Error> {
        self.trying = None;
        let Some(record) = self.waiting.pop_front() else { return Ok(()) };
        self.receiver.metrics.records.with_label_values(&[self.receiver.role]).inc();
        match told || self.waiting.is_empty() {
            true => self.committer.commit(&Offsets::from([(record.partition, (record.offset + 1, String::new()))])),
            false => Ok(()),
        }
    }

    /// Puts it where it waits for a person.
    fn give_up(&self, said: &Said) -> Result<(), Error> {
        let Some(record) = self.waiting.front() else { return Ok(()) };
        let topics = &self.receiver.config.kafka.topics;
        self.undelivered.send(Outgoing {
            topic: &topics.undelivered,
            key: record.key.as_deref(),
            payload: &record.payload,
            headers: vec![
                ("bellwether.webhook", self.receiver.line.name.clone()),
                ("bellwether.reason", said.to_string()),
                ("bellwether.topic", topics.alerts.clone()),
                ("bellwether.partition", record.partition.to_string()),
                ("bellwether.offset", record.offset.to_string()),
                ("bellwether.timestamp_ms", record.time.0.to_string()),
            ],
            ..Outgoing::default()
        })?;
        self.undelivered.flush(PATIENCE)?;
        self.receiver.count("given_up");
        let (webhook, partition, offset) = (&self.receiver.line.name, record.partition, record.offset);
        tracing::error!(
            webhook,
            why = said.status,
            partition,
            offset,
            "a transition was given up; it is on the topic for what was not delivered"
        );
        Ok(())
    }

    /// An Alertmanager is told of what is open again and again.
    fn repeat(&mut self) {
        let Some(book) = self.book.as_ref().filter(|_| self.repeat_at <= Instant::now()) else { return };
        if let Outcome::Refused(said) | Outcome::Failed { said, .. } = self.receiver.line.tell_again(book) {
            let (webhook, host) = (&self.receiver.line.name, self.receiver.line.host());
            tracing::warn!(webhook, host, why = said.status, "an Alertmanager was not told again of what is open; it is tried again");
        }
        self.repeat_at = Instant::now() + REPEAT;
    }

    fn show_delay(&self) {
        let waited = self.waiting.front().map_or(0, |record| EventTime::now().0 - record.time.0);
        self.receiver.metrics.webhook_delay.with_label_values(&[&self.receiver.line.name]).set(waited.max(0) as f64 / 1e3);
    }
}

impl Receiver {
    fn count(&self, outcome: &str) {
        self.metrics.webhook_deliveries.with_label_values(&[self.line.name.as_str(), outcome]).inc();
    }

    /// An alert of a rule that is gone is never resolved.
    fn repeats(&self, alert: &AlertRecord) -> bool {
        self.webhook.wants(alert) && self.config.rules.contains_key(&alert.rule)
    }
}

/// Between half of the doubled pause and all of it.
fn pause(attempts: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << (attempts - 1).min(16)).min(LONGEST_PAUSE);
    let random = RandomState::new().build_hasher().finish();
    whole.mul_f64(0.5 + (random % 1000) as f64 / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_are_never_all_the_same() {
        for (attempts, most) in [(1, 1.0), (2, 2.0), (6, 32.0), (7, 60.0), (u32::MAX, 60.0)] {
            let found = pause(attempts).as_secs_f64();
            assert!((most / 2.0..=most).contains(&found), "{attempts}: {found}");
        }
        let drawn: std::collections::BTreeSet<Duration> = (0..50).map(|_| pause(5)).collect();
        assert!(drawn.len() > 10, "{drawn:?}");
    }
}
