//! The command line: one file per subcommand. Errors are printed here, whole chain, and become exit codes.

mod alert;
mod audit;
mod backtest;
mod bench_device;
mod check_config;
mod classify;
mod decrypt;
mod deliver;
mod demo;
pub mod detect;
mod evaluate;
mod explain;
mod export;
mod ingest;
mod lines;
mod replay;
mod run;
mod token;
mod topics;
mod trace;

use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Device, LogConfig, LogFormat};

/// Watches a stream of financial news and raises an alert when the mood around a topic, a company or the market turns
/// sharply negative, and says why.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
Start here:
  bellwether demo                                   a bank run on an embedded Kafka, and a live page
  bellwether check-config -c bellwether.toml        every problem of a configuration at once
  bellwether topics create -c bellwether.toml       make the Kafka topics
  bellwether run -c bellwether.toml                 run against your Kafka

Exit codes: 0 done, 64 bad configuration or usage, 69 broker or model unavailable, 70 internal error.";

#[derive(Subcommand)]
enum Command {
    /// Run the stream processor until SIGTERM or Ctrl-C, then drain
    Run(run::Arguments),
    /// Bring alerts to webhooks and Alertmanagers until SIGTERM or Ctrl-C
    Deliver(deliver::Arguments),
    /// Try the webhooks
    #[command(subcommand)]
    Alert(alert::Command),
    /// Show what it does: a scenario of a bank run on an embedded Kafka, with a live page
    Demo(demo::Arguments),
    /// Ask RSS and Atom feeds for news and send it to the raw topic, until SIGTERM or Ctrl-C
    Ingest(ingest::Arguments),
    /// Send news files to the raw topic, keeping their event times
    Replay(replay::Arguments),
    /// Show what the rules would have said of past news: files through the live code, without Kafka
    Backtest(backtest::Arguments),
    /// Classify texts from a file or standard input; writes JSON lines
    Classify(classify::Arguments),
    /// Show which words made the model say so
    Explain(explain::Arguments),
    /// Measure a model on labelled news, or write what its results look like on yours
    Evaluate(evaluate::Arguments),
    /// Compare devices, sessions and batch budgets: texts a second, against the bare model and the machine's peak
    BenchDevice(bench_device::Arguments),
    /// Score a time series of your own, row by row: how unusual, and whether an alert would be open
    Detect(detect::Arguments),
    /// Show how an alert came about: items, windows, baseline and rule, from the Kafka topics alone
    Trace(trace::Arguments),
    /// Write scored items, windows and alerts to Parquet files, by day
    Export(export::Arguments),
    /// Read records with encrypted texts: JSON lines in, JSON lines out
    Decrypt(decrypt::Arguments),
    /// Make a key for encrypted texts, as a line of the key file
    Key(decrypt::KeyArguments),
    /// Check an audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Make the Kafka topics
    #[command(subcommand)]
    Topics(topics::Command),
    /// Make a token for the page and the API: the line for the file of http.tokens to standard output, the token to standard error
    Token(token::Arguments),
    /// Print every problem of a configuration, or the effective configuration with secrets hidden
    CheckConfig(check_config::Arguments),
}

/// The -c option that most subcommands take.
#[derive(clap::Args)]
struct ConfigArgument {
    /// Configuration file; what it leaves out keeps its default (see config/bellwether.toml)
    #[arg(short, long = "config", value_name = "FILE", env = "BELLWETHER_CONFIG")]
    config: Option<PathBuf>,
}

/// The options of the subcommands that only need a model.
#[derive(clap::Args)]
struct ModelArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Model directory, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// cpu, cuda:N, tensorrt:N or auto, instead of the configuration's
    #[arg(long)]
    device: Option<Device>,
}

impl ModelArguments {
    /// The configuration with these options laid over it.
    fn load(&self) -> Result<Config, crate::config::Problems> {
        let mut config = Config::load(self.config.config.as_deref())?;
        if let Some(model) = &self.model {
            config.model.directory.clone_from(model);
            (config.model.topic_directory, config.model.sentiment_directory) = Default::default();
        }
        config.model.device = self.device.unwrap_or(config.model.device);
        Ok(config)
    }
}

/// An error and the exit code that it leads to.
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

const SUCCESS: u8 = 0;
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const INTERNAL: u8 = 70;

