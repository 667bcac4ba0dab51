//! Clients that want too much: too many requests, too large, too slow, too long.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bellwether::config::HttpConfig;

use crate::common::wait_for;
use crate::server::{Answer, Holders, PATIENCE, Request, Server, config, connect, span, view};

/// Sends a request whose answer does not end. Its head in lower case, then its lines as they come.
pub fn begin_stream(mut stream: TcpStream, request: &str) -> (String, impl Iterator<Item = String> + use<>) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    (head.join("\n").to_ascii_lowercase(), lines)
}

/// Reads until the server closes the connection: how long that took, and what came.
fn closed_after(mut stream: TcpStream) -> (Duration, String) {
    let (start, mut bytes) = (Instant::now(), Vec::new());
    // A reset is an end as well; that none comes at all is not.
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "not closed within {PATIENCE:?}");
    }
    (start.elapsed(), String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let server = Server::with(&HttpConfig { requests_per_second: 1, burst: 3, metrics_listen: "127.0.0.1:0".into(), ..config() });
    let first: Vec<u16> = (0..3).map(|_| server.get("/status", &[]).status).collect();
    assert_eq!(first, [200; 3]);
    let answer = wait_for("a request too many", 10, || Some(server.get("/status", &[])).filter(|answer| answer.status == 429));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.body.contains("too many requests"), "{answer:?}");
    assert!(server.rejected("rate") >= 1);
    // Whatever the client does, probes and Prometheus are answered.
    for _ in 0..20 {
        assert_eq!((server.get("/live", &[]).status, server.get("/ready", &[]).status), (200, 503));
    }
    wait_for("the client to be heard again", 10, || {
        std::thread::sleep(Duration::from_millis(200));
        (server.get("/status", &[]).status == 200).then_some(())
    });
}

#[test]
fn guessing_tokens_is_a_request_like_any_other() {
    let server = Server::with(&HttpConfig { requests_per_second: 1, burst: 5, ..Holders::new().config() });
    let statuses: Vec<u16> = (0..50).map(|guess| Request::form("/login", &format!("token=bw_{guess}")).send(server.page).status).collect();
    let (refused, limited) =
        (statuses.iter().filter(|status| **status == 401).count(), statuses.iter().filter(|status| **status == 429).count());
    assert!(refused >= 5 && limited >= 40 && refused + limited == 50, "{statuses:?}");
}

#[test]
fn a_body_too_large_is_413_whether_its_length_is_told_or_not() {
    let server = Server::with(&HttpConfig { max_body_bytes: 1_000, ..Holders::new().config() });
    let form = |bytes: usize| format!("token={}", "x".repeat(bytes - "token=".len()));
    assert_eq!(Request::form("/login", &form(1_000)).send(server.page).status, 401, "as large as may be");
    let answer = Request::form("/login", &form(1_001)).send(server.page);
    assert!(answer.status == 413 && answer.body.contains("larger than 1000 bytes"), "{answer:?}");
    let mut stream = connect(server.page);
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        server.page
    );
    write!(stream, "{head}Transfer-Encoding: chunked\r\n\r\n").unwrap();
    for _ in 0..3 {
        // The server may have closed by then.
        let _ = write!(stream, "190\r\n{}\r\n", "x".repeat(400));
    }
    assert_eq!(Answer::read(stream).status, 413);
    // A route that wants no body does not take a large one either.
    let answer = Request { method: "POST", path: "/logout", headers: &[], body: &form(5_000) }.send(server.page);
    assert_eq!(answer.status, 413);
    assert_eq!(server.rejected("body"), 3);
}

#[test]
fn a_head_too_large_is_refused() {
    let server = Server::start();
    let answer = server.get("/", &[("X-Padding", &"x".repeat(40_000))]);
    assert_eq!(answer.status, 431);
}

