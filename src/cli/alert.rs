//! `bellwether alert test`: a test alert to the receivers of the configuration.

use std::io::Write;
use std::time::Instant;

use serde_json::json;

use super::{ConfigArgument, Failure};
use crate::config::Config;
use crate::detect::AlertRecord;
use crate::news::EventTime;
use crate::notify::{self, post::Outcome};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Send a test alert to each webhook, once, and show what came back; nothing is written to Kafka
    Test(Arguments),
}

#[derive(clap::Args)]
#[command(
    after_help = "The alert says that it is a test: its rule is \"test\". An Alertmanager forgets it after five minutes. Filters of a webhook do \
                        not hold for it. Exit code 0 if all have taken it, 69 if not."
)]
pub struct Arguments {
    /// Only this one of [webhooks]
    #[arg(long, value_name = "NAME")]
    webhook: Option<String>,
    #[command(flatten)]
    config: ConfigArgument,
}

pub fn run(command: &Command) -> Result<(), Failure> {
    let Command::Test(arguments) = command;
    let config = Config::load(arguments.config.config.as_deref())?;
    super::start_logging(&config.log);
    let alert = test_alert(EventTime::now());
    let payload = serde_json::to_vec(&alert)?;
    let mut failed = Vec::new();
    for (line, _) in notify::lines(&config, arguments.webhook.as_deref())? {
        let began = Instant::now();
        let (taken, said) = match line.tell(&alert, &payload) {
            Outcome::Taken(said) => (true, format!("taken: {said}")),
            Outcome::Refused(said) => (false, format!("refused, and would not be tried again: {said}")),
            Outcome::Failed { said, .. } => (false, format!("not taken: {said}")),
        };
        writeln!(std::io::stdout(), "{}: {}: {said} ({} ms)", line.name, line.host(), began.elapsed().as_millis())?;
        if !taken {
            failed.push(line.name);
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure { code: super::UNAVAILABLE, error: anyhow::anyhow!("the test alert was not taken by {}", failed.join(", ")) }),
    }
}

fn test_alert(at: EventTime) -> AlertRecord {
    let alert = json!({
        "schema": 1,
        "id": format!("test/market/{at}"),
        "rule": "test",
        "condition": "share",
        "subject": "market",
        "subject_name": "Test",
        "transition": "firing",
        "severity": "warning",
        "sequence": 0,
        "started_at": at,
        "at": at,
        "window": {
            "start": at.plus(-600_000), "end": at, "count": 0, "negative": 0, "neutral": 0, "positive": 0, "negative_share": null,
            "mean_score": null, "sources": 0, "novel_negative": 0, "novel_sources": 0
        },
        "baseline": null,
        "p_value": null,
        "false_alarms_per_month": null,
        "interval": null,
        "rest_of_market": null,
        "threshold": {"name": "warning", "value": 1.0},
        "single_source": false,
        "why": "A test of this webhook by `bellwether alert test`. Nothing has happened.",
        "evidence": [],
        "members": [],
        "models": [],
        "config_version": "000000000000"
    });
    serde_json::from_value(alert).expect("it has all fields of an alert")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_alert_is_of_the_form_that_receivers_know() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("../../schemas/sentiment.alerts.json")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let alert = json!(test_alert(EventTime(1_789_948_800_000)));
        let errors: Vec<String> = validator.iter_errors(&alert).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}
