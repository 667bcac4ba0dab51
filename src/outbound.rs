//! The way out: HTTP requests to addresses that a configuration, a feed or another server has named.
//!
//! Whoever names an address could name one of the inner network (server-side request forgery). So the guard stands where a
//! connection is made: it sees the address itself, whatever name, form or redirect led there, and a name that answers
//! otherwise the next time gets by nothing.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::{Host, Position, Url};

use crate::news::EventTime;

/// For one address of several; the next one may answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// An answer's head is smaller than this.
const HEAD_BYTES: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{host} is at {address}, which is not a public address; where that is meant, name the host in {key}")]
    Private { host: String, address: IpAddr, key: &'static str },
    #[error("{0}")]
    Address(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("no whole answer within {0:?}")]
    Slow(Duration),
    #[error("the answer is larger than {0} bytes")]
    Large(usize),
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

/// An answer, whatever its status; redirects are not followed.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Uncompressed.
    pub body: Vec<u8>,
}

impl Answer {
    /// `None` where it is not there, or not text.
    pub fn header(&self, name: &header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// How long the server wants to be left alone, if it says so.
    pub fn retry_after(&self, now: EventTime) -> Option<Duration> {
        self.header(&header::RETRY_AFTER).and_then(|value| retry_after(value, now.0))
    }
}

/// How much of an answer's body is read.
#[derive(Debug, Clone, Copy)]
pub enum Take {
    /// All of it, compressed or not at most so many bytes.
    Whole(usize),
    /// So many bytes at most; what comes after them, or breaks off, is no matter.
    Beginning(usize),
}

/// Sends requests, each on a connection of its own. Proxies are not asked: nobody could see where they go.
pub struct Outbound {
    tls: TlsConnector,
    user_agent: HeaderValue,
    allow_private: BTreeSet<String>,
    /// The key of the configuration that `allow_private` is from.
    key: &'static str,
    /// For a request and its whole answer.
    limit: Duration,
}

impl Outbound {
    /// `allow_private` are the hosts that may be at any address, by the key of that name.
    ///
    /// # Errors
    /// [`Error::Address`] where the user agent is no header's value, [`Error::Unreachable`] where the system has no certificates.
    pub fn new(user_agent: &str, allow_private: &[String], key: &'static str, limit: Duration) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if taken == 0 {
            tracing::warn!("the system has no certificates of authorities; no HTTPS server will be believed");
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring offers the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let wrong = |_| Error::Address(format!("{user_agent:?} cannot be sent as User-Agent"));
        let user_agent = HeaderValue::from_str(user_agent).map_err(wrong)?;
        let allow_private = allow_private.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Self { tls: TlsConnector::from(Arc::new(tls)), user_agent, allow_private, key, limit })
    }

    /// Sends a request; of the answer's body so much is read as `take` says.
    ///
    /// # Errors
    /// [`Error`] where there is no such answer.
    pub async fn send(&self, method: Method, url: &Url, headers: HeaderMap, body: Bytes, take: Take) -> Result<Answer, Error> {
        let exchange = async {
            let mut request = self.request(method, url, headers, body)?;
            if let Take::Whole(_) = take {
                request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            }
            let (host, stream) = self.connect(url).await?;
            match url.scheme() {
                "http" => exchange(stream, request, take).await,
                _ => {
                    let name = ServerName::try_from(host.clone()).map_err(|_| Error::Address(format!("{host:?} is no host's name")))?;
                    let stream = self.tls.connect(name, stream).await;
                    exchange(stream.map_err(|error| Error::Unreachable(format!("{host}: {error}")))?, request, take).await
                }
            }
        };
        timeout(self.limit, exchange).await.unwrap_or(Err(Error::Slow(self.limit)))
    }

