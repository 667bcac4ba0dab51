//! Outputs, and the offsets of what they came from, stored together: in one transaction (KIP-98, KIP-447), or on brokers
//! without transactions one after the other, at least once.
//!
//! Blocking, for the thread that knows what is finished. Any error leaves the delivery unusable: drop it, which aborts
//! what was begun, and go on from what is committed.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::access::Asks;
use super::consumer::{Committer, Offsets};
use super::producer::{Client, Outgoing, Publisher};
use crate::config::KafkaConfig;
use crate::metrics::Metrics;

/// How long a flush may take before its records count as lost; the client gives a record up after five minutes itself.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(330);
/// How long one transactional call is tried again. The client gives up earlier, when transaction.timeout.ms has passed.
const TRANSACTION_PATIENCE: Duration = Duration::from_secs(60);
/// What each of these calls is given.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Adding offsets may not keep to its timeout: the client looks for the group's coordinator again when the connection to
/// a broker comes or goes, and at no other time (librdkafka issue 5456).
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// The same when the process is to stop: what is not committed then is read again.
const STOPPING_PATIENCE: Duration = Duration::from_secs(5);

pub struct Delivery {
    publisher: Publisher,
    /// `None`: outputs come of nothing that has offsets.
    committer: Option<Committer>,
    /// `None`: without transactions.
    transactional_id: Option<String>,
    /// Since when a transaction is open.
    opened: Cell<Option<Instant>>,
    transaction_timeout: Duration,
    /// Told what waits while the brokers do not answer.
    waiting: Box<dyn Fn(&str) + Send>,
    asks: Asks,
    stop: CancellationToken,
}

impl Delivery {
    /// With transactions it waits until those of a predecessor with the same id are ended. `waiting` is told what waits, again
    /// and again, while the brokers do not answer; with `stop` patience is short.
    ///
    /// # Errors
    /// [`Error::Denied`] where the user may not use the transactional id; [`Error::Client`] where properties are not
    /// valid; [`Error::Aborted`] where no transaction coordinator answers.
    pub fn start(
        config: &KafkaConfig,
        role: &'static str,
        max_bytes: usize,
        metrics: Arc<Metrics>,
        committer: Committer,
        waiting: impl Fn(&str) + Send + 'static,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let id = transactional_id(config, role);
        Self::begin_with(config, role, id, max_bytes, metrics, Some(committer), Box::new(waiting), stop)
    }

