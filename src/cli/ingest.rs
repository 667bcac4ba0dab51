//! `bellwether ingest`: RSS and Atom feeds to the raw topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::{ConfigArgument, Failure};
use crate::config::{Config, listen_address};
use crate::http;
use crate::metrics::Metrics;

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
    let (metrics, begun) = (Arc::new(Metrics::new()), Arc::new(AtomicBool::new(false)));
    if let Some(address) = listen_address(&config.ingest.metrics_listen) {
        let asked = begun.clone();
        let not_ready = move || match asked.load(Ordering::Relaxed) {
            true => Vec::new(),
            false => vec!["ingest: what is remembered of the feeds is being read".to_owned()],
        };
        let address = http::serve_metrics("ingest.metrics_listen", address, &config.http, metrics.clone(), not_ready, stop.clone())?;
        tracing::info!(url = %format!("http://{address}/metrics"), "metrics and health");
    }
    crate::ingest::run(config, metrics, begun, &stop)?;
    Ok(())
}
