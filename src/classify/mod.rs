//! Texts → topic and sentiment by a fine-tuned ONNX model. The only door to `ort` and `tokenizers`.
//!
//! [`Classify::submit`] takes a slab of texts and returns at once; a tokenizer thread looks for copies of what was classified
//! lately (`cache`), sorts the rest by length and cuts it into batches of bounded padded size ([`batch`]), session threads run them (`session`), and [`Ticket::wait`]
//! gives the results in the order of the texts.

pub mod batch;
pub mod bench;
mod cache;
mod device;
pub mod drift;
pub mod explain;
pub mod external;
pub mod model;
mod product;
mod session;
mod text;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use crate::config::{Device, ModelConfig};
use crate::metrics::Metrics;
use crate::news::{Classification, ModelIdentity};
use batch::Batch;
use cache::{Cache, Key};
use model::{Encoder, ModelDirectory};
use session::{EncoderSession, HeadOutputs};

pub use model::Labels;
pub use session::identity;
pub use text::prepare;

/// What can go wrong between a text and its labels. Each ends the process: no text is skipped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("model: {0}")]
    Model(String),
    #[error("ONNX Runtime: {0}")]
    Runtime(String),
    #[error("device {device} was asked for and cannot be used: {why}")]
    Device { device: Device, why: String },
    #[error("inference failed: {0}")]
    Inference(String),
    #[error("a classifier thread ended unexpectedly")]
    Stopped,
}

/// Something that classifies texts. A trait because tests need a fake that is slow or fails.
pub trait Classify: Send + Sync {
    fn identity(&self) -> &ModelIdentity;

    /// How the model's results are distributed on the news it was measured on; `None` where its directory does not say.
    fn drift_reference(&self) -> Option<&drift::Reference>;

    /// Queues the texts; blocks while two slabs are already waiting, so that memory is bounded.
    fn submit(&self, texts: Vec<String>) -> Ticket;

    /// As [`Classify::submit`], before what waits: for few texts that somebody waits for.
    fn submit_ahead(&self, texts: Vec<String>) -> Ticket {
        self.submit(texts)
    }
}

/// The results of one slab, to come.
pub struct Ticket(mpsc::Receiver<Result<Vec<Classification>, Error>>);

impl Ticket {
    /// A ticket whose results come through the returned sender.
    pub fn open() -> (mpsc::SyncSender<Result<Vec<Classification>, Error>>, Self) {
        let (sender, receiver) = mpsc::sync_channel(1);
        (sender, Self(receiver))
    }

    /// Blocks until the slab is done: one classification a text, in the order of the texts.
    pub fn wait(self) -> Result<Vec<Classification>, Error> {
        self.0.recv().unwrap_or(Err(Error::Stopped))
    }
}

/// The real classifier: an ONNX model behind a tokenizer thread and session threads.
pub struct OnnxClassifier {
    identity: ModelIdentity,
    labels: Labels,
    reference: Option<drift::Reference>,
    device: Device,
    nodes: Vec<(String, usize)>,
    slabs: mpsc::SyncSender<Slab>,
    ahead: mpsc::SyncSender<Slab>,
}

struct Slab {
    texts: Vec<String>,
    done: mpsc::SyncSender<Result<Vec<Classification>, Error>>,
}

/// A slab whose batches are under way; the last batch to finish answers the ticket.
struct Progress {
    state: Mutex<ProgressState>,
    done: mpsc::SyncSender<Result<Vec<Classification>, Error>>,
}

struct ProgressState {
    outputs: Vec<HeadOutputs>,
    batches_left: usize,
    failure: Option<Error>,
    /// Places of texts that stand in the slab before, and where.
    copies: Vec<(usize, usize)>,
    /// Keys of what the model is asked, by place.
    asked: Vec<(usize, Key)>,
}

impl ProgressState {
    /// All batches are done: the answer, and what it leaves for copies to come.
    fn finish(&mut self, decoder: &Decoder, cache: Option<&Cache>) -> Result<Vec<Classification>, Error> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        for &(place, first) in &self.copies {
            outputs[place] = outputs[first].clone();
        }
        if let Some(cache) = cache {
            cache.put(self.asked.iter().map(|&(place, key)| (key, outputs[place].clone())));
        }
        Ok(outputs.into_iter().map(|outputs| decoder.decode(outputs)).collect())
    }
}

