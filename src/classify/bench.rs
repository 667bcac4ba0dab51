//! What a device gives, and how much of it the classifier uses: bare ONNX Runtime sessions against the whole classifier,
//! and both against the peak of a matrix product. For `bellwether bench-device`.
//!
//! All that is compared alternates in rounds, and a ratio is the median of the rounds' ratios: a busy machine slows both.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use serde::Serialize;

use super::batch::{self, Batch, Limits};
use super::device;
use super::model::{Encoder, ModelDirectory};
use super::product::MatrixProduct;
use super::session::{self, EncoderSession};
use super::{Classify, Error, OnnxClassifier, classify_each, prepare};
use crate::config::ModelConfig;
use crate::metrics::{Metrics, process_cpu_seconds};
use crate::news::ModelIdentity;

/// What is tried on a device.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Sessions and threads of each.
    pub sessions: Vec<(usize, usize)>,
    /// Batch budgets of the whole classifier.
    pub budgets: Vec<Limits>,
    /// Texts in a batch of the bare session; the best of them is what the classifier is held to.
    pub shapes: Vec<usize>,
    pub rounds: usize,
}

/// One device, measured.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceReport {
    pub device: String,
    /// Graph nodes by execution provider.
    pub nodes: Vec<(String, usize)>,
    pub model: ModelIdentity,
    pub texts: usize,
    /// Without padding, of all encoders.
    pub tokens: usize,
    pub rounds: usize,
    /// One thread that does nothing else.
    pub tokenizer_texts_per_second: f64,
    pub settings: Vec<SettingReport>,
}

/// So many sessions of so many threads.
#[derive(Debug, Clone, Serialize)]
pub struct SettingReport {
    pub sessions: usize,
    pub threads_per_session: usize,
    pub peak: Peak,
    /// Every shape of the bare session, measured once; the best of them is in `bare`.
    pub shapes: Vec<Shape>,
    pub bare: Rate,
    pub classifier: Vec<BudgetReport>,
}

/// The fastest matrix product of the device, with as many threads.
#[derive(Debug, Clone, Serialize)]
pub struct Peak {
    pub product: &'static str,
    /// A multiplication and an addition are two.
    pub operations_per_second: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Shape {
    pub batch_texts: usize,
    pub texts_per_second: f64,
}

/// Medians of the rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rate {
    pub batch_texts: usize,
    pub texts_per_second: f64,
    /// Of a core: user and system time of the whole process.
    pub texts_per_cpu_second: f64,
    /// Without padding.
    pub tokens_per_second: f64,
    /// Operations of the matrix products of real tokens, against the peak; `None` where config.json does not say the
    /// encoder's size.
    pub share_of_peak: Option<f64>,
    /// Tokens of padding among all.
    pub padding_share: f64,
}

/// The whole classifier under one budget.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct BudgetReport {
    #[serde(flatten)]
    pub rate: Rate,
    pub batch_tokens: usize,
    pub ratio_to_bare: f64,
    /// Least and largest of the rounds.
    pub ratio_range: [f64; 2],
    /// What tokenising takes on one thread, as a share of what all session threads together take.
    pub tokenizing_share: f64,
}

