//! A certificate authority of the test's own, and what it issues. Each is made anew.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name, X509NameRef};

const DAY: i64 = 86_400;

pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// A certificate and its key, as PEM.
pub struct Issued {
    pub certificate: String,
    key: PKey<Private>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let (key, name) = (new_key(), named(name));
        let mut builder = begin(&key, &name, &name, (-1, 2));
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    pub fn certificate(&self) -> String {
        text(self.certificate.to_pem().unwrap())
    }

    /// For a host by its name or its address.
    pub fn issue_for_host(&self, host: &str, days: (i64, i64)) -> Issued {
        self.issue_with("broker", days, |builder| {
            let context = builder.x509v3_context(Some(&self.certificate), None);
            let mut names = SubjectAlternativeName::new();
            let names = if host.parse::<std::net::IpAddr>().is_ok() { names.ip(host) } else { names.dns(host) };
            let names = names.build(&context).unwrap();
            builder.append_extension(names).unwrap();
        })
    }

    /// For a client. It is good between the two days, counted from now.
    pub fn issue(&self, name: &str, days: (i64, i64)) -> Issued {
        self.issue_with(name, days, |_| {})
    }

    fn issue_with(&self, name: &str, days: (i64, i64), more: impl FnOnce(&mut X509Builder)) -> Issued {
        let key = new_key();
        let mut builder = begin(&key, &named(name), self.certificate.subject_name(), days);
        more(&mut builder);
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        Issued { certificate: text(builder.build().to_pem().unwrap()), key }
    }
}

impl Issued {
    pub fn key(&self) -> String {
        text(self.key.private_key_to_pem_pkcs8().unwrap())
    }

    pub fn encrypted_key(&self, password: &str) -> String {
        text(self.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), password.as_bytes()).unwrap())
    }
}

fn begin(key: &PKey<Private>, subject: &X509NameRef, issuer: &X509NameRef, (from, to): (i64, i64)) -> X509Builder {
    let now = chrono::Utc::now().timestamp();
    let time = |days: i64| Asn1Time::from_unix(now + days * DAY).unwrap();
    let mut number = BigNum::new().unwrap();
    number.rand(64, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap(); // X.509 version 3
    builder.set_serial_number(&number.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(subject).unwrap();
    builder.set_issuer_name(issuer).unwrap();
    builder.set_not_before(&time(from)).unwrap();
    builder.set_not_after(&time(to)).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn named(name: &str) -> X509Name {
    let mut builder = X509Name::builder().unwrap();
    builder.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    builder.build()
}

fn text(pem: Vec<u8>) -> String {
    String::from_utf8(pem).unwrap()
}
