//! TLS by rustls: the certificate and key that the configuration names.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::HttpConfig;

/// TLS 1.2 and 1.3 with the configured certificate; `None` where none is configured.
///
/// # Errors
/// Every problem of the two files, with key, file and mend.
pub fn server_config(http: &HttpConfig) -> Result<Option<Arc<ServerConfig>>, Vec<String>> {
    let (certificate, key) = (http.tls_certificate.as_path(), http.tls_key.as_path());
    match [certificate, key].map(|path| path.as_os_str().is_empty()) {
        [true, true] => return Ok(None),
        [false, false] => {}
        [has_no_certificate, _] => {
            let (set, missing) = if has_no_certificate { ("tls_key", "tls_certificate") } else { ("tls_certificate", "tls_key") };
            return Err(vec![format!("http.{set} is set and http.{missing} is not: TLS needs both")]);
        }
    }
    let (chain, key_der) = (read_chain(certificate), read_key(key));
    let (chain, key_der) = match (chain, key_der) {
        (Ok(chain), Ok(key_der)) => (chain, key_der),
        (chain, key_der) => return Err([chain.err(), key_der.err()].into_iter().flatten().collect()),
    };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring offers the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|error| vec![format!("http.tls_key = {key:?} does not go with http.tls_certificate = {certificate:?} ({error})")])?;
    Ok(Some(Arc::new(config)))
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let mend = "it must be a PEM file with the server's own certificate first (-----BEGIN CERTIFICATE-----)";
    let chain = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("http.tls_certificate = {file:?} holds no certificate: {mend}")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("http.tls_certificate = {file:?} cannot be read ({}): {mend}", told(&error))),
    }
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let mend = "it must be a PEM file with the certificate's private key, not encrypted (-----BEGIN PRIVATE KEY-----)";
    PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        pem::Error::NoItemsFound => format!("http.tls_key = {file:?} holds no private key: {mend}"),
        error => format!("http.tls_key = {file:?} cannot be read ({}): {mend}", told(&error)),
    })
}

fn told(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}