/// Measures a device. `config` names it, and says everything that the plan does not.
///
/// # Errors
/// As [`OnnxClassifier::start`].
pub fn measure(config: &ModelConfig, texts: &[String], plan: &Plan) -> Result<DeviceReport, Error> {
    let environment = device::environment(config)?;
    // A text that comes again must cost what it costs.
    let mut config = ModelConfig { sessions: 1, cache_texts: 0, ..config.clone() };
    let (device, ModelDirectory { identity, encoders, .. }, sessions) = session::open(&environment, &config)?;
    config.device = device;
    let nodes = session::node_counts(&sessions[0]);
    drop(sessions);
    let prepared = |texts: &[String]| -> Vec<String> { texts.iter().map(|text| prepare(text)).collect() };
    let slabs = encoders.iter().map(|encoder| encoder.encode(&prepared(texts))).collect::<Result<Vec<_>, _>>()?;
    let work = Work {
        texts: texts.len(),
        tokens: slabs.iter().flatten().map(|text| text.ids.len()).sum(),
        operations: encoders.iter().zip(&slabs).map(|(encoder, slab)| operations(encoder, slab)).sum(),
    };
    let tokenize = || {
        let texts = prepared(texts);
        encoders.iter().for_each(|encoder| drop(encoder.encode(&texts)));
    };
    let tokenizing = median((0..plan.rounds).map(|_| seconds(tokenize)));
    let mut settings = Vec::new();
    for &(sessions, threads_per_session) in &plan.sessions {
        let config = ModelConfig { sessions, threads_per_session, ..config.clone() };
        // An engine of TensorRT takes no more rows than it was built for.
        let largest = plan.shapes.iter().copied().max().unwrap_or(config.batch_texts);
        let (_, _, mut bare) = session::open(&environment, &ModelConfig { batch_texts: largest, ..config.clone() })?;
        let mut products = (0..sessions).map(|_| MatrixProduct::new(&environment, &config)).collect::<Result<Vec<_>, _>>()?;
        let cut = |batch_texts: usize| -> Vec<(usize, Batch)> {
            let limits = Limits { texts: batch_texts, tokens: usize::MAX };
            let batches = |(index, encoder): (usize, &Encoder)| {
                batch::plan(&slabs[index], limits, encoder.form(device::shapes(device)))
                    .into_iter()
                    .map(move |batch| (index, batch))
                    .collect::<Vec<_>>()
            };
            encoders.iter().enumerate().flat_map(batches).collect()
        };
        let mut shapes = Vec::new();
        for &batch_texts in &plan.shapes {
            let took = run_bare(&mut bare, &cut(batch_texts))?;
            shapes.push(Shape { batch_texts, texts_per_second: texts.len() as f64 / took.seconds });
        }
        let best = shapes.iter().copied().max_by(|one, other| one.texts_per_second.total_cmp(&other.texts_per_second));
        let best_texts = best.map_or(config.batch_texts, |shape| shape.batch_texts);
        let batches = cut(best_texts);
        let classifiers = plan.budgets.iter().map(|limits| Candidate::start(&config, *limits)).collect::<Result<Vec<_>, _>>()?;
        let mut rounds = Vec::new();
        for _ in 0..plan.rounds {
            let peak = run_products(&mut products)?;
            let bare = run_bare(&mut bare, &batches)?;
            let whole = classifiers.iter().map(|candidate| candidate.run(texts)).collect::<Result<Vec<_>, _>>()?;
            rounds.push(Round { peak, bare, whole });
        }
        let peak = Peak { product: products[0].name, operations_per_second: median(rounds.iter().map(|round| round.peak)) };
        let padded: usize = batches.iter().map(|(_, batch)| batch.ids.len()).sum();
        let padding_share = 1.0 - work.tokens as f64 / padded as f64;
        let bare = work.rate(best_texts, Took::median(rounds.iter().map(|round| round.bare)), padding_share, &peak);
        let report = |(index, candidate): (usize, &Candidate)| {
            let took = Took::median(rounds.iter().map(|round| round.whole[index]));
            let ratios: Vec<f64> = rounds.iter().map(|round| round.bare.seconds / round.whole[index].seconds).collect();
            BudgetReport {
                rate: work.rate(candidate.limits.texts, took, candidate.padding_share(), &peak),
                batch_tokens: candidate.limits.tokens,
                ratio_to_bare: median(ratios.iter().copied()),
                ratio_range: [ratios.iter().copied().fold(f64::INFINITY, f64::min), ratios.iter().copied().fold(0.0, f64::max)],
                tokenizing_share: tokenizing / (took.seconds * (sessions * threads_per_session) as f64),
            }
        };
        let classifier = classifiers.iter().enumerate().map(report).collect();
        settings.push(SettingReport { sessions, threads_per_session, peak, shapes, bare, classifier });
    }
    Ok(DeviceReport {
        device: device.to_string(),
        nodes,
        model: identity,
        texts: work.texts,
        tokens: work.tokens,
        rounds: plan.rounds,
        tokenizer_texts_per_second: texts.len() as f64 / tokenizing,
        settings,
    })
}

/// What all texts together ask for.
struct Work {
    texts: usize,
    tokens: usize,
    operations: Option<f64>,
}

impl Work {
    fn rate(&self, batch_texts: usize, took: Took, padding_share: f64, peak: &Peak) -> Rate {
        Rate {
            batch_texts,
            texts_per_second: self.texts as f64 / took.seconds,
            texts_per_cpu_second: self.texts as f64 / took.cpu_seconds,
            tokens_per_second: self.tokens as f64 / took.seconds,
            share_of_peak: self.operations.map(|operations| operations / took.seconds / peak.operations_per_second),
            padding_share,
        }
    }
}

