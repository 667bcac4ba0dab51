//! How faithful explanations are, beside other methods: `make bench-explain DATA=../shared/data`. Rewrites the figures of
//! `docs/explain.md`.
//!
//! An order of words is faithful where leaving the first ones out soon takes the label away (deletion), and the first ones alone soon
//! bring it (insertion): Petsiuk, Das and Saenko 2018, *RISE*, section 4. Both are means of the label's probability over fifths of the
//! words; an order by chance is what they are compared with.

#[path = "shared/document.rs"]
#[allow(dead_code)] // The other benchmarks use the rest.
mod document;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bellwether::classify::explain::{LogOdds, Words};
use bellwether::classify::{Classify, OnnxClassifier};
use bellwether::config::{Config, Device, ModelConfig};
use bellwether::metrics::Metrics;
use bellwether::news::{Classification, Sentiment};
use bellwether::novelty::hash;
use serde::Deserialize;
use serde_json::{Value, json};

const TEXTS: usize = 500;
/// Permutations that the Shapley values are sampled from.
const SAMPLES: [usize; 3] = [2, 4, 8];
/// Fifths of the words.
const STEPS: usize = 5;
const METHODS: [(&str, &str); 7] = [
    ("chance", "an order by chance"),
    ("without", "leave one out"),
    ("alone", "each word alone"),
    ("both", "both: what Bellwether does"),
    ("shapley-2", "Shapley values, 2 permutations"),
    ("shapley-4", "Shapley values, 4 permutations"),
    ("shapley-8", "Shapley values, 8 permutations"),
];

/// The model, asked once for each text.
struct Model {
    classifier: OnnxClassifier,
    known: HashMap<String, Classification>,
    asked: usize,
}

