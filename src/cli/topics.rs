//! `bellwether topics`: the Kafka topics.

use std::io::Write;

use super::{ConfigArgument, Failure};
use crate::config::Config;
use crate::kafka::topics;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Make the topics that are missing, with the partitions, retention and compaction of the configuration
    Create {
        #[command(flatten)]
        config: ConfigArgument,
        /// Show what would be made, and make nothing
        #[arg(long)]
        dry_run: bool,
    },
}

pub fn run(command: &Command) -> Result<(), Failure> {
    let Command::Create { config, dry_run } = command;
    let config = Config::load(config.config.as_deref())?;
    super::start_logging(&config.log);
    let create = &config.kafka.create;
    if *dry_run {
        for plan in topics::plan(&config) {
            let settings: Vec<String> = plan.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
            writeln!(
                std::io::stdout(),
                "{}: {} partitions, replication factor {}, {}",
                plan.name,
                create.partitions,
                create.replication_factor,
                settings.join(", ")
            )?;
        }
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (name, made) in runtime.block_on(topics::create(&config))? {
        writeln!(std::io::stdout(), "{name}: {}", if made { "created" } else { "is there already, left as it is" })?;
    }
    Ok(())
}
