//! Masking, held to a set of cases of its own: `tests/privacy/cases.jsonl`, a text, what it is to become, and how many pieces of
//! each kind are in it. `docs/privacy.md` has the table that this measures.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether::classify::{OnnxClassifier, classify_all};
use bellwether::config::{Config, Device, ModelConfig};
use bellwether::metrics::Metrics;
use bellwether::news::Classification;
use bellwether::privacy::{KINDS, mask_text};
use common::{root, shared_data};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    text: String,
    masked: String,
    kinds: BTreeMap<String, u32>,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(root().join("tests/privacy/cases.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn masked(text: &str) -> (String, BTreeMap<String, u32>) {
    let (mut text, mut counts) = (text.to_owned(), BTreeMap::new());
    mask_text(&mut text, &mut counts);
    (text, counts)
}

/// A piece is right where all of its text came out as it should.
#[derive(Default)]
struct Score {
    there: u32,
    right: u32,
    wrong: u32,
}

#[test]
fn personal_data_is_found_and_figures_are_left_alone() {
    let cases = cases();
    assert!(cases.len() >= 400 && cases.iter().filter(|case| case.kinds.is_empty()).count() >= 100);
    let mut scores: BTreeMap<&str, Score> = KINDS.into_iter().map(|kind| (kind, Score::default())).collect();
    let mut missed = Vec::new();
    for case in &cases {
        let (text, found) = masked(&case.text);
        for kind in KINDS {
            let (there, found) = (case.kinds.get(kind).copied().unwrap_or(0), found.get(kind).copied().unwrap_or(0));
            let right = if text == case.masked { there } else { 0 };
            let score = scores.get_mut(kind).unwrap();
            score.there += there;
            score.right += right;
            score.wrong += found - right;
        }
        if text != case.masked {
            missed.push(format!("{}\n  is to be {}\n  and came as {text}", case.text, case.masked));
        }
    }
    let mut table = String::from("| kind | pieces | precision | recall |\n|---|---|---|---|\n");
    for kind in KINDS {
        let Score { there, right, wrong } = scores[kind];
        let (precision, recall) = (f64::from(right) / f64::from(right + wrong), f64::from(right) / f64::from(there));
        table += &format!("| `{kind}` | {there} | {precision:.3} | {recall:.3} |\n");
    }
    println!("{table}\n{}", missed.join("\n"));
    for (kind, Score { there, right, wrong }) in &scores {
        assert!(*there >= 25, "{kind}: {there}");
        assert!(
            f64::from(*right) >= 0.95 * f64::from(right + wrong),
            "{kind}: {wrong} of {} are none:\n{}",
            right + wrong,
            missed.join("\n")
        );
        assert!(f64::from(*right) >= 0.9 * f64::from(*there), "{kind}: {right} of {there} found:\n{}", missed.join("\n"));
    }
    let document = std::fs::read_to_string(root().join("docs/privacy.md")).unwrap();
    assert!(document.contains(&table), "docs/privacy.md has another table than:\n{table}");
}

/// What the model says of texts, masked and not: of how many there are, the shares with the same sentiment and the same topic.
fn agreement(texts: impl IntoIterator<Item = String>) -> (usize, f64, f64) {
    let directory = root().join("models/finnews-e5-small");
    let config = ModelConfig { directory, device: Device::Cpu, cache_texts: 0, ..Config::default().model };
    let model = OnnxClassifier::start(&config, Arc::new(Metrics::new())).unwrap();
    let pairs = texts.into_iter().map(|text| (masked(&text).0, text)).filter(|(masked, text)| masked != text);
    let (after, before): (Vec<String>, Vec<String>) = pairs.unzip();
    let (after, before) = (classify_all(&model, after, 128).unwrap(), classify_all(&model, before, 128).unwrap());
    let same = |same: fn(&Classification, &Classification) -> bool| {
        after.iter().zip(&before).filter(|(one, other)| same(one, other)).count() as f64 / after.len() as f64
    };
    (after.len(), same(|one, other| one.sentiment.label == other.sentiment.label), same(|one, other| one.topic.label == other.topic.label))
}

#[test]
fn the_model_says_the_same_of_most_masked_cases() {
    let (texts, sentiment, topic) = agreement(cases().into_iter().map(|case| case.text));
    println!("of {texts} cases with personal data, {sentiment:.3} have the same sentiment masked, {topic:.3} the same topic");
    assert!(texts > 300 && sentiment >= 0.9 && topic >= 0.8, "{texts}: {sentiment}, {topic}");
}

/// Tweets on markets, most of them with the name of a user.
#[test]
fn the_model_says_the_same_of_masked_news() {
    let Some(tweets) = shared_data("topic.jsonl") else { return };
    let texts = tweets.iter().map(|tweet| tweet["text"].as_str().unwrap().to_owned()).filter(|text| masked(text).0 != *text).take(600);
    let (texts, sentiment, topic) = agreement(texts);
    println!("of {texts} tweets with personal data, {sentiment:.3} have the same sentiment masked, {topic:.3} the same topic");
    assert!(texts == 600 && sentiment >= 0.9 && topic >= 0.9, "{texts}: {sentiment}, {topic}");
}