impl Failure {
    /// What the user gave cannot be used.
    fn usage(error: anyhow::Error) -> Self {
        Self { code: USAGE, error }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: anyhow::Error = error.into();
        let is = |code: u8, yes: bool| yes.then_some(code);
        let pipeline = error.downcast_ref::<crate::pipeline::Error>();
        let backtest = error.downcast_ref::<crate::backtest::Error>();
        let notify = error.downcast_ref::<crate::notify::Error>();
        let archive = error.downcast_ref::<crate::archive::Error>();
        let unavailable = matches!(pipeline, Some(crate::pipeline::Error::Kafka(_) | crate::pipeline::Error::Classify(_)))
            || error.is::<crate::kafka::Error>()
            || error.is::<crate::classify::Error>()
            || error.is::<crate::http::Error>()
            || matches!(backtest, Some(crate::backtest::Error::Classify(_)))
            || matches!(archive, Some(crate::archive::Error::Kafka(_)))
            || matches!(notify, Some(crate::notify::Error::Kafka(_)));
        let usage = matches!(pipeline, Some(crate::pipeline::Error::PaneLength { .. } | crate::pipeline::Error::Texts(_)))
            || error.is::<crate::privacy::texts::Error>()
            || error.is::<crate::config::Problems>()
            || error.is::<crate::replay::Error>()
            || backtest.is_some()
            || notify.is_some_and(|error| !matches!(error, crate::notify::Error::Panicked(_)))
            || archive.is_some_and(|error| !matches!(error, crate::archive::Error::Stopped));
        let code = is(UNAVAILABLE, unavailable).or(is(USAGE, usage)).unwrap_or(INTERNAL);
        Self { code, error }
    }
}

/// Parses the arguments, runs the subcommand, prints what went wrong, ends the process.
pub fn main() -> ! {
    end(outcome())
}

/// Without what C libraries do at an exit: another thread may still be at work in ONNX Runtime, which crashes then.
fn end(code: u8) -> ! {
    let _ = std::io::stdout().flush();
    // SAFETY: it takes a number and does not return.
    unsafe { libc::_exit(code.into()) }
}

fn outcome() -> u8 {
    set_libraries_up();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Deliver(arguments) => deliver::run(&arguments),
        Command::Alert(command) => alert::run(&command),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Ingest(arguments) => ingest::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Backtest(arguments) => backtest::run(&arguments),
        Command::Classify(arguments) => classify::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::BenchDevice(arguments) => bench_device::run(&arguments),
        Command::Detect(arguments) => detect::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Decrypt(arguments) => decrypt::run(&arguments),
        Command::Key(arguments) => decrypt::make_key(&arguments),
        Command::Audit(command) => audit::run(&command),
        Command::Topics(command) => topics::run(&command),
        Command::Token(arguments) => token::run(&arguments),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
    };
    match result {
        Ok(()) => SUCCESS,
        Err(Failure { error, .. }) if is_broken_pipe(&error) => SUCCESS,
        Err(Failure { code, error }) => {
            eprintln!("bellwether: {error:#}");
            code
        }
    }
}

/// `bellwether classify … | head` ends quietly.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe))
}

/// What libraries read from the environment when they begin.
fn set_libraries_up() {
    // SAFETY: the first thing `main` does; there is no other thread yet.
    let set = |name: &str, value: &str| unsafe { std::env::set_var(name, value) };
    // At the size of a window a second polars thread costs two to four times the CPU of one; the user's own setting wins.
    const POLARS_THREADS: &str = "POLARS_MAX_THREADS";
    if std::env::var_os(POLARS_THREADS).is_none() {
        set(POLARS_THREADS, "1");
    }
    // Otherwise ONNX Runtime looks for a server of its maker and keeps a database in the home directory: switching telemetry off by its
    // interface comes too late for that.
    set("ORT_DISABLE_TELEMETRY", "1");
}

fn start_logging(config: &LogConfig) {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::{Layer, SubscriberExt};
    use tracing_subscriber::util::SubscriberInitExt;

    let level: tracing::Level = config.level.parse().unwrap_or(tracing::Level::INFO);
    // Libraries speak only of what somebody must act on.
    let targets = Targets::new()
        .with_default(tracing::Level::WARN.min(level))
        .with_target("bellwether", level)
        // Where somebody asks for it: what `'debug' = 'cgrp'` in kafka.properties makes the client say comes at this level.
        .with_target("librdkafka", if level >= tracing::Level::DEBUG { level } else { tracing::Level::WARN.min(level) })
        .with_target("ort", tracing::Level::ERROR);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = match config.format {
        LogFormat::Text => layer.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
}

/// Cancels on SIGTERM or Ctrl-C; a second signal ends the process at once.
fn stop_on_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    let stop = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wait = move || {
        runtime.block_on(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
                tracing::error!("signals cannot be watched; only SIGKILL will end this process");
                return;
            };
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("stopping: draining what was read; a second signal ends at once");
            stop.cancel();
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            end(INTERNAL);
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}
