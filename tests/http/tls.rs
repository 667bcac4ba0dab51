//! HTTPS with a certificate made here, and nothing else on that port.

use std::io::{Read, Write};
use std::sync::Arc;

use bellwether::config::HttpConfig;
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::common::certificates::Authority;
use crate::server::{Answer, Holders, Request, Server, config, connect, span, try_serve};

/// A certificate for `localhost` and its key, in files.
struct Certificate {
    folder: TempDir,
    client: Arc<ClientConfig>,
}

impl Certificate {
    fn new() -> Self {
        let authority = Authority::new("ca");
        let issued = authority.issue_for_host("localhost", (-1, 1));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("certificate.pem"), &issued.certificate).unwrap();
        std::fs::write(folder.path().join("key.pem"), issued.key()).unwrap();
        let mut trusted = RootCertStore::empty();
        trusted.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
        let builder =
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
        Self { folder, client: Arc::new(builder.with_root_certificates(trusted).with_no_client_auth()) }
    }

    fn config(&self) -> HttpConfig {
        let [tls_certificate, tls_key] = ["certificate.pem", "key.pem"].map(|file| self.folder.path().join(file));
        HttpConfig { tls_certificate, tls_key, ..config() }
    }

    fn send(&self, server: &Server, request: Request) -> Answer {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(self.client.clone(), name).unwrap();
        let mut stream = StreamOwned::new(connection, connect(server.page));
        stream.write_all(request.text(server.page).as_bytes()).unwrap();
        Answer::read(stream)
    }
}

#[test]
fn with_a_certificate_the_page_is_https_and_its_cookie_secure() {
    let (certificate, holders) = (Certificate::new(), Holders::new());
    let server =
        Server::with(&HttpConfig { metrics_listen: "127.0.0.1:0".into(), tokens: holders.config().tokens, ..certificate.config() });
    let page = certificate.send(&server, Request::get("/"));
    assert!(page.status == 200 && page.body.contains("<title>Bellwether</title>"), "{page:?}");
    let form = format!("token={}", holders.viewer);
    let answer = certificate.send(&server, Request::form("/login", &form));
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"), "{answer:?}");
    let status = certificate.send(&server, Request { headers: &[("Cookie", answer.cookie())], ..Request::get("/status") });
    assert_eq!(status.status, 200);
    assert_eq!(Request::get("/ready").send(server.metrics.unwrap()).status, 503, "health and metrics stay plain on their own address");
}

#[test]
fn plain_http_gets_no_answer_where_https_is_spoken() {
    let certificate = Certificate::new();
    let server = Server::with(&certificate.config());
    let mut stream = connect(server.page);
    stream.write_all(Request::get("/live").text(server.page).as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(!bytes.windows(4).any(|part| part == b"HTTP"), "{:?}", String::from_utf8_lossy(&bytes));
    // Nor does a client that never ends its handshake stay.
    let slow = Server::with(&HttpConfig { time_limit: span(300), ..certificate.config() });
    let mut rest = Vec::new();
    let ended = connect(slow.page).read_to_end(&mut rest);
    assert!(ended.is_ok() && rest.is_empty(), "{ended:?} {rest:?}");
    assert_eq!(certificate.send(&slow, Request::get("/live")).status, 200);
}

#[test]
fn what_is_wrong_with_the_files_is_named_with_the_mend() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let good = certificate.config();
    let empty = certificate.folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    let nowhere = certificate.folder.path().join("nowhere.pem");
    for (http, words) in [
        (HttpConfig { tls_key: "".into(), ..good.clone() }, ["http.tls_certificate is set", "http.tls_key is not"]),
        (HttpConfig { tls_certificate: "".into(), ..good.clone() }, ["http.tls_key is set", "http.tls_certificate is not"]),
        (HttpConfig { tls_certificate: nowhere.clone(), ..good.clone() }, ["http.tls_certificate = ", "nowhere.pem\" cannot be read"]),
        (HttpConfig { tls_certificate: empty.clone(), ..good.clone() }, ["holds no certificate", "-----BEGIN CERTIFICATE-----"]),
        (HttpConfig { tls_key: empty, ..good.clone() }, ["holds no private key", "-----BEGIN PRIVATE KEY-----"]),
        (HttpConfig { tls_key: other.config().tls_key, ..good.clone() }, ["http.tls_key = ", "does not go with http.tls_certificate = "]),
        (HttpConfig { tls_certificate: nowhere.clone(), tls_key: nowhere, ..good }, ["http.tls_certificate = ", "http.tls_key = "]),
    ] {
        let error = try_serve(&http).0.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}
