//! One request for a feed: what robots.txt allows, one request at a time to a host and a pause after it, redirects, and
//! what has not changed is not sent again.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Bytes;
use lru::LruCache;
use robotxt::{AccessResult, BYTE_LIMIT, Robots};
use tokio::sync::Semaphore;
use url::Url;

use super::memory::Memory;
use crate::config::IngestConfig;
use crate::news::EventTime;
use crate::outbound::{self, Answer, Outbound, Take};

/// By which robots.txt may name it.
const ROBOT: &str = "bellwether";
const ACCEPT: &str = "application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1";
/// At one time, over all hosts; each may hold twice `ingest.max_body_bytes`.
const REQUESTS: usize = 16;
const REDIRECTS: usize = 5;
/// RFC 9309, 2.4.
const ROBOTS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Where robots.txt could not be had, it is asked for again.
const NO_ROBOTS_KEPT: Duration = Duration::from_secs(600);
/// What a robots.txt may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Beyond this the host that was asked longest ago is forgotten, and with it its pause.
const HOSTS: NonZeroUsize = NonZeroUsize::new(20_000).expect("more than none");

/// What a feed's server answers.
#[derive(Debug)]
pub enum Fetched {
    Document {
        body: Vec<u8>,
        content_type: Option<String>,
        etag: Option<String>,
        last_modified: Option<String>,
        url: Url,
    },
    NotModified,
    /// Too many requests, or none can be taken now.
    Limited {
        status: u16,
        retry_after: Option<Duration>,
    },
    Gone,
}

/// Why there is nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("robots.txt of {0} does not allow it, or cannot be had")]
    Robots(String),
    #[error(transparent)]
    Outbound(#[from] outbound::Error),
    #[error("the server answers {0}")]
    Status(u16),
    #[error("redirected {0}")]
    Redirect(String),
}

#[derive(Default)]
struct Host {
    /// No request before.
    next: Option<Instant>,
    /// By scheme, host and port: what it allows, and until when that holds.
    robots: HashMap<String, (Robots, Instant)>,
}

pub struct Fetcher {
    outbound: Outbound,
    hosts: Mutex<LruCache<String, Arc<tokio::sync::Mutex<Host>>>>,
    places: Semaphore,
    pause: Duration,
    max_body_bytes: usize,
}

impl Fetcher {
    pub fn new(config: &IngestConfig) -> Self {
        let contact = if config.contact.is_empty() { String::new() } else { format!(" (+{})", config.contact) };
        let user_agent = format!("{ROBOT}/{}{contact}", env!("CARGO_PKG_VERSION"));
        let outbound = Outbound::new(&user_agent, &config.allow_private, "ingest.allow_private", config.time_limit.duration());
        Self {
            outbound: outbound.expect("the configuration was checked: plain ASCII"),
            hosts: Mutex::new(LruCache::new(HOSTS)),
            places: Semaphore::new(REQUESTS),
            pause: config.host_pause.duration(),
            max_body_bytes: config.max_body_bytes,
        }
    }

