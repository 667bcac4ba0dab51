//! The Kafka topics: whether they are there, how many partitions they have, and creating them.

use std::ffi::CString;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use super::access::{self, Asks};
use super::inquiry::Inquiry;
use super::{Error, Quiet, client_config};
use crate::actions;
use crate::config::{Config, KafkaConfig};

/// Partitions of the topics that roles need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitions {
    pub raw: i32,
    pub observations: i32,
}

/// Checks that every topic exists and that observations and windows are co-partitioned. `right` is the right that is needed on
/// a topic, by its key in `kafka.topics`.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Denied`], [`Error::Untrusted`], [`Error::MissingTopic`] or [`Error::NotCoPartitioned`].
pub fn check(config: &KafkaConfig, right: impl Fn(&str) -> &'static str) -> Result<Partitions, Error> {
    let inquiry = Inquiry::new(config)?;
    let metadata = inquiry.metadata(None)?;
    let names = &config.topics;
    let partitions = |key: &str, name: &str| {
        let topic = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
        match topic.map(|topic| topic.partitions().len() as i32) {
            Some(count) if count > 0 => Ok(count),
            _ => Err(why_unseen(&inquiry, name, right(key))),
        }
    };
    for (key, name) in names.of_roles() {
        partitions(key, name)?;
    }
    let (one, two) = (&names.observations, &names.windows);
    let (one_count, two_count) = (partitions("observations", one)?, partitions("windows", two)?);
    if one_count != two_count {
        return Err(Error::NotCoPartitioned { one: one.clone(), one_count, two: two.clone(), two_count });
    }
    Ok(Partitions { raw: partitions("raw", &names.raw)?, observations: one_count })
}

/// A topic that this user may not see is left out of the list of all; asked for by its name, the brokers say so.
fn why_unseen(inquiry: &Inquiry<'_>, name: &str, right: &'static str) -> Error {
    match count(inquiry, name, right) {
        Ok(_) => Error::MissingTopic(name.to_owned()),
        Err(error) => error,
    }
}

/// Partitions of one topic. `right` is what is needed on it.
///
/// # Errors
/// [`Error::MissingTopic`]; otherwise as [`check`].
pub fn partition_count(config: &KafkaConfig, topic: &str, right: &'static str) -> Result<i32, Error> {
    count(&Inquiry::new(config)?, topic, right)
}

fn count(inquiry: &Inquiry<'_>, name: &str, right: &'static str) -> Result<i32, Error> {
    let metadata = inquiry.metadata(Some(name))?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Err(Error::MissingTopic(name.to_owned()));
    };
    let asks = Asks { operation: right, topic: name.to_owned(), ..Asks::default() };
    let code = topic.error().map(RDKafkaErrorCode::from);
    match code.and_then(|code| asks.denied(code, format!("Kafka topic {name:?}: {code}"))) {
        Some(denied) => Err(denied),
        None if topic.partitions().is_empty() => Err(Error::MissingTopic(name.to_owned())),
        None => Ok(topic.partitions().len() as i32),
    }
}

/// A topic as `topics create` makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPlan {
    pub name: String,
    pub settings: Vec<(&'static str, String)>,
}

/// What `topics create` makes: alerts and the memory of feeds are compacted, the rest is kept for a time, actions are both. A dead
/// letter holds a whole raw record and its headers, so that topic takes larger records than brokers do by default.
pub fn plan(config: &Config) -> Vec<TopicPlan> {
    let create = &config.kafka.create;
    let kept = |milliseconds: i64| vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", milliseconds.to_string())];
    let names = &config.kafka.topics;
    let topic = |name: &String, settings| TopicPlan { name: name.clone(), settings };
    // Records carry the raw record's timestamp, or the time of a machine whose clock may be wrong: neither stops the stream.
    let taken = [("max.message.bytes", max_record_bytes(config).to_string()), ("message.timestamp.after.max.ms", i64::MAX.to_string())];
    let output = |mut settings: Vec<_>| {
        settings.extend(taken.clone());
        settings
    };
    vec![
        topic(&names.raw, kept(create.retention.ms())),
        topic(&names.scored, output(kept(create.retention.ms()))),
        topic(&names.observations, output(kept(create.retention.ms()))),
        topic(&names.windows, output(kept(create.windows_retention.ms()))),
        topic(&names.alerts, output(vec![("cleanup.policy", "compact".to_owned())])),
        topic(&names.dead, output(kept(create.retention.ms()))),
        topic(&names.feeds, vec![("cleanup.policy", "compact".to_owned()), ("segment.bytes", FEEDS_SEGMENT.to_string())]),
        topic(&names.undelivered, output(kept(create.retention.ms()))),
        topic(&names.actions, vec![("cleanup.policy", "compact,delete".to_owned()), ("retention.ms", actions::KEPT.ms().to_string())]),
    ]
}

