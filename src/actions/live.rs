//! The book of a running process: followed in the topic by a thread of its own, read by whoever shows or heeds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Book;
use crate::config::KafkaConfig;
use crate::kafka::Error;
use crate::kafka::pauses::{Pauses, wait};
use crate::kafka::reader::{Followed, follow};
use crate::kafka::topics::partition_count;
use crate::news::{EventTime, Subject};

#[derive(Debug, Default)]
pub struct Actions {
    /// `None` until the topic has been read to its end once.
    book: Mutex<Option<Book>>,
}

impl Actions {
    /// Reads the topic from its beginning and on, until `stop`. `heard` is told why that cannot be, whenever it fails, and when all
    /// has been read. What was read before holds meanwhile.
    ///
    /// # Errors
    /// [`Error::Client`] where the system gives no thread.
    pub fn follow(
        self: &Arc<Self>,
        kafka: &KafkaConfig,
        stop: CancellationToken,
        heard: impl Fn(Result<(), Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let (actions, kafka) = (self.clone(), kafka.clone());
        let body = move || {
            let mut pauses = Pauses::default();
            while !stop.is_cancelled() {
                let began = Instant::now();
                if let Err(error) = actions.follow_once(&kafka, &stop, &heard) {
                    heard(Err(error));
                    wait(&stop, pauses.after(began.elapsed()));
                }
            }
        };
        let started = thread::Builder::new().name("actions".into()).spawn(body);
        started.map(drop).map_err(|error| Error::Client(format!("a thread cannot be started: {error}")))
    }

    fn follow_once(&self, kafka: &KafkaConfig, stop: &CancellationToken, heard: &impl Fn(Result<(), Error>)) -> Result<(), Error> {
        let topic = &kafka.topics.actions;
        let partitions = partition_count(kafka, topic, "Read")?;
        let mut beginning = Some(Book::default());
        follow(
            kafka,
            topic,
            partitions,
            || !stop.is_cancelled(),
            |followed| match followed {
                Followed::Record { key, payload } => {
                    let ours = match &mut beginning {
                        Some(book) => book.note(key, payload, EventTime::now()),
                        None => self.note(key, payload),
                    };
                    if !ours {
                        tracing::warn!(kafka_topic = topic.as_str(), "a record is no operator's action, and is left out");
                    }
                }
                Followed::UpToDate => {
                    beginning.take().into_iter().for_each(|book| self.replace(book));
                    heard(Ok(()));
                }
            },
        )
    }

    /// What the topic holds, read to its end.
    pub fn replace(&self, book: Book) {
        *self.book() = Some(book);
    }

    /// Takes the next record of the topic. False where it is not one of ours, or the topic is not read yet.
    pub fn note(&self, key: &[u8], value: &[u8]) -> bool {
        self.book().as_mut().is_some_and(|book| book.note(key, value, EventTime::now()))
    }

    fn book(&self) -> MutexGuard<'_, Option<Book>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the topic has been read to its end.
    pub fn are_known(&self) -> bool {
        self.book().is_some()
    }

    pub fn is_silenced(&self, subject: &Subject, now: EventTime) -> bool {
        self.book().as_ref().is_some_and(|book| book.is_silenced(subject, now))
    }

    pub fn has_room_for(&self, subject: &Subject, now: EventTime) -> bool {
        self.book().as_ref().is_none_or(|book| book.has_room_for(subject, now))
    }

    /// For page and API. `open`: whether an alert is open here.
    pub fn shown(&self, now: EventTime, open: impl Fn(&str) -> bool) -> Value {
        let book = self.book();
        let book = book.as_ref();
        let acknowledgements: Vec<_> = book.into_iter().flat_map(|book| book.acknowledgements(now, &open)).collect();
        let silences: Vec<_> = book.into_iter().flat_map(|book| book.silences(now)).collect();
        json!({"acknowledgements": acknowledgements, "silences": silences})
    }
}
