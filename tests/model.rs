//! The model: batched as alone, as in Python, as labelled; and a directory that is not right is refused with its reason.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bellwether::classify::{Classify, Error, OnnxClassifier, classify_all};
use bellwether::config::{Config, Device, ModelConfig};
use bellwether::metrics::Metrics;
use bellwether::news::{Classification, Sentiment};
use common::root;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Without a cache: a text that comes again is asked again.
fn config(directory: &Path) -> ModelConfig {
    ModelConfig { directory: directory.to_owned(), device: Device::Cpu, cache_texts: 0, ..Config::default().model }
}

fn shipped() -> ModelConfig {
    config(&root().join("models/finnews-e5-small"))
}

fn start(config: &ModelConfig) -> OnnxClassifier {
    OnnxClassifier::start(config, Arc::new(Metrics::new())).unwrap()
}

fn refusal(config: &ModelConfig) -> String {
    match OnnxClassifier::start(config, Arc::new(Metrics::new())) {
        Ok(_) => panic!("the model was accepted"),
        Err(error) => error.to_string(),
    }
}

fn together(classifier: &OnnxClassifier, texts: &[String]) -> Vec<Classification> {
    classify_all(classifier, texts.to_vec(), 512).unwrap()
}

fn alone(classifier: &OnnxClassifier, texts: &[String]) -> Vec<Classification> {
    classify_all(classifier, texts.to_vec(), 1).unwrap()
}

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

fn expected(name: &str) -> (f32, Vec<Value>) {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    (json["tolerance"].as_f64().unwrap() as f32, json["texts"].as_array().unwrap().clone())
}

fn assert_near(actual: &[f32], expected: &Value, tolerance: f32, what: &str) {
    let expected: Vec<f32> = expected.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect();
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (one, two) in actual.iter().zip(&expected) {
        assert!((one - two).abs() <= tolerance, "{what}: {actual:?} against {expected:?}");
    }
}

fn texts_of(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_text_has_the_same_logits_alone_batched_and_in_python() {
    let (tolerance, rows) = expected("tiny/expected.json");
    let classifier = start(&config(&fixture("tiny")));
    let texts = texts_of(&rows);
    for (how, results) in [("batched", together(&classifier, &texts)), ("alone", alone(&classifier, &texts))] {
        for (row, result) in rows.iter().zip(&results) {
            assert_near(&result.logits.topic, &row["topic_logits"], tolerance, how);
            assert_near(&result.logits.sentiment, &row["sentiment_logits"], tolerance, how);
            assert_eq!(result.truncated, row["truncated"].as_bool().unwrap(), "{how}: {}", row["text"]);
        }
    }
}

#[test]
fn what_goes_ahead_is_answered_before_what_waits_and_alike() {
    let classifier = start(&shipped());
    let asked = vec!["Harbour Bank shares plunge".to_owned(), "Quiet day for shares".to_owned()];
    let labels =
        |results: Vec<Classification>| results.into_iter().map(|result| (result.topic.label, result.sentiment.label)).collect::<Vec<_>>();
    // A tokenizer that waits is woken.
    let at_rest = labels(classifier.submit_ahead(asked.clone()).wait().unwrap());
    assert_eq!(at_rest, labels(classifier.submit(asked.clone()).wait().unwrap()));
    let slab =
        |from: usize| (from..from + 200).map(|number| format!("Item {number} of a long day of news about shares and bonds")).collect();
    let waiting: Vec<_> = (0..3).map(|number| classifier.submit(slab(number * 200))).collect();
    let done = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for ticket in waiting {
                ticket.wait().unwrap();
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        assert_eq!(labels(classifier.submit_ahead(asked.clone()).wait().unwrap()), at_rest);
        assert!(done.load(std::sync::atomic::Ordering::SeqCst) < 3, "it waited for all that was in line");
    });
    assert_eq!(done.into_inner(), 3);
}

