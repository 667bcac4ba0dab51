//! A model directory: which files, which heads, which labels; checked before anything is consumed.
//!
//! Either one two-headed model (`topic_logits`, `sentiment_logits`), or two ordinary single-head Hugging Face exports
//! (`logits`), one for topics and one for sentiments, each with its own tokenizer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use super::Error;
use super::batch::{Encoded, Form, Shapes};
use super::drift::Reference;
use super::external;
use crate::config::{Device, ModelConfig};
use crate::news::{Classification, Logits, ModelIdentity, Sentiment, SentimentProbabilities, SentimentResult, TopicResult, hex};

/// The order in which probabilities of sentiments are given within Bellwether.
pub const SENTIMENT_ORDER: [Sentiment; 3] = Sentiment::ALL;

/// A text longer than this many bytes per token of the model's maximum is cut before it is tokenised:
/// its end could not be read anyway, and tokenising it would stall the stream.
const BYTES_PER_TOKEN: usize = 64;

/// The labels of both heads, in the order of their logits.
#[derive(Debug, Clone)]
pub struct Labels {
    pub topics: Vec<String>,
    pub sentiments: Vec<Sentiment>,
}

impl Labels {
    pub fn new(topics: Vec<String>, sentiments: Vec<Sentiment>) -> Self {
        Self { topics, sentiments }
    }

    /// Probabilities in the order of the labels → the result that is published. Probabilities are rounded to 10⁻⁶.
    pub fn classification(
        &self,
        topic: &[f64],
        best: usize,
        sentiment: &[f64],
        logits: Logits,
        truncated: bool,
        unknown_share: f64,
    ) -> Classification {
        let round = |value: f64| (value * 1e6).round() / 1e6;
        let of = |wanted| self.sentiments.iter().position(|&label| label == wanted).map_or(0.0, |index| round(sentiment[index]));
        let probabilities = SentimentProbabilities {
            negative: of(Sentiment::Negative),
            neutral: of(Sentiment::Neutral),
            positive: of(Sentiment::Positive),
        };
        Classification {
            topic: TopicResult {
                label: self.topics[best].clone(),
                probability: round(topic[best]),
                probabilities: self.topics.iter().cloned().zip(topic.iter().map(|&p| round(p))).collect(),
            },
            sentiment: SentimentResult { label: probabilities.label(), score: probabilities.score(), probabilities },
            logits,
            truncated,
            unknown_share,
        }
    }
}

/// One output of an encoder.
#[derive(Debug, Clone)]
pub struct Head {
    pub output: String,
    pub labels: usize,
    pub temperature: f64,
}

/// What the matrices of a transformer's layers measure.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
}

/// One ONNX file with its tokenizer and the heads it carries.
pub struct Encoder {
    pub onnx: PathBuf,
    pub pad_id: i64,
    pub max_length: usize,
    pub topic: Option<Head>,
    pub sentiment: Option<Head>,
    /// Where config.json says it.
    pub size: Option<Size>,
    tokenizer: Tokenizer,
    /// What the tokenizer gives for what it does not know; `None` where it knows every byte.
    unknown_id: Option<u32>,
}

impl Encoder {
    /// What its batches are like, in such shapes.
    pub fn form(&self, shapes: Shapes) -> Form {
        Form { shapes, longest: self.max_length, pad_id: self.pad_id }
    }

    /// Tokenises texts that [`super::prepare`] has prepared, cut at the model's maximum length.
    pub fn encode(&self, texts: &[String]) -> Result<Vec<Encoded>, Error> {
        texts.iter().map(|text| self.encode_one(text)).collect()
    }

    fn encode_one(&self, text: &str) -> Result<Encoded, Error> {
        let limit = self.max_length * BYTES_PER_TOKEN;
        let head = if text.len() > limit { &text[..text.floor_char_boundary(limit)] } else { text };
        let encoding = self.tokenizer.encode_fast(head, true).map_err(|error| Error::Model(format!("the tokenizer failed: {error}")))?;
        let truncated = head.len() < text.len() || !encoding.get_overflowing().is_empty();
        // Without the marks that the tokenizer puts around every text.
        let of_text = encoding.get_ids().iter().zip(encoding.get_special_tokens_mask()).filter(|(_, mark)| **mark == 0);
        let (tokens, unknown) = of_text
            .fold((0_usize, 0_usize), |(tokens, unknown), (id, _)| (tokens + 1, unknown + usize::from(self.unknown_id == Some(*id))));
        let unknown_share = if tokens == 0 { 0.0 } else { unknown as f64 / tokens as f64 };
        Ok(Encoded { ids: encoding.get_ids().to_vec(), truncated, unknown_share })
    }
}

