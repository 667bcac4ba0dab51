//! `bellwether evaluate`: how good a model is on labelled news, and what its results look like on yours.
//!
//! The texts go through the same classifier as the stream's, so what is measured is what runs: the quantised model, its
//! tokenizer, its temperatures, its batches.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use super::lines::{Line, Lines};
use super::{Failure, ModelArguments};
use crate::classify::drift::Tally;
use crate::classify::{Classify, Labels, OnnxClassifier, classify_each, prepare};
use crate::evaluate::{Accuracy, Case, HeadReport, NegativeReport, Prediction, Report, Shape, Slice, SliceAccuracy, Throughput};
use crate::metrics::{Metrics, process_cpu_seconds};
use crate::news::{Classification, Sentiment};

/// Slices printed; `--json` has all of them, and a feed of a hundred sources would push the rest off the screen.
const PRINTED_SLICES: usize = 30;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  bellwether evaluate --data labelled.jsonl --json report.json\n  \
                        bellwether evaluate --data last-week.jsonl --reference reference.json")]
pub struct Arguments {
    /// JSON lines with `text`, or `title` and `body`, and labels in `topic` and `sentiment`; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Write all that is measured as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write how the results are distributed, for the key "reference" of the model's metrics.json: drift is measured
    /// from it. Needs no labels
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.model.load()?;
    super::start_logging(&config.log);
    let files = arguments.data.iter().map(|file| Lines::open(file)).collect::<Result<Vec<_>, Failure>>()?;
    let classifier = OnnxClassifier::start(&config.model, Arc::new(Metrics::new()))?;
    let labels = classifier.labels();

    let (mut cases, mut texts) = (Vec::new(), Vec::new());
    for line in files.into_iter().flatten() {
        let line = line?;
        cases.push(case(&line, labels).with_context(|| line.place.clone()).map_err(Failure::usage)?);
        texts.push(line.text);
    }
    if texts.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("{} has no rows", names(&arguments.data).join(", "))));
    }

    let (mut predictions, mut tally) = (Vec::with_capacity(texts.len()), Tally::new(labels));
    let (started, cpu_before) = (Instant::now(), process_cpu_seconds());
    classify_each(&classifier, texts, config.model.slab_texts, |result| {
        tally.record(&result);
        predictions.push(prediction(&result, labels));
    })?;
    let wall_seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = process_cpu_seconds().zip(cpu_before).map(|(after, before)| after - before);

    let report = Report {
        model: classifier.identity().clone(),
        device: classifier.device().to_string(),
        files: names(&arguments.data),
        rows: cases.len(),
        unlabelled_rows: cases.iter().filter(|case| case.topic.is_none() && case.sentiment.is_none()).count(),
        accuracy: Accuracy::of(&cases, &predictions, &labels.topics),
        throughput: Throughput::new(predictions.len(), wall_seconds, cpu_seconds),
    };
    let mut output = std::io::stdout().lock();
    print(&report, &mut output)?;
    if let Some(file) = &arguments.json {
        write(file, &report)?;
        writeln!(output, "Written as JSON to {}.", file.display())?;
    }
    if let Some((file, reference)) = arguments.reference.as_ref().zip(tally.reference()) {
        write(file, &reference)?;
        writeln!(output, "Reference of {} rows written to {}.", reference.rows, file.display())?;
    }
    Ok(())
}

fn names(files: &[PathBuf]) -> Vec<String> {
    files.iter().map(|file| file.display().to_string()).collect()
}

fn write(file: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).expect("reports hold only what JSON can say");
    text.push('\n');
    std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display())).map_err(Failure::usage)
}

/// # Errors
/// A label that is not one of the model's: measured against it, everything would be wrong.
fn case(line: &Line, labels: &Labels) -> anyhow::Result<Case> {
    let fields = line.fields.as_ref().context("not a JSON object: a plain line has no place for labels")?;
    let label = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(label)) => Ok(Some(label.as_str())),
        Some(other) => Err(anyhow::anyhow!("{name} = {other} must be a label, that is text")),
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let unknown = |name: &str, label: &str, known: &[&str]| {
        anyhow::anyhow!("{name} {label:?} is not a label of this model; it has {}", known.join(", "))
    };
    let topic = label("topic")?.map(|label| {
        let known: Vec<&str> = labels.topics.iter().map(String::as_str).collect();
        known.iter().position(|known| *known == label).ok_or_else(|| unknown("topic", label, &known))
    });
    let sentiment = label("sentiment")?.map(|label| {
        let known = Sentiment::from_label(label);
        known.map(Sentiment::index).ok_or_else(|| unknown("sentiment", label, &Sentiment::ALL.map(Sentiment::as_str)))
    });
    Ok(Case {
        topic: topic.transpose()?,
        sentiment: sentiment.transpose()?,
        source: text("source"),
        kind: text("kind"),
        shape: Shape::of(&prepare(&line.text)),
    })
}

fn prediction(result: &Classification, labels: &Labels) -> Prediction {
    Prediction {
        topic: labels.topics.iter().position(|label| *label == result.topic.label).expect("a result has one of the model's labels"),
        topic_probability: result.topic.probability,
        sentiment: result.sentiment.label.index(),
        sentiment_probability: result.sentiment.probabilities.top(),
        negative_probability: result.sentiment.probabilities.negative,
    }
}

