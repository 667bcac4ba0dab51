//! A client that only asks, and finds out why it has no answer.

use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;

use super::access::Refusal;
use super::{Error, Quiet, client_config};
use crate::config::KafkaConfig;

/// How long the first attempt may take; each further one twice as long. Brokers hold back for a moment that a log-in failed.
const FIRST_ATTEMPT: Duration = Duration::from_millis(600);

pub(super) struct Inquiry<'config> {
    consumer: BaseConsumer<Quiet>,
    config: &'config KafkaConfig,
}

impl<'config> Inquiry<'config> {
    /// # Errors
    /// [`Error::Client`] where the client's properties are not valid.
    pub fn new(config: &'config KafkaConfig) -> Result<Self, Error> {
        let mut client = client_config(config);
        // A connection that is closed without a word is told at this level; it may be all that there is to know.
        client.set_log_level(RDKafkaLogLevel::Info);
        Ok(Self { consumer: client.create_with_context(Quiet::default())?, config })
    }

    /// Of one topic, or of all that this user may see. A client serves its events, such as a refused log-in, only while it is
    /// polled, which it is not while it asks: so it asks again and again.
    ///
    /// # Errors
    /// [`Error::Denied`] or [`Error::Untrusted`] where no broker lets this client in, soon after it is known;
    /// [`Error::Unreachable`] after `kafka.timeout`.
    pub fn metadata(&self, topic: Option<&str>) -> Result<Metadata, Error> {
        let waited = self.config.timeout.duration();
        let until = Instant::now() + waited;
        let mut attempt = FIRST_ATTEMPT;
        loop {
            // Of several brokers another one may let it in: a refusal counts when one more attempt has failed.
            let refused_before = self.refusal();
            let attempt_until = until.min(Instant::now() + attempt);
            self.serve(Instant::now());
            let cause = match self.fetch(topic, attempt_until) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error.to_string(),
            };
            self.serve(attempt_until);
            let over = Instant::now() >= until;
            if let Some(refusal) = self.refusal().filter(|_| over || refused_before.is_some()) {
                return Err(refusal.into_error(self.config));
            }
            if over {
                let complaint = self.consumer.context().heard.lock().expect("no holder of this lock panics").complaint.clone();
                let brokers = self.config.brokers.clone();
                return Err(Error::Unreachable { brokers, waited, cause: complaint.unwrap_or(cause) });
            }
            attempt *= 2;
        }
    }

    fn fetch(&self, topic: Option<&str>, until: Instant) -> KafkaResult<Metadata> {
        self.consumer.fetch_metadata(topic, until.saturating_duration_since(Instant::now()))
    }

    /// Hands what has happened to the context: all of it, and what comes until then.
    fn serve(&self, until: Instant) {
        while self.consumer.poll(until.saturating_duration_since(Instant::now())).is_some() || Instant::now() < until {}
    }

    fn refusal(&self) -> Option<Refusal> {
        self.consumer.context().heard.lock().expect("no holder of this lock panics").refusal.clone()
    }
}
