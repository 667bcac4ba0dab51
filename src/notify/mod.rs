//! Alerts to those who do not read Kafka: webhooks and Alertmanagers. `sentiment.alerts` stays the truth.
//!
//! A process of its own, in which each webhook has a thread and a consumer group: a receiver that is slow or gone holds up neither the
//! monitors nor another receiver.

pub mod alertmanager;
pub mod post;
mod receiver;
pub mod signature;
mod withheld;

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::actions::Actions;
use crate::config::{Config, Format, WebhookConfig};
use crate::detect::AlertRecord;
use crate::kafka;
use crate::kafka::pauses::{Pauses, wait};
use crate::metrics::Metrics;
use crate::news::EventTime;
use alertmanager::Book;
use post::{Outcome, Post, Said, Url};
use receiver::Receiver;
use signature::{Secret, message_id};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("webhooks: none in the configuration; add a section such as [webhooks.desk] (docs/operations.md, \"Webhooks\")")]
    None,
    #[error("webhooks.{name}: no such webhook in the configuration; there are {others}")]
    Unknown { name: String, others: String },
    #[error("webhooks.{name}.{fault}")]
    Setting { name: String, fault: String },
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    #[error("the thread of webhooks.{0} ended unexpectedly")]
    Panicked(String),
}

/// One receiver as it is spoken to.
pub struct Line {
    pub name: String,
    /// `None`: an Alertmanager's.
    secret: Option<Secret>,
    post: Post,
}

impl Line {
    /// # Errors
    /// [`Error::Setting`] where url or secret cannot be read or used.
    pub fn open(name: &str, webhook: &WebhookConfig) -> Result<Self, Error> {
        let wrong = |fault: String| Error::Setting { name: name.to_owned(), fault };
        let place = webhook.place().ok_or_else(|| wrong(format!("url = {:?}: the file cannot be read", webhook.url)))?;
        let mut url = post::parse(place.trim()).map_err(|rule| wrong(format!("url: {rule}")))?;
        if webhook.format == Format::Alertmanager {
            extend(&mut url, alertmanager::PATH);
        }
        let secret = match webhook.format {
            Format::Bellwether => Some(Secret::read(&webhook.secret).map_err(|fault| wrong(format!("secret {fault}")))?),
            Format::Alertmanager => None,
        };
        let post = Post::new(url, webhook.timeout.duration()).map_err(|cause| wrong(format!("url cannot be used: {cause}")))?;
        Ok(Self { name: name.to_owned(), secret, post })
    }

    pub fn host(&self) -> String {
        self.post.host()
    }

    /// Sends one transition; `payload` is its record.
    pub fn tell(&self, alert: &AlertRecord, payload: &[u8]) -> Outcome {
        let now = EventTime::now();
        let Some(secret) = &self.secret else { return self.post.send(&[], Book::tell(alert, now).to_string().into_bytes()) };
        let (id, timestamp) = (message_id(alert), now.0 / 1000);
        let signature = secret.sign(&id, timestamp, payload);
        let headers = [("webhook-id", id), ("webhook-timestamp", timestamp.to_string()), ("webhook-signature", signature)];
        self.post.send(&headers, payload.to_vec())
    }

    /// To an Alertmanager: what is open, once more.
    fn tell_again(&self, book: &Book) -> Outcome {
        let open = book.again(EventTime::now());
        let told = open.chunks(alertmanager::AT_ONCE).map(|some| self.post.send(&[], serde_json::json!(some).to_string().into_bytes()));
        told.into_iter().find(|outcome| !matches!(outcome, Outcome::Taken(_))).unwrap_or_else(|| Outcome::Taken(Said::default()))
    }
}

fn extend(url: &mut Url, path: &str) {
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/{path}"));
}

/// Of all webhooks, or of one.
///
/// # Errors
/// [`Error::None`], [`Error::Unknown`], or as [`Line::open`].
pub fn lines(config: &Config, one: Option<&str>) -> Result<Vec<(Line, WebhookConfig)>, Error> {
    let webhooks = &config.webhooks;
    if webhooks.is_empty() {
        return Err(Error::None);
    }
    if let Some(name) = one.filter(|name| !webhooks.contains_key(*name)) {
        let others: Vec<&str> = webhooks.keys().map(String::as_str).collect();
        return Err(Error::Unknown { name: name.to_owned(), others: others.join(", ") });
    }
    let wanted = webhooks.iter().filter(|(name, _)| one.is_none_or(|one| one == name.as_str()));
    wanted.map(|(name, webhook)| Ok((Line::open(name, webhook)?, webhook.clone()))).collect()
}

