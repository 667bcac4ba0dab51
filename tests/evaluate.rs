//! `bellwether evaluate` on a small labelled file: what it prints, what it writes, what it refuses.
//!
//! The numbers are worked out again here, from what `bellwether classify` says of the same texts.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::root;
use serde_json::{Value, json};

const SENTIMENTS: [&str; 3] = ["negative", "neutral", "positive"];

fn bellwether(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.args(arguments).args(["--model", "models/finnews-e5-small", "--device", "cpu"]).current_dir(root());
    command.output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Labels of our own, right and wrong ones: what counts is that both ways of counting agree.
fn rows() -> Vec<Value> {
    let wire = |text: &str, sentiment: &str, topic: &str| json!({"text": text, "sentiment": sentiment, "topic": topic, "source": "wire"});
    let desk = |text: &str, sentiment: &str| json!({"text": text, "sentiment": sentiment, "source": "desk", "kind": "plain"});
    let mut rows = vec![
        wire("Shares plunge 30% after bank warns of heavy losses and halts dividend", "negative", "Stock Movement"),
        wire("Chipmaker beats estimates and raises full-year guidance, shares surge", "positive", "Earnings"),
        wire("Company to hold annual meeting on May 4", "neutral", "Company | Product News"),
        wire("Regulators shut down lender after depositors withdraw billions", "Bearish", "Legal | Regulation"),
        wire("Crude settles lower as stockpiles build", "negative", "Energy | Oil"),
        wire("Gold climbs to a record as the dollar weakens", "positive", "Gold | Metals | Materials"),
        wire("Central bank leaves interest rates unchanged", "neutral", "Fed | Central Banks"),
        wire("Drugmaker's trial did not meet its main goal", "negative", "Company | Product News"),
        wire("Airline no longer expects a loss this year", "bullish", "Earnings"),
        wire("Chief financial officer steps down after ten years, deputy takes over", "neutral", "Personnel Change"),
        desk("Profit falls by half and the outlook is cut", "negative"),
        desk("Profit doubles and the dividend is raised", "positive"),
        desk("The results will be published on Tuesday", "neutral"),
        desk("Losses widen less than analysts had feared", "positive"),
        desk("Retailer files for bankruptcy and closes all of its stores", "negative"),
        desk("Plant reopens after the fire; nobody was hurt", "positive"),
        desk("Lender denies that it needs fresh capital", "neutral"),
        desk("Orders collapse, thousands of jobs to go", "negative"),
        // Mislabelled on purpose, so that there is a false alarm to count.
        desk("Shares crash after accounting fraud comes to light", "positive"),
        json!({"title": "Takeover talks end without a deal", "body": "Both sides blamed the price.", "topic": "M&A | Investments"}),
        json!({"title": "Treasury yields fall", "topic": null, "sentiment": null}),
        json!({"body": "Nothing is known about this one.", "published_at": 5}),
    ];
    for (index, row) in rows.iter_mut().enumerate() {
        row["id"] = json!(format!("row-{index}"));
    }
    rows
}

fn written(folder: &Path, name: &str, rows: &[Value]) -> String {
    let path = folder.join(name);
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn read(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn assert_near(actual: &Value, expected: f64, what: &str) {
    assert!(actual.as_f64().is_some_and(|actual| (actual - expected).abs() < 1e-9), "{what}: {actual} is not {expected}");
}

/// One row as both programs see it: label, predicted label, probability of that, P(negative).
struct Answer {
    truth: String,
    predicted: String,
    probability: f64,
    negative: f64,
}

fn sentiment_answers(rows: &[Value], results: &[Value]) -> Vec<Answer> {
    let truth = |label: &str| match label.to_lowercase().as_str() {
        "bearish" => "negative".to_owned(),
        "bullish" => "positive".to_owned(),
        other => other.to_owned(),
    };
    let both = rows.iter().zip(results).filter_map(|(row, result)| Some((truth(row["sentiment"].as_str()?), &result["sentiment"])));
    both.map(|(truth, said)| {
        let predicted = said["label"].as_str().unwrap().to_owned();
        let probability = |label: &str| said["probabilities"][label].as_f64().unwrap();
        Answer { truth, probability: probability(&predicted), negative: probability("negative"), predicted }
    })
    .collect()
}

#[test]
fn tables_and_json_say_what_follows_from_classify() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows();
    let data = written(folder.path(), "labelled.jsonl", &rows);
    let [report, reference] = ["report.json", "reference.json"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let tables = printed(&bellwether(&["evaluate", "--data", &data, "--json", &report, "--reference", &reference]));
    let results: Vec<Value> = printed(&bellwether(&["classify", &data])).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, reference) = (read(&report), read(&reference));

    assert_eq!((&report["rows"], &report["unlabelled_rows"]), (&json!(22), &json!(2)));
    assert_eq!((&report["model"]["name"], &report["device"]), (&json!("finnews-e5-small"), &json!("cpu")));

    let answers = sentiment_answers(&rows, &results);
    let right = answers.iter().filter(|answer| answer.truth == answer.predicted).count();
    let sentiment = &report["sentiment"];
    let accuracy = right as f64 / answers.len() as f64;
    assert_eq!((answers.len(), &sentiment["rows"]), (19, &json!(19)));
    assert_near(&sentiment["accuracy"], accuracy, "accuracy");
    let [low, high] = [0, 1].map(|end| sentiment["accuracy_interval_95"][end].as_f64().unwrap());
    assert!(low < accuracy && accuracy < high, "{low} {accuracy} {high}");

    let counted = |truth: &str, predicted: &str| {
        answers
            .iter()
            .filter(|answer| (truth.is_empty() || answer.truth == truth) && (predicted.is_empty() || answer.predicted == predicted))
            .count()
    };
    let mut macro_f1 = 0.0;
    for (row, truth) in SENTIMENTS.iter().enumerate() {
        for (column, predicted) in SENTIMENTS.iter().enumerate() {
            assert_eq!(sentiment["confusion"]["counts"][row][column], json!(counted(truth, predicted)), "{truth} as {predicted}");
        }
        let class = &sentiment["classes"][row];
        let (hits, support, predicted) = (counted(truth, truth) as f64, counted(truth, "") as f64, counted("", truth) as f64);
        assert_eq!((&class["label"], &class["support"]), (&json!(truth), &json!(counted(truth, ""))));
        assert_near(&class["precision"], hits / predicted, truth);
        assert_near(&class["recall"], hits / support, truth);
        assert_near(&class["f1"], 2.0 * hits / (predicted + support), truth);
        macro_f1 += 2.0 * hits / (predicted + support) / 3.0;
    }
    assert_near(&sentiment["macro_f1"], macro_f1, "macro-F1");

    let mut error = 0.0;
    for bin in 0..15 {
        let edges = f64::from(bin) / 15.0..=f64::from(bin + 1) / 15.0;
        let inside = |answer: &&Answer| answer.probability > *edges.start() && answer.probability <= *edges.end();
        let gap: f64 = answers.iter().filter(inside).map(|answer| f64::from(answer.truth == answer.predicted) - answer.probability).sum();
        error += gap.abs() / answers.len() as f64;
    }
    assert_near(&sentiment["expected_calibration_error"], error, "calibration error");

    assert_near(&sentiment["negative"]["recall"], counted("negative", "negative") as f64 / counted("negative", "") as f64, "recall");
    for (index, least) in [0.8, 0.75].into_iter().enumerate() {
        let point = &sentiment["negative"]["recall_at_precision"][index];
        let recalls = answers.iter().filter_map(|at| {
            let taken: Vec<&Answer> = answers.iter().filter(|answer| answer.negative >= at.negative).collect();
            let hits = taken.iter().filter(|answer| answer.truth == "negative").count();
            (hits as f64 / taken.len() as f64 >= least).then(|| hits as f64 / counted("negative", "") as f64)
        });
        assert_near(&point["least_precision"], least, "least precision");
        assert_near(&point["recall"], recalls.fold(0.0, f64::max), "recall at precision");
        let threshold = point["threshold"].as_f64().unwrap();
        let found = answers.iter().filter(|answer| answer.truth == "negative" && answer.negative >= threshold).count();
        assert_near(&point["recall"], found as f64 / counted("negative", "") as f64, "recall at the threshold");
    }

    let topics: Vec<bool> = rows
        .iter()
        .zip(&results)
        .filter_map(|(row, result)| Some(row["topic"].as_str()? == result["topic"]["label"].as_str().unwrap()))
        .collect();
    assert_eq!((topics.len(), &report["topic"]["rows"]), (11, &json!(11)));
    assert_near(&report["topic"]["accuracy"], topics.iter().filter(|right| **right).count() as f64 / 11.0, "topic accuracy");

    let slices = report["slices"].as_array().unwrap();
    let wire = slices.iter().find(|slice| slice["by"] == "source" && slice["value"] == "wire").unwrap();
    let wire_right = answers[..10].iter().filter(|answer| answer.truth == answer.predicted).count();
    assert_near(&wire["sentiment"]["accuracy"], wire_right as f64 / 10.0, "slice");
    assert_eq!((&wire["rows"], &wire["topic"]["rows"]), (&json!(10), &json!(10)));
    let negated = slices.iter().find(|slice| slice["by"] == "negation" && slice["value"] == "with").unwrap();
    // "did not", "no longer", "nobody" and, with a topic alone, "without"; the line of nothing has no label.
    assert_eq!((&negated["rows"], &negated["sentiment"]["rows"]), (&json!(4), &json!(3)));
    assert_eq!(report["throughput"]["texts"], 22);
    assert!(report["throughput"]["texts_per_second"].as_f64().unwrap() > 0.0);

    assert_eq!(reference["rows"], 22);
    for label in SENTIMENTS {
        let share = results.iter().filter(|result| result["sentiment"]["label"] == label).count() as f64 / 22.0;
        assert_near(&reference["sentiment"][label], share, label);
    }
    assert_eq!(reference["topic"].as_object().unwrap().len(), 20);
    let sure = results.iter().filter(|result| {
        let probabilities = result["sentiment"]["probabilities"].as_object().unwrap();
        probabilities.values().any(|probability| probability.as_f64().unwrap() >= 0.9)
    });
    assert_near(&reference["confidence"]["shares"][6], sure.count() as f64 / 22.0, "confidence");
    assert_eq!(reference["unknown_tokens"]["edges"], json!([0.0001, 0.02, 0.05, 0.1, 0.2]));

    for part in [
        "22 rows of ".to_owned(),
        "2 of them without a label".to_owned(),
        format!("Sentiment: 19 rows\n  accuracy {accuracy:.3} (95% interval {low:.3} to {high:.3})"),
        "Topic: 11 rows".to_owned(),
        "rows are the truth, columns the prediction".to_owned(),
        "negative, precision at least 0.75: recall ".to_owned(),
        "Slices, worst first".to_owned(),
        "Throughput: 22 texts in ".to_owned(),
        "Reference of 22 rows written to ".to_owned(),
    ] {
        assert!(tables.contains(&part), "{part:?} is not in\n{tables}");
    }
}

#[test]
fn unlabelled_rows_give_a_reference_and_no_accuracy() {
    let folder = tempfile::tempdir().unwrap();
    let data = written(folder.path(), "news.jsonl", &[json!({"title": "Rates rise"}), json!({"text": "Shares fall"})]);
    let [report, reference] = ["report.json", "reference.json"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let said = printed(&bellwether(&["evaluate", "--data", &data, "--data", &data, "--json", &report, "--reference", &reference]));
    assert!(said.contains("No row has a label, so there is no accuracy to tell.") && !said.contains("accuracy 0"), "{said}");
    let report = read(&report);
    assert!(report["sentiment"].is_null() && report["topic"].is_null() && report["slices"].as_array().unwrap().is_empty());
    assert_eq!((&report["unlabelled_rows"], &read(&reference)["rows"]), (&json!(4), &json!(4)));
}

#[test]
fn a_wrong_row_is_refused_by_file_line_and_label() {
    let folder = tempfile::tempdir().unwrap();
    let good = json!({"text": "Shares fall", "sentiment": "negative"});
    let cases = [
        (
            json!({"text": "x", "topic": "Weather"}),
            "line 2: topic \"Weather\" is not a label of this model; it has Analyst Update, Fed | Central Banks, ",
        ),
        (
            json!({"text": "x", "sentiment": "gloomy"}),
            "line 2: sentiment \"gloomy\" is not a label of this model; it has negative, neutral, positive",
        ),
        (
            json!({"text": "x", "sentiment": {"label": "negative"}}),
            "line 2: sentiment = {\"label\":\"negative\"} must be a label, that is text",
        ),
        (json!({"sentiment": "negative"}), "line 2: neither text, title nor body has text"),
        (json!("plain"), "line 2: not a JSON object"),
    ];
    for (row, message) in cases {
        let data = written(folder.path(), "labelled.jsonl", &[good.clone(), row]);
        let output = bellwether(&["evaluate", "--data", &data]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(&format!("labelled.jsonl, {message}")), "{said}");
    }
    let empty = written(folder.path(), "empty.jsonl", &[]);
    let output = bellwether(&["evaluate", "--data", &empty]);
    assert!(output.status.code() == Some(64) && String::from_utf8_lossy(&output.stderr).contains("empty.jsonl has no rows"));
    let missing = bellwether(&["evaluate", "--data", "nowhere.jsonl"]);
    assert!(missing.status.code() == Some(64) && String::from_utf8_lossy(&missing.stderr).contains("nowhere.jsonl cannot be read"));
}