#[test]
fn a_copy_is_not_classified_again_and_gets_the_same_result() {
    let (_, rows) = expected("tiny/expected.json");
    let texts = texts_of(&rows);
    let directory = fixture("tiny");
    let without = together(&start(&config(&directory)), &texts);
    let metrics = Arc::new(Metrics::new());
    let classifier = OnnxClassifier::start(&ModelConfig { cache_texts: 1000, ..config(&directory) }, metrics.clone()).unwrap();
    let asked = || ["model", "cache"].map(|from| metrics.texts.with_label_values(&[from]).get());
    assert_eq!(together(&classifier, &texts), without);
    let distinct = texts.iter().map(|text| bellwether::classify::prepare(text)).collect::<std::collections::BTreeSet<_>>().len() as u64;
    assert_eq!(asked(), [distinct, texts.len() as u64 - distinct]);
    // As a wire sends it: with a link behind it and twice in a slab.
    let copies: Vec<String> = texts.iter().flat_map(|text| [format!("{text} https://wire.example/a"), text.clone()]).collect();
    let again = together(&classifier, &copies);
    assert_eq!(asked()[0], distinct, "the model has seen them all");
    assert!(again.iter().step_by(2).eq(&without) && again.iter().skip(1).step_by(2).eq(&without));
    // News between copies, in one slab.
    let mixed = [texts[0].clone(), "Harbour Bank halts withdrawals".into(), texts[1].clone(), "Harbour Bank halts withdrawals".into()];
    let results = together(&classifier, &mixed);
    assert_eq!((&results[0], &results[2], &results[1]), (&without[0], &without[1], &results[3]));
    assert_eq!(results[1], alone(&start(&config(&directory)), &mixed[1..2])[0]);
    assert_eq!(asked()[0], distinct + 1);
}

#[test]
fn a_pair_of_single_headed_exports_loads_and_agrees_with_python() {
    let (tolerance, rows) = expected("pair/expected.json");
    let pair = ModelConfig {
        directory: PathBuf::new(),
        topic_directory: fixture("pair/topic"),
        sentiment_directory: fixture("pair/sentiment"),
        ..config(Path::new(""))
    };
    let classifier = start(&pair);
    // "Bearish, Bullish, Neutral" in the export's own order.
    assert_eq!(classifier.labels().sentiments, [Sentiment::Negative, Sentiment::Positive, Sentiment::Neutral]);
    for (row, result) in rows.iter().zip(together(&classifier, &texts_of(&rows))) {
        assert_near(&result.logits.topic, &row["topic"]["logits"], tolerance, "topic");
        assert_near(&result.logits.sentiment, &row["sentiment"]["logits"], tolerance, "sentiment");
        let probabilities = result.sentiment.probabilities;
        assert!((probabilities.negative + probabilities.neutral + probabilities.positive - 1.0).abs() < 1e-5);
    }
}

/// The scenario's own texts, so that the test runs everywhere.
fn thousand_texts() -> Vec<String> {
    let scenario = std::fs::read_to_string(root().join("config/scenario/bank-run.jsonl")).unwrap();
    let text = |line: &str| {
        let json: Value = serde_json::from_str(line).unwrap();
        let title = json["title"].as_str().unwrap();
        json["body"].as_str().map_or_else(|| title.to_owned(), |body| bellwether::news::passage(title, body))
    };
    scenario.lines().take(1000).map(text).collect()
}

#[test]
fn the_shipped_model_labels_a_text_alike_alone_and_among_others() {
    let classifier = start(&shipped());
    let texts = thousand_texts();
    let (batched, single) = (together(&classifier, &texts), alone(&classifier, &texts));
    let same = |pick: fn(&Classification) -> String| batched.iter().zip(&single).filter(|(one, two)| pick(one) == pick(two)).count();
    let sentiment = same(|result| format!("{:?}", result.sentiment.label));
    let topic = same(|result| result.topic.label.clone());
    let moved = |(one, two): (&Classification, &Classification)| (one.sentiment.score.to_f64() - two.sentiment.score.to_f64()).abs();
    let largest = batched.iter().zip(&single).map(moved).fold(0.0, f64::max);
    println!("alone and batched agree: sentiment {sentiment}, topic {topic} of {}; largest move of a score {largest:.3}", texts.len());
    assert!(sentiment >= 980 && topic >= 980, "sentiment {sentiment}, topic {topic} of 1000");
}

#[test]
fn the_shipped_model_reads_plain_sentences_right() {
    let classifier = start(&shipped());
    let cases = [
        ("Shares plunge 30% after bank warns of heavy losses and halts dividend", Sentiment::Negative),
        ("Chipmaker beats estimates and raises full-year guidance, shares surge", Sentiment::Positive),
        ("Company to hold annual meeting on May 4", Sentiment::Neutral),
        ("Regulators shut down lender after depositors withdraw billions", Sentiment::Negative),
    ];
    let texts: Vec<String> = cases.iter().map(|(text, _)| (*text).to_owned()).collect();
    for ((text, expected), result) in cases.iter().zip(together(&classifier, &texts)) {
        assert_eq!(result.sentiment.label, *expected, "{text}: {:?}", result.sentiment);
    }
    assert_eq!(classifier.device(), Device::Cpu);
    assert!(classifier.nodes().iter().any(|(name, count)| name.contains("CPU") && *count > 10), "{:?}", classifier.nodes());
}