fn print(report: &Report, output: &mut impl Write) -> std::io::Result<()> {
    let Report { model, device, accuracy: Accuracy { sentiment, topic, slices }, throughput, .. } = report;
    writeln!(output, "Model {} {} on {device}", model.name, model.version)?;
    writeln!(output, "{} rows of {}, {} of them without a label", report.rows, report.files.join(", "), report.unlabelled_rows)?;
    if sentiment.is_none() && topic.is_none() {
        writeln!(output, "\nNo row has a label, so there is no accuracy to tell.")?;
    }
    if let Some(sentiment) = sentiment {
        print_head("Sentiment", &sentiment.head, output)?;
        print_negative(&sentiment.negative, output)?;
    }
    if let Some(topic) = topic {
        print_head("Topic", topic, output)?;
    }
    if !slices.is_empty() {
        print_slices(slices, output)?;
    }
    let Throughput { texts, wall_seconds, texts_per_second, texts_per_cpu_second, .. } = *throughput;
    write!(output, "\nThroughput: {texts} texts in {wall_seconds:.2} s, {texts_per_second:.0} a second")?;
    match texts_per_cpu_second {
        Some(texts) => writeln!(output, ", {texts:.0} a CPU-second"),
        None => writeln!(output),
    }
}

/// A ratio, or a dash for what cannot be said.
fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}

fn print_head(title: &str, head: &HeadReport, output: &mut impl Write) -> std::io::Result<()> {
    let [low, high] = head.accuracy_interval_95;
    writeln!(output, "\n{title}: {} rows", head.rows)?;
    writeln!(output, "  accuracy {:.3} (95% interval {low:.3} to {high:.3})", head.accuracy)?;
    writeln!(output, "  macro-F1 {:.3}, expected calibration error {:.3}\n", head.macro_f1, head.expected_calibration_error)?;

    // Classes that neither occur nor are predicted would be empty lines.
    let seen: Vec<usize> = (0..head.classes.len()).filter(|&index| head.classes[index].f1.is_some()).collect();
    let width = seen.iter().map(|&index| head.classes[index].label.chars().count()).max().unwrap_or(0).max("class".len());
    writeln!(output, "      {:width$}  precision  recall     F1  support", "class")?;
    for (number, class) in seen.iter().map(|&index| &head.classes[index]).enumerate() {
        let (precision, recall, f1) = (ratio(class.precision), ratio(class.recall), ratio(class.f1));
        writeln!(output, "  {:2}  {:width$}  {precision:>9}  {recall:>6}  {f1:>5}  {:>7}", number + 1, class.label, class.support)?;
    }

    let counts = &head.confusion.counts;
    let digits = seen.iter().flat_map(|&row| seen.iter().map(move |&column| counts[row][column])).max().unwrap_or(0).to_string().len();
    let cell = digits.max(2) + 1;
    let columns: String = (1..=seen.len()).map(|number| format!("{number:>cell$}")).collect();
    writeln!(output, "\n  rows are the truth, columns the prediction\n      {:width$} {columns}", "")?;
    for (number, &row) in seen.iter().enumerate() {
        let cells = seen.iter().map(|&column| match counts[row][column] {
            0 => format!("{:>cell$}", "·"),
            count => format!("{count:>cell$}"),
        });
        writeln!(output, "  {:2}  {:width$} {}", number + 1, head.classes[row].label, cells.collect::<String>())?;
    }
    Ok(())
}

fn print_negative(negative: &NegativeReport, output: &mut impl Write) -> std::io::Result<()> {
    writeln!(output, "\n  negative, as labelled: precision {}, recall {}", ratio(negative.precision), ratio(negative.recall))?;
    for point in &negative.recall_at_precision {
        write!(output, "  negative, precision at least {:.2}: ", point.least_precision)?;
        match (point.recall, point.threshold) {
            (Some(recall), Some(threshold)) => writeln!(output, "recall {recall:.3} with P(negative) from {threshold:.3} on")?,
            _ => writeln!(output, "no threshold on P(negative) reaches it")?,
        }
    }
    Ok(())
}

fn print_slices(slices: &[Slice], output: &mut impl Write) -> std::io::Result<()> {
    let width = slices.iter().take(PRINTED_SLICES).map(|slice| slice.value.chars().count()).max().unwrap_or(0).max("value".len());
    let accuracy = |head: Option<SliceAccuracy>| head.map_or_else(String::new, |head| format!("{:.3} of {}", head.accuracy, head.rows));
    writeln!(output, "\nSlices, worst first (those of fewer than 10 rows last)")?;
    writeln!(output, "  {:8}  {:width$}  {:>6}  {:14}  topic", "by", "value", "rows", "sentiment")?;
    for slice in slices.iter().take(PRINTED_SLICES) {
        let (sentiment, topic) = (accuracy(slice.sentiment), accuracy(slice.topic));
        let line = format!("  {:8}  {:width$}  {:>6}  {sentiment:14}  {topic}", slice.by, slice.value, slice.rows);
        writeln!(output, "{}", line.trim_end())?;
    }
    if slices.len() > PRINTED_SLICES {
        writeln!(output, "  and {} more; --json has them", slices.len() - PRINTED_SLICES)?;
    }
    Ok(())
}