/// Everything about the model but its sessions.
pub struct ModelDirectory {
    pub identity: ModelIdentity,
    pub labels: Labels,
    pub encoders: Vec<Encoder>,
    /// From `metrics.json`; of a pair of single-headed exports, from that of the sentiments.
    pub reference: Option<Reference>,
}

/// `config.json`: Bellwether's two-headed form, or what Hugging Face writes for one head.
#[derive(Debug, Deserialize)]
struct ModelFile {
    name: Option<String>,
    #[serde(rename = "_name_or_path")]
    name_or_path: Option<String>,
    max_length: Option<usize>,
    max_position_embeddings: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    pad_token_id: Option<i64>,
    heads: Option<BTreeMap<String, HeadFile>>,
    id2label: Option<BTreeMap<String, String>>,
    temperature: Option<f64>,
}

/// `metrics.json`: what is known about the model's quality. Bellwether reads one key of it.
#[derive(Debug, Deserialize)]
struct MetricsFile {
    reference: Option<Reference>,
}

/// What of `tokenizer.json` its library does not give: WordPiece, WordLevel and BPE name the unknown token, Unigram
/// numbers it.
#[derive(Debug, Deserialize)]
struct TokenizerFile {
    model: TokenizerModel,
}

#[derive(Debug, Deserialize)]
struct TokenizerModel {
    unk_token: Option<String>,
    unk_id: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
struct HeadFile {
    output: String,
    id2label: BTreeMap<String, String>,
    temperature: Option<f64>,
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::Model(format!("{}: {what}", path.display()))
}

impl ModelDirectory {
    /// # Errors
    /// [`Error::Model`] for a missing or changed file, a missing head, labels that are not 0 to n−1 or not sentiments,
    /// a drift reference of another model.
    pub fn load(config: &ModelConfig, device: Device) -> Result<Self, Error> {
        let mut hash = Sha256::new();
        if config.topic_directory.as_os_str().is_empty() {
            let file = read_config(&config.directory, &mut hash)?;
            let heads = file.heads.clone().ok_or_else(|| {
                let path = config.directory.join("config.json");
                wrong(&path, "has no \"heads\". A single-headed export goes into model.topic_directory or model.sentiment_directory")
            })?;
            let head = |name: &str| {
                heads.get(name).cloned().ok_or_else(|| wrong(&config.directory.join("config.json"), format!("heads has no {name:?}")))
            };
            let (topic, sentiment) = (head("topic")?, head("sentiment")?);
            let labels = Labels::new(ordered(&config.directory, &topic.id2label)?, sentiments(&config.directory, &sentiment.id2label)?);
            let name = name_of(&file, &config.directory);
            let encoder = load_encoder(&config.directory, device, &file, Some(topic), Some(sentiment), &mut hash)?;
            let reference = load_reference(&config.directory, &labels)?;
            return Ok(Self { identity: identity(name, hash), labels, encoders: vec![encoder], reference });
        }
        let single = |directory: &Path, hash: &mut Sha256| {
            let file = read_config(directory, hash)?;
            let id2label = file.id2label.clone().ok_or_else(|| wrong(&directory.join("config.json"), "has no \"id2label\""))?;
            let head = HeadFile { output: "logits".into(), id2label, temperature: file.temperature };
            Ok::<_, Error>((file, head))
        };
        let (topic_file, topic) = single(&config.topic_directory, &mut hash)?;
        let (sentiment_file, sentiment) = single(&config.sentiment_directory, &mut hash)?;
        let labels =
            Labels::new(ordered(&config.topic_directory, &topic.id2label)?, sentiments(&config.sentiment_directory, &sentiment.id2label)?);
        let name = format!("{}+{}", name_of(&topic_file, &config.topic_directory), name_of(&sentiment_file, &config.sentiment_directory));
        let encoders = vec![
            load_encoder(&config.topic_directory, device, &topic_file, Some(topic), None, &mut hash)?,
            load_encoder(&config.sentiment_directory, device, &sentiment_file, None, Some(sentiment), &mut hash)?,
        ];
        let reference = load_reference(&config.sentiment_directory, &labels)?;
        Ok(Self { identity: identity(name, hash), labels, encoders, reference })
    }
}

fn identity(name: String, hash: Sha256) -> ModelIdentity {
    ModelIdentity { name, version: hex(&hash.finalize()[..6]) }
}

fn name_of(file: &ModelFile, directory: &Path) -> String {
    let folder = || directory.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    file.name.clone().or_else(|| file.name_or_path.clone().filter(|name| !name.is_empty())).unwrap_or_else(folder)
}

fn read_config(directory: &Path, hash: &mut Sha256) -> Result<ModelFile, Error> {
    let path = directory.join("config.json");
    let bytes = read(&path)?;
    hash.update(&bytes);
    serde_json::from_slice(&bytes).map_err(|error| wrong(&path, error))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| wrong(path, format!("cannot be read: {error}")))
}