#[test]
fn a_long_text_is_cut_and_says_so() {
    let classifier = start(&shipped());
    let results = together(&classifier, &["Losses mount. ".repeat(40_000), "Losses mount.".to_owned()]);
    assert_eq!(results.iter().map(|result| result.truncated).collect::<Vec<_>>(), [true, false]);
}

const BEHAVIOUR_FLOOR: f64 = 0.85;

#[test]
fn the_shipped_model_behaves_on_sentences_that_mean_one_thing() {
    let path = root().join("training/behaviour.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let results = together(&start(&shipped()), &texts_of(&rows));
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (row, result) in rows.iter().zip(&results) {
        let (passed, all) = kinds.entry(row["kind"].as_str().unwrap()).or_default();
        *passed += usize::from(row["sentiment"] == result.sentiment.label.as_str());
        *all += 1;
    }
    for (kind, (passed, all)) in &kinds {
        println!("{kind:12} {passed:3} of {all:3}  {:.3}", *passed as f64 / *all as f64);
    }
    let passed: usize = kinds.values().map(|(passed, _)| passed).sum();
    let rate = passed as f64 / rows.len() as f64;
    println!("{:12} {passed:3} of {:3}  {rate:.3}", "all", rows.len());
    assert!(rate >= BEHAVIOUR_FLOOR, "{rate:.3} is below the floor of {BEHAVIOUR_FLOOR}");
}

#[test]
fn tokens_that_the_model_does_not_know_are_told_by_their_share() {
    let results = together(&start(&shipped()), &["shares fall".to_owned(), "shares 🦄 fall 🦄".to_owned(), "🦄".to_owned()]);
    assert_eq!(results.iter().map(|result| result.unknown_share).collect::<Vec<_>>(), [0.0, 0.5, 1.0]);
}

/// What [`OnnxClassifier::start`] makes of the tiny model with this `metrics.json`.
fn with_metrics(metrics: &str) -> Result<OnnxClassifier, String> {
    let (folder, config) = changed("config.json", |text| text);
    std::fs::write(folder.path().join("metrics.json"), metrics).unwrap();
    OnnxClassifier::start(&config, Arc::new(Metrics::new())).map_err(|error| error.to_string())
}

#[test]
fn a_drift_reference_is_read_from_metrics_json_and_held_to_the_labels_and_the_checksum() {
    let topics = start(&config(&fixture("tiny"))).labels().topics.clone();
    let share = 1.0 / topics.len() as f64;
    let reference = serde_json::json!({
        "rows": 1000,
        "sentiment": {"negative": 0.25, "neutral": 0.5, "positive": 0.25},
        "topic": topics.iter().map(|label| (label.clone(), Value::from(share))).collect::<serde_json::Map<_, _>>(),
        "confidence": {"edges": [0.5], "shares": [0.2, 0.8]},
        "unknown_tokens": {"edges": [0.1], "shares": [1.0, 0.0]},
    });
    let metrics = serde_json::json!({"accuracy": 0.9, "reference": reference}).to_string();
    assert_eq!(with_metrics(&metrics).unwrap().drift_reference().unwrap().rows, 1000);
    assert!(with_metrics("{\"accuracy\": 0.9}").unwrap().drift_reference().is_none());
    assert!(start(&config(&fixture("tiny"))).drift_reference().is_none());

    let broken = with_metrics("{").err().unwrap();
    assert!(broken.contains("metrics.json: EOF") && broken.contains("bellwether evaluate --reference"), "{broken}");
    let label = with_metrics(&metrics.replace("neutral", "meh")).err().unwrap();
    assert!(label.contains("metrics.json: reference.sentiment has \"meh\", which is not a label of this model"), "{label}");

    let (folder, config) = changed("SHA256SUMS", |text| format!("{text}{}  metrics.json\n", "0".repeat(64)));
    std::fs::write(folder.path().join("metrics.json"), &metrics).unwrap();
    assert!(refusal(&config).contains("metrics.json: is not the file that SHA256SUMS lists"), "{}", refusal(&config));
}

/// A copy of the tiny model with one file changed.
fn changed(name: &str, change: impl FnOnce(String) -> String) -> (tempfile::TempDir, ModelConfig) {
    let folder = tempfile::tempdir().unwrap();
    for file in ["model.onnx", "tokenizer.json", "config.json", "SHA256SUMS"] {
        std::fs::copy(fixture("tiny").join(file), folder.path().join(file)).unwrap();
    }
    let path = folder.path().join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, change(text)).unwrap();
    let config = config(folder.path());
    (folder, config)
}

/// As [`changed`], without the checksums that would refuse it first.
fn changed_config(from: &str, to: &str) -> String {
    let (folder, config) = changed("config.json", |text| {
        assert!(text.contains(from), "the fixture has {from}");
        text.replace(from, to)
    });
    std::fs::remove_file(folder.path().join("SHA256SUMS")).unwrap();
    refusal(&config)
}