/// Operations of an encoder's matrix products over the texts, without padding.
fn operations(encoder: &Encoder, texts: &[batch::Encoded]) -> Option<f64> {
    let size = encoder.size?;
    let (hidden, inner, layers) = (size.hidden as f64, size.intermediate as f64, size.layers as f64);
    let of_text = |tokens: f64| layers * (2.0 * tokens * (4.0 * hidden * hidden + 2.0 * hidden * inner) + 4.0 * tokens * tokens * hidden);
    Some(texts.iter().map(|text| of_text(text.ids.len() as f64)).sum())
}

/// One round: the peak in operations a second, the bare session, every classifier.
struct Round {
    peak: f64,
    bare: Took,
    whole: Vec<Took>,
}

/// By the clock, and of all cores together; without `/proc` the second is 0.
#[derive(Clone, Copy)]
struct Took {
    seconds: f64,
    cpu_seconds: f64,
}

impl Took {
    fn by(body: impl FnOnce() -> Result<(), Error>) -> Result<Self, Error> {
        let cpu = || process_cpu_seconds().unwrap_or_default();
        let (started, before) = (Instant::now(), cpu());
        body()?;
        Ok(Self { seconds: started.elapsed().as_secs_f64(), cpu_seconds: cpu() - before })
    }

    fn median(rounds: impl Iterator<Item = Self> + Clone) -> Self {
        Self { seconds: median(rounds.clone().map(|took| took.seconds)), cpu_seconds: median(rounds.map(|took| took.cpu_seconds)) }
    }
}

/// A classifier under a budget, with metrics of its own.
struct Candidate {
    limits: Limits,
    classifier: OnnxClassifier,
    metrics: Arc<Metrics>,
    slab_texts: usize,
}

impl Candidate {
    fn start(config: &ModelConfig, limits: Limits) -> Result<Self, Error> {
        let metrics = Arc::new(Metrics::new());
        let config = ModelConfig { batch_texts: limits.texts, batch_tokens: limits.tokens, ..config.clone() };
        let slab_texts = config.slab_texts.max(limits.texts);
        let classifier = OnnxClassifier::start(&config, metrics.clone())?;
        Ok(Self { limits, classifier, metrics, slab_texts })
    }

    fn run(&self, texts: &[String]) -> Result<Took, Error> {
        let texts = texts.to_vec();
        Took::by(|| classify_each(&self.classifier as &dyn Classify, texts, self.slab_texts, |result| drop(black_box(result))))
    }

    fn padding_share(&self) -> f64 {
        let count = |kind: &str| self.metrics.tokens.with_label_values(&[kind]).get() as f64;
        count("padding") / (count("real") + count("padding"))
    }
}

/// All batches through all sessions at once, each taking the next when it is done.
fn run_bare(sessions: &mut [Vec<EncoderSession>], batches: &[(usize, Batch)]) -> Result<Took, Error> {
    let next = AtomicUsize::new(0);
    Took::by(|| {
        side_by_side(sessions, |encoders| {
            while let Some((encoder, batch)) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                encoders[*encoder].run_bare(batch)?;
            }
            Ok(())
        })
    })
}

/// Gives operations a second, of all together.
fn run_products(products: &mut [MatrixProduct]) -> Result<f64, Error> {
    const SECONDS: f64 = 0.25;
    let done = AtomicUsize::new(0);
    let per_run = products[0].operations;
    let started = Instant::now();
    side_by_side(products, |product| {
        while started.elapsed().as_secs_f64() < SECONDS {
            product.run()?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    Ok(done.into_inner() as f64 * per_run / started.elapsed().as_secs_f64())
}

fn side_by_side<T: Send>(items: &mut [T], body: impl Fn(&mut T) -> Result<(), Error> + Sync) -> Result<(), Error> {
    thread::scope(|scope| {
        let threads: Vec<_> = items.iter_mut().map(|item| scope.spawn(|| body(item))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Error::Stopped)))
    })
}

fn seconds(body: impl FnOnce()) -> f64 {
    let started = Instant::now();
    body();
    started.elapsed().as_secs_f64()
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median([9.0, 1.0, 3.0]), 3.0);
    }
}
