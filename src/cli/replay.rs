//! `bellwether replay`: news files to Kafka, at the pace of their event times or as fast as it goes.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::{ConfigArgument, Failure};
use crate::config::Config;
use crate::kafka::producer::{Outgoing, Publisher};
use crate::kafka::topics::{max_record_bytes, partition_count};
use crate::metrics::Metrics;
use crate::replay::{Pacer, Speed, open};

#[derive(clap::Args)]
#[command(
    after_help = "Event times stay as they are in the files: published_at, RFC 3339 or epoch milliseconds. Columns and fields are those of \
                        schemas/news.raw.json."
)]
pub struct Arguments {
    /// JSONL, CSV or Parquet
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How fast event time runs: 1x, 60x, …, or max
    #[arg(long, default_value = "max")]
    speed: Speed,
    #[command(flatten)]
    config: ConfigArgument,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(arguments.config.config.as_deref())?;
    super::start_logging(&config.log);
    // What is wrong with a file is told before brokers are asked for.
    let files = arguments.files.iter().map(|path| Ok((path, open(path)?.count() as u64)));
    let files = files.collect::<Result<Vec<_>, crate::replay::Error>>()?;
    let topic = &config.kafka.topics.raw;
    partition_count(&config.kafka, topic, "Write")?;
    let stop = CancellationToken::new();
    super::stop_on_signals(&stop)?;
    let publisher = Publisher::new(&config.kafka, "replay", max_record_bytes(&config), Arc::new(Metrics::new()))?;
    let mut pacer = Pacer::new(arguments.speed);
    let mut sent = 0u64;
    for (path, total) in files {
        let style = "{msg} {wide_bar} {pos}/{len} items, {per_sec}, {eta} left";
        let bar = ProgressBar::new(total).with_style(ProgressStyle::with_template(style)?).with_message(path.display().to_string());
        for item in open(path)? {
            let item = item?;
            let wait = pacer.wait(item.at, Instant::now());
            if !sleep(wait, &stop) {
                break;
            }
            let key = item.id.as_deref().map(str::as_bytes);
            publisher.send(Outgoing { topic, key, payload: &item.payload, ..Outgoing::default() })?;
            sent += 1;
            bar.inc(1);
        }
        bar.finish();
    }
    publisher.flush(Duration::from_secs(60))?;
    writeln!(std::io::stdout(), "{sent} items sent to {topic}")?;
    Ok(())
}

/// False when stopped meanwhile.
fn sleep(mut left: Duration, stop: &CancellationToken) -> bool {
    while !left.is_zero() && !stop.is_cancelled() {
        let slice = left.min(Duration::from_millis(100));
        std::thread::sleep(slice);
        left -= slice;
    }
    !stop.is_cancelled()
}