/// Labels in the order 0 to n−1.
fn ordered(directory: &Path, id2label: &BTreeMap<String, String>) -> Result<Vec<String>, Error> {
    (0..id2label.len())
        .map(|index| id2label.get(&index.to_string()).cloned())
        .collect::<Option<Vec<_>>>()
        .filter(|labels| !labels.is_empty())
        .ok_or_else(|| wrong(&directory.join("config.json"), "id2label must number its labels \"0\", \"1\", … without a gap"))
}

fn sentiments(directory: &Path, id2label: &BTreeMap<String, String>) -> Result<Vec<Sentiment>, Error> {
    let labels = ordered(directory, id2label)?;
    let path = directory.join("config.json");
    let known: Vec<Sentiment> = labels
        .iter()
        .map(|label| {
            Sentiment::from_label(label).ok_or_else(|| {
                wrong(&path, format!("sentiment label {label:?} must be negative, neutral or positive (or bearish, bullish)"))
            })
        })
        .collect::<Result<_, _>>()?;
    match Sentiment::ALL.iter().all(|wanted| known.iter().filter(|label| *label == wanted).count() == 1) {
        true => Ok(known),
        false => Err(wrong(&path, format!("sentiment labels {labels:?} must be negative, neutral and positive, once each"))),
    }
}

fn load_encoder(
    directory: &Path,
    device: Device,
    file: &ModelFile,
    topic: Option<HeadFile>,
    sentiment: Option<HeadFile>,
    hash: &mut Sha256,
) -> Result<Encoder, Error> {
    let onnx = find_onnx(directory, device)?;
    let tokenizer_path = directory.join("tokenizer.json");
    let tokenizer_bytes = read(&tokenizer_path)?;
    let onnx_bytes = read(&onnx)?;
    verify_checksums(directory, &[(&onnx, &onnx_bytes), (&tokenizer_path, &tokenizer_bytes)])?;
    hash.update(&onnx_bytes);
    hash.update(&tokenizer_bytes);
    for location in external::locations(&onnx_bytes).map_err(|why| wrong(&onnx, why))? {
        let path = external::resolve(directory, &location).map_err(|why| wrong(&onnx, why))?;
        let bytes = read(&path)?;
        if let Ok(sums) = std::fs::read_to_string(directory.join("SHA256SUMS")) {
            let name = location.trim_start_matches("./");
            let sum = listed_sum(&sums, name).ok_or_else(|| wrong(&directory.join("SHA256SUMS"), format!("does not list {name}")))?;
            hold_to_sum(&path, &bytes, sum)?;
        }
        hash.update(&bytes);
    }
    let mut tokenizer = Tokenizer::from_bytes(&tokenizer_bytes).map_err(|error| wrong(&tokenizer_path, error))?;
    let positions = file.max_position_embeddings.unwrap_or(512);
    let max_length = file.max_length.filter(|&length| length > 2).unwrap_or(positions).min(positions);
    let truncation =
        TruncationParams { max_length, strategy: TruncationStrategy::LongestFirst, stride: 0, direction: TruncationDirection::Right };
    tokenizer.with_truncation(Some(truncation)).map_err(|error| wrong(&tokenizer_path, error))?;
    // Padding belongs to the batch; many exports carry a setting of their own.
    tokenizer.with_padding(None);
    let head = |head: HeadFile| Head { output: head.output, labels: head.id2label.len(), temperature: head.temperature.unwrap_or(1.0) };
    let pad_id = file.pad_token_id.unwrap_or(0);
    let TokenizerFile { model } = serde_json::from_slice(&tokenizer_bytes).map_err(|error| wrong(&tokenizer_path, error))?;
    let unknown_id = model.unk_id.or_else(|| tokenizer.token_to_id(&model.unk_token?));
    // Four times the width, where it is not said: so in every encoder of the BERT family.
    let size = file.hidden_size.zip(file.num_hidden_layers).map(|(hidden, layers)| Size {
        hidden,
        layers,
        intermediate: file.intermediate_size.unwrap_or(4 * hidden),
    });
    Ok(Encoder { onnx, pad_id, max_length, topic: topic.map(head), sentiment: sentiment.map(head), size, tokenizer, unknown_id })
}