#[test]
fn a_changed_file_is_refused_by_its_checksum() {
    let (_folder, config) = changed("tokenizer.json", |text| text + " ");
    assert!(refusal(&config).contains("is not the file that SHA256SUMS lists"), "{}", refusal(&config));
}

fn sha256(bytes: &[u8]) -> String {
    bellwether::news::hex(&Sha256::digest(bytes))
}

/// The field of a Protocol Buffers message that holds these bytes.
fn field(number: u8, held: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, held.len() as u8], held].concat()
}

/// A model directory whose graph has one more tensor, of four bytes that lie at `location`.
fn with_weights_at(location: &str) -> (tempfile::TempDir, ModelConfig) {
    let (folder, config) = changed("config.json", |text| text);
    std::fs::remove_file(folder.path().join("SHA256SUMS")).unwrap();
    let entry = |key: &str, value: &str| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
    // dims, data_type FLOAT, name, where the data lies, data_location EXTERNAL.
    let tensor = [vec![0x08, 1, 0x10, 1], field(8, b"more"), entry("location", location), entry("length", "4"), vec![0x70, 1]].concat();
    let path = folder.path().join("model.onnx");
    // What is written behind a message is merged into it: graph, initializer.
    std::fs::write(&path, [std::fs::read(&path).unwrap(), field(0x07, &field(5, &tensor))].concat()).unwrap();
    (folder, config)
}

#[test]
fn weights_outside_the_models_directory_are_not_read() {
    let (folder, config) = with_weights_at("weights.bin");
    let path = folder.path().join("weights.bin");
    std::fs::write(&path, 1f32.to_le_bytes()).unwrap();
    let version = |config: &ModelConfig| OnnxClassifier::start(config, Arc::new(Metrics::new())).unwrap().identity().version.clone();
    let first = version(&config);
    std::fs::write(&path, 2f32.to_le_bytes()).unwrap();
    assert_ne!(version(&config), first, "other weights are another version");
    // Where the directory has checksums, theirs must be among them and right.
    let sum = |file: &str| format!("{}  {file}\n", sha256(&std::fs::read(folder.path().join(file)).unwrap()));
    let own: String = ["model.onnx", "tokenizer.json", "config.json"].map(sum).concat();
    for (more, refused) in [
        (String::new(), Some("does not list weights.bin")),
        (format!("{}  weights.bin\n", sha256(b"others")), Some("weights.bin: is not the file that SHA256SUMS lists")),
        (sum("weights.bin"), None),
    ] {
        std::fs::write(folder.path().join("SHA256SUMS"), format!("{own}{more}")).unwrap();
        match refused {
            Some(why) => assert!(refusal(&config).contains(why), "{}", refusal(&config)),
            None => drop(version(&config)),
        }
    }
    for location in ["/etc/hostname", "../weights.bin"] {
        let (_folder, config) = with_weights_at(location);
        let why = refusal(&config);
        assert!(why.contains("model.onnx: weights at") && why.contains("outside the model's directory"), "{why}");
    }
}

#[test]
fn a_missing_file_a_missing_head_and_wrong_labels_are_named() {
    let missing = refusal(&config(Path::new("nowhere")));
    assert!(missing.contains("nowhere/config.json") && missing.contains("cannot be read"), "{missing}");
    let head = changed_config("\"topic_logits\"", "\"topics\"");
    assert!(head.contains("has no output \"topics\"") && head.contains("topic_logits, sentiment_logits"), "{head}");
    let label = changed_config("\"neutral\"", "\"meh\"");
    assert!(label.contains("\"meh\" must be negative, neutral or positive"), "{label}");
    let gap = changed_config("\"19\"", "\"23\"");
    assert!(gap.contains("without a gap"), "{gap}");
}

#[test]
fn fewer_labels_than_logits_are_refused() {
    let (folder, config) = changed("config.json", |text| {
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json["heads"]["topic"]["id2label"].as_object_mut().unwrap().remove("19");
        json.to_string()
    });
    std::fs::remove_file(folder.path().join("SHA256SUMS")).unwrap();
    let text = refusal(&config);
    assert!(text.contains("has 20 logits but config.json has 19 labels"), "{text}");
}

#[test]
fn a_device_that_is_named_and_not_there_is_an_error() {
    let config = ModelConfig { device: Device::Cuda(7), ..config(&fixture("tiny")) };
    match OnnxClassifier::start(&config, Arc::new(Metrics::new())) {
        Err(Error::Device { device, why }) => assert!(device == Device::Cuda(7) && !why.is_empty()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("cuda:7 was accepted"),
    }
}