#[test]
fn slow_clients_are_cut_off_and_others_are_not() {
    let limit = Duration::from_millis(400);
    let server = Server::with(&HttpConfig { time_limit: span(400), ..Holders::new().config() });
    for (what, begun) in [("says nothing", ""), ("does not end its head", "GET / HTTP/1.1\r\nHost: x\r\n")] {
        let mut stream = connect(server.page);
        stream.write_all(begun.as_bytes()).unwrap();
        let (elapsed, answer) = closed_after(stream);
        assert!(elapsed >= limit / 2 && !answer.contains("200"), "a client that {what} got {answer:?} after {elapsed:?}");
    }
    // A byte now and then keeps nothing open.
    let mut dripping = connect(server.page);
    let mut writer = dripping.try_clone().unwrap();
    let drops = std::thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && writer.write_all(b"X").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
        start.elapsed()
    });
    let mut rest = Vec::new();
    let _ = dripping.read_to_end(&mut rest);
    drop(dripping);
    assert!(drops.join().unwrap() < PATIENCE, "a slow loris was let be");
    // A body that does not come.
    let mut stream = connect(server.page);
    write!(stream, "POST /login HTTP/1.1\r\nHost: {}\r\nContent-Length: 10\r\n\r\ntoken", server.page).unwrap();
    let (_, answer) = closed_after(stream);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("not done within 0.4 seconds"), "{answer:?}");
    assert_eq!(server.rejected("time"), 1);
    // A connection that is kept, and not used.
    let mut stream = connect(server.page);
    write!(stream, "GET /login HTTP/1.1\r\nHost: {}\r\n\r\n", server.page).unwrap();
    let (elapsed, answer) = closed_after(stream);
    assert!(answer.starts_with("HTTP/1.1 200 ") && elapsed >= limit / 2, "{elapsed:?}: {answer}");
}

#[test]
fn an_event_stream_outlives_the_time_limit() {
    let server = Server::with(&HttpConfig { time_limit: span(300), ..config() });
    let (_, mut events) = begin_stream(connect(server.page), &Request::get("/api/v1/events").text(server.page));
    assert_eq!(events.by_ref().filter(|line| line == "event: update").take(3).count(), 3, "three seconds, ten times the limit");
}

#[test]
fn event_streams_are_bounded_and_one_that_ends_makes_room() {
    let server = Server::with(&HttpConfig { event_streams: 2, ..config() });
    let request = Request::get("/api/v1/events").text(server.page);
    let open = || begin_stream(connect(server.page), &request);
    let (first, second) = (open(), open());
    assert!(first.0.contains(" 200 ok") && second.0.contains(" 200 ok"));
    let refused = server.get("/api/v1/events", &[]);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("30")), "{refused:?}");
    assert_eq!(server.rejected("event_streams"), 1);
    drop(first);
    wait_for("the place of a stream that has ended", 20, || open().0.contains(" 200 ok").then_some(()));
}

#[test]
fn clients_that_take_nothing_give_their_places_back() {
    // Larger than what the kernel takes for a client that does not read.
    let server = Server::with(&HttpConfig { connections: 2, event_streams: 1, time_limit: span(500), ..config() });
    for number in 0..4_000 {
        server.board.view(number, view(&format!("topic:{number} {}", "x".repeat(4_000))));
    }
    let request = Request::get("/api/v1/snapshot").text(server.page);
    let idle: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = connect(server.page);
            stream.write_all(request.as_bytes()).unwrap();
            let mut begun = [0];
            stream.read_exact(&mut begun).unwrap();
            stream
        })
        .collect();
    // All places are taken: this waits in the queue until one is cut off.
    assert_eq!(server.get("/live", &[]).status, 200);
    let taken = idle.into_iter().map(|mut stream| {
        let mut taken = Vec::new();
        let _ = stream.read_to_end(&mut taken);
        taken.len()
    });
    let (least, whole) = (taken.min().unwrap(), server.get("/api/v1/snapshot", &[]).body.len());
    assert!(least < whole / 2, "{least} of {whole} bytes: nobody was cut off");
}
