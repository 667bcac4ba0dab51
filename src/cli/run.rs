//! `bellwether run`: the stream processor.

use std::sync::Arc;

use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use super::{ConfigArgument, Failure};
use crate::classify::{Classify, OnnxClassifier};
use crate::config::Config;
use crate::enrich::Watchlist;
use crate::http::{self, board::Board};
use crate::metrics::Metrics;
use crate::pipeline::{self, Roles};

#[derive(clap::Args)]
#[command(after_help = "Scale out by starting more of them: partitions are shared out by Kafka's consumer groups. Classifiers need the\n\
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
    let watchlist = super::load_watchlist(&config.watchlist.file)?;
    super::check_subjects(&config, &watchlist)?;
    let roles = match arguments.role {
        RoleArgument::Classifier => Roles::Classifier,
        RoleArgument::Monitor => Roles::Monitor,
        RoleArgument::Both => Roles::Both,
    };
    let stop = CancellationToken::new();
    super::stop_on_signals(&stop)?;
    let service = Service::start(config, watchlist, roles, stop)?;
    service.running.wait()?;
    Ok(())
}

/// A started process: its parts, for `run` and `demo` alike.
pub struct Service {
    pub board: Arc<Board>,
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
                board.model(identity, classifier.device().to_string(), classifier.nodes().to_vec());
                Some(Arc::new(classifier))
            }
            false => None,
        };
        let running = pipeline::start(config, watchlist, metrics, board.clone(), classify, roles, stop)?;
        Ok(Self { board, running, page })
    }
}
