//! A server of feeds that answers as each test wants it, and keeps account of what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::X509;

use super::certificates::Issued;

/// One request, with the names of its headers in lower case.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub at: Instant,
}

pub struct Newsstand {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    most_at_once: Arc<AtomicUsize>,
}

impl Newsstand {
    /// `answer` writes what it likes.
    pub fn open(answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, at_once, most_at_once) =
            (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (answer, account, most) = (Arc::new(answer), asked.clone(), most_at_once.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (answer, account, at_once, most) = (answer.clone(), account.clone(), at_once.clone(), most.clone());
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    account.lock().unwrap().push(request.clone());
                    // Who comes to a host in company comes within the time that this takes.
                    std::thread::yield_now();
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    answer(&request, &mut stream);
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        });
        Self { address, asked, most_at_once }
    }

    /// The same by HTTPS, under this certificate.
    pub fn behind_tls(&self, certificate: &Issued) -> SocketAddr {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&X509::from_pem(certificate.certificate.as_bytes()).unwrap()).unwrap();
        acceptor.set_private_key(&PKey::private_key_from_pem(certificate.key().as_bytes()).unwrap()).unwrap();
        let (acceptor, inner) = (Arc::new(acceptor.build()), self.address);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let acceptor = acceptor.clone();
                std::thread::spawn(move || {
                    // Whoever does not trust it goes away.
                    let Ok(mut outside) = acceptor.accept(stream) else { return };
                    let mut head = [0; 4096];
                    let Ok(length) = outside.read(&mut head) else { return };
                    let mut inside = TcpStream::connect(inner).unwrap();
                    inside.write_all(&head[..length]).unwrap();
                    let mut answer = Vec::new();
                    let _ = inside.read_to_end(&mut answer);
                    let _ = outside.write_all(&answer).and_then(|()| outside.flush());
                    let _ = outside.shutdown();
                });
            }
        });
        address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn asked_for(&self, path: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.path == path).collect()
    }

    pub fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let head = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
    let headers = head.filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())));
    Some(Asked { path, headers: headers.collect(), at: Instant::now() })
}

/// A whole answer; `head` is the status and, behind line ends, further headers.
pub fn say(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let length = body.len();
    let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes());
    let _ = stream.write_all(body);
}

/// Says nothing more, until the other side has gone.
pub fn keep_waiting(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Writes the same again and again, until nobody takes it any more.
pub fn say_for_ever(stream: &mut TcpStream, head: &str, piece: &[u8]) {
    let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
    while stream.write_all(piece).is_ok() {}
}

pub fn rss(items: &[&str]) -> String {
    let item = |title: &&str| format!("<item><title>{title}</title><guid isPermaLink=\"false\">{title}</guid></item>");
    let items: String = items.iter().map(item).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><rss version=\"2.0\"><channel><title>t</title><link>/</link><description>d</description>{items}</channel></rss>"
    )
}
