//! Words for the headlines of an alert, and answers to people who try a text, found beside the stream: an alert waits for its words so
//! long and no longer, and either kind takes the model no more than a tenth of the time.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::classify::explain::{Explanation, Words};
use crate::classify::{Classify, OnnxClassifier};
use crate::config::{Config, ExplainConfig, ModelConfig};
use crate::detect::evidence::EvidenceItem;
use crate::metrics::Metrics;
use crate::news::{Classification, ModelIdentity};

/// Alerts of one shock share their headlines.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).expect("above 0");

/// What a person waits at most, who may be behind the words of an alert.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a thread of its own.
pub struct Explainer {
    config: ExplainConfig,
    metrics: Arc<Metrics>,
    requests: SyncSender<Request>,
}

struct Request {
    asker: Asker,
    texts: Vec<String>,
    answers: SyncSender<(usize, Arc<Told>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Alert,
    Person,
}

/// What the model says of one text, and why.
#[derive(Debug)]
pub struct Told {
    pub answer: Classification,
    pub explanation: Arc<Explanation>,
    pub model: ModelIdentity,
}

/// Where the model comes from.
pub enum Model {
    /// The one that classifies the stream.
    Shared(Arc<dyn Classify>),
    /// Of a process that classifies nothing: one session on the CPU, opened at the first alert.
    Own(Box<ModelConfig>),
}

impl Model {
    pub fn of(config: &Config, classify: Option<&Arc<dyn Classify>>) -> Self {
        let own = || ModelConfig { device: crate::config::Device::Cpu, sessions: 1, cache_texts: 0, ..config.model.clone() };
        classify.map_or_else(|| Self::Own(Box::new(own())), |classify| Self::Shared(classify.clone()))
    }

    fn open(self) -> Result<Arc<dyn Classify>, crate::classify::Error> {
        match self {
            Self::Shared(classify) => Ok(classify),
            // What it does is not of the stream, and must not be counted with it.
            Self::Own(config) => Ok(Arc::new(OnnxClassifier::start(&config, Arc::new(Metrics::new()))?)),
        }
    }
}

impl Explainer {
    /// `None` where a thread cannot be had.
    pub fn start(config: ExplainConfig, model: Model, metrics: Arc<Metrics>) -> Option<Self> {
        // One alert, and one person's text.
        let (requests, queue) = sync_channel(2);
        let started = thread::Builder::new().name("explainer".into()).spawn(move || work(model, &queue));
        if let Err(error) = started {
            tracing::warn!(%error, "no thread for explanations: alerts go without words, and the page answers no text");
            return None;
        }
        Some(Self { config, metrics, requests })
    }

    /// Until when alerts that are decided now wait: all of one hop together, because a shock has many.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.config.within.duration()
    }

    /// Gives the first headlines their words, as far as that goes until then.
    pub fn explain(&self, evidence: &mut [EvidenceItem], deadline: Instant) {
        let titles: Vec<(usize, String)> = evidence
            .iter()
            .enumerate()
            .filter_map(|(place, item)| Some((place, item.title.clone()?)))
            .take(self.config.headlines)
            .collect();
        if titles.is_empty() {
            return;
        }
        let (answers, told) = sync_channel(titles.len());
        let request = Request { asker: Asker::Alert, texts: titles.iter().map(|(_, title)| title.clone()).collect(), answers };
        let mut explained = 0;
        match self.requests.try_send(request) {
            Ok(()) => {
                while let Ok((index, told)) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    evidence[titles[index].0].explanation = Some(told.explanation.clone());
                    explained += 1;
                }
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
        let count = |outcome, number: usize| self.metrics.explanations.with_label_values(&[outcome]).inc_by(number as u64);
        count("told", explained);
        count("left_out", titles.len() - explained);
    }

    /// For a person who tries a text; one at a time. `None` where the model has no time for it, or cannot be opened, or the text has no
    /// word.
    pub fn ask(&self, text: &str) -> Option<Arc<Told>> {
        let (answers, told) = sync_channel(1);
        self.requests.try_send(Request { asker: Asker::Person, texts: vec![text.to_owned()], answers }).ok()?;
        told.recv_timeout(PATIENCE).ok().map(|(_, told)| told)
    }
}

/// Answers requests until nobody can ask any more.
fn work(model: Model, queue: &Receiver<Request>) {
    let mut known: LruCache<String, Arc<Told>> = LruCache::new(REMEMBERED);
    let mut opened: Option<Arc<dyn Classify>> = None;
    let mut model = Some(model);
    let [mut of_alerts, mut of_people] = [(); 2].map(|()| Credit::new(Instant::now()));
    for Request { asker, texts, answers } in queue {
        let credit = match asker {
            Asker::Alert => &mut of_alerts,
            Asker::Person => &mut of_people,
        };
        if let Some(model) = model.take() {
            match model.open() {
                Ok(classify) => opened = Some(classify),
                Err(error) => tracing::error!(
                    %error,
                    "alerts go without words, and the page answers no text: give this process the model, or set explain.headlines = 0"
                ),
            }
        }
        let Some(classify) = &opened else { continue };
        let mut fresh: Vec<(usize, String)> = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            match known.get(&text) {
                Some(told) => drop(answers.send((index, told.clone()))),
                None => fresh.push((index, text)),
            }
        }
        for (index, text) in fresh {
            let words = Words::of(&text);
            let began = Instant::now();
            if words.is_empty() || !credit.is_there(began) {
                continue;
            }
            let Ok(results) = classify.submit_ahead(words.questions()).wait() else { return };
            credit.spend(began.elapsed());
            let explanation = Arc::new(words.explained(&results));
            let Some(answer) = results.into_iter().next() else { return };
            let told = Arc::new(Told { answer, explanation, model: classify.identity().clone() });
            known.put(text, told.clone());
            // Too late for this alert, it is there for the next.
            let _ = answers.send((index, told));
        }
    }
}

