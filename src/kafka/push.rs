//! Records that somebody waits for: the answer comes once the brokers have them, or have not taken them in time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Error;
use super::producer::{Outgoing, Publisher};
use crate::config::KafkaConfig;
use crate::metrics::Metrics;

const ROLE: &str = "push";

/// A producer of its own, outside every transaction; made when it is first needed, because most processes never push.
pub struct Push {
    config: KafkaConfig,
    max_bytes: usize,
    metrics: Arc<Metrics>,
    limit: Duration,
    publisher: Mutex<Option<Publisher>>,
}

impl Push {
    /// `limit`: what is not acknowledged by then is given up, and does not come later unless it is on its way.
    pub fn new(config: &KafkaConfig, max_bytes: usize, metrics: Arc<Metrics>, limit: Duration) -> Self {
        Self { config: config.clone(), max_bytes, metrics, limit, publisher: Mutex::default() }
    }

    /// Publishes records with their keys.
    ///
    /// # Errors
    /// As [`Publisher::flush`]; some of the records may have been taken.
    pub fn send<'a>(&self, topic: &str, records: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<(), Error> {
        let mut held = self.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let publisher = match held.take() {
            Some(publisher) => publisher,
            None => Publisher::new(&self.config, ROLE, self.max_bytes, self.metrics.clone())?,
        };
        for (key, payload) in records {
            publisher.send(Outgoing { topic, key: Some(key.as_bytes()), payload, ..Outgoing::default() })?;
        }
        // One that has failed goes with what it still has in line.
        publisher.flush(self.limit)?;
        *held = Some(publisher);
        Ok(())
    }
}
