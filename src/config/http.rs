//! `[http]`: where page and metrics are, who may look, and how much of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Span, listen_address};
use crate::http::tls;
use crate::http::tokens::Tokens;

const MAX_CONNECTIONS: usize = 100_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    pub listen: String,
    pub metrics_listen: String,
    pub tokens: PathBuf,
    pub open: bool,
    pub session: Span,
    pub tls_certificate: PathBuf,
    pub tls_key: PathBuf,
    pub requests_per_second: u32,
    pub burst: u32,
    pub connections: usize,
    pub event_streams: usize,
    pub max_body_bytes: usize,
    pub max_news_bytes: usize,
    pub time_limit: Span,
    /// Subjects of a partition that page, API and metrics show.
    pub subjects: usize,
}

impl HttpConfig {
    /// Where the page is, if anywhere.
    pub fn page_address(&self) -> Option<SocketAddr> {
        listen_address(&self.listen)
    }

    /// Where the metrics have an address of their own, if they have one.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        listen_address(&self.metrics_listen)
    }

    /// Notes every problem of the section, those of the files that it names among them.
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        let mut check = |holds: bool, text: String| {
            if !holds {
                problems.push(text);
            }
        };
        let listens = [("listen", &self.listen, "127.0.0.1:8080"), ("metrics_listen", &self.metrics_listen, "127.0.0.1:9464")];
        for (key, listen, example) in listens {
            check(
                listen.is_empty() || listen_address(listen).is_some(),
                format!("http.{key} = {listen:?} must be an address and port such as {example:?}"),
            );
        }
        let (page, metrics) = (self.page_address(), self.metrics_address());
        check(
            page.is_none_or(|page| page.port() == 0) || page != metrics,
            format!("http.metrics_listen = {:?} must differ from http.listen; \"\" serves the metrics there", self.metrics_listen),
        );
        let tokens = &self.tokens;
        let protected = !tokens.as_os_str().is_empty();
        check(
            protected || self.open || page.is_none_or(|page| page.ip().is_loopback()),
            format!(
                "http.listen = {:?} can be reached from other machines, and http.tokens = \"\" lets everybody in. Make a token \
                 (bellwether token NAME --role viewer >>FILE) and set http.tokens = \"FILE\"; or, where something else keeps strangers \
                 out, set http.open = true",
                self.listen
            ),
        );
        check(
            !(protected && self.open),
            format!("http.open = true has no meaning with http.tokens = {tokens:?}, which asks everybody for a token: remove one of them"),
        );
        for (key, value) in [("session", self.session), ("time_limit", self.time_limit)] {
            check(value.ms() > 0, format!("http.{key} = \"{value}\" must be longer than nothing"));
        }
        let most = [
            ("requests_per_second", self.requests_per_second as usize),
            ("burst", self.burst as usize),
            ("connections", self.connections),
            ("event_streams", self.event_streams),
            ("max_body_bytes", self.max_body_bytes),
            ("max_news_bytes", self.max_news_bytes),
        ];
        for (key, value) in most {
            check(value > 0, format!("http.{key} = 0 must be at least 1"));
        }
        check(
            self.connections <= MAX_CONNECTIONS,
            format!("http.connections = {} must be at most {MAX_CONNECTIONS}: each is an open file", self.connections),
        );
        check(
            self.event_streams < self.connections || self.connections == 0,
            format!(
                "http.event_streams = {} must be fewer than http.connections = {}: an event stream keeps its connection",
                self.event_streams, self.connections
            ),
        );
        if protected {
            problems.extend(Tokens::read(tokens).err().unwrap_or_default());
        }
        problems.extend(tls::server_config(self).err().unwrap_or_default());
    }
}
