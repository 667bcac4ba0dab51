//! `bellwether check-config`: every problem at once, or what is in force.

use super::{ConfigArgument, Failure};
use crate::config::Config;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(arguments.config.config.as_deref())?;
    let watchlist = super::load_watchlist(&config.watchlist.file)?;
    super::check_subjects(&config, &watchlist)?;
    println!("# The configuration is valid. In force (version {}):\n", config.version());
    print!("{}", config.display());
    Ok(())
}
