//! One webhook: transitions in the order of their partition, each tried until it is taken or given up, and only then committed.
//! What is new of a silenced subject waits beside, and goes before all others when the silence is over.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::alertmanager::{Book, REPEAT};
use super::post::{Outcome, Said};
use super::withheld::{Verdict, Withheld};
use super::{Line, Standing};
use crate::actions::Actions;
use crate::config::{Config, Format, Start, WebhookConfig};
use crate::detect::life::Transition;
use crate::detect::{AlertRecord, Severity};
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
    pub actions: Arc<Actions>,
    pub role: &'static str,
}

/// The transition that is tried.
struct Trying {
    record: Record,
    /// It was withheld before, and what is committed is behind it.
    late: bool,
    attempts: u32,
    since: Instant,
    due: Instant,
}

impl Trying {
    fn begin(record: Record, late: bool) -> Self {
        let now = Instant::now();
        Self { record, late, attempts: 0, since: now, due: now }
    }
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
    withheld: Withheld,
    /// By partition, what is committed or could be: the next record that was neither told nor withheld.
    next: BTreeMap<i32, i64>,
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
            withheld: Withheld::default(),
            next: BTreeMap::new(),
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
        let patience = match &self.trying {
            Some(trying) => trying.due.saturating_duration_since(Instant::now()).min(TICK),
            None if self.waiting.is_empty() || !self.receiver.actions.are_known() => TICK,
            None => Duration::ZERO,
        };
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
                self.waiting.retain(|record| !partitions.contains(&record.partition));
                self.trying.take_if(|trying| partitions.contains(&trying.record.partition));
                self.withheld.forget(&partitions);
                self.next.retain(|partition, _| !partitions.contains(partition));
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

    /// What was withheld of these partitions, and what is open of what was told: commit and topic say it.
    fn recall(&mut self, partitions: &[i32]) -> Result<(), Error> {
        for &partition in partitions {
            if let Some((next, metadata)) = self.committer.committed(partition, PATIENCE)? {
                self.next.insert(partition, next);
                self.withheld.restore(partition, &metadata);
            }
        }
        if self.book.is_none() && self.withheld.is_empty() {
            return Ok(());
        }
        let Self { receiver, reader, withheld, book, next, .. } = self;
        let spans: Vec<_> = partitions.iter().map(|partition| (*partition, None)).collect();
        reader.read(&receiver.config.kafka.topics.alerts, &spans, |passing| {
            if next.get(&passing.partition).is_none_or(|next| passing.offset >= *next) {
                return;
            }
            let Ok(mut alert) = serde_json::from_slice::<AlertRecord>(passing.payload) else { return };
            let (partition, offset, time) = (passing.partition, passing.offset, passing.time);
            let record = || Record { partition, offset, time, key: Some(alert.id.clone().into()), payload: passing.payload.to_vec() };
            let heard = withheld.recall(partition, &alert, record);
            let Some(book) = book.as_mut().filter(|_| receiver.repeats(&alert)) else { return };
            match heard {
                None => book.note(&alert, partition),
                // As it was told: its escalation was withheld.
                Some(true) if !book.has(&alert) => {
                    alert.severity = Severity::Warning;
                    book.note(&alert, partition);
                }
                Some(_) => {}
            }
        })?;
        self.repeat_at = Instant::now();
        Ok(())
    }

    /// What is to be tried now, unless something is: first what was withheld and may be told.
    fn first(&mut self) -> Option<Trying> {
        let (actions, now) = (&self.receiver.actions, EventTime::now());
        let late = self.withheld.due(|subject| actions.is_silenced(subject, now)).cloned();
        late.map(|record| Trying::begin(record, true)).or_else(|| self.waiting.pop_front().map(|record| Trying::begin(record, false)))
    }