    fn request(&self, method: Method, url: &Url, headers: HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, Error> {
        check(url).map_err(Error::Address)?;
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let request = Request::builder().method(method).uri(&url[Position::BeforePath..Position::AfterQuery]).header(header::HOST, host);
        let mut request = request.body(Full::new(body)).map_err(|error| Error::Address(format!("{host}: {error}")))?;
        request.headers_mut().extend(headers);
        request.headers_mut().insert(header::USER_AGENT, self.user_agent.clone());
        Ok(request)
    }

    /// To the first address of the host that answers. One that is not public ends it, whatever the others are.
    async fn connect(&self, url: &Url) -> Result<(String, TcpStream), Error> {
        let host = host(url).ok_or_else(|| Error::Address("there is no host in it".into()))?;
        let port = url.port_or_known_default().unwrap_or_default();
        let unreachable = |error: &dyn std::fmt::Display| Error::Unreachable(format!("{host}: {error}"));
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((host.as_str(), port)).await.map_err(|error| unreachable(&error))?.collect();
        let private = addresses.iter().map(SocketAddr::ip).find(|address| !is_public(*address));
        if let Some(address) = private.filter(|_| !self.allow_private.contains(&host)) {
            return Err(Error::Private { host, address, key: self.key });
        }
        let mut failed = unreachable(&"the name has no address");
        for address in addresses {
            match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok((host, stream)),
                Ok(Err(error)) => failed = unreachable(&error),
                Err(_) => failed = unreachable(&format!("{address} does not answer")),
            }
        }
        Err(failed)
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(value: &str, now_ms: i64) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(value.trim()).ok()?;
    Some(Duration::from_millis(u64::try_from(at.timestamp_millis() - now_ms).unwrap_or(0)))
}

/// A name or an address, the latter without brackets.
pub fn host(url: &Url) -> Option<String> {
    Some(match url.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    })
}

/// Whether requests go to such an address at all.
///
/// # Errors
/// What it must be.
pub fn check(url: &Url) -> Result<(), String> {
    match url.scheme() {
        "http" | "https" if !url.username().is_empty() || url.password().is_some() => Err("it must hold no log-in".into()),
        "http" | "https" => Ok(()),
        other => Err(format!("it must begin with https:// or http://, not {other}:")),
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, take: Take) -> Result<Answer, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| Error::Unreachable(format!("the answer is no HTTP, or ends early: {error}"));
    let (mut sender, connection) = http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends with this exchange, however that ends.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let (head, mut body) = sender.send_request(request).await.map_err(failed)?.into_parts();
    let max_bytes = match take {
        Take::Whole(max_bytes) => max_bytes,
        Take::Beginning(max_bytes) => {
            let mut beginning = Vec::new();
            while beginning.len() < max_bytes
                && let Some(Ok(frame)) = body.frame().await
            {
                beginning.extend(frame.into_data().unwrap_or_default());
            }
            beginning.truncate(max_bytes);
            return Ok(Answer { status: head.status, headers: head.headers, body: beginning });
        }
    };
    let body = match Limited::new(body, max_bytes).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Error::Large(max_bytes)),
        Err(error) => return Err(Error::Unreachable(format!("the answer ends early: {error}"))),
    };
    let encoding = head.headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or_default().trim().to_ascii_lowercase());
    let body = match encoding.as_deref() {
        _ if body.is_empty() => Vec::new(),
        None | Some("" | "identity") => body.to_vec(),
        Some("gzip" | "x-gzip") => unzip(&body, max_bytes)?,
        Some(other) => {
            return Err(Error::Unreadable(format!("Content-Encoding {:?} was not asked for", other.chars().take(20).collect::<String>())));
        }
    };
    Ok(Answer { status: head.status, headers: head.headers, body })
}

fn unzip(body: &[u8], max_bytes: usize) -> Result<Vec<u8>, Error> {
    let mut whole = Vec::new();
    let read = MultiGzDecoder::new(body).take(max_bytes as u64 + 1).read_to_end(&mut whole);
    read.map_err(|error| Error::Unreadable(format!("it is no gzip ({error})")))?;
    if whole.len() > max_bytes { Err(Error::Large(max_bytes)) } else { Ok(whole) }
}

