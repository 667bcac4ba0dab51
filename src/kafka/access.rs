//! Why brokers turn a client away, and the mend: log-in, certificates, rights. And the token that OAUTHBEARER logs in with.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::statistics::Broker;

use super::{Error, certificate};
use crate::config::{KafkaConfig, property_value};

pub(super) const TOKEN: &str = "sasl.oauthbearer.config";

/// A connection that does not come about, for a reason that time alone does not mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    kind: Kind,
    /// In librdkafka's words. It begins with the broker, where it is about one.
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    LogIn,
    Mechanism,
    Token,
    BrokerCertificate,
    OwnCertificate,
}

impl Refusal {
    /// From what librdkafka complains of. Its error codes do not tell: a certificate that is not taken has that of a connection
    /// that is lost, a connection that is lost in the middle of a log-in that of a wrong password. `None`: it may pass.
    pub fn of(complaint: &str) -> Option<Self> {
        let says = |part| complaint.contains(part);
        let kind = match () {
            () if says("certificate verify failed") => Kind::BrokerCertificate,
            () if says("SSL routines") && says("alert") && (says("certificate") || says("unknown ca")) => Kind::OwnCertificate,
            () if says("Unsupported SASL mechanism") => Kind::Mechanism,
            () if says("Failed to acquire SASL OAUTHBEARER token") => Kind::Token,
            () if says("SASL authentication error") && !says("SaslAuthenticateRequest failed") => Kind::LogIn,
            () => return None,
        };
        Some(Self { kind, reason: in_short(complaint).to_owned() })
    }

    /// As statistics name it, such as `sasl_ssl://kafka-1.example:9093/1`; `GroupCoordinator` is a connection of its own. Empty
    /// where it is about none.
    fn broker(&self) -> &str {
        if self.kind == Kind::Token { "" } else { self.reason.split_once(": ").unwrap_or_default().0 }
    }

    /// host:port.
    fn address(&self) -> &str {
        let (broker, rest) = self.reason.split_once(": ").unwrap_or_default();
        // Where the name is not an address, that follows.
        let place = if broker.contains(':') { broker } else { rest.split_once(": ").unwrap_or_default().0 };
        let place = place.split_once("://").map_or(place, |(_, place)| place);
        place.split_once('/').map_or(place, |(address, _)| address)
    }

    /// The error that ends a role or a start. Looks into certificates, which may take some seconds.
    pub fn into_error(self, config: &KafkaConfig) -> Error {
        let fault = match self.kind {
            Kind::BrokerCertificate => {
                let fault = certificate::of_broker(self.address(), config);
                return Error::Untrusted { broker: self.address().to_owned(), fault: fault.what, mend: fault.mend };
            }
            Kind::OwnCertificate => certificate::of_client(config),
            Kind::LogIn | Kind::Mechanism | Kind::Token => {
                return Error::Denied { mend: self.mend(config), cause: self.reason };
            }
        };
        Error::Denied { cause: format!("{}: {}", self.reason, fault.what), mend: fault.mend }
    }

    /// Without a look at what stands in files or on the network.
    fn mend(&self, config: &KafkaConfig) -> String {
        match self.kind {
            Kind::LogIn if mechanism(config) == "OAUTHBEARER" => {
                format!("renew the token in {}, or have the brokers trust whom it is from", key(TOKEN))
            }
            Kind::LogIn => format!(
                "check {} = {:?} and {}, and that the brokers know this user by {}",
                key("sasl.username"),
                config.properties.get("sasl.username").map_or("", String::as_str),
                key("sasl.password"),
                mechanism(config)
            ),
            Kind::Mechanism => format!("set {} to one of those", key("sasl.mechanism")),
            Kind::Token => mend_token(),
            Kind::BrokerCertificate => {
                format!("look at the broker's certificate, and at {}", key("ssl.ca.location"))
            }
            Kind::OwnCertificate => format!("renew the certificate in {}", key("ssl.certificate.location")),
        }
    }

    fn said(&self, config: &KafkaConfig) -> String {
        format!("no connection: {}; {}", self.reason, self.mend(config))
    }
}

/// A complaint of librdkafka's without the name of the thread in front, and how long it took behind, which differs each time.
pub(super) fn in_short(complaint: &str) -> &str {
    let complaint = complaint.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(complaint, |(_, rest)| rest);
    complaint.rsplit_once(" (after ").map_or(complaint, |(complaint, _)| complaint)
}

pub(super) fn mend_token() -> String {
    format!("put a JSON Web Token that is not over into {}, or into the file that it names", key(TOKEN))
}

/// A property as it is named in messages.
pub(super) fn key(property: &str) -> String {
    format!("kafka.properties.{property:?}")
}

