//! Requests to the receivers of the configuration, and what came back.
//!
//! No redirect is followed and no proxy asked: a request goes where the configuration says, or nowhere. That may be an inner
//! network.

use std::fmt;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use hyper::body::Bytes;
use tokio::runtime::Runtime;
pub use url::Url;

use crate::news::EventTime;
use crate::outbound::{self, Answer, Outbound, Take};

/// Of an answer so much is read, and the beginning of that is shown.
const ANSWER_BYTES: usize = 4096;
const SHOWN_CHARACTERS: usize = 200;
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What came of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Taken(Said),
    /// The receiver says that it will never take this one.
    Refused(Said),
    /// It may be taken another time, not before the time that the receiver gave.
    Failed {
        said: Said,
        not_before: Option<Duration>,
    },
}

/// What was heard of a receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// A status, or why there was none.
    pub status: String,
    /// In the receiver's words, which may be those of the request: not for the log.
    pub words: String,
}

impl Said {
    pub fn only(status: impl Into<String>) -> Self {
        Self { status: status.into(), words: String::new() }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(format!("{} {}", self.status, self.words).trim_end())
    }
}

/// # Errors
/// What it must be, without the URL, which may hold a secret.
pub fn parse(url: &str) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| format!("it is no address ({error}); it must be such as \"https://desk.example/alerts\""))?;
    outbound::check(&url).map(|()| url)
}

pub struct Post {
    outbound: Outbound,
    runtime: Runtime,
    url: Url,
}

impl Post {
    /// # Errors
    /// Where the system gives no thread.
    pub fn new(url: Url, timeout: Duration) -> Result<Self, String> {
        let meant: Vec<String> = outbound::host(&url).into_iter().collect();
        let outbound = Outbound::new(concat!("Bellwether/", env!("CARGO_PKG_VERSION")), &meant, "webhooks", timeout);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { outbound: outbound.map_err(|error| error.to_string())?, runtime: runtime.map_err(|error| error.to_string())?, url })
    }

    /// Host and port, for messages: the rest of a URL may be a secret.
    pub fn host(&self) -> String {
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}{port}", self.url.host_str().unwrap_or_default())
    }

    /// Sends JSON and waits for the answer.
    pub fn send(&self, headers: &[(&'static str, String)], body: Vec<u8>) -> Outcome {
        let mut sent = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        for (name, value) in headers {
            let Ok(value) = HeaderValue::from_str(value) else {
                return Outcome::Refused(Said::only(format!("{name} cannot be sent as a header")));
            };
            sent.insert(HeaderName::from_static(name), value);
        }
        let answer = self.outbound.send(Method::POST, &self.url, sent, Bytes::from(body), Take::Beginning(ANSWER_BYTES));
        match self.runtime.block_on(answer) {
            Ok(answer) => judge(&answer, EventTime::now()),
            Err(error) => Outcome::Failed { said: Said::only(error.to_string()), not_before: None },
        }
    }
}

fn judge(answer: &Answer, now: EventTime) -> Outcome {
    let status = answer.status;
    let body: String = String::from_utf8_lossy(&answer.body).split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = body.chars().filter(|character| !character.is_control()).take(SHOWN_CHARACTERS).collect();
    let said = Said { status: status.to_string(), words };
    let refusals = [StatusCode::BAD_REQUEST, StatusCode::GONE, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
    if status.is_success() {
        Outcome::Taken(said)
    } else if refusals.contains(&status) {
        Outcome::Refused(said)
    } else {
        Outcome::Failed { said, not_before: answer.retry_after(now).map(|asked| asked.min(MAX_RETRY_AFTER)) }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn a_place_to_send_to_is_http_and_holds_no_password() {
        for right in ["https://desk.example/alerts?key=1", "http://127.0.0.1:9093"] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for (wrong, said) in [
            ("", "it is no address"),
            ("desk.example/alerts", "it is no address"),
            ("ftp://desk.example", "it must begin with https://"),
            ("https://ops:hunter2@desk.example", "it must hold no log-in"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.starts_with(said) && !error.contains("hunter2"), "{wrong}: {error}");
        }
    }

    #[test]
    fn an_answer_says_whether_another_attempt_may_help() {
        let now = EventTime::parse("2026-11-30T09:59:00Z").unwrap();
        let judged = |status: StatusCode, after: Option<&'static str>, body: &str| {
            let headers = after.map(|after| (RETRY_AFTER, after.parse().unwrap())).into_iter().collect();
            judge(&Answer { status, headers, body: body.as_bytes().to_vec() }, now)
        };
        assert_eq!(judged(StatusCode::ACCEPTED, None, ""), Outcome::Taken(Said::only("202 Accepted")));
        for status in [StatusCode::GONE, StatusCode::BAD_REQUEST] {
            assert!(matches!(judged(status, None, ""), Outcome::Refused(_)), "{status}");
        }
        // A password that is wrong or a page that has moved is for the operator to mend.
        for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::FOUND] {
            assert!(matches!(judged(status, None, ""), Outcome::Failed { not_before: None, .. }), "{status}");
        }
        let busy = |after| judged(StatusCode::TOO_MANY_REQUESTS, Some(after), "slow\n down");
        let said = Said { status: "429 Too Many Requests".into(), words: "slow down".into() };
        assert_eq!(busy("7"), Outcome::Failed { said: said.clone(), not_before: Some(Duration::from_secs(7)) });
        assert_eq!(busy("Mon, 30 Nov 2026 10:00:00 GMT"), Outcome::Failed { said, not_before: Some(Duration::from_secs(60)) });
        assert!(matches!(busy("86400"), Outcome::Failed { not_before: Some(MAX_RETRY_AFTER), .. }));
        assert!(matches!(busy("soon"), Outcome::Failed { not_before: None, .. }));
    }
}
