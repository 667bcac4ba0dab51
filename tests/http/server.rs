//! A server with a board of its own, and a client that shows every byte of an answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bellwether::config::{Config, HttpConfig, Span};
use bellwether::detect::{AlertRecord, UsualCount};
use bellwether::enrich::Watchlist;
use bellwether::http::board::Board;
use bellwether::http::tokens::{Holder, Role, line, new_secret};
use bellwether::http::{Addresses, Error, serve};
use bellwether::metrics::Metrics;
use bellwether::news::{EventTime, Score, Subject};
use bellwether::pipeline::Roles;
use bellwether::pipeline::partition::{Mood, View};
use bellwether::window::WindowCounts;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// For answers that must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    pub page: SocketAddr,
    pub metrics: Option<SocketAddr>,
    pub board: Arc<Board>,
    stop: CancellationToken,
}

/// Any free port for page and metrics together; everything else as by default.
pub fn config() -> HttpConfig {
    HttpConfig { listen: "127.0.0.1:0".into(), metrics_listen: String::new(), ..Config::default().http }
}

pub fn try_serve(http: &HttpConfig) -> (Result<Addresses, Error>, Arc<Board>, CancellationToken) {
    let (config, metrics) = (Arc::new(Config::default()), Arc::new(Metrics::new()));
    let board = Arc::new(Board::new(config, Arc::new(Watchlist::empty()), metrics.clone(), Roles::Monitor));
    let stop = CancellationToken::new();
    (serve(http, board.clone(), metrics, stop.clone()), board, stop)
}

impl Server {
    pub fn start() -> Self {
        Self::with(&config())
    }

    pub fn with(http: &HttpConfig) -> Self {
        let (addresses, board, stop) = try_serve(http);
        let addresses = addresses.unwrap();
        Self { page: addresses.page.unwrap(), metrics: addresses.metrics, board, stop }
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        Request { headers, ..Request::get(path) }.send(self.page)
    }

    pub fn json(&self, path: &str) -> Value {
        self.get(path, &[]).json()
    }

    /// Waits until as many requests have been turned away for that reason.
    pub fn rejected(&self, reason: &str) -> u64 {
        let answer = Request::get("/metrics").send(self.metrics.unwrap_or(self.page));
        let name = format!("bellwether_http_requests_rejected_total{{reason=\"{reason}\"}} ");
        answer.body.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A tokens file with a viewer and an operator, and what they have to show.
pub struct Holders {
    pub folder: TempDir,
    pub viewer: String,
    pub operator: String,
}

impl Holders {
    pub fn new() -> Self {
        let (folder, viewer, operator) = (tempfile::tempdir().unwrap(), new_secret().unwrap(), new_secret().unwrap());
        let entry = |name: &str, role, token: &str| line(&Holder { name: name.into(), role }, token);
        let lines = [entry("desk", Role::Viewer, &viewer), entry("ops", Role::Operator, &operator)];
        std::fs::write(folder.path().join("tokens"), lines.join("\n")).unwrap();
        Self { folder, viewer, operator }
    }

    /// As [`config`], with these holders; metrics have an address of their own.
    pub fn config(&self) -> HttpConfig {
        HttpConfig { tokens: self.folder.path().join("tokens"), metrics_listen: "127.0.0.1:0".into(), ..config() }
    }
}

pub fn span(ms: u64) -> Span {
    Span::from_ms(ms)
}

pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a str,
}

impl<'a> Request<'a> {
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, headers: &[], body: "" }
    }

    /// What a program sends; a browser adds an origin.
    pub fn form(path: &'a str, body: &'a str) -> Self {
        Self { method: "POST", path, headers: &[("Content-Type", "application/x-www-form-urlencoded")], body }
    }

    /// By HTTP/1.0, where an answer is never in chunks and ends with the connection.
    pub fn text(&self, host: SocketAddr) -> String {
        let Self { method, path, headers, body } = self;
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = if *method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\n{headers}{length}\r\n{body}")
    }

    pub fn send(&self, address: SocketAddr) -> Answer {
        let mut stream = connect(address);
        stream.write_all(self.text(address).as_bytes()).unwrap();
        Answer::read(stream)
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// To the end of the connection; a reset after the whole head is an end, too.
    pub fn read(mut stream: impl Read) -> Self {
        let mut bytes = Vec::new();
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert!(bytes.windows(4).any(|end| end == b"\r\n\r\n"), "no answer: {error}");
        }
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        Self { status, headers: headers.collect(), body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The cookie that it sets, as a browser sends it back.
    pub fn cookie(&self) -> &str {
        self.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {self:?}")).split(';').next().unwrap()
    }
}

pub fn view(subject: &str) -> View {
    let counts = WindowCounts { count: 4, negative: 1, neutral: 3, score_sum: Score(-800_000), ..WindowCounts::default() };
    let windows = [(Subject(subject.into()), counts)].into();
    let moods =
        [(Subject(subject.into()), Mood { index: -0.2, buzz: Some(1.5), usual: Some(UsualCount { expected: 0.4, most: 2 }) })].into();
    View { end: EventTime(60_000), subjects: 1, windows, moods, standing: Default::default() }
}

/// The example of the schema.
pub fn alert() -> AlertRecord {
    let schema: Value = serde_json::from_str(include_str!("../../schemas/sentiment.alerts.json")).unwrap();
    serde_json::from_value(schema["examples"][0].clone()).unwrap()
}