/// Time that may be spent: a tenth of what passes, and so much at once.
struct Credit {
    /// Below 0 while the last explanation is paid for.
    seconds: f64,
    at: Instant,
}

impl Credit {
    const MOST_SECONDS: f64 = 5.0;
    const SHARE: f64 = 0.1;

    fn new(now: Instant) -> Self {
        Self { seconds: Self::MOST_SECONDS, at: now }
    }

    fn is_there(&mut self, now: Instant) -> bool {
        self.seconds += now.saturating_duration_since(self.at).as_secs_f64() * Self::SHARE;
        self.seconds = self.seconds.min(Self::MOST_SECONDS);
        self.at = now;
        self.seconds > 0.0
    }

    fn spend(&mut self, time: Duration) {
        self.seconds -= time.as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::classify::drift::Reference;
    use crate::classify::{Error, Ticket};
    use crate::news::{Classification, EventTime, ModelIdentity, Score};

    type Done = SyncSender<Result<Vec<Classification>, Error>>;

    /// Answers when the test says so.
    struct Held {
        identity: ModelIdentity,
        asked: Mutex<Sender<(usize, Done)>>,
    }

    impl Classify for Held {
        fn identity(&self) -> &ModelIdentity {
            &self.identity
        }

        fn drift_reference(&self) -> Option<&Reference> {
            None
        }

        fn submit(&self, texts: Vec<String>) -> Ticket {
            let (done, ticket) = Ticket::open();
            self.asked.lock().unwrap().send((texts.len(), done)).unwrap();
            ticket
        }
    }

    fn headline(title: &str) -> EvidenceItem {
        let at = EventTime(0);
        EvidenceItem {
            id: "a".into(),
            title: Some(title.into()),
            source: None,
            url: None,
            published_at: at,
            score: Score(-1),
            first_seen: at,
            copies: 0,
            sources: 1,
            explanation: None,
        }
    }

    #[test]
    fn an_alert_does_not_wait_for_a_model_that_does_not_answer_and_the_next_one_has_what_came_late() {
        let (asked, questions) = channel();
        let model = Held { identity: ModelIdentity { name: "held".into(), version: "0".into() }, asked: Mutex::new(asked) };
        let metrics = Arc::new(Metrics::new());
        let config = ExplainConfig { headlines: 1, within: crate::config::Span::from_ms(50) };
        let explainer = Explainer::start(config, Model::Shared(Arc::new(model)), metrics.clone()).unwrap();
        let count = |outcome| metrics.explanations.with_label_values(&[outcome]).get();
        let mut evidence = [headline("Bank fails"), headline("Shares fall")];
        explainer.explain(&mut evidence, explainer.deadline());
        assert!(evidence.iter().all(|item| item.explanation.is_none()));
        assert_eq!((count("told"), count("left_out")), (0, 1), "one headline is asked for");
        // Meanwhile another alert: the thread is busy, and is not waited for beyond the deadline either.
        explainer.explain(&mut [headline("Lender fails")], explainer.deadline());
        assert_eq!(count("left_out"), 2);
        let answer = || {
            let (texts, done): (usize, Done) = questions.recv_timeout(Duration::from_secs(30)).unwrap();
            let schema: serde_json::Value = serde_json::from_str(include_str!("../../schemas/news.scored.json")).unwrap();
            let example = &schema["examples"][0];
            let result = Classification {
                topic: serde_json::from_value(example["topic"].clone()).unwrap(),
                sentiment: serde_json::from_value(example["sentiment"].clone()).unwrap(),
                logits: crate::news::Logits::default(),
                truncated: false,
                unknown_share: 0.0,
            };
            done.send(Ok(vec![result; texts])).unwrap();
            texts
        };
        assert_eq!(answer(), 6, "with all words, with none, and two for each");
        answer();
        let long = Instant::now() + Duration::from_secs(30);
        explainer.explain(&mut evidence, long);
        let words: Vec<&str> = evidence[0].explanation.as_ref().unwrap().words.iter().map(|word| word.word.as_str()).collect();
        assert_eq!((words, count("told")), (vec!["Bank", "fails"], 1));
        assert!(questions.try_recv().is_err(), "it was remembered");
    }

    #[test]
    fn explanations_take_a_tenth_of_the_time_at_most() {
        let mut now = Instant::now();
        let mut credit = Credit::new(now);
        let mut spent = Duration::ZERO;
        for _ in 0..36_000 {
            if credit.is_there(now) {
                let took = Duration::from_millis(70);
                credit.spend(took);
                spent += took;
            }
            now += Duration::from_millis(100);
        }
        assert!((360.0..=365.1).contains(&spent.as_secs_f64()), "{spent:?} of an hour");
    }
}
