//! `bellwether audit`: the audit log.

use std::io::Write;
use std::path::PathBuf;

use super::Failure;
use crate::audit::{Chain, verify};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Check that no line of an audit log was changed, added or taken out
    #[command(
        after_help = "Exit code 0: whole, 64: broken; the first line that breaks the chain is named. Who can write the file could write all of it \
                            anew: note the hash of the last line elsewhere now and then, and ask later whether it is still there with --hash."
    )]
    Verify {
        /// The file that audit.file names
        file: PathBuf,
        /// A hash that was noted earlier: a line of the log must have it
        #[arg(long)]
        hash: Option<String>,
    },
}

pub fn run(command: &Command) -> Result<(), Failure> {
    let Command::Verify { file, hash } = command;
    let verified = verify(file, hash.as_deref()).map_err(|error| Failure::usage(error.into()))?;
    let Chain { lines, hash: last, last_at, cut_off } = verified;
    let ended = last_at.map_or_else(|| "empty".to_owned(), |at| format!("the last of {at}"));
    writeln!(std::io::stdout(), "whole: {lines} lines, {ended}, hash {last}")?;
    if cut_off > 0 {
        writeln!(std::io::stdout(), "{cut_off} line(s) were cut off while they were written, as by a power cut")?;
    }
    Ok(())
}
