//! `bellwether token`: a new token, shown once. What is kept of it is a hash.

use std::io::Write;

use super::Failure;
use crate::http::tokens::{Holder, Role, checked_name, line, new_secret};

#[derive(clap::Args)]
#[command(after_help = "bellwether token desk --role viewer >>tokens     adds the line to a file and shows the token")]
pub struct Arguments {
    /// Whose it is, for logs: letters, digits and . _ - @
    #[arg(value_parser = checked_name)]
    name: String,
    /// What its holder may do
    #[arg(long, value_enum)]
    role: Role,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { name, role } = arguments;
    let token = new_secret().map_err(|error| anyhow::anyhow!("the operating system gives no random numbers: {error}"))?;
    eprintln!("The token of {name}, a {}. It is shown only now; what is kept is its hash:\n{token}", role.as_str());
    writeln!(std::io::stdout(), "{}", line(&Holder { name: name.clone(), role: *role }, &token))?;
    Ok(())
}
