//! `bellwether check-config`: every problem at once, or what is in force.

use std::io::Write;

use super::{ConfigArgument, Failure};
use crate::config::Config;
use crate::enrich::Watchlist;
use crate::privacy::texts::Texts;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(arguments.config.config.as_deref())?;
    Watchlist::of(&config)?;
    Texts::open(&config.privacy)?;
    writeln!(std::io::stdout(), "# The configuration is valid. In force (version {}):\n", config.version())?;
    write!(std::io::stdout(), "{}", config.display())?;
    Ok(())
}