impl Model {
    fn ask(&mut self, texts: &[String]) -> Vec<Classification> {
        let mut new: Vec<String> = texts.iter().filter(|text| !self.known.contains_key(*text)).cloned().collect();
        new.sort();
        new.dedup();
        self.asked += new.len();
        let answers = self.classifier.submit(new.clone()).wait().expect("the model answers");
        self.known.extend(new.into_iter().zip(answers));
        texts.iter().map(|text| self.known[text].clone()).collect()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Head {
    Sentiment,
    Topic,
}

impl Head {
    fn of(self, odds: LogOdds) -> f64 {
        if self == Self::Sentiment { odds.sentiment } else { odds.topic }
    }
}

fn texts(folder: &Path) -> Vec<String> {
    #[derive(Deserialize)]
    struct Row {
        text: String,
    }
    let path = folder.join("headlines-unlabelled.jsonl");
    let rows = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let mut texts: Vec<String> = rows.lines().map(|line| serde_json::from_str::<Row>(line).expect("a row with text").text).collect();
    texts.retain(|text| (5..=30).contains(&Words::of(text).len()));
    texts.sort_by_key(|text| hash(text.as_bytes()));
    texts.truncate(TEXTS);
    assert_eq!(texts.len(), TEXTS, "headlines of 5 to 30 words");
    texts
}

/// A permutation of so many, the same for the same seed.
fn permutation(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|place| hash(format!("{seed} {place}").as_bytes()));
    order
}

/// Shapley values of both heads by sampling (Castro, Gómez and Tejada 2009, *Polynomial calculation of the Shapley value based on
/// sampling*), every second permutation the reverse of the one before.
fn shapley(model: &mut Model, words: &Words, sentiment: Sentiment, topic: &str, samples: usize, head: Head) -> Vec<f64> {
    let count = words.len();
    let mut weights = vec![0.0; count];
    for sample in 0..samples {
        let mut order = permutation(count, sample as u64 / 2);
        if sample % 2 == 1 {
            order.reverse();
        }
        let rank: Vec<usize> = (0..count).map(|place| order.iter().position(|&other| other == place).expect("in the order")).collect();
        let texts: Vec<String> = (0..=count).map(|kept| words.keep(|place| rank[place] < kept)).collect();
        let odds: Vec<f64> = model.ask(&texts).iter().map(|answer| head.of(LogOdds::of(answer, sentiment, topic))).collect();
        for (step, &place) in order.iter().enumerate() {
            weights[place] += (odds[step + 1] - odds[step]) / samples as f64;
        }
    }
    weights
}

/// Mean probability of the label while the words go, and while they come, in the order of their weights.
fn curves(model: &mut Model, words: &Words, sentiment: Sentiment, topic: &str, weights: &[f64], head: Head) -> [f64; 2] {
    let count = words.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&one, &other| weights[other].total_cmp(&weights[one]).then(one.cmp(&other)));
    let mut rank = vec![0; count];
    order.iter().enumerate().for_each(|(at, &place)| rank[place] = at);
    let steps: Vec<usize> = (1..STEPS).map(|step| (count * step).div_ceil(STEPS)).collect();
    let mut mean = |kept: &dyn Fn(usize, usize) -> bool| {
        let texts: Vec<String> = steps.iter().map(|&step| words.keep(|place| kept(rank[place], step))).collect();
        let odds = model.ask(&texts);
        odds.iter().map(|answer| 1.0 / (1.0 + (-head.of(LogOdds::of(answer, sentiment, topic))).exp())).sum::<f64>() / steps.len() as f64
    };
    [mean(&|rank, step| rank >= step), mean(&|rank, step| rank < step)]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (data, figures) = (root.join("docs/explain.md"), root.join("docs/explain.json"));
    if arguments.first().is_some_and(|argument| argument == "document") {
        let measured = std::fs::read_to_string(&figures).expect("docs/explain.json is there");
        return fill(&data, &serde_json::from_str(&measured).expect("JSON"));
    }
    let folder = std::env::var_os("BELLWETHER_SHARED_DATA").map_or_else(|| root.join("../shared/data"), Into::into);
    let count = arguments.first().map_or(TEXTS, |count| count.parse().expect("a number of texts, or `document`"));
    let load_before = document::load();
    let config =
        ModelConfig { directory: root.join("models/finnews-e5-small"), device: Device::Cpu, cache_texts: 0, ..Config::default().model };
    let mut model =
        Model { classifier: OnnxClassifier::start(&config, Arc::new(Metrics::new())).expect("the model"), known: HashMap::new(), asked: 0 };
    // By method and head: deletion and insertion of every text, and what the method had to ask.
    let mut results: HashMap<(&str, &str), Vec<[f64; 2]>> = HashMap::new();
    let mut costs: HashMap<&str, usize> = HashMap::new();
    for (number, text) in texts(&folder).into_iter().take(count).enumerate() {
        let words = Words::of(&text);
        let count = words.len();
        let whole = model.ask(&[words.keep(|_| true)]).remove(0);
        let (sentiment, topic) = (whole.sentiment.label, whole.topic.label.clone());
        let none = model.ask(&[String::new()]).remove(0);
        for (head, name) in [(Head::Sentiment, "sentiment"), (Head::Topic, "topic")] {
            let mut odds = |texts: Vec<String>| -> Vec<f64> {
                model.ask(&texts).iter().map(|answer| head.of(LogOdds::of(answer, sentiment, &topic))).collect()
            };
            let full = head.of(LogOdds::of(&whole, sentiment, &topic));
            let empty = head.of(LogOdds::of(&none, sentiment, &topic));
            let without: Vec<f64> =
                odds((0..count).map(|place| words.keep(|other| other != place)).collect()).iter().map(|odds| full - odds).collect();
            let alone: Vec<f64> =
                odds((0..count).map(|place| words.keep(|other| other == place)).collect()).iter().map(|odds| odds - empty).collect();
            let both = without.iter().zip(&alone).map(|(one, other)| (one + other) / 2.0).collect();
            let chance = permutation(count, hash(text.as_bytes())).into_iter().map(|place| place as f64).collect();
            let mut weights: Vec<(&str, usize, Vec<f64>)> =
                vec![("chance", 0, chance), ("without", count, without), ("alone", count, alone), ("both", 2 * count, both)];
            for (samples, method) in SAMPLES.into_iter().zip(["shapley-2", "shapley-4", "shapley-8"]) {
                weights.push((method, samples * count, shapley(&mut model, &words, sentiment, &topic, samples, head)));
            }
            for (method, cost, weights) in weights {
                results.entry((method, name)).or_default().push(curves(&mut model, &words, sentiment, &topic, &weights, head));
                *costs.entry(method).or_default() += cost;
            }
        }
        model.known.clear();
        if number % 25 == 24 {
            eprintln!("{} texts explained, {} asked", number + 1, model.asked);
        }
    }
    let rows: Vec<Value> = METHODS
        .iter()
        .map(|(method, title)| {
            let mut row =
                json!({"method": method, "title": title, "texts": costs[method] as f64 / 2.0 / results[&(*method, "topic")].len() as f64});
            for head in ["sentiment", "topic"] {
                let (own, chance) = (&results[&(*method, head)], &results[&("chance", head)]);
                // What is gained over chance, text by text: less is left by deletion, more is there by insertion.
                let gained: Vec<f64> =
                    own.iter().zip(chance).map(|(own, chance)| (chance[0] - own[0] + own[1] - chance[1]) / 2.0).collect();
                let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
                let middle = mean(&gained);
                let deviation = gained.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / (gained.len() as f64 - 1.0).max(1.0);
                let rounded = |value: f64| (value * 1e3).round() / 1e3;
                row[head] = json!({
                    "deletion": rounded(mean(&own.iter().map(|curve| curve[0]).collect::<Vec<_>>())),
                    "insertion": rounded(mean(&own.iter().map(|curve| curve[1]).collect::<Vec<_>>())),
                    "gain": rounded(middle),
                    // Of 95%, by the normal distribution.
                    "margin": rounded(1.96 * (deviation / gained.len() as f64).sqrt()),
                });
            }
            row
        })
        .collect();
    let measured = json!({
        "date": chrono::Utc::now().format("%Y-%m-%d").to_string(), "machine": document::machine(), "load_before": load_before,
        "texts": count, "model": model.classifier.identity(), "methods": rows,
    });
    std::fs::write(&figures, serde_json::to_string_pretty(&measured).expect("JSON") + "\n").expect("docs/explain.json can be written");
    fill(&data, &measured);
}