pub(super) fn mechanism(config: &KafkaConfig) -> &str {
    ["sasl.mechanism", "sasl.mechanisms"].iter().find_map(|key| config.properties.get(*key)).map_or("GSSAPI", String::as_str)
}

/// The brokers that refuse a running client, until they let it in again.
#[derive(Default)]
pub(super) struct Refusals {
    by_broker: BTreeMap<String, Refusal>,
    /// Since when no broker at all is connected, while one refuses.
    cut_off_since: Option<Instant>,
}

impl Refusals {
    pub fn note(&mut self, refusal: Refusal) {
        self.by_broker.insert(refusal.broker().to_owned(), refusal);
    }

    /// A token was there: what was missing is not a token.
    pub fn token_came(&mut self) {
        self.by_broker.remove("");
    }

    /// Forgets what is over, as librdkafka's statistics tell. Gives the refusal that has kept the client from every broker
    /// for `patience`.
    pub fn outlasting(&mut self, brokers: &HashMap<String, Broker>, patience: Duration, now: Instant) -> Option<Refusal> {
        let is_up = |broker: &Broker| broker.state == "UP";
        self.by_broker.retain(|name, _| name.is_empty() || brokers.get(name).is_some_and(|broker| !is_up(broker)));
        if self.by_broker.is_empty() || brokers.values().any(is_up) {
            self.cut_off_since = None;
            return None;
        }
        let since = *self.cut_off_since.get_or_insert(now);
        self.by_broker.values().next().filter(|_| now.duration_since(since) >= patience).cloned()
    }

    /// For people to read; `None` where nobody refuses.
    pub fn said(&self, config: &KafkaConfig) -> Option<String> {
        self.by_broker.values().next().map(|refusal| refusal.said(config))
    }
}

/// What a client asks of the brokers, to name the right that it lacks.
#[derive(Debug, Clone, Default)]
pub(super) struct Asks {
    /// Of the topic: Read, Write or Describe.
    pub operation: &'static str,
    pub topic: String,
    pub group: String,
    /// What its transactional ids begin with.
    pub transactional_ids: String,
}

impl Asks {
    /// The error of a code that only a person with rights on the cluster, or on this machine, can mend.
    pub fn denied(&self, code: RDKafkaErrorCode, cause: impl Into<String>) -> Option<Error> {
        let Self { operation, topic, group, transactional_ids } = self;
        let right = match code {
            RDKafkaErrorCode::TopicAuthorizationFailed if topic.is_empty() => {
                "Read on the topics it reads and Write on those it writes".to_owned()
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => format!("{operation} on the topic {topic:?}"),
            RDKafkaErrorCode::GroupAuthorizationFailed if group.is_empty() => "Read on its consumer group".to_owned(),
            RDKafkaErrorCode::GroupAuthorizationFailed => format!("Read on the consumer group {group:?}"),
            RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
                format!("Write on the transactional ids that begin with {transactional_ids:?}, or set kafka.transactions = false")
            }
            RDKafkaErrorCode::ClusterAuthorizationFailed => "IdempotentWrite on the cluster".to_owned(),
            _ => return Some(Error::Denied { cause: cause.into(), mend: mend(code)?.to_owned() }),
        };
        Some(Error::Denied { cause: cause.into(), mend: format!("give this user {right} (docs/operations.md, \"Rights\")") })
    }
}

/// What to do about the other codes that no waiting mends.
fn mend(code: RDKafkaErrorCode) -> Option<&'static str> {
    Some(match code {
        RDKafkaErrorCode::InvalidTransactionTimeout => {
            "lower transaction.timeout.ms in kafka.properties, or raise the brokers' transaction.max.timeout.ms"
        }
        RDKafkaErrorCode::InvalidTimestamp => {
            "set this machine's clock, or raise the topic's message.timestamp.after.max.ms (`bellwether topics create --dry-run` shows how far)"
        }
        RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::Authentication => "check user and password in kafka.properties",
        _ => return None,
    })
}

/// The token that OAUTHBEARER logs in with, as it stands now in the property or in the file that the property names: whoever
/// gets tokens from the identity provider puts a new one there before the old one is over. Nothing here prints it.
pub(super) fn token(property: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
    let property = property.ok_or_else(|| format!("{} is not set", key(TOKEN)))?;
    let token = property_value(property).ok_or_else(|| format!("{} = {property:?}: the file cannot be read", key(TOKEN)))?;
    let token = token.trim();
    let no_token = || format!("what {} stands for is not a JSON Web Token with \"sub\" and \"exp\"", key(TOKEN));
    let (principal_name, lifetime_ms) = claims(token).ok_or_else(no_token)?;
    Ok(OAuthToken { token: token.to_owned(), principal_name, lifetime_ms })
}

