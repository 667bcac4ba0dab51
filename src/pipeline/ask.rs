//! What the pipeline would make of one text that a person tries, and why. Nothing of it goes to Kafka.

use std::collections::BTreeMap;

use serde::Serialize;

use super::inputs::Inputs;
use super::observe::Ready;
use crate::classify::explain::Word;
use crate::decode::decode;
use crate::enrich::subjects;
use crate::news::{EventTime, ModelIdentity, SentimentResult, Subject, TopicResult};

/// A text as the stream would see it.
#[derive(Debug, Serialize)]
pub struct Reading {
    /// As the model reads it: personal data is masked.
    pub text: String,
    pub sentiment: SentimentResult,
    pub topic: TopicResult,
    /// What the words do to both labels; the first words of a long text.
    pub words: Vec<Word>,
    /// For whom an item with this text counts.
    pub subjects: Vec<Named>,
    /// Pieces of personal data masked, by kind.
    pub masked: BTreeMap<String, u32>,
    pub model: ModelIdentity,
}

#[derive(Debug, Serialize)]
pub struct Named {
    pub subject: Subject,
    pub name: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Text(String),
    #[error("the model has no time for it now, or cannot be opened here (the log says so); try again in some seconds")]
    Busy,
}

impl Inputs {
    /// Blocks until the model has answered, some seconds at most.
    ///
    /// # Errors
    /// [`Error`] where the text is none that the stream would take, or the model does not answer.
    pub fn read(&self, text: &str) -> Result<Reading, Error> {
        let record = serde_json::json!({"title": text}).to_string();
        let item = decode(record.as_bytes(), EventTime::now(), &self.config.decode).map_err(|rejection| Error::Text(rejection.detail))?;
        let Ready { item, masked, mentions } = Ready::new(item, &self.config, &self.watchlist);
        let text = item.text();
        let told = self.explainer.as_ref().and_then(|explainer| explainer.ask(&text)).ok_or(Error::Busy)?;
        let named = |subject: Subject| Named { name: self.watchlist.name_of(&subject), subject };
        Ok(Reading {
            text,
            sentiment: told.answer.sentiment.clone(),
            topic: told.answer.topic.clone(),
            words: told.explanation.words.clone(),
            subjects: subjects(&told.answer.topic.label, &mentions).into_iter().map(named).collect(),
            masked,
            model: told.model.clone(),
        })
    }
}