/// Puts the figures into the document.
fn fill(path: &Path, measured: &Value) {
    let number = |value: &Value| format!("{:.3}", value.as_f64().expect("a number"));
    let rows = measured["methods"].as_array().expect("a list").iter().map(|row| {
        let gain = |head: &str| format!("{} ± {}", number(&row[head]["gain"]), number(&row[head]["margin"]));
        let (sentiment, topic) = (&row["sentiment"], &row["topic"]);
        [
            row["title"].as_str().expect("text").to_owned(),
            format!("{:.0}", row["texts"].as_f64().expect("a number")),
            number(&sentiment["deletion"]),
            number(&sentiment["insertion"]),
            gain("sentiment"),
            number(&topic["deletion"]),
            number(&topic["insertion"]),
            gain("topic"),
        ]
    });
    let head = ["method", "texts asked", "sentiment: deletion", "insertion", "gain", "topic: deletion", "insertion", "gain"];
    let table = document::table(head, rows);
    let text = |name: &str| measured[name].as_str().expect("text").to_owned();
    let load = measured["load_before"].as_f64().expect("a number");
    let table = table + &document::origin("make bench-explain", &text("date"), &text("machine"), load);
    let document = std::fs::read_to_string(path).expect("docs/explain.md is there");
    let filled = document::fill(&document, &["faithfulness"], |_| Some(table.clone()));
    std::fs::write(path, filled).expect("docs/explain.md can be written");
}