/// The drift reference out of `metrics.json`, where the directory has one.
fn load_reference(directory: &Path, labels: &Labels) -> Result<Option<Reference>, Error> {
    let path = directory.join("metrics.json");
    if !path.exists() {
        return Ok(None);
    }
    let mend = |what: String| wrong(&path, format!("{what}; write it anew with `bellwether evaluate --reference`, or take it out"));
    let bytes = read(&path)?;
    if let Ok(sums) = std::fs::read_to_string(directory.join("SHA256SUMS"))
        && let Some(sum) = listed_sum(&sums, "metrics.json")
    {
        hold_to_sum(&path, &bytes, sum)?;
    }
    let MetricsFile { reference } = serde_json::from_slice(&bytes).map_err(|error| mend(error.to_string()))?;
    if let Some(reference) = &reference {
        reference.check(labels).map_err(|problem| mend(format!("reference.{problem}")))?;
    }
    Ok(reference)
}

/// The variant that suits the device, best first.
fn find_onnx(directory: &Path, device: Device) -> Result<PathBuf, Error> {
    let gpu = device.is_gpu();
    let names = if gpu { ["model.fp16.onnx", "model.onnx"] } else { ["model.int8.onnx", "model.onnx"] };
    if let Some(found) = names.iter().map(|name| directory.join(name)).find(|path| path.is_file()) {
        return Ok(found);
    }
    if gpu && directory.join("model.int8.onnx").is_file() {
        let directory = directory.display();
        let why =
            format!("{directory} has only model.int8.onnx, which is made for CPUs: put model.fp16.onnx beside it (training/README.md)");
        return Err(Error::Device { device, why });
    }
    Err(wrong(directory, format!("has none of {}", names.join(", "))))
}

/// Holds the files in use to `SHA256SUMS`, where the directory has one (ordinary exports have none).
fn verify_checksums(directory: &Path, files: &[(&Path, &[u8])]) -> Result<(), Error> {
    let sums_path = directory.join("SHA256SUMS");
    let Ok(sums) = std::fs::read_to_string(&sums_path) else { return Ok(()) };
    let config = read(&directory.join("config.json"))?;
    let config_path = directory.join("config.json");
    for (path, bytes) in files.iter().copied().chain([(config_path.as_path(), config.as_slice())]) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let sum = listed_sum(&sums, &name).ok_or_else(|| wrong(&sums_path, format!("does not list {name}")))?;
        hold_to_sum(path, bytes, sum)?;
    }
    Ok(())
}

fn listed_sum<'sums>(sums: &'sums str, name: &str) -> Option<&'sums str> {
    sums.lines().find_map(|line| {
        let (sum, file) = line.split_once(char::is_whitespace)?;
        (file.trim().trim_start_matches('*') == name).then_some(sum)
    })
}

fn hold_to_sum(path: &Path, bytes: &[u8], sum: &str) -> Result<(), Error> {
    let actual = hex(&Sha256::digest(bytes));
    match actual == sum.to_ascii_lowercase() {
        true => Ok(()),
        false => Err(wrong(path, format!("is not the file that SHA256SUMS lists (SHA-256 {actual}); fetch the model again"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_takes_the_file_that_is_made_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let found = |device| find_onnx(folder.path(), device).map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        assert!(matches!(found(Device::Cpu), Err(Error::Model(why)) if why.contains("has none of model.int8.onnx, model.onnx")));
        std::fs::write(folder.path().join("model.int8.onnx"), "").unwrap();
        assert_eq!(found(Device::Cpu).unwrap(), "model.int8.onnx");
        // `auto` goes on to the CPU then.
        assert!(matches!(found(Device::Cuda(0)), Err(Error::Device { why, .. }) if why.contains("put model.fp16.onnx beside it")));
        std::fs::write(folder.path().join("model.fp16.onnx"), "").unwrap();
        assert_eq!(
            (found(Device::Auto).unwrap(), found(Device::TensorRt(0)).unwrap()),
            ("model.int8.onnx".into(), "model.fp16.onnx".into())
        );
    }
}
