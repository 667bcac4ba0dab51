//! Page, API and health over real HTTP, while and before the pipeline works; who gets at them, and how much of them.

mod common;

#[path = "http/access.rs"]
mod access;
#[path = "http/actions.rs"]
mod actions;
#[path = "http/classify.rs"]
mod classify;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/openapi.rs"]
mod openapi;
#[path = "http/page.rs"]
mod page;
#[path = "http/schemathesis.rs"]
mod schemathesis;
#[path = "http/server.rs"]
mod server;
#[path = "http/tls.rs"]
mod tls;

use std::io::{BufRead, BufReader, Read, Write};

use bellwether::config::HttpConfig;
use serde_json::Value;
use server::{Server, config, connect, try_serve, view};

#[test]
fn the_default_addresses_are_loopback_and_metrics_have_their_own() {
    let http = bellwether::config::Config::default().http;
    let (page, metrics) = (http.page_address().unwrap(), http.metrics_address().unwrap());
    assert!(page.ip().is_loopback() && metrics.ip().is_loopback() && page != metrics, "{page} {metrics}");
    assert!(!http.open);
}

#[test]
fn ready_only_once_partitions_are_assigned_and_restored() {
    let server = Server::start();
    assert_eq!(server.get("/live", &[]).status, 200);
    let answer = server.get("/ready", &[]);
    assert!(answer.status == 503 && answer.body.contains("no partitions assigned"), "{answer:?}");
    server.board.monitor_restoring(&[0]);
    assert_eq!(server.get("/ready", &[]).status, 503);
    server.board.monitor_restored(&[0]);
    assert_eq!(server.get("/ready", &[]).status, 200);
    assert_eq!(server.json("/status")["ready"], true);
}

#[test]
fn metrics_are_in_the_text_format() {
    let answer = Server::start().get("/metrics", &[]);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(answer.body.contains("bellwether_build_info{version="), "{}", answer.body);
}

#[test]
fn the_page_gets_a_snapshot_and_then_what_moves() {
    let server = Server::start();
    server.board.view(0, view("market"));
    assert_eq!(server.json("/api/v1/snapshot")["subjects"][0]["subject"], "market");

    let mut stream = connect(server.page);
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", server.page).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = |event: &str| -> Value {
        lines.find(|line| *line == format!("event: {event}")).unwrap();
        let data = lines.find(|line| line.starts_with("data: ")).unwrap();
        serde_json::from_str(&data["data: ".len()..]).unwrap()
    };
    assert_eq!(next("snapshot")["subjects"].as_array().unwrap().len(), 1);
    server.board.view(0, view("topic:Macro"));
    let update = next("update");
    let subjects: Vec<&str> = update["subjects"].as_array().unwrap().iter().map(|subject| subject["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["market", "topic:Macro"], "the market left its partition's window, the topic came");
}

#[test]
fn a_stop_ends_what_has_no_end_and_closes_the_addresses() {
    let server = Server::with(&HttpConfig { metrics_listen: "127.0.0.1:0".into(), ..config() });
    let (_, events) = limits::begin_stream(connect(server.page), &server::Request::get("/api/v1/events").text(server.page));
    // Answered, so that it is not only in line to be taken.
    let mut kept = connect(server.page);
    write!(kept, "GET /live HTTP/1.1\r\nHost: {}\r\n\r\n", server.page).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut byte = [0];
        kept.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    server.stop();
    assert_eq!(events.filter(|line| line == "event: snapshot").count(), 1, "the stream ran, and ended");
    let mut rest = Vec::new();
    assert!((&kept).read_to_end(&mut rest).is_ok() && rest.is_empty(), "a connection without a request is closed");
    for address in [server.page, server.metrics.unwrap()] {
        common::wait_for("the address to be closed", 10, || std::net::TcpStream::connect(address).is_err().then_some(()));
    }
}

#[test]
fn an_address_in_use_is_an_error_that_names_its_key() {
    let server = Server::start();
    let taken = server.page.to_string();
    for (key, http) in [
        ("listen", HttpConfig { listen: taken.clone(), ..config() }),
        ("metrics_listen", HttpConfig { metrics_listen: taken.clone(), ..config() }),
    ] {
        let error = try_serve(&http).0.unwrap_err().to_string();
        assert!(error.starts_with(&format!("http.{key} = \"{taken}\" cannot be opened")), "{error}");
    }
}