struct Job {
    encoder: usize,
    batch: Batch,
    progress: Arc<Progress>,
}

impl OnnxClassifier {
    /// Loads ONNX Runtime and the model, checks both, warms every session up, and starts the threads.
    ///
    /// # Errors
    /// [`Error::Model`] names the file and what is wrong with it; [`Error::Device`] where a named device is not there.
    pub fn start(config: &ModelConfig, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let environment = device::environment(config)?;
        let (device, directory, sessions) = session::open(&environment, config)?;
        let nodes = session::node_counts(&sessions[0]);
        let ModelDirectory { identity, labels, encoders, reference } = directory;

        // Two jobs a session: one running, one ready. Two slabs: one being tokenised, one ready.
        let (job_sender, job_receiver) = mpsc::sync_channel::<Job>(sessions.len() * 2);
        let (slab_sender, slab_receiver) = mpsc::sync_channel::<Slab>(2);
        let (ahead_sender, ahead_receiver) = mpsc::sync_channel::<Slab>(1);
        let job_receiver = Arc::new(Mutex::new(job_receiver));
        metrics.model_sessions.set(sessions.len() as i64);
        let decoder = Arc::new(Decoder::new(&labels, &encoders));
        let cache = Cache::new(config.cache_texts).map(Arc::new);
        for (index, sessions) in sessions.into_iter().enumerate() {
            let (jobs, decoder, metrics, cache) = (job_receiver.clone(), decoder.clone(), metrics.clone(), cache.clone());
            spawn(format!("session-{index}"), move || run_session(sessions, &jobs, &decoder, cache.as_deref(), &metrics))?;
        }
        let limits = batch::Limits { texts: config.batch_texts, tokens: config.batch_tokens };
        let tokenizing = Tokenizing { encoders, limits, shapes: device::shapes(device), decoder, cache, metrics };
        spawn("tokenizer".into(), move || tokenizing.run(&slab_receiver, &ahead_receiver, &job_sender))?;
        Ok(Self { identity, labels, reference, device, nodes, slabs: slab_sender, ahead: ahead_sender })
    }

    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The device in use: never `auto`.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Graph nodes by execution provider, as ONNX Runtime placed them.
    pub fn nodes(&self) -> &[(String, usize)] {
        &self.nodes
    }
}

impl Classify for OnnxClassifier {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn drift_reference(&self) -> Option<&drift::Reference> {
        self.reference.as_ref()
    }

    fn submit(&self, texts: Vec<String>) -> Ticket {
        let (done, ticket) = Ticket::open();
        // A failed send drops `done`, and the ticket then answers `Stopped`.
        let _ = self.slabs.send(Slab { texts, done });
        ticket
    }

    fn submit_ahead(&self, texts: Vec<String>) -> Ticket {
        let (done, ticket) = Ticket::open();
        let _ = self.ahead.send(Slab { texts, done });
        // Wakes a tokenizer that waits; one that has slabs in line looks by itself.
        let _ = self.slabs.try_send(Slab { texts: Vec::new(), done: Ticket::open().0 });
        ticket
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    thread::Builder::new().name(name).spawn(body).map(drop).map_err(|error| Error::Runtime(format!("a thread cannot be started: {error}")))
}

/// The tokenizer thread: slabs in, batches out.
struct Tokenizing {
    encoders: Vec<Encoder>,
    limits: batch::Limits,
    shapes: batch::Shapes,
    decoder: Arc<Decoder>,
    cache: Option<Arc<Cache>>,
    metrics: Arc<Metrics>,
}

impl Tokenizing {
    fn run(&self, slabs: &mpsc::Receiver<Slab>, ahead: &mpsc::Receiver<Slab>, jobs: &mpsc::SyncSender<Job>) {
        while let Ok(slab) = slabs.recv() {
            if self.let_ahead(ahead, jobs).and_then(|()| self.cut(slab, Some(ahead), jobs)).is_err() {
                return;
            }
        }
    }