    /// Asks for a feed, with what is remembered of it.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn fetch(&self, url: &Url, memory: &Memory) -> Result<Fetched, Failure> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.ask(&url, memory).await?;
            let header = |name| answer.header(&name).map(str::to_owned);
            match answer.status {
                StatusCode::OK => {
                    let (content_type, etag, last_modified) =
                        (header(header::CONTENT_TYPE), header(header::ETAG), header(header::LAST_MODIFIED));
                    return Ok(Fetched::Document { body: answer.body, content_type, etag, last_modified, url });
                }
                StatusCode::NOT_MODIFIED => return Ok(Fetched::NotModified),
                StatusCode::GONE => return Ok(Fetched::Gone),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    let retry_after = answer.retry_after(EventTime::now());
                    return Ok(Fetched::Limited { status: answer.status.as_u16(), retry_after });
                }
                status if is_redirect(status) => url = target(&url, &answer)?,
                status => return Err(Failure::Status(status.as_u16())),
            }
        }
        Err(Failure::Redirect(format!("more than {REDIRECTS} times")))
    }

    /// One request, in its turn.
    async fn ask(&self, url: &Url, memory: &Memory) -> Result<Answer, Failure> {
        let host = self.host(url);
        let mut host = host.lock().await;
        if !self.allows(&mut host, url).await? {
            return Err(Failure::Robots(url.host_str().unwrap_or_default().to_owned()));
        }
        let validators = [(header::IF_NONE_MATCH, &memory.etag), (header::IF_MODIFIED_SINCE, &memory.last_modified)];
        let validators = validators.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(value.as_ref()?).ok()?)));
        let accept = (header::ACCEPT, HeaderValue::from_static(ACCEPT));
        let headers = [accept].into_iter().chain(validators);
        self.send(&mut host, url, headers.collect(), self.max_body_bytes).await
    }

    fn host(&self, url: &Url) -> Arc<tokio::sync::Mutex<Host>> {
        let mut hosts = self.hosts.lock().expect("no holder of this lock panics");
        hosts.get_or_insert_mut(url.host_str().unwrap_or_default().to_owned(), Default::default).clone()
    }

    async fn send(&self, host: &mut Host, url: &Url, headers: HeaderMap, max_bytes: usize) -> Result<Answer, Failure> {
        if let Some(next) = host.next {
            tokio::time::sleep_until(next.into()).await;
        }
        let place = self.places.acquire().await.expect("nobody closes the semaphore");
        let answer = self.outbound.send(Method::GET, url, headers, Bytes::new(), Take::Whole(max_bytes)).await;
        drop(place);
        let delay = host.robots.get(&origin(url)).and_then(|(robots, _)| robots.crawl_delay()).unwrap_or_default();
        host.next = Some(Instant::now() + self.pause.max(delay.min(LONGEST_PAUSE)));
        Ok(answer?)
    }

    async fn allows(&self, host: &mut Host, url: &Url) -> Result<bool, Failure> {
        let origin = origin(url);
        let now = Instant::now();
        host.robots.retain(|_, (_, until)| now < *until);
        if !host.robots.contains_key(&origin) {
            let (robots, kept) = self.robots(host, url).await?;
            host.robots.insert(origin.clone(), (robots, Instant::now() + kept));
        }
        Ok(host.robots[&origin].0.is_url_allowed(url))
    }

    /// As RFC 9309, 2.3.1: what is not there allows all, what cannot be had now allows nothing. A redirect to another host is
    /// as if it were not there; where the feed is redirected, too, that host's own is asked for.
    ///
    /// # Errors
    /// Where there is no answer at all, which is what becomes of the feed, too.
    async fn robots(&self, host: &mut Host, url: &Url) -> Result<(Robots, Duration), Failure> {
        let unreachable = || (Robots::from_access(AccessResult::Unreachable, ROBOT), NO_ROBOTS_KEPT);
        let unavailable = || (Robots::from_access(AccessResult::Unavailable, ROBOT), ROBOTS_KEPT);
        let mut place = url.join("/robots.txt").expect("a path can be joined to the address of a host");
        for _ in 0..=REDIRECTS {
            let answer = self.send(host, &place, HeaderMap::new(), BYTE_LIMIT).await?;
            match answer.status {
                status if status.is_success() => return Ok((Robots::parse(&answer.body, ROBOT), ROBOTS_KEPT)),
                status if is_redirect(status) => match target(&place, &answer) {
                    Ok(next) if next.host_str() == place.host_str() => place = next,
                    _ => return Ok(unavailable()),
                },
                status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => return Ok(unavailable()),
                _ => return Ok(unreachable()),
            }
        }
        Ok(unavailable())
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn is_redirect(status: StatusCode) -> bool {
    [301, 302, 303, 307, 308].contains(&status.as_u16())
}

/// Where an answer sends to: never from HTTPS to HTTP, where others could change what it says.
fn target(from: &Url, answer: &Answer) -> Result<Url, Failure> {
    let wrong = |what: &str| Failure::Redirect(what.to_owned());
    let location: HeaderName = header::LOCATION;
    let location = answer.header(&location).ok_or_else(|| wrong("without saying where"))?;
    let to = from.join(location).map_err(|_| wrong("to what is no address"))?;
    outbound::check(&to).map_err(|rule| Failure::Redirect(format!("to where it must not go: {rule}")))?;
    if from.scheme() == "https" && to.scheme() == "http" { Err(wrong("from https to http")) } else { Ok(to) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_on_by_http_and_never_down_from_https() {
        let to = |from: &str, location: &str| {
            let headers = [(header::LOCATION, HeaderValue::from_str(location).unwrap())].into_iter().collect();
            target(&Url::parse(from).unwrap(), &Answer { status: StatusCode::FOUND, headers, body: Vec::new() }).map(String::from)
        };
        assert_eq!(to("https://a.example/x/y", "../z").unwrap(), "https://a.example/z");
        assert_eq!(to("http://a.example/", "//b.example/").unwrap(), "http://b.example/");
        assert_eq!(to("http://a.example/", "https://a.example/").unwrap(), "https://a.example/");
        for location in ["http://a.example/", "file:///etc/passwd", "https://user:secret@b.example/", "https://[/"] {
            assert!(matches!(to("https://a.example/", location), Err(Failure::Redirect(_))), "{location}");
        }
    }
}