/// Which webhooks have partitions to read: for `/ready`.
pub struct Standing(Mutex<BTreeMap<String, bool>>);

impl Standing {
    /// None of them has, yet.
    pub fn of(lines: &[(Line, WebhookConfig)]) -> Self {
        Self(Mutex::new(lines.iter().map(|(line, _)| (line.name.clone(), false)).collect()))
    }

    fn set(&self, name: &str, ready: bool) {
        self.0.lock().expect("no holder of this lock panics").insert(name.to_owned(), ready);
    }

    /// Why not all of them are ready.
    pub fn not_ready(&self) -> Vec<String> {
        let states = self.0.lock().expect("no holder of this lock panics");
        states.iter().filter(|(_, ready)| !**ready).map(|(name, _)| format!("webhooks.{name}: no partitions assigned yet")).collect()
    }
}

/// Delivers until `stop`, or until one of them cannot go on. Nothing is told before `actions` are known, which are followed here.
///
/// # Errors
/// [`Error::Kafka`] where only a person can mend it; [`Error::Panicked`].
pub fn deliver(
    config: &Arc<Config>,
    lines: Vec<(Line, WebhookConfig)>,
    metrics: &Arc<Metrics>,
    standing: &Arc<Standing>,
    actions: &Arc<Actions>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let unread = Arc::new(Mutex::new(None));
    let (refused, stopping) = (unread.clone(), stop.clone());
    actions.follow(&config.kafka, stop.clone(), move |heard| match heard {
        Ok(()) => {}
        Err(error) if error.is_passing() => tracing::warn!(%error, "the actions of operators cannot be read; it is tried again"),
        Err(error) => {
            *refused.lock().expect("no holder of this lock panics") = Some(error);
            stopping.cancel();
        }
    })?;
    let (sender, ended) = channel();
    for (line, webhook) in lines {
        metrics.start_webhook_at_zero(&line.name);
        // So that a group is named, and a role counted, as everywhere; one for each webhook of the configuration.
        let role: &'static str = Box::leak(format!("webhook-{}", line.name).into_boxed_str());
        let (config, metrics, standing, actions) = (config.clone(), metrics.clone(), standing.clone(), actions.clone());
        let receiver = Receiver { config, line, webhook, metrics, standing, actions, role };
        let (sender, stop) = (sender.clone(), stop.clone());
        let body = move || {
            let name = receiver.line.name.clone();
            let generations = std::panic::AssertUnwindSafe(|| generations(&receiver, &stop));
            let result = std::panic::catch_unwind(generations).unwrap_or(Err(Error::Panicked(name)));
            stop.cancel();
            let _ = sender.send(result);
        };
        let started = thread::Builder::new().name(role.to_owned()).spawn(body);
        started.map_err(|error| kafka::Error::Client(format!("a thread cannot be started: {error}")))?;
    }
    drop(sender);
    let mut outcome = Ok(());
    for result in ended {
        outcome = outcome.and(result);
    }
    let unread = unread.lock().expect("no holder of this lock panics").take();
    outcome.and(unread.map_or(Ok(()), |error| Err(error.into())))
}

/// As a role of `bellwether run`: a failure that may pass ends one, and the next goes on from what is committed.
fn generations(receiver: &Receiver, stop: &CancellationToken) -> Result<(), Error> {
    let mut pauses = Pauses::default();
    while !stop.is_cancelled() {
        let began = Instant::now();
        let error = match receiver.run(stop.child_token()) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(error.into()),
        };
        receiver.standing.set(&receiver.line.name, false);
        let pause = pauses.after(began.elapsed());
        receiver.metrics.generations.with_label_values(&[receiver.role]).inc();
        tracing::warn!(webhook = receiver.line.name, %error, ?pause, "begins anew, from what is committed");
        wait(stop, pause);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alertmanager_is_named_by_where_it_is() {
        for (base, whole) in [
            ("http://alertmanager:9093", "http://alertmanager:9093/api/v2/alerts"),
            ("https://ops.example/alertmanager/", "https://ops.example/alertmanager/api/v2/alerts"),
        ] {
            let mut url = post::parse(base).unwrap();
            extend(&mut url, alertmanager::PATH);
            assert_eq!(url.as_str(), whole);
        }
    }
}
