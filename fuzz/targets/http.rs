//! Bytes on a connection to the page: each is answered, or the connection ends, and the server goes on.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bellwether::actions::Book;
use bellwether::config::{Config, HttpConfig};
use bellwether::enrich::Watchlist;
use bellwether::http::board::Board;
use bellwether::http::serve;
use bellwether::http::tokens::{Holder, Role, line};
use bellwether::metrics::Metrics;
use bellwether::pipeline::{Roles, ask};
use libfuzzer_sys::fuzz_target;
use tokio_util::sync::CancellationToken;

static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let config = Arc::new(Config::default());
    let metrics = Arc::new(Metrics::new());
    let board = Arc::new(Board::new(config.clone(), Arc::new(Watchlist::empty()), metrics.clone(), Roles::Monitor));
    let (listen, metrics_listen) = ("127.0.0.1:0".to_owned(), String::new());
    let tokens = std::env::temp_dir().join(format!("bellwether-fuzz-{}", std::process::id()));
    let operator = Holder { name: "ops".into(), role: Role::Operator };
    std::fs::write(&tokens, line(&operator, "bw_operator")).expect("a folder for passing files");
    let http = HttpConfig { listen, metrics_listen, tokens, requests_per_second: 1_000_000_000, burst: 1_000_000_000, ..config.http.clone() };
    // What lies behind the routes says yes.
    board.actions().replace(Book::default());
    board.push_by(Box::new(|_| Ok(())));
    board.act_by(Box::new(|_, _| Ok(())));
    board.ask_by(Box::new(|text| Err(if text.is_empty() { ask::Error::Text("no text".into()) } else { ask::Error::Busy })));
    serve(&http, board, metrics, CancellationToken::new()).expect("a free port").page.expect("the page has an address")
});

fuzz_target!(|bytes: &[u8]| {
    // An event stream ends only with its client.
    if bytes.windows(6).any(|window| window == b"events") {
        return;
    }
    let mut stream = TcpStream::connect_timeout(&SERVER, Duration::from_secs(5)).expect("the server takes connections");
    // No port is kept for what may still come.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option of every socket");
    stream.set_read_timeout(Some(Duration::from_secs(8))).expect("an option of every socket");
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    assert!(
        !read.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)),
        "neither an answer nor an end: {:?}",
        String::from_utf8_lossy(&answer)
    );
    assert!(!answer.starts_with(b"HTTP/1.1 500"), "{}", String::from_utf8_lossy(&answer));
});
