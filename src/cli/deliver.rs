//! `bellwether deliver`: alerts to webhooks and Alertmanagers.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{ConfigArgument, Failure};
use crate::config::{Config, listen_address};
use crate::http;
use crate::kafka::topics::partition_count;
use crate::metrics::Metrics;
use crate::notify::{self, Standing};

#[derive(clap::Args)]
#[command(after_help = "\
Reads sentiment.alerts, for each [webhooks.NAME] with a consumer group of its own, until SIGTERM or Ctrl-C. A webhook that is new is
told what happens from then on. What a receiver does not take within give_up_after goes to sentiment.undelivered.

Try the receivers first: bellwether alert test -c bellwether.toml")]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Arc::new(Config::load(arguments.config.config.as_deref())?);
    super::start_logging(&config.log);
    let lines = notify::lines(&config, None)?;
    let stop = CancellationToken::new();
    super::stop_on_signals(&stop)?;
    let (metrics, standing) = (Arc::new(Metrics::new()), Arc::new(Standing::of(&lines)));
    if let Some(address) = listen_address(&config.deliver.metrics_listen) {
        let asked = standing.clone();
        let not_ready = move || asked.not_ready();
        let address = http::serve_metrics("deliver.metrics_listen", address, &config.http, metrics.clone(), not_ready, stop.clone())?;
        tracing::info!(url = %format!("http://{address}/metrics"), "metrics and health");
    }
    let topics = &config.kafka.topics;
    partition_count(&config.kafka, &topics.alerts, "Read")?;
    partition_count(&config.kafka, &topics.undelivered, "Write")?;
    for (line, _) in &lines {
        tracing::info!(webhook = line.name, host = line.host(), "delivers to");
    }
    notify::deliver(&config, lines, &metrics, &standing, &stop)?;
    Ok(())
}
