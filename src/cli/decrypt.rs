//! `bellwether decrypt` and `bellwether key`: texts for those who hold the keys.

use std::io::{BufRead, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::Value;

use super::Failure;
use crate::news::EventTime;
use crate::privacy::texts::{Keyring, is_key_id, new_key};

#[derive(clap::Args)]
#[command(after_help = "Records of news.scored, news.observations and sentiment.alerts, one a line. Example:\n  \
                        kcat -C -e -b kafka:9092 -t sentiment.alerts | bellwether decrypt --keys keys.txt")]
pub struct Arguments {
    /// The file that privacy.keys names
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// JSON lines; "-" is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let keys = Keyring::load(&arguments.keys).map_err(|error| Failure::usage(error.into()))?;
    let input: Box<dyn BufRead> = match arguments.file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => {
            let open = || std::fs::File::open(&arguments.file).with_context(|| format!("{} cannot be read", arguments.file.display()));
            Box::new(std::io::BufReader::new(open().map_err(Failure::usage)?))
        }
    };
    let mut output = BufWriter::new(std::io::stdout().lock());
    for (index, line) in input.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let place = || format!("{}, line {}", arguments.file.display(), index + 1);
        let mut record: Value = serde_json::from_str(&line).with_context(place).map_err(Failure::usage)?;
        if let Err(error) = keys.open_record(&mut record) {
            output.flush()?;
            return Err(Failure::usage(anyhow::Error::from(error).context(place())));
        }
        writeln!(output, "{record}")?;
    }
    output.flush()?;
    Ok(())
}

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  bellwether key >> keys.txt\n\nThe last key of the file encrypts what comes after the next start; the ones before it stay there to decrypt what they encrypted."
)]
pub struct KeyArguments {
    /// What the key is known by in the records; today's date, if it is left out
    #[arg(long)]
    id: Option<String>,
}

pub fn make_key(arguments: &KeyArguments) -> Result<(), Failure> {
    let today = || EventTime::now().to_string().chars().take("2026-01-31".len()).collect();
    let id = arguments.id.clone().unwrap_or_else(today);
    if !is_key_id(&id) {
        let refused = || -> anyhow::Result<()> { bail!("--id {id:?} must be letters, digits, '-', '_' and '.', at most 64") };
        return refused().map_err(Failure::usage);
    }
    writeln!(std::io::stdout(), "{}", new_key(&id))?;
    Ok(())
}
