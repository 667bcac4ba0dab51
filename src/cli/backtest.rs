//! `bellwether backtest`: what the rules would have said of news that is already known, without Kafka, in event time.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::{ConfigArgument, Failure};
use crate::backtest::compare::Comparison;
use crate::backtest::events::{self, Event, EventScore};
use crate::backtest::report::{self, span};
use crate::backtest::scores::ScoreCache;
use crate::backtest::summary::{RunSummary, Summary};
use crate::backtest::{Feed, Outcome, Setup, run as run_core, survey};
use crate::classify::{Classify, OnnxClassifier};
use crate::config::Config;
use crate::detect::AlertRecord;
use crate::enrich::Watchlist;
use crate::metrics::Metrics;
use crate::news::{EventTime, ModelIdentity, SCHEMA_VERSION};

#[derive(clap::Args)]
#[command(after_help = "\
Writes to DIR: report.html (open it in a browser), alerts.jsonl, windows.parquet, summary.json, and scores-*.jsonl: what the \
model said of each text. A second run with other rules takes it from there, so it takes seconds. Records of news.scored bring \
their result along and need no model.

Examples:
  bellwether backtest march.jsonl -c bellwether.toml
  bellwether backtest march.jsonl -c new.toml --against bellwether.toml
  bellwether backtest march.jsonl -c bellwether.toml --events known.csv      (columns subject, start, end; name where wanted)")]
pub struct Arguments {
    /// JSONL, CSV or Parquet: news as in news.raw, or records of news.scored
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgument,
    /// Where the results go
    #[arg(long, value_name = "DIR", default_value = "backtest")]
    out: PathBuf,
    /// A second configuration over the same news: what each found alone, what both, and who was first
    #[arg(long, value_name = "CONFIG")]
    against: Option<PathBuf>,
    /// Events that are known, CSV or JSONL (subject, start, end): scores precision, recall, delay and false alarms
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let own = setup(arguments.config.config.as_deref())?;
    super::start_logging(&own.config.log);
    let against = arguments.against.as_deref().map(|file| setup(Some(file))).transpose()?;
    let events = arguments.events.as_deref().map(events::read).transpose()?;
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("{} cannot be made", arguments.out.display()))
        .map_err(Failure::usage)?;
    let (newest, records) = survey(&arguments.files, EventTime::now())?;

    let mut tester = Tester { files: &arguments.files, out: &arguments.out, newest, records };
    let outcome = tester.test(&own, "")?;
    let other = against.as_ref().map(|setup| tester.test(setup, "against-")).transpose()?;

    let known = events.as_deref();
    let summary = Summary {
        schema: SCHEMA_VERSION,
        bellwether: env!("CARGO_PKG_VERSION"),
        files: arguments.files.iter().map(|file| name_of(file)).collect(),
        first_item_at: outcome.first,
        last_item_at: outcome.last,
        days: crate::backtest::summary::days(outcome.first, outcome.last),
        run: RunSummary::of(&outcome, known),
        comparison: other.as_ref().map(|other| Comparison::of(&outcome, other)),
        against: other.as_ref().map(|other| RunSummary::of(other, known)),
    };
    let mut text = serde_json::to_string_pretty(&summary).expect("summaries hold only what JSON can say");
    text.push('\n');
    write(&arguments.out.join("summary.json"), text.as_bytes())?;
    let page = report::html(&summary, &outcome, other.as_ref(), known.unwrap_or_default());
    let place = arguments.out.join("report.html");
    write(&place, page.as_bytes())?;
    print(&summary, &outcome, &place, started, known)?;
    Ok(())
}

fn name_of(file: &Path) -> String {
    file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display())).map_err(Failure::usage)
}

fn setup(file: Option<&Path>) -> Result<Setup, Failure> {
    let config = Arc::new(Config::load(file)?);
    let watchlist = Watchlist::of(&config)?;
    Ok(Setup { name: file.map_or_else(|| "defaults".to_owned(), name_of), config, watchlist })
}

/// The news of one back-test.
struct Tester<'arguments> {
    files: &'arguments [PathBuf],
    out: &'arguments Path,
    newest: EventTime,
    records: u64,
}

impl Tester<'_> {
    /// Runs one configuration and writes its alerts and panes.
    fn test(&mut self, setup: &Setup, prefix: &str) -> Result<Outcome, Failure> {
        let bar = bar(self.records, "reading")?;
        let mut feed = Feed::read(self.files, self.newest, setup, || bar.inc(1))?;
        bar.finish_and_clear();
        let (model, cache) = match feed.has_texts() {
            true => self.score(&mut feed, setup).map(|(model, cache)| (Some(model), Some(cache)))?,
            false => (None, None),
        };
        let bar = bar_of(&feed)?;
        let outcome = run_core(&feed, setup, cache.as_ref(), model, |_| {}, || bar.inc(1));
        bar.finish_and_clear();
        write_alerts(&self.out.join(format!("{prefix}alerts.jsonl")), &outcome.alerts)?;
        let path = self.out.join(format!("{prefix}windows.parquet"));
        outcome
            .panes
            .write_parquet(&path)
            .map_err(|what| Failure::usage(anyhow::anyhow!("{} cannot be written: {what}", path.display())))?;
        Ok(outcome)
    }

    /// Results for all texts: kept ones first, the model only for the rest.
    fn score(&self, feed: &mut Feed, setup: &Setup) -> Result<(ModelIdentity, ScoreCache), Failure> {
        let mut classifier = None;
        let start = || OnnxClassifier::start(&setup.config.model, Arc::new(Metrics::new()));
        let model = match crate::classify::identity(&setup.config.model)? {
            Some(model) => model,
            None => classifier.insert(start()?).identity().clone(),
        };
        let mut cache = ScoreCache::open(self.out, &model)?;
        let missing = feed.texts_without(&cache);
        if missing > 0 {
            let classifier = match classifier {
                Some(classifier) => classifier,
                None => start()?,
            };
            let bar = bar(missing as u64, "scoring")?;
            feed.classify(&classifier, setup.config.model.slab_texts, &mut cache, || bar.inc(1))?;
            bar.finish_and_clear();
        }
        feed.count_scored(missing);
        Ok((model, cache))
    }
}