    /// As [`Self::start`], for outputs that come of nothing in Kafka. Of all processes with this role and `kafka.instance` one
    /// can publish, the one that was started last; the others are told that they were fenced.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn alone(
        config: &KafkaConfig,
        role: &'static str,
        max_bytes: usize,
        metrics: Arc<Metrics>,
        waiting: impl Fn(&str) + Send + 'static,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let id = format!("{}-{role}-{}", config.group, config.instance);
        Self::begin_with(config, role, id, max_bytes, metrics, None, Box::new(waiting), stop)
    }

    fn begin_with(
        config: &KafkaConfig,
        role: &'static str,
        transactional_id: String,
        max_bytes: usize,
        metrics: Arc<Metrics>,
        committer: Option<Committer>,
        waiting: Box<dyn Fn(&str) + Send>,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let transactional_id = config.transactions.then_some(transactional_id);
        let publisher = Publisher::with_transactions(config, role, max_bytes, metrics, transactional_id.as_deref())?;
        let transaction_timeout = super::producer::transaction_timeout(config);
        let role = format!("{}-{role}", config.group);
        let asks = Asks { transactional_ids: format!("{role}-"), group: role, ..Asks::default() };
        let delivery = Self { publisher, committer, transactional_id, opened: Cell::new(None), transaction_timeout, waiting, asks, stop };
        if delivery.transactional_id.is_some() {
            delivery.transact("starting transactions", |producer| producer.init_transactions(CALL_TIMEOUT))?;
        }
        Ok(delivery)
    }

    /// Queues a record, in the transaction that is open or a new one.
    ///
    /// # Errors
    /// As [`Publisher::send`], and where no transaction can be begun.
    pub fn send(&self, outgoing: Outgoing<'_>) -> Result<(), Error> {
        self.begin()?;
        self.publisher.send(outgoing).map_err(|error| self.cause_of(error))
    }

    /// When a transaction has failed, its records fail for no better reason. Beginning another one, which is refused, tells it.
    fn cause_of(&self, error: Error) -> Error {
        if self.transactional_id.is_none() || !matches!(error, Error::Publish { .. }) {
            return error;
        }
        match self.publisher.client().begin_transaction() {
            Err(KafkaError::Transaction(told)) if told.code() != RDKafkaErrorCode::State => self.failure("publishing", &told),
            _ => error,
        }
    }

    fn begin(&self) -> Result<(), Error> {
        if self.transactional_id.is_some() && self.opened.get().is_none() {
            self.transact("beginning a transaction", |producer| producer.begin_transaction())?;
            self.opened.set(Some(Instant::now()));
        }
        Ok(())
    }

    /// Publishes what was sent and stores `offsets`. With transactions a `read_committed` reader sees both or neither.
    /// Gives whether there was anything to do.
    ///
    /// # Errors
    /// [`Error::Commit`] where, without transactions, only the offsets could not be stored: they may go with the next
    /// commit. All others end the delivery.
    pub fn commit(&self, offsets: &Offsets) -> Result<bool, Error> {
        let Some(id) = &self.transactional_id else {
            self.publisher.flush(FLUSH_TIMEOUT)?;
            if let Some(committer) = self.committer.as_ref().filter(|_| !offsets.is_empty()) {
                committer.commit(offsets).map_err(|error| Error::Commit(error.to_string()))?;
            }
            return Ok(!offsets.is_empty());
        };
        // Held until the transaction is over: partitions cannot pass to another member between check and commit. A member that
        // cannot commit any more learns it here, also when it has nothing to commit.
        let _held = self.committer.as_ref().map(|committer| committer.hold(offsets)).transpose()?;
        if offsets.is_empty() && self.opened.get().is_none() {
            return Ok(false);
        }
        self.begin()?;
        if let Some(committer) = self.committer.as_ref().filter(|_| !offsets.is_empty()) {
            let list = committer.list(offsets)?;
            let member = committer.group_metadata().ok_or_else(|| Error::Client("the consumer has no group".into()))?;
            self.transact("adding offsets to the transaction", move |producer| {
                producer.send_offsets_to_transaction(&list, &member, CALL_TIMEOUT)
            })?;
        }
        self.publisher.settle();
        self.transact("committing the transaction", |producer| producer.commit_transaction(CALL_TIMEOUT))?;
        self.opened.set(None);
        tracing::trace!(id, partitions = offsets.len(), "transaction committed");
        Ok(true)
    }

    /// The offset and metadata that are committed for a partition.
    ///
    /// # Errors
    /// [`Error::Brokers`] where they do not say.
    pub fn committed(&self, partition: i32, timeout: Duration) -> Result<Option<(i64, String)>, Error> {
        self.committer.as_ref().map_or(Ok(None), |committer| committer.committed(partition, timeout))
    }

    /// One transactional call: tried again while the client says that this may help.
    fn transact(&self, what: &str, call: impl Fn(&Client) -> KafkaResult<()> + Send + Sync + 'static) -> Result<(), Error> {
        let started = Instant::now();
        let call = Arc::new(call);
        loop {
            let Err(error) = self.limited(what, call.clone())? else { return Ok(()) };
            let KafkaError::Transaction(told) = &error else { return Err(Error::Aborted(format!("{what}: {error}"))) };
            let patience = if self.stop.is_cancelled() { STOPPING_PATIENCE } else { TRANSACTION_PATIENCE };
            if told.is_retriable() && started.elapsed() < patience {
                tracing::warn!(%error, what, "a transaction waits for the brokers");
                (self.waiting)(what);
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            // Why records failed says more than that the transaction did.
            match self.publisher.failure() {
                Err(Error::Publish { lost, cause }) => tracing::warn!(lost, cause, "records were not delivered"),
                Err(telling) => return Err(telling),
                Ok(()) => {}
            }
            return Err(self.failure(what, told));
        }
    }

    /// Makes a call that might not come back on a thread of its own. If it does not, that thread keeps the client until it
    /// does, and this delivery can go.
    fn limited(
        &self,
        what: &str,
        call: Arc<impl Fn(&Client) -> KafkaResult<()> + Send + Sync + 'static>,
    ) -> Result<KafkaResult<()>, Error> {
        let (sender, receiver) = sync_channel(1);
        let client = self.publisher.client().clone();
        thread::Builder::new()
            .name("transaction".into())
            .spawn(move || {
                let result = call(&client);
                // Before the answer: the delivery is the last to hold its client, then.
                drop(client);
                let _ = sender.send(result);
            })
            .map_err(|error| Error::Client(format!("a thread cannot be started: {error}")))?;
        let seconds = CALL_LIMIT.as_secs();
        receiver.recv_timeout(CALL_LIMIT).map_err(|_| Error::Aborted(format!("{what}: the Kafka client has not come back for {seconds} s")))
    }

    fn failure(&self, what: &str, told: &RDKafkaError) -> Error {
        let code = match self.publisher.client().client().fatal_error() {
            Some((code, _)) if told.is_fatal() => code,
            _ => told.code(),
        };
        let refused = self.publisher.refused().filter(|_| code == RDKafkaErrorCode::TopicAuthorizationFailed);
        // The partition's name stands between quotes.
        let output = refused.as_ref().and_then(|refused| refused.split('"').nth(1)).map(|topic| ("Write", topic));
        let input = self.committer.as_ref().map_or("", Committer::topic);
        let (operation, topic) = output.unwrap_or(("Read", input));
        let asks = Asks { operation, topic: topic.to_owned(), ..self.asks.clone() };
        let cause = format!("{what}: {}", refused.as_ref().map_or(told as &dyn std::fmt::Display, |refused| refused));
        match (asks.denied(code, cause.as_str()), code) {
            (Some(denied), _) => denied,
            (
                None,
                RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::InvalidProducerEpoch
                | RDKafkaErrorCode::FencedInstanceId,
            ) => match self.opened.get() {
                // The coordinator ends such a transaction, and fences its producer as it would for a second process.
                Some(opened) if opened.elapsed() >= self.transaction_timeout => Error::Aborted(format!(
                    "the transaction was open for longer than transaction.timeout.ms: the brokers were away, or this process stood still; \
                     where the brokers are well, give it enough CPU or raise transaction.timeout.ms ({cause})"
                )),
                _ => Error::Fenced { id: self.transactional_id.clone().unwrap_or_default(), cause },
            },
            (None, RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::IllegalGeneration) => Error::Aborted(format!(
                "the group has formed anew without this member, which stood still or was cut off, or it was forming just now; if this comes \
                 again, give it enough CPU and a steady network, or raise session.timeout.ms ({cause})"
            )),
            _ => Error::Aborted(cause),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // Otherwise readers of these topics would wait for the transaction's timeout. A fenced producer cannot, and
        // need not: the coordinator has ended its transaction.
        let timeout = if self.stop.is_cancelled() { STOPPING_PATIENCE } else { CALL_TIMEOUT };
        if self.opened.get().is_some()
            && let Err(error) = self.publisher.client().abort_transaction(timeout)
        {
            tracing::info!(%error, "the open transaction is left to the coordinator");
        }
    }
}

/// By default a name of this generation's own: whose transactions were left open are ended by their timeout.
fn transactional_id(config: &KafkaConfig, role: &str) -> String {
    match config.instance.as_str() {
        "" => {
            let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
            format!("{}-{role}-{random:016x}", config.group)
        }
        instance => format!("{}-{role}-{instance}", config.group),
    }
}