/// Whom a token is for, and until when, in milliseconds since 1970 (RFC 7519, sections 4.1.2 and 4.1.4). Brokers verify it.
fn claims(token: &str) -> Option<(String, i64)> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    Some((claims["sub"].as_str()?.to_owned(), (claims["exp"].as_f64()? * 1e3) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_brokers_that_are_away() {
        let broker = "sasl_ssl://kafka-1.example:9093/1";
        let refused =
            Refusal::of(&format!("[thrd:x]: {broker}: SASL authentication error: Authentication failed (after 3ms in state X)")).unwrap();
        assert_eq!((refused.kind, refused.broker(), refused.address()), (Kind::LogIn, broker, "kafka-1.example:9093"));
        assert_eq!(refused.reason, format!("{broker}: SASL authentication error: Authentication failed"));
        let coordinator = Refusal::of("GroupCoordinator: 10.0.0.1:9093: SASL authentication error: no (after 3ms in state X)").unwrap();
        assert_eq!((coordinator.broker(), coordinator.address()), ("GroupCoordinator", "10.0.0.1:9093"));
        let without_tls = Refusal::of("10.0.0.1:9093/2: SASL authentication error: no").unwrap();
        assert_eq!((without_tls.broker(), without_tls.address()), ("10.0.0.1:9093/2", "10.0.0.1:9093"));
        for passing in [
            "SASL authentication error: SaslAuthenticateRequest failed: Local: Broker transport failure",
            "SASL PLAIN mechanism handshake failed: Local: Broker transport failure: broker's supported mechanisms: ",
            "Connect to ipv4#10.0.0.1:9093 failed: Connection refused",
            "SSL handshake failed: Disconnected: SSL connection closed by peer",
        ] {
            assert_eq!(Refusal::of(&format!("{broker}: {passing}")), None);
        }
        let alert = "Receive failed: error:0A000416:SSL routines::sslv3 alert certificate unknown: SSL alert number 46";
        assert_eq!(Refusal::of(&format!("{broker}: {alert}")).unwrap().kind, Kind::OwnCertificate);
    }

    #[test]
    fn a_refusal_is_over_when_its_broker_is_up_and_ends_the_client_when_none_is_for_long() {
        let reason = |broker: &str| format!("{broker}: SASL authentication error: Authentication failed");
        let brokers = |states: &[(&str, &str)]| -> HashMap<String, Broker> {
            let broker = |(name, state): &(&str, &str)| ((*name).to_owned(), Broker { state: (*state).to_owned(), ..Broker::default() });
            states.iter().map(broker).collect()
        };
        let (patience, start) = (Duration::from_secs(15), Instant::now());
        let mut refusals = Refusals::default();
        refusals.note(Refusal::of(&reason("ssl://a:1/1")).unwrap());
        // Another one lets it in: it goes on for as long as that is so.
        let one_is_up = brokers(&[("ssl://a:1/1", "DOWN"), ("ssl://b:1/2", "UP")]);
        assert_eq!(refusals.outlasting(&one_is_up, patience, start), None);
        assert_eq!(refusals.outlasting(&one_is_up, patience, start + patience * 2), None);
        assert!(refusals.said(&crate::config::Config::default().kafka).unwrap().contains("ssl://a:1/1"));
        let none_is_up = brokers(&[("ssl://a:1/1", "DOWN"), ("ssl://b:1/2", "TRY_CONNECT")]);
        assert_eq!(refusals.outlasting(&none_is_up, patience, start + patience * 2), None);
        assert!(refusals.outlasting(&none_is_up, patience, start + patience * 3).is_some());
        assert_eq!(refusals.outlasting(&brokers(&[("ssl://a:1/1", "UP")]), patience, start + patience * 3), None);
        assert_eq!(refusals.said(&crate::config::Config::default().kafka), None);
    }

    #[test]
    fn a_token_is_read_anew_each_time_and_never_told() {
        let token_until = |exp: i64| format!("head.{}.signature", URL_SAFE_NO_PAD.encode(format!("{{\"sub\":\"desk?>\",\"exp\":{exp}}}")));
        let file = tempfile::NamedTempFile::new().unwrap();
        let property = format!("file:{}", file.path().display());
        for exp in [1_800_000_000, 1_800_003_600] {
            std::fs::write(file.path(), token_until(exp) + "\n").unwrap();
            let found = token(Some(&property)).unwrap();
            assert_eq!((found.token, found.principal_name.as_str(), found.lifetime_ms), (token_until(exp), "desk?>", exp * 1000));
        }
        for wrong in ["hunter2", "a.b.c", "a.e30.c"] {
            let said = token(Some(wrong)).err().unwrap().to_string();
            assert!(said.contains("sasl.oauthbearer.config") && !said.contains(wrong), "{said}");
        }
        assert!(token(Some("file:/nowhere")).err().unwrap().to_string().contains("cannot be read"));
    }
}