    /// What goes before the next batch of a slab.
    fn let_ahead(&self, ahead: &mpsc::Receiver<Slab>, jobs: &mpsc::SyncSender<Job>) -> Result<(), Error> {
        ahead.try_iter().try_for_each(|slab| self.cut(slab, None, jobs))
    }

    /// Cuts a slab into batches and hands them to the sessions. An error: there are none any more.
    fn cut(&self, Slab { texts, done }: Slab, ahead: Option<&mpsc::Receiver<Slab>>, jobs: &mpsc::SyncSender<Job>) -> Result<(), Error> {
        let started = Instant::now();
        let prepared: Vec<String> = texts.iter().map(|text| prepare(text)).collect();
        let mut state = ProgressState {
            outputs: vec![HeadOutputs::default(); texts.len()],
            batches_left: 0,
            failure: None,
            copies: Vec::new(),
            asked: Vec::new(),
        };
        let (places, texts) = self.pick(prepared, &mut state);
        self.metrics.texts.with_label_values(&["model"]).inc_by(texts.len() as u64);
        self.metrics.texts.with_label_values(&["cache"]).inc_by((state.outputs.len() - texts.len()) as u64);
        let batches = self.batches(&places, &texts, &mut state.outputs);
        self.metrics.tokenize_seconds.inc_by(started.elapsed().as_secs_f64());
        let batches = match batches {
            Ok(batches) if batches.is_empty() => {
                let _ = done.send(state.finish(&self.decoder, None));
                return Ok(());
            }
            Ok(batches) => batches,
            Err(error) => {
                let _ = done.send(Err(error));
                return Ok(());
            }
        };
        state.batches_left = batches.len();
        let progress = Arc::new(Progress { state: Mutex::new(state), done });
        for (encoder, batch) in batches {
            if let Some(ahead) = ahead {
                self.let_ahead(ahead, jobs)?;
            }
            self.metrics.batch_texts.observe(batch.places.len() as f64);
            self.metrics.tokens.with_label_values(&["real"]).inc_by(batch.real_tokens as u64);
            self.metrics.tokens.with_label_values(&["padding"]).inc_by((batch.ids.len() - batch.real_tokens) as u64);
            jobs.send(Job { encoder, batch, progress: progress.clone() }).map_err(|_| Error::Stopped)?;
        }
        Ok(())
    }

    /// The texts that the model must be asked, and their places in the slab. Without a cache it is asked all.
    fn pick(&self, prepared: Vec<String>, state: &mut ProgressState) -> (Vec<usize>, Vec<String>) {
        let Some(cache) = &self.cache else { return ((0..prepared.len()).collect(), prepared) };
        let mut seen: HashMap<Key, usize> = HashMap::with_capacity(prepared.len());
        let (mut places, mut texts) = (Vec::with_capacity(prepared.len()), Vec::with_capacity(prepared.len()));
        for (place, text) in prepared.into_iter().enumerate() {
            let key = cache::key(&text);
            if let Some(&first) = seen.get(&key) {
                state.copies.push((place, first));
                continue;
            }
            seen.insert(key, place);
            match cache.get(&key) {
                Some(outputs) => state.outputs[place] = outputs,
                None => {
                    state.asked.push((place, key));
                    places.push(place);
                    texts.push(text);
                }
            }
        }
        (places, texts)
    }

