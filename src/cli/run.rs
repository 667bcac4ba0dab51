//! `bellwether run`: the stream processor.

use std::sync::{Arc, Mutex};

use clap::ValueEnum;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ConfigArgument, Failure};
use crate::actions::Action;
use crate::audit::{Audit, Event, PROCESS};
use crate::classify::{Classify, OnnxClassifier};
use crate::config::Config;
use crate::enrich::Watchlist;
use crate::http::news::Pushed;
use crate::http::{self, board::Board};
use crate::kafka::topics::max_record_bytes;
use crate::kafka::{self, push::Push};
use crate::metrics::Metrics;
use crate::pipeline::{self, Roles};
use crate::reload::Reload;

#[derive(clap::Args)]
#[command(after_help = "Scale out by starting more of them: partitions are shared out by Kafka's consumer groups. Classifiers need the \
                        GPU or the cores, monitors do not, so --role lets each grow by itself.")]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// What this process does
    #[arg(long, value_enum, default_value_t = RoleArgument::Both)]
    role: RoleArgument,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArgument {
    /// Reads news.raw; writes news.scored, news.observations, news.dead
    Classifier,
    /// Reads news.observations; writes sentiment.windows, sentiment.alerts
    Monitor,
    Both,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Arc::new(Config::load(arguments.config.config.as_deref())?);
    super::start_logging(&config.log);
    let watchlist = Watchlist::of(&config)?;
    let audit = Arc::new(Audit::open(&config.audit.file).map_err(|error| Failure::usage(error.into()))?);
    let roles = match arguments.role {
        RoleArgument::Classifier => Roles::Classifier,
        RoleArgument::Monitor => Roles::Monitor,
        RoleArgument::Both => Roles::Both,
    };
    let stop = CancellationToken::new();
    super::stop_on_signals(&stop)?;
    let hangups = Hangups::begin()?;
    let detail = json!({"version": env!("CARGO_PKG_VERSION"), "role": roles.as_str(), "config_version": config.version()});
    audit.record(Event::Start, PROCESS, detail)?;
    let ended = serve(arguments, config, watchlist, roles, stop, &audit, hangups);
    let outcome = ended.as_ref().map_or_else(|failure| format!("{:#}", failure.error), |()| "drained and committed".to_owned());
    audit.tell(Event::Stop, PROCESS, json!({"outcome": outcome}));
    ended
}

fn serve(
    arguments: &Arguments,
    config: Arc<Config>,
    watchlist: Arc<Watchlist>,
    roles: Roles,
    stop: CancellationToken,
    audit: &Arc<Audit>,
    hangups: Hangups,
) -> Result<(), Failure> {
    // An answer of its own, before the server gives up waiting for one.
    let within = config.http.time_limit.duration().mul_f64(0.5);
    let (kafka, max_bytes) = (config.kafka.clone(), max_record_bytes(&config));
    let service = Service::start(config, watchlist, roles, stop)?;
    let push = Arc::new(Push::new(&kafka, max_bytes, service.metrics.clone(), within));
    let cause = |error| match error {
        kafka::Error::Publish { cause, .. } => cause,
        error => error.to_string(),
    };
    let (topic, pushes) = (kafka.topics.raw, push.clone());
    let by_operators = move |items: &[Pushed]| {
        let records = items.iter().map(|item| (item.id.as_str(), item.record.as_slice()));
        pushes.send(&topic, records).map_err(cause)
    };
    service.board.push_by(Box::new(by_operators));
    if roles.monitors() {
        let (topic, audit) = (kafka.topics.actions, audit.clone());
        let by_operators = move |action: &Action, actor: &str| {
            push.send(&topic, [(action.key().as_str(), action.value().as_slice())].into_iter()).map_err(cause)?;
            audit.tell(action.event(), actor, action.told());
            Ok(())
        };
        service.board.act_by(Box::new(by_operators));
    }
    if let Some(classify) = service.running.swap().inputs().classify {
        audit.tell(Event::ModelChanged, PROCESS, json!({"from": null, "to": classify.identity()}));
    }
    let reload = Reload {
        file: arguments.config.config.clone(),
        roles,
        metrics: service.metrics.clone(),
        board: service.board.clone(),
        audit: audit.clone(),
        swap: service.running.swap(),
        turn: Mutex::default(),
    };
    let reload = Arc::new(reload);
    let asked = reload.clone();
    let by_operators = move |actor: &str| asked.run(actor).map(|changes| (&changes).into()).map_err(|refusal| refusal.to_string());
    service.board.reload_by(Box::new(by_operators));
    hangups.reload_by(reload)?;
    service.running.wait()?;
    Ok(())
}

/// SIGHUP, which by default would end the process.
struct Hangups {
    runtime: Runtime,
    signals: Signal,
}

impl Hangups {
    /// From now on they are kept.
    fn begin() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = runtime.block_on(async { signal(SignalKind::hangup()) })?;
        Ok(Self { runtime, signals })
    }

    fn reload_by(mut self, reload: Arc<Reload>) -> std::io::Result<()> {
        let body = move || {
            while self.runtime.block_on(self.signals.recv()).is_some() {
                // What came of it is in the log.
                let _ = reload.run("SIGHUP");
            }
        };
        std::thread::Builder::new().name("reload".into()).spawn(body).map(drop)
    }
}

/// A started process: its parts, for `run` and `demo` alike.
pub struct Service {
    pub board: Arc<Board>,
    pub metrics: Arc<Metrics>,
    pub running: pipeline::Running,
    /// Where the page is, if anywhere.
    pub page: Option<String>,
}

impl Service {
    /// Start order: page and health first, so that they answer while the model loads; then the model; Kafka last.
    pub fn start(config: Arc<Config>, watchlist: Arc<Watchlist>, roles: Roles, stop: CancellationToken) -> Result<Self, Failure> {
        let metrics = Arc::new(Metrics::new());
        let board = Arc::new(Board::new(config.clone(), watchlist.clone(), metrics.clone(), roles));
        let addresses = http::serve(&config.http, board.clone(), metrics.clone(), stop.clone())?;
        let page = addresses.page_url();
        if let Some(url) = &page {
            tracing::info!(url, "page and API");
        }
        if let Some(address) = addresses.metrics {
            tracing::info!(url = %format!("http://{address}/metrics"), "metrics and health");
        }
        let classify: Option<Arc<dyn Classify>> = match roles.classifies() {
            true => {
                let classifier = OnnxClassifier::start(&config.model, metrics.clone())?;
                let identity = classifier.identity().clone();
                tracing::info!(model = identity.name, version = identity.version, device = %classifier.device(), nodes = ?classifier.nodes(), "model loaded");
                board.model(&classifier);
                Some(Arc::new(classifier))
            }
            false => None,
        };
        let running = pipeline::start(config.clone(), watchlist, metrics.clone(), board.clone(), classify, roles, stop.clone())?;
        let swap = running.swap();
        board.ask_by(Box::new(move |text| swap.inputs().read(text)));
        // Alerts are judged without them, so nothing waits for them.
        if roles.monitors() && page.is_some() {
            let shown = board.clone();
            let heard = move |heard: Result<(), kafka::Error>| {
                if let Err(error) = &heard {
                    tracing::warn!(%error, "the actions of operators cannot be read; it is tried again");
                }
                shown.trouble("actions", heard.err().map(|error| format!("the actions of operators cannot be read: {error}")));
            };
            board.actions().follow(&config.kafka, stop, heard)?;
        }
        Ok(Self { board, metrics, running, page })
    }
}
