//! `[webhooks.NAME]`: who is told of alerts, and of which.

use serde::{Deserialize, Serialize};

use super::{Span, property_value};
use crate::detect::{AlertRecord, Severity};
use crate::notify::{post, signature::Secret};

/// A revocation waits for an attempt that is under way, and for no longer than 30 s.
const MAX_TIMEOUT: Span = Span::from_ms(20_000);
const MAX_NAME: usize = 64;

/// The process that tells them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliverConfig {
    pub metrics_listen: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    #[serde(default)]
    pub url: String,
    /// As written: a value, or a file that holds it.
    pub secret: String,
    pub format: Format,
    /// The least.
    pub severity: Severity,
    /// Empty: all.
    pub rules: Vec<String>,
    /// Empty: all.
    pub subjects: Vec<String>,
    pub timeout: Span,
    pub give_up_after: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The record of `sentiment.alerts`, signed.
    Bellwether,
    /// What an Alertmanager takes.
    Alertmanager,
}

impl WebhookConfig {
    pub fn wants(&self, alert: &AlertRecord) -> bool {
        alert.severity >= self.severity
            && (self.rules.is_empty() || self.rules.contains(&alert.rule))
            && (self.subjects.is_empty() || self.subjects.iter().any(|subject| subject == alert.subject.as_str()))
    }

    /// The url itself, which may stand in a file, too. `None` where that cannot be read.
    pub fn place(&self) -> Option<String> {
        property_value(&self.url)
    }

    pub(super) fn validate(&self, name: &str, rules: impl Fn(&str) -> bool, check: &mut impl FnMut(bool, String)) {
        let key = format!("webhooks.{name}");
        let plain = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        check(
            !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(plain),
            format!("{key}: a webhook's name must be letters, digits, '-' and '_', at most {MAX_NAME}: its consumer group has it"),
        );
        // What is in files is read by the process that delivers, which may be the only one with the right to.
        if !self.url.starts_with("file:")
            && let Err(wrong) = post::parse(&self.url)
        {
            check(false, format!("{key}.url: {wrong}"));
        }
        match self.format {
            Format::Bellwether => check(
                self.secret.starts_with("file:") || Secret::parse(&self.secret).is_some(),
                format!("{key}.secret must be \"file:\" and a path, or, best from the environment, {}", crate::notify::signature::FORM),
            ),
            Format::Alertmanager => check(
                self.secret.is_empty(),
                format!("{key}.secret has no meaning with format = \"alertmanager\", which knows no signatures: remove it"),
            ),
        }
        for rule in self.rules.iter().filter(|rule| !rules(rule)) {
            check(false, format!("{key}.rules names {rule:?}, which is no rule of this configuration"));
        }
        let timeout = self.timeout;
        check(
            timeout.ms() > 0 && timeout <= MAX_TIMEOUT,
            format!("{key}.timeout = \"{timeout}\" must be longer than nothing and at most \"{MAX_TIMEOUT}\""),
        );
        check(self.give_up_after.ms() > 0, format!("{key}.give_up_after = \"{}\" must be longer than nothing", self.give_up_after));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use crate::backtest::tests::alert;
    use crate::detect::life::Transition;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn problems(text: &str) -> Vec<String> {
        Config::from_toml(text, &[], None).unwrap_err().0
    }

    #[test]
    fn a_webhook_has_what_it_leaves_out_from_the_defaults_and_its_secret_from_the_environment() {
        let environment = [("BELLWETHER_WEBHOOKS__DESK__SECRET".to_owned(), SECRET.to_owned())];
        let text = "[webhook_defaults]\ntimeout = '3s'\n[webhooks.desk]\nurl = 'https://desk.example'\nseverity = 'critical'";
        let config = Config::from_toml(text, &environment, None).unwrap();
        let desk = &config.webhooks["desk"];
        assert_eq!((desk.timeout.ms(), desk.give_up_after.ms(), desk.format), (3_000, 3_600_000, Format::Bellwether));
        assert_eq!((desk.severity, desk.secret.as_str()), (Severity::Critical, SECRET));
        let shown = config.display();
        assert!(shown.contains("secret = \"***\"") && !shown.contains("whsec_"), "{shown}");
    }

    #[test]
    fn what_is_wrong_with_webhooks_is_named_at_once_and_no_secret_with_it() {
        let found = problems(
            "[deliver]\nmetrics_listen = 'here'\n\
             [webhooks.'two words']\nurl = 'https://a.example'\nsecret = 'file:/nowhere'\n\
             [webhooks.desk]\nurl = 'desk.example?key=hunter2'\nsecret = 'hunter2'\nrules = ['bank-run']\ntimeout = '1m'\ngive_up_after = '0s'\n\
             [webhooks.pager]\nurl = 'http://pager.example'\nformat = 'alertmanager'\nsecret = 'hunter2'\n",
        );
        let expected = [
            "deliver.metrics_listen = \"here\" must be an address",
            "webhooks.desk.url: it is no address",
            "webhooks.desk.secret must be \"file:\" and a path, or, best from the environment, \"whsec_\"",
            "webhooks.desk.rules names \"bank-run\", which is no rule",
            "webhooks.desk.timeout = \"1m\" must be longer than nothing and at most \"20s\"",
            "webhooks.desk.give_up_after = \"0s\" must be longer than nothing",
            "webhooks.pager.secret has no meaning with format = \"alertmanager\"",
            "webhooks.two words: a webhook's name must be letters",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected) && !found.contains("hunter2"), "{found}");
        }
        for (text, said) in [
            ("[webhooks.desk]\nsecret = 8711", "webhooks.desk.secret must be text"),
            ("[webhooks.desk]\nurl = 'http://a'\ncolour = 'red'", "unknown field `colour`"),
            ("[webhooks.desk]\nurl = 'http://a'\nformat = 'slack'", "webhooks.desk.format = \"slack\""),
        ] {
            let found = problems(text).join("\n");
            assert!(found.contains(said) && !found.contains("8711"), "{found}");
        }
    }

    #[test]
    fn a_webhook_is_told_of_what_it_asks_for() {
        let wants = |filter: &str, alert: &AlertRecord| {
            let text = format!("[webhooks.desk]\nurl = 'http://a'\nsecret = '{SECRET}'\n{filter}");
            Config::from_toml(&text, &[], None).unwrap().webhooks["desk"].wants(alert)
        };
        let mut fired = alert("group:banks", 1000, 1000, Transition::Firing);
        (fired.severity, fired.rule) = (Severity::Warning, "surge-group".to_owned());
        for (filter, wanted) in [
            ("", true),
            ("severity = 'critical'", false),
            ("rules = ['surge-group', 'level-market']", true),
            ("rules = ['level-market']", false),
            ("subjects = ['group:banks']", true),
            ("subjects = ['market']", false),
        ] {
            assert_eq!(wants(filter, &fired), wanted, "{filter}");
        }
        fired.severity = Severity::Critical;
        assert!(wants("severity = 'critical'", &fired));
    }
}
