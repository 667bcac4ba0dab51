//! `bellwether ingest`: RSS and Atom feeds to the raw topic.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{ConfigArgument, Failure};
use crate::config::Config;
use crate::enrich::Watchlist;
use crate::http::{self, board::Board};
use crate::metrics::Metrics;
use crate::pipeline::Roles;

#[derive(clap::Args)]
#[command(
    after_help = "Feeds stand in the configuration:\n\n  [[ingest.feeds]]\n  url = \"https://wire.example/rss.xml\"\n  source = \"wire.example\"\n\n\
                        One process asks them all. To part them among several, give each its feeds and a kafka.instance of its own."
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Arc::new(Config::load(arguments.config.config.as_deref())?);
    super::start_logging(&config.log);
    if config.ingest.feeds.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("ingest.feeds is empty: name at least one feed (bellwether ingest --help shows how)")));
    }
    let stop = CancellationToken::new();
    super::stop_on_signals(&stop)?;
    let metrics = Arc::new(Metrics::new());
    let board = Arc::new(Board::new(config.clone(), Arc::new(Watchlist::empty()), metrics.clone(), Roles::Ingest));
    if let Some(address) = config.ingest.address() {
        let address = http::serve_health("ingest.metrics_listen", address, &config.http, board.clone(), metrics.clone(), stop.clone())?;
        tracing::info!(url = %format!("http://{address}/metrics"), "metrics and health");
    }
    crate::ingest::run(config, metrics, &board, &stop)?;
    Ok(())
}