fn bar_of(feed: &Feed) -> Result<ProgressBar, Failure> {
    bar(feed.len() as u64, "judging")
}

fn bar(length: u64, what: &'static str) -> Result<ProgressBar, Failure> {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(length).with_style(style).with_message(what))
}

/// The records of the alert topic, one a line.
fn write_alerts(path: &Path, alerts: &[AlertRecord]) -> Result<(), Failure> {
    let written = || -> std::io::Result<()> {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        for alert in alerts {
            serde_json::to_writer(&mut file, alert)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    written().with_context(|| format!("{} cannot be written", path.display())).map_err(Failure::usage)
}

fn print(summary: &Summary, outcome: &Outcome, report: &Path, started: Instant, events: Option<&[Event]>) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    let day = |at: EventTime| at.to_string()[..16].replace('T', " ");
    writeln!(output, "{} to {} UTC, {:.1} days, {}", day(outcome.first), day(outcome.last), summary.days, summary.files.join(", "))?;
    for run in std::iter::once(&summary.run).chain(&summary.against) {
        print_run(run, &mut output)?;
        if let Some(score) = &run.events {
            print_events(score, &mut output)?;
        }
    }
    if let Some(comparison) = &summary.comparison {
        let (one, two) = (&summary.run.name, summary.against.as_ref().map_or("", |against| against.name.as_str()));
        writeln!(
            output,
            "\nFound by both {}, by {one} alone {}, by {two} alone {}",
            comparison.both, comparison.alone, comparison.against_alone
        )?;
    }
    if let (Some(events), Some(score)) = (events, &summary.run.events) {
        let missed = events.len() - score.events_found;
        if missed > 0 {
            writeln!(output, "\n{missed} of {} events were missed; the report names them", events.len())?;
        }
    }
    writeln!(output, "\n{:.1} s; see {}", started.elapsed().as_secs_f64(), report.display())
}

fn print_run(run: &RunSummary, output: &mut impl Write) -> std::io::Result<()> {
    let items = &run.items;
    writeln!(output, "\n{} ({})", run.name, run.config_version)?;
    write!(output, "  {} records: {} items counted, {} duplicates, {} late", items.read, items.counted, items.duplicate, items.late)?;
    let rejected: u64 = items.rejected.values().sum();
    let reasons: Vec<String> = items.rejected.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    writeln!(output, ", {rejected} rejected{}", if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) })?;
    for first in run.rejected_first.iter().take(3) {
        writeln!(output, "    {} line {}: {} ({})", first.file, first.row, first.reason, first.detail)?;
    }
    if items.out_of_order > 0 {
        writeln!(output, "  {} stood behind a later item and were put in order", items.out_of_order)?;
    }
    writeln!(
        output,
        "  {} texts scored now, {} items scored by an earlier back-test, {} in the files",
        items.scored_by_model, items.scored_before, items.scored_in_the_files
    )?;
    let alerts = &run.alerts;
    writeln!(
        output,
        "  {} alerts on {} subjects, {} critical, {} open at the end; {:.2} a day, {:.3} a subject and month",
        alerts.fired, alerts.subjects_alerted, alerts.critical, alerts.open_at_end, alerts.alerts_per_day, alerts.alerts_per_subject_month
    )?;
    let width = run.rules.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(4);
    writeln!(output, "    {:width$}  fired  escalated  critical  resolved  per subject and month", "rule")?;
    for (name, rule) in &run.rules {
        writeln!(
            output,
            "    {name:width$}  {:>5}  {:>9}  {:>8}  {:>8}  {:>21.3}",
            rule.fired, rule.escalated, rule.critical, rule.resolved, rule.alerts_per_subject_month
        )?;
    }
    Ok(())
}

fn print_events(score: &EventScore, output: &mut impl Write) -> std::io::Result<()> {
    let percent = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{:.0}%", value * 100.0));
    let delay = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), span);
    writeln!(
        output,
        "  Events: {} of {} found (recall {}), {} of {} alerts true (precision {}), delay {} median, {} p90, {:.3} false alarms a subject and month",
        score.events_found,
        score.events,
        percent(Some(score.recall)),
        score.true_alerts,
        score.alerts,
        percent(score.precision),
        delay(score.delay_seconds_median),
        delay(score.delay_seconds_p90),
        score.false_alarms_per_subject_month
    )
}
