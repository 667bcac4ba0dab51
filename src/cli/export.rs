//! `bellwether export`: scored items, windows and alerts as Parquet files.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveDate;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::{ConfigArgument, Failure};
use crate::archive::{Dataset, Export, Folder, Outcome, Range};
use crate::config::Config;
use crate::kafka::reader::Reader;
use crate::kafka::topics::partition_count;
use crate::news::EventTime;

/// How long the brokers may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
#[command(after_help = "\
Reads news.scored, sentiment.windows and sentiment.alerts as they are committed, and writes DIR/scored/, DIR/windows/ and DIR/alerts/, a \
folder date=YYYY-MM-DD for each UTC day of event time. The same range again gives the same files; days that are there stay.

Example:
  bellwether export --from 2026-11-01 --to 2026-12-01 --out archive -c bellwether.toml")]
pub struct Arguments {
    /// Event time that it begins with: a date, at midnight UTC, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: EventTime,
    /// Event time that it ends before
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: EventTime,
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "archive")]
    out: PathBuf,
    #[command(flatten)]
    config: ConfigArgument,
}

fn time(text: &str) -> Result<EventTime, String> {
    let midnight = |date: NaiveDate| EventTime(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis());
    let date = || text.parse::<NaiveDate>().ok().map(midnight);
    EventTime::parse(text).or_else(date).ok_or_else(|| "it must be a date such as 2026-11-30, or such as 2026-11-30T16:00:00Z".to_owned())
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(arguments.config.config.as_deref())?;
    super::start_logging(&config.log);
    let range = Range::new(arguments.from, arguments.to)?;
    let stop = CancellationToken::new();
    super::stop_on_signals(&stop)?;
    for dataset in Dataset::ALL {
        partition_count(&config.kafka, dataset.topic(&config.kafka.topics), "Read")?;
    }
    let folder = Folder::open(&arguments.out)?;
    let reader = Reader::new(&config.kafka, "export", PATIENCE, stop.clone())?;
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} records, {per_sec}")?);
    let progress = |dataset: Dataset, passing: &crate::kafka::reader::Passing<'_>| {
        if passing.count == 1 {
            bar.reset();
            bar.set_message(format!("{}, partition {}", dataset.as_str(), passing.partition));
        }
        bar.set_length(passing.at_most);
        bar.set_position(passing.count);
    };
    let outcomes = Export { config: &config, reader: &reader, stop: &stop, range, progress: &progress }.run(&folder)?;
    bar.finish_and_clear();
    for (dataset, outcome) in outcomes {
        writeln!(std::io::stdout(), "{:<8} {}", dataset.as_str(), in_words(&outcome))?;
        for kept in outcome.kept {
            writeln!(std::io::stdout(), "         {} stays: it has more rows than the topic has now", kept.display())?;
        }
    }
    Ok(())
}

fn in_words(outcome: &Outcome) -> String {
    let Outcome { rows, files, repeats, unreadable, .. } = outcome;
    let some = |count: &u64, what: &str| if *count == 0 { String::new() } else { format!("; {count} {what}") };
    format!("{rows} rows, {files} files{}{}", some(repeats, "said again later, left out"), some(unreadable, "not readable, left out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_midnight_in_utc() {
        assert_eq!(time("2026-11-30").unwrap().to_string(), "2026-11-30T00:00:00.000Z");
        assert_eq!(time("2026-11-30T01:00:00+01:00"), time("2026-11-30"));
        assert!(time("yesterday").unwrap_err().contains("2026-11-30T16:00:00Z"));
    }
}