    /// Tries one transition, when it is time.
    fn attempt(&mut self) -> Result<(), Error> {
        let receiver = self.receiver;
        if !receiver.actions.are_known() {
            return Ok(());
        }
        let Some(mut trying) = self.trying.take().or_else(|| self.first()) else { return Ok(()) };
        if trying.due > Instant::now() {
            self.trying = Some(trying);
            return Ok(());
        }
        let (partition, record) = (trying.record.partition, &trying.record);
        let alert = match serde_json::from_slice::<AlertRecord>(&record.payload) {
            // A record without content says only that one was deleted.
            _ if record.payload.is_empty() => return self.done(&trying, false),
            Err(_) => {
                self.give_up(record, &Said::only("not a record of an alert"))?;
                return self.done(&trying, true);
            }
            Ok(alert) => alert,
        };
        if !receiver.webhook.wants(&alert) {
            let settled = self.withheld.settle(partition, &alert);
            return self.done(&trying, settled);
        }
        let silenced = receiver.actions.is_silenced(&alert.subject, EventTime::now());
        // What a receiver may have taken, although it did not say so, is told to the end.
        let verdict = if trying.attempts > 0 { Verdict::Tell } else { self.withheld.verdict(partition, &alert, silenced) };
        let webhook = &receiver.line.name;
        match verdict {
            Verdict::Tell if silenced && trying.attempts == 0 && alert.transition != Transition::Resolved => {
                tracing::warn!(webhook, alert = alert.id, "told although its subject is silenced: as much is withheld as can be");
            }
            Verdict::Tell => {}
            Verdict::Withhold => {
                tracing::info!(webhook, alert = alert.id, "withheld: its subject is silenced");
                // An escalation's firing was told, where this webhook wants warnings.
                let heard = alert.transition == Transition::Escalated && receiver.webhook.severity == Severity::Warning;
                self.withheld.keep(&alert, record.clone(), heard);
                return self.done(&trying, true);
            }
            Verdict::Leave => {
                self.withheld.settle(partition, &alert);
                return self.done(&trying, true);
            }
        }
        if !self.send(&mut trying, &alert)? {
            self.trying = Some(trying);
            return Ok(());
        }
        self.withheld.settle(partition, &alert);
        self.done(&trying, true)
    }

    /// Makes one attempt. False where another one is to follow.
    fn send(&mut self, trying: &mut Trying, alert: &AlertRecord) -> Result<bool, Error> {
        let (receiver, record) = (self.receiver, &trying.record);
        match receiver.line.tell(alert, &record.payload) {
            Outcome::Taken(_) => {
                if let Some(book) = self.book.as_mut().filter(|_| receiver.repeats(alert)) {
                    book.note(alert, record.partition);
                }
                receiver.count("delivered");
            }
            Outcome::Refused(said) => self.give_up(record, &said)?,
            Outcome::Failed { said, not_before } => {
                let (webhook, host) = (&receiver.line.name, receiver.line.host());
                trying.attempts += 1;
                receiver.metrics.webhook_failures.with_label_values(&[webhook]).inc();
                let limit = receiver.webhook.give_up_after;
                let pause = pause(trying.attempts).max(not_before.unwrap_or_default());
                if trying.since.elapsed() + pause < limit.duration() {
                    trying.due = Instant::now() + pause;
                    let (why, attempts) = (said.status, trying.attempts);
                    tracing::warn!(webhook, host, why, attempts, ?pause, "a webhook did not take a transition; it is tried again");
                    return Ok(false);
                }
                let status = format!("not taken for {limit}: {}", said.status);
                self.give_up(record, &Said { status, ..said })?;
            }
        }
        Ok(true)
    }

    /// A transition needs no further attempt. `noted`: somebody knows of it and need not hear it again, or what is withheld has changed.
    fn done(&mut self, tried: &Trying, noted: bool) -> Result<(), Error> {
        let partition = tried.record.partition;
        if !tried.late {
            self.next.insert(partition, tried.record.offset + 1);
            self.receiver.metrics.records.with_label_values(&[self.receiver.role]).inc();
        }
        match self.next.get(&partition).filter(|_| noted || self.waiting.is_empty()) {
            Some(next) => self.committer.commit(&Offsets::from([(partition, (*next, self.withheld.metadata(partition)))])),
            None => Ok(()),
        }
    }

    /// Puts it where it waits for a person.
    fn give_up(&self, record: &Record, said: &Said) -> Result<(), Error> {
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
        let since = |record: &Record| EventTime::now().0 - record.time.0;
        let waited = match &self.trying {
            Some(trying) if trying.late => trying.since.elapsed().as_millis() as i64,
            trying => trying.as_ref().map(|trying| &trying.record).or(self.waiting.front()).map_or(0, since),
        };
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
