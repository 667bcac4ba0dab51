//! `bellwether classify`: the quickest way to try a model.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::lines::{Line, Lines};
use super::{Failure, ModelArguments};
use crate::classify::{OnnxClassifier, classify_all};
use crate::metrics::Metrics;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  echo 'Harbour Bank halts withdrawals' | bellwether classify\n  bellwether classify news.jsonl > scored.jsonl"
)]
pub struct Arguments {
    /// Plain lines, or JSON lines with `title` and `body` or with `text`; "-" is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    model: ModelArguments,
    /// Write the raw outputs of both heads, too, in the order of the model's labels
    #[arg(long)]
    logits: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.model.load()?;
    super::start_logging(&config.log);
    let mut lines = Lines::open(&arguments.file)?;
    let classifier = OnnxClassifier::start(&config.model, Arc::new(Metrics::new()))?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    loop {
        let slab: Vec<Line> = lines.by_ref().take(config.model.slab_texts).collect::<Result<_, Failure>>()?;
        if slab.is_empty() {
            break;
        }
        let texts = slab.iter().map(|line| line.text.clone()).collect();
        for (line, result) in slab.into_iter().zip(classify_all(&classifier, texts, config.model.slab_texts)?) {
            let mut record = echo(line);
            record.insert("topic".into(), json!(result.topic));
            record.insert("sentiment".into(), json!(result.sentiment));
            record.insert("truncated".into(), json!(result.truncated));
            if arguments.logits {
                record.insert("logits".into(), json!(result.logits));
            }
            writeln!(output, "{}", Value::Object(record))?;
        }
    }
    output.flush()?;
    Ok(())
}

/// What is repeated in the output to tell a line by.
fn echo(line: Line) -> Map<String, Value> {
    let mut fields = line.fields.unwrap_or_else(|| Map::from_iter([("text".to_owned(), Value::from(line.text))]));
    ["id", "title", "text"].into_iter().filter_map(|name| Some((name.to_owned(), fields.remove(name)?))).collect()
}
