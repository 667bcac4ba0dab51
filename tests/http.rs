//! Page, API and health over real HTTP, while and before the pipeline works.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use bellwether::http::board::Board;
use bellwether::http::serve;
use bellwether::metrics::Metrics;
use bellwether::news::{EventTime, Score, Subject};
use bellwether::pipeline::Roles;
use bellwether::pipeline::partition::View;
use bellwether::window::WindowCounts;
use common::{get, get_with_head};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

struct Server {
    address: SocketAddr,
    board: Arc<Board>,
    stop: CancellationToken,
}

impl Server {
    fn start() -> Self {
        let (config, metrics) = (Arc::new(Config::default()), Arc::new(Metrics::new()));
        let board = Arc::new(Board::new(config, Arc::new(Watchlist::empty()), metrics.clone(), Roles::Monitor));
        let stop = CancellationToken::new();
        let address = serve("127.0.0.1:0".parse().unwrap(), board.clone(), metrics, stop.clone()).unwrap();
        Self { address, board, stop }
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&get(self.address, path).unwrap().1).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn view(subject: &str) -> View {
    let counts = WindowCounts { count: 4, negative: 1, neutral: 3, score_sum: Score(-800_000), ..WindowCounts::default() };
    let windows = [(Subject(subject.into()), counts)].into();
    View { end: EventTime(60_000), subjects: 1, windows, moods: Default::default(), standing: Default::default() }
}

#[test]
fn the_page_and_all_it_names_come_from_here_under_a_strict_policy() {
    let server = Server::start();
    let (head, page) = get_with_head(server.address, "/").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.contains("default-src 'none'") && head.contains("x-content-type-options: nosniff"), "{head}");
    assert!(!page.contains("<script>") && !page.contains("style=\"") && !page.contains(" onclick"), "nothing inline");
    let assets: Vec<&str> = page.split('"').filter(|part| part.starts_with("assets/")).collect();
    assert!(assets.len() >= 3, "{assets:?}");
    for asset in assets {
        assert_eq!(get(server.address, &format!("/{asset}")).unwrap().0, 200, "{asset}");
    }
    assert_eq!(get(server.address, "/assets/../Cargo.toml").unwrap().0, 404);
    assert_eq!(get(server.address, "/nowhere").unwrap().0, 404);
}

#[test]
fn ready_only_once_partitions_are_assigned_and_restored() {
    let server = Server::start();
    assert_eq!(get(server.address, "/live").unwrap().0, 200);
    let (status, body) = get(server.address, "/ready").unwrap();
    assert!(status == 503 && body.contains("no partitions assigned"), "{status} {body}");
    server.board.monitor_restoring(&[0]);
    assert_eq!(get(server.address, "/ready").unwrap().0, 503);
    server.board.monitor_restored(&[0]);
    assert_eq!(get(server.address, "/ready").unwrap().0, 200);
    assert_eq!(server.json("/status")["ready"], true);
}

#[test]
fn metrics_are_in_the_text_format() {
    let server = Server::start();
    let (head, body) = get_with_head(server.address, "/metrics").unwrap();
    assert!(head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("bellwether_build_info{version="), "{body}");
}

#[test]
fn the_page_gets_a_snapshot_and_then_what_moves() {
    let server = Server::start();
    server.board.view(0, view("market"));
    assert_eq!(server.json("/api/v1/snapshot")["subjects"][0]["subject"], "market");

    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = |event: &str| -> Value {
        lines.find(|line| *line == format!("event: {event}")).unwrap();
        let data = lines.find(|line| line.starts_with("data: ")).unwrap();
        serde_json::from_str(&data["data: ".len()..]).unwrap()
    };
    assert_eq!(next("snapshot")["subjects"].as_array().unwrap().len(), 1);
    server.board.view(0, view("topic:<script>alert(1)</script>"));
    let update = next("update");
    let subjects: Vec<&str> = update["subjects"].as_array().unwrap().iter().map(|subject| subject["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["market", "topic:<script>alert(1)</script>"], "the market left its partition's window, the topic came");
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let server = Server::start();
    let (config, metrics) = (Arc::new(Config::default()), Arc::new(Metrics::new()));
    let board = Arc::new(Board::new(config, Arc::new(Watchlist::empty()), metrics.clone(), Roles::Monitor));
    let error = serve(server.address, board, metrics, CancellationToken::new()).unwrap_err().to_string();
    assert!(error.contains(&server.address.to_string()) && error.contains("http.listen"), "{error}");
}