/// Whether an address belongs to the public internet, by IANA's registries of special-purpose addresses (RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special: [(Ipv4Addr, u32); 15] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
        (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
        (Ipv4Addr::new(100, 64, 0, 0), 10),    // of providers (CGNAT); in it 100.100.100.200, metadata of a cloud
        (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
        (Ipv4Addr::new(168, 63, 129, 16), 32), // a cloud's own, although it looks public
        (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local; in it 169.254.169.254, metadata of most clouds
        (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
        (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocols
        (Ipv4Addr::new(192, 0, 2, 0), 24),     // for documents, as two more below
        (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
        (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
        (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 3), // multicast, reserved, broadcast
    ];
    !special.iter().any(|(network, length)| (address.to_bits() ^ network.to_bits()) >> (32 - length) == 0)
}

/// Of IPv6 only 2000::/3 is given out, so the rest need not be listed: loopback, link-local, unique-local, multicast, and IPv4
/// addresses written as IPv6. Behind NAT64 the address is the IPv4 one at its end.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |network: [u16; 2], length: u32| {
        let network = u128::from(network[0]) << 112 | u128::from(network[1]) << 96;
        (address.to_bits() ^ network) >> (128 - length) == 0
    };
    if address.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return is_public_v4(Ipv4Addr::from_bits(address.to_bits() as u32));
    }
    let protocols = within([0x2001, 0], 23); // Teredo among them, which hides an IPv4 address
    let documents = within([0x2001, 0xdb8], 32) || within([0x3fff, 0], 20);
    within([0x2000, 0], 3) && !protocols && !documents && !within([0x2002, 0], 16) // 6to4 hides one as well
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = chrono::DateTime::parse_from_rfc3339("2026-03-10T16:35:00Z").unwrap().timestamp_millis();
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Tue, 10 Mar 2026 16:36:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Tue, 10 Mar 2026 16:34:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("tomorrow", now), None);
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        let public = ["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "192.0.1.1"];
        let more = ["168.63.129.17", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::101:101"];
        for address in public.into_iter().chain(more) {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        let private = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    fn refusal(url: &str, allow_private: &[&str]) -> Error {
        let allow: Vec<String> = allow_private.iter().map(|host| (*host).to_owned()).collect();
        let outbound = Outbound::new("test", &allow, "ingest.allow_private", Duration::from_secs(5)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = Url::parse(url).unwrap();
        runtime.block_on(outbound.send(Method::GET, &url, HeaderMap::new(), Bytes::new(), Take::Whole(1_000))).unwrap_err()
    }

    #[test]
    fn no_way_to_write_a_private_address_gets_past_the_guard() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let forms = [
            "127.0.0.1",
            "localhost",
            "LOCALHOST",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "169.254.169.254",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "10.0.0.1",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
        ];
        for form in forms {
            for scheme in ["http", "https"] {
                let refused = refusal(&format!("{scheme}://{form}:{port}/"), &["elsewhere.example"]);
                assert!(matches!(refused, Error::Private { .. }), "{form}: {refused:?}");
            }
        }
        // Another name of the same address is another host.
        assert!(matches!(refusal(&format!("http://localhost:{port}/"), &["127.0.0.1"]), Error::Private { .. }));
        assert!(matches!(refusal(&format!("http://127.0.0.1:{port}/"), &["127.0.0.1"]), Error::Unreachable(_)), "nobody listens there");
        let said = refusal(&format!("http://127.0.0.1:{port}/"), &[]).to_string();
        assert_eq!(
            said,
            "127.0.0.1 is at 127.0.0.1, which is not a public address; where that is meant, name the host in ingest.allow_private"
        );
    }

    #[test]
    fn only_http_goes_out_and_no_log_in_with_it() {
        for (url, rule) in [
            ("file:///etc/passwd", "must begin with https:// or http://, not file:"),
            ("gopher://127.0.0.1/", "not gopher:"),
            ("http://user@host.example/", "no log-in"),
            ("https://:secret@host.example/", "no log-in"),
        ] {
            let said = refusal(url, &[]).to_string();
            assert!(said.contains(rule) && !said.contains("secret"), "{url}: {said}");
        }
    }

    #[test]
    fn what_is_compressed_is_bounded_by_what_comes_out() {
        use std::io::Write;
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        zipped.write_all(&vec![b' '; 10_000_000]).unwrap();
        let zipped = zipped.finish().unwrap();
        assert!(zipped.len() < 20_000);
        assert_eq!(unzip(&zipped, 1_000_000), Err(Error::Large(1_000_000)));
        assert_eq!(unzip(&zipped, 10_000_000).map(|whole| whole.len()), Ok(10_000_000));
        assert!(matches!(unzip(b"plain text", 100), Err(Error::Unreadable(_))));
    }
}