    /// Batches of `texts`, by encoder; what tokenising tells of a text goes into `outputs` at its place.
    fn batches(&self, places: &[usize], texts: &[String], outputs: &mut [HeadOutputs]) -> Result<Vec<(usize, Batch)>, Error> {
        let mut batches = Vec::new();
        for (index, encoder) in self.encoders.iter().enumerate() {
            let encoded = encoder.encode(texts)?;
            for (&place, text) in places.iter().zip(&encoded) {
                outputs[place].truncated |= text.truncated;
                // Of two encoders, the one that knows the text less.
                outputs[place].unknown_share = outputs[place].unknown_share.max(text.unknown_share);
            }
            batches.extend(batch::plan(&encoded, self.limits, encoder.form(self.shapes)).into_iter().map(|mut batch| {
                batch.places.iter_mut().for_each(|place| *place = places[*place]);
                (index, batch)
            }));
        }
        Ok(batches)
    }
}

fn run_session(
    mut sessions: Vec<EncoderSession>,
    jobs: &Mutex<mpsc::Receiver<Job>>,
    decoder: &Decoder,
    cache: Option<&Cache>,
    metrics: &Metrics,
) {
    loop {
        let job = jobs.lock().expect("no session thread panics while it waits for a job").recv();
        let Ok(Job { encoder, batch, progress }) = job else { return };
        let started = Instant::now();
        let result = sessions[encoder].run(&batch);
        metrics.inference_duration.observe(started.elapsed().as_secs_f64());
        let mut state = progress.state.lock().expect("no session thread panics while it holds a slab");
        match result {
            Ok(rows) => {
                for (&place, row) in batch.places.iter().zip(rows) {
                    state.outputs[place].merge(row);
                }
            }
            Err(error) => state.failure = Some(error),
        }
        state.batches_left -= 1;
        if state.batches_left == 0 {
            let _ = progress.done.send(state.finish(decoder, cache));
        }
    }
}

/// Logits → probabilities and labels.
struct Decoder {
    labels: Labels,
    topic_temperature: f64,
    sentiment_temperature: f64,
}

impl Decoder {
    fn new(labels: &Labels, encoders: &[Encoder]) -> Self {
        let temperature = |pick: fn(&Encoder) -> Option<f64>| encoders.iter().find_map(pick).unwrap_or(1.0);
        Self {
            labels: labels.clone(),
            topic_temperature: temperature(|encoder| encoder.topic.as_ref().map(|head| head.temperature)),
            sentiment_temperature: temperature(|encoder| encoder.sentiment.as_ref().map(|head| head.temperature)),
        }
    }

    fn decode(&self, outputs: HeadOutputs) -> Classification {
        let topic = softmax(&outputs.logits.topic, self.topic_temperature);
        let best = topic.iter().enumerate().fold(0, |best, (index, &p)| if p > topic[best] { index } else { best });
        let sentiment = softmax(&outputs.logits.sentiment, self.sentiment_temperature);
        let HeadOutputs { logits, truncated, unknown_share } = outputs;
        self.labels.classification(&topic, best, &sentiment, logits, truncated, unknown_share)
    }
}

/// softmax(logits / temperature), stable against overflow; sums to 1. Guo et al. 2017, "On Calibration of Modern
/// Neural Networks", section 4.2.
fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = logits.iter().map(|&logit| f64::from(logit) / temperature).collect();
    let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scaled.iter().map(|value| (value - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Classifies all texts in slabs, keeping two in flight. For `classify` and tests; the stream has its own loop.
pub fn classify_all(classifier: &dyn Classify, texts: Vec<String>, slab_texts: usize) -> Result<Vec<Classification>, Error> {
    let mut results = Vec::with_capacity(texts.len());
    classify_each(classifier, texts, slab_texts, |result| results.push(result))?;
    Ok(results)
}

/// As [`classify_all`], handing on one result after the other in the order of the texts: whoever keeps only a part of
/// each is not limited by memory.
pub fn classify_each(
    classifier: &dyn Classify,
    texts: Vec<String>,
    slab_texts: usize,
    mut each: impl FnMut(Classification),
) -> Result<(), Error> {
    let mut tickets = std::collections::VecDeque::new();
    let mut texts = texts.into_iter().peekable();
    while texts.peek().is_some() {
        tickets.push_back(classifier.submit(texts.by_ref().take(slab_texts).collect()));
        if tickets.len() > 2 {
            tickets.pop_front().expect("just counted").wait()?.into_iter().for_each(&mut each);
        }
    }
    for ticket in tickets {
        ticket.wait()?.into_iter().for_each(&mut each);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_and_survives_large_logits() {
        let probabilities = softmax(&[1000.0, 1001.0, -1000.0], 1.0);
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((probabilities[1] - 0.731_058_578_630_004_9).abs() < 1e-12);
    }

    #[test]
    fn a_higher_temperature_flattens() {
        assert!(softmax(&[0.0, 2.0], 2.0)[1] < softmax(&[0.0, 2.0], 1.0)[1]);
    }
}
