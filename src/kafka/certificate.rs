//! What is wrong with a certificate, where librdkafka only says that something is.

use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslContextBuilder, SslMethod, SslVerifyMode};
use openssl::x509::{X509, X509NameRef, X509VerifyResult};

use super::access::key;
use crate::config::{KafkaConfig, property_value};

/// For each step of a look at a broker.
const PATIENCE: Duration = Duration::from_secs(2);

const CA_FILE: &str = "ssl.ca.location";
const CA_TEXT: &str = "ssl.ca.pem";
const FILE: &str = "ssl.certificate.location";
const TEXT: &str = "ssl.certificate.pem";
const STORE: &str = "ssl.keystore.location";

/// Codes of X509_verify_cert_error_string(3).
const HAS_EXPIRED: i32 = 10;
const HOST_NAME_MISMATCH: i32 = 62;
const IP_ADDRESS_MISMATCH: i32 = 64;

pub(super) struct Fault {
    pub what: String,
    pub mend: String,
}

/// Why the certificate of a broker is not believed. A handshake like librdkafka's is begun for it, and nothing sent.
pub(super) fn of_broker(address: &str, config: &KafkaConfig) -> Fault {
    let authorities = [CA_FILE, CA_TEXT].into_iter().find_map(|name| Some((name, config.properties.get(name)?)));
    let authorities = match authorities {
        Some((CA_FILE, value)) => format!("{} = {value:?}", key(CA_FILE)),
        Some((name, _)) => key(name),
        None => format!("the CAs of this system ({} is not set)", key(CA_FILE)),
    };
    let host = host_of(address);
    match look_at_broker(address, config) {
        Some((code, certificate)) if code.as_raw() == HAS_EXPIRED => Fault {
            what: format!("{} expired on {}", name(certificate.subject_name()), certificate.not_after()),
            mend: "have it renewed on the broker".into(),
        },
        Some((code, certificate)) if [HOST_NAME_MISMATCH, IP_ADDRESS_MISMATCH].contains(&code.as_raw()) => Fault {
            what: format!("it is for {}, not for {host:?}", names_in(&certificate)),
            mend: "use a name that is in it, in kafka.brokers and in the brokers' advertised.listeners, or have it made for this one, too"
                .into(),
        },
        Some((code, certificate)) => Fault {
            what: format!(
                "{} was issued by {}: {}",
                name(certificate.subject_name()),
                name(certificate.issuer_name()),
                code.error_string()
            ),
            mend: format!("add the CA that issued it to {authorities}"),
        },
        None => Fault {
            what: "TLS does not say why".into(),
            mend: format!("see that it is in time, is for {host:?}, and was issued by a CA in {authorities}"),
        },
    }
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']'])
}

/// The first thing found wrong, and the certificate it was found in.
fn look_at_broker(address: &str, config: &KafkaConfig) -> Option<(X509VerifyResult, X509)> {
    let property = |name: &str| config.properties.get(name).and_then(|value| property_value(value));
    let mut context = SslContextBuilder::new(SslMethod::tls_client()).ok()?;
    match (property(CA_FILE).filter(|path| path != "probe"), property(CA_TEXT)) {
        (Some(path), _) if Path::new(&path).is_dir() => context.load_verify_locations(None, Some(Path::new(&path))),
        (Some(path), _) => context.load_verify_locations(Some(Path::new(&path)), None),
        (None, Some(text)) => trust(&mut context, &text),
        (None, None) => context.set_default_verify_paths(),
    }
    .ok()?;
    let mut handshake = Ssl::new(&context.build()).ok()?;
    let host = host_of(address);
    handshake.set_hostname(host).ok()?;
    if property("ssl.endpoint.identification.algorithm").is_none_or(|algorithm| algorithm != "none") {
        match host.parse::<IpAddr>() {
            Ok(ip) => handshake.param_mut().set_ip(ip),
            Err(_) => handshake.param_mut().set_host(host),
        }
        .ok()?;
    }
    let found = Arc::new(Mutex::new(None));
    let finding = found.clone();
    handshake.set_verify_callback(SslVerifyMode::PEER, move |fine, chain| {
        if !fine && let Some(certificate) = chain.current_cert() {
            let mut found = finding.lock().expect("no holder of this lock panics");
            found.get_or_insert_with(|| (chain.error(), certificate.to_owned()));
        }
        fine
    });
    let stream = address.to_socket_addrs().ok()?.find_map(|address| TcpStream::connect_timeout(&address, PATIENCE).ok())?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    // It fails, as that of librdkafka did.
    let _ = handshake.connect(stream);
    found.lock().expect("no holder of this lock panics").take()
}

fn trust(context: &mut SslContextBuilder, text: &str) -> Result<(), ErrorStack> {
    X509::stack_from_pem(text.as_bytes())?.into_iter().try_for_each(|authority| context.cert_store_mut().add_cert(authority))
}

/// Why brokers may not take this client's own certificate. They do not say.
pub(super) fn of_client(config: &KafkaConfig) -> Fault {
    let property = [FILE, TEXT, STORE].into_iter().find_map(|name| Some((name, config.properties.get(name)?)));
    let Some((property, value)) = property else {
        return Fault {
            what: "the broker wants a certificate of this client, and there is none".into(),
            mend: format!("set {} and {}", key(FILE), key("ssl.key.location")),
        };
    };
    let place = if property == TEXT { key(property) } else { format!("{} = {value:?}", key(property)) };
    let resolved = property_value(value);
    let text = if property == FILE { resolved.and_then(|path| std::fs::read(path).ok()) } else { resolved.map(String::into_bytes) };
    // librdkafka has read it before: what cannot be read here is a key store.
    let Some(certificate) = text.and_then(|text| X509::from_pem(&text).ok()) else {
        return Fault {
            what: format!("the certificate in {place} was not accepted"),
            mend: "see that it is in time, and was issued by a CA that the brokers trust".into(),
        };
    };
    let subject = name(certificate.subject_name());
    let is_past = Asn1Time::days_from_now(0).is_ok_and(|now| certificate.not_after() < now);
    if is_past {
        return Fault {
            what: format!("the certificate in {place}, {subject}, expired on {}", certificate.not_after()),
            mend: "renew it".into(),
        };
    }
    Fault {
        what: format!("the certificate in {place}, {subject}, issued by {}, was not accepted", name(certificate.issuer_name())),
        mend: "have it issued by a CA that the brokers trust (their ssl.truststore)".into(),
    }
}

/// Such as `CN=kafka-1, O=Example`.
fn name(name: &X509NameRef) -> String {
    let entry = |entry: &openssl::x509::X509NameEntryRef| {
        let kind = entry.object().nid().short_name().unwrap_or("?");
        format!("{kind}={}", entry.data().to_string().unwrap_or_default())
    };
    name.entries().map(entry).collect::<Vec<_>>().join(", ")
}

/// The hosts that a certificate is for.
fn names_in(certificate: &X509) -> String {
    let address = |bytes: &[u8]| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
    };
    let alternatives = certificate.subject_alt_names();
    let names: Vec<String> = alternatives
        .iter()
        .flatten()
        .filter_map(|other| other.dnsname().map(str::to_owned).or_else(|| address(other.ipaddress()?)))
        .map(|name| format!("{name:?}"))
        .collect();
    if names.is_empty() { name(certificate.subject_name()) } else { names.join(", ") }
}