/// Only closed segments are compacted, and all that is not is read back at a start.
const FEEDS_SEGMENT: usize = 32 * 1024 * 1024;

/// The largest record that the producers may write: a raw record as large as brokers take by default, or as decoding
/// takes, with room for what is added to it.
pub fn max_record_bytes(config: &Config) -> usize {
    config.decode.max_bytes.max(1_048_588) * 2
}

/// Creates the topics that are missing; gives for each its name and whether it was made now.
///
/// # Errors
/// Where the brokers cannot be asked, as [`check`]; [`Error::Create`] with the broker's word for every topic that could
/// not be made.
pub async fn create(config: &Config) -> Result<Vec<(String, bool)>, Error> {
    // Why there is no answer, the client that creates topics would not say: nobody sees its events.
    Inquiry::new(&config.kafka)?.metadata(None)?;
    let admin: AdminClient<Quiet> = client_config(&config.kafka).create_with_context(Quiet::default())?;
    if access::mechanism(&config.kafka) == "OAUTHBEARER" {
        set_token(&admin, &config.kafka)?;
    }
    let (plans, create) = (plan(config), &config.kafka.create);
    let topics: Vec<NewTopic<'_>> = plans
        .iter()
        .map(|plan| {
            let topic = NewTopic::new(&plan.name, create.partitions, TopicReplication::Fixed(create.replication_factor));
            plan.settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let timeout = config.kafka.timeout.duration();
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let results = admin.create_topics(&topics, &options).await.map_err(|error| Error::Unreachable {
        brokers: config.kafka.brokers.clone(),
        waited: timeout,
        cause: error.to_string(),
    })?;
    let mut made = Vec::new();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(name) => made.push((name, true)),
            Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => made.push((name, false)),
            Err((name, code)) => {
                let asks = Asks { operation: "Create", topic: name.clone(), ..Asks::default() };
                match asks.denied(code, format!("creating Kafka topic {name:?}: {code}")) {
                    Some(denied) => return Err(denied),
                    None => failures.push(format!("{name}: {code}")),
                }
            }
        }
    }
    if failures.is_empty() { Ok(made) } else { Err(Error::Create(failures.join("; "))) }
}

/// A client that creates topics asks for a token, as any does; nobody sees its events, so it is given one.
fn set_token(admin: &AdminClient<Quiet>, config: &KafkaConfig) -> Result<(), Error> {
    use rdkafka::bindings::rd_kafka_oauthbearer_set_token;
    let invalid = |cause: String| Error::Denied { cause, mend: access::mend_token() };
    let token = access::token(config.properties.get(access::TOKEN).map(String::as_str)).map_err(|error| invalid(error.to_string()))?;
    let text = |text: String| CString::new(text).map_err(|error| invalid(error.to_string()));
    let (value, principal) = (text(token.token)?, text(token.principal_name)?);
    // SAFETY: the client lives as long as `admin`, the strings until the call is over; no extensions and no place for words
    // on what went wrong are given.
    let code = unsafe {
        let client = admin.inner().native_ptr();
        let no_extensions = std::ptr::null_mut();
        rd_kafka_oauthbearer_set_token(
            client,
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            no_extensions,
            0,
            std::ptr::null_mut(),
            0,
        )
    };
    match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(invalid(format!("the token is not taken: {code}"))),
    }
}
