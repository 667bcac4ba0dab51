//! `bellwether classify`: the quickest way to try a model.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::{ConfigArgument, Failure};
use crate::classify::{OnnxClassifier, classify_all};
use crate::config::{Config, Device};
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
    config: ConfigArgument,
    /// Model directory, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// cpu, cuda:N, tensorrt:N or auto, instead of the configuration's
    #[arg(long)]
    device: Option<Device>,
    /// Write the raw outputs of both heads, too, in the order of the model's labels
    #[arg(long)]
    logits: bool,
}

/// One line of input: the text to be read, and what is repeated in the output to tell it by.
struct Line {
    text: String,
    echo: Map<String, Value>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = Config::load(arguments.config.config.as_deref())?;
    super::start_logging(&config.log);
    if let Some(model) = &arguments.model {
        config.model.directory.clone_from(model);
        (config.model.topic_directory, config.model.sentiment_directory) = Default::default();
    }
    config.model.device = arguments.device.unwrap_or(config.model.device);
    let input: Box<dyn BufRead> = match arguments.file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(
            File::open(&arguments.file)
                .with_context(|| format!("{} cannot be read", arguments.file.display()))
                .map_err(|error| Failure { code: super::USAGE, error })?,
        )),
    };
    let classifier = OnnxClassifier::start(&config.model, Arc::new(Metrics::new()))?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut lines = input.split(b'\n').enumerate().filter(|(_, line)| !line.as_ref().is_ok_and(|line| line.trim_ascii().is_empty()));
    loop {
        let slab: Vec<Line> = lines
            .by_ref()
            .take(config.model.slab_texts)
            .map(|(number, line)| read_line(&line?).with_context(|| format!("{}, line {}", arguments.file.display(), number + 1)))
            .collect::<anyhow::Result<_>>()
            .map_err(|error| Failure { code: super::USAGE, error })?;
        if slab.is_empty() {
            break;
        }
        let texts = slab.iter().map(|line| line.text.clone()).collect();
        for (line, result) in slab.into_iter().zip(classify_all(&classifier, texts, config.model.slab_texts)?) {
            let mut record = line.echo;
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

fn read_line(line: &[u8]) -> anyhow::Result<Line> {
    let line = std::str::from_utf8(line).context("not UTF-8")?.trim();
    let mut echo = Map::new();
    if !line.starts_with('{') {
        echo.insert("text".into(), Value::from(line));
        return Ok(Line { text: line.to_owned(), echo });
    }
    let fields: Map<String, Value> = serde_json::from_str(line).context("not a JSON object")?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let text = match (text("text"), text("title"), text("body")) {
        (Some(text), ..) => text.to_owned(),
        (None, Some(title), Some(body)) => crate::news::passage(title, body),
        (None, Some(one), None) | (None, None, Some(one)) => one.to_owned(),
        (None, None, None) => anyhow::bail!("neither text, title nor body has text"),
    };
    for name in ["id", "title", "text"] {
        if let Some(value) = fields.get(name) {
            echo.insert(name.into(), value.clone());
        }
    }
    Ok(Line { text, echo })
}
