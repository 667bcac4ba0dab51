//! A model whose pace a test sets: the real one can be told neither to be slow nor to hang.

use std::sync::mpsc::{SyncSender, sync_channel};

use bellwether::classify::drift::Reference;
use bellwether::classify::{self, Classify, Ticket};
use bellwether::news::{Classification, Logits, ModelIdentity, Sentiment, SentimentProbabilities, SentimentResult, TopicResult};

/// Answers slab after slab, neutral throughout.
pub struct Paced {
    identity: ModelIdentity,
    slabs: SyncSender<(usize, Done)>,
}

type Done = SyncSender<Result<Vec<Classification>, classify::Error>>;

impl Paced {
    /// `work` takes as long as so many texts are to take.
    pub fn new(work: impl Fn(usize) + Send + 'static) -> Self {
        let (slabs, queue) = sync_channel::<(usize, Done)>(2);
        std::thread::spawn(move || {
            for (texts, done) in queue {
                work(texts);
                let _ = done.send(Ok((0..texts).map(|_| neutral()).collect()));
            }
        });
        Self { identity: ModelIdentity { name: "paced".into(), version: "0".into() }, slabs }
    }
}

fn neutral() -> Classification {
    let probabilities = SentimentProbabilities { negative: 0.1, neutral: 0.8, positive: 0.1 };
    Classification {
        topic: TopicResult { label: "Macro".into(), probability: 0.9, probabilities: std::iter::once(("Macro".into(), 0.9)).collect() },
        sentiment: SentimentResult { label: Sentiment::Neutral, score: probabilities.score(), probabilities },
        logits: Logits::default(),
        truncated: false,
        unknown_share: 0.0,
    }
}

impl Classify for Paced {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn drift_reference(&self) -> Option<&Reference> {
        None
    }

    fn submit(&self, texts: Vec<String>) -> Ticket {
        let (done, ticket) = Ticket::open();
        self.slabs.send((texts.len(), done)).unwrap();
        ticket
    }
}
