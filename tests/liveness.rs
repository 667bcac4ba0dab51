//! `/live` is about progress: a process whose model hangs is not alive, however well it answers.

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bellwether::config::{Config, HttpConfig};
use bellwether::enrich::Watchlist;
use bellwether::http::{board::Board, serve};
use bellwether::metrics::Metrics;
use bellwether::pipeline::{self, Roles};
use common::model::Paced;
use common::{Broker, Site, get, produce, read_topic, wait_for};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn live(address: SocketAddr) -> (u16, Value) {
    let (status, body) = get(address, "/live").unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

/// A classifier in this process, with a model behind a gate.
struct Gated {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    open: Arc<(Mutex<bool>, Condvar)>,
    asked: Arc<AtomicBool>,
    stop: CancellationToken,
    running: pipeline::Running,
}

impl Gated {
    fn start(site: &Site, open: bool, extra: &str) -> Self {
        let text = format!("[kafka]\nbrokers = {:?}\ncommit_interval = '100ms'\n{extra}", site.brokers);
        let config = Arc::new(Config::from_toml(&text, &[], None).unwrap());
        let (metrics, watchlist, stop) = (Arc::new(Metrics::new()), Arc::new(Watchlist::empty()), CancellationToken::new());
        let board = Arc::new(Board::new(config.clone(), watchlist.clone(), metrics.clone(), Roles::Classifier));
        let http = HttpConfig { listen: "127.0.0.1:0".into(), metrics_listen: String::new(), ..config.http.clone() };
        let address = serve(&http, board.clone(), metrics.clone(), stop.clone()).unwrap().page.unwrap();
        let open = Arc::new((Mutex::new(open), Condvar::new()));
        let asked = Arc::new(AtomicBool::new(false));
        let (gate, called) = (open.clone(), asked.clone());
        let model = Arc::new(Paced::new(move |_| {
            called.store(true, Ordering::SeqCst);
            let (gate, opened) = &*gate;
            drop(opened.wait_while(gate.lock().unwrap(), |open| !*open).unwrap());
        }));
        let roles = Roles::Classifier;
        let running = pipeline::start(config, watchlist, metrics.clone(), board, Some(model), roles, stop.clone()).unwrap();
        Self { address, metrics, open, asked, stop, running }
    }

    fn open(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }

    fn partitions(&self) -> i64 {
        self.metrics.partitions_assigned.with_label_values(&["classifier"]).get()
    }

    fn end(self) {
        self.stop.cancel();
        self.running.wait().unwrap();
    }
}

fn items(numbers: std::ops::Range<i32>) -> Vec<(Option<i32>, Option<String>, Vec<u8>)> {
    let item = |number: i32| json!({"id": format!("n{number:04}"), "title": format!("Lender {number} fails")}).to_string().into_bytes();
    numbers.map(|number| (Some(number % 3), Some(number.to_string()), item(number))).collect()
}

#[test]
fn a_stalled_model_fails_the_liveness_probe_and_progress_mends_it() {
    let broker = Broker::start();
    let site = Site::new(&broker, "");
    site.create_topics();
    let classifier = Gated::start(&site, false, "[health]\nstall_after = '3s'");
    let address = classifier.address;

    // Nothing to do is not a stall.
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(live(address), (200, json!({"live": true, "reasons": []})));

    produce(&site.brokers, "news.raw", &items(0..500));
    wait_for("the model to be asked", 30, || classifier.asked.load(Ordering::SeqCst).then_some(()));
    let (_, body) = wait_for("the stall to be noticed", 30, || Some(live(address)).filter(|(status, _)| *status == 503));
    let reason = body["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("classifier: records wait, and none was finished for"), "{reason}");

    classifier.open();
    wait_for("life to be noticed", 30, || (live(address).0 == 200).then_some(()));
    wait_for("all items", 30, || (read_topic(&site.brokers, "news.scored").len() == 500).then_some(()));
    classifier.end();
}

/// What is logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_model_that_stalls_through_a_hand_over_gives_up_what_it_had_begun_and_doubles_nothing() {
    let log = Log::start();
    let broker = Broker::start();
    let site = Site::new(&broker, "");
    site.create_topics();
    let quick = "[kafka.properties]\n'max.poll.interval.ms' = '6000'\n'session.timeout.ms' = '3000'\n'heartbeat.interval.ms' = '500'";
    let stalled = Gated::start(&site, false, quick);
    wait_for("all partitions", 30, || (stalled.partitions() == 3).then_some(()));
    produce(&site.brokers, "news.raw", &items(0..600));
    wait_for("the model to be asked", 30, || stalled.asked.load(Ordering::SeqCst).then_some(()));

    // The hand-over does not wait for the model for longer than half of max.poll.interval.ms.
    let other = Gated::start(&site, true, quick);
    wait_for("the other to be given its share", 60, || (other.partitions() > 0).then_some(()));
    wait_for("the items of its share", 30, || (read_topic(&site.brokers, "news.scored").len() >= 200).then_some(()));
    // And it stands still for longer than max.poll.interval.ms allows a member that does not poll.
    std::thread::sleep(std::time::Duration::from_secs(7));
    stalled.open();
    wait_for("all items", 60, || (read_topic(&site.brokers, "news.scored").len() >= 600).then_some(()));
    wait_for("it to take part again", 60, || (stalled.partitions() > 0 && stalled.partitions() + other.partitions() == 3).then_some(()));
    produce(&site.brokers, "news.raw", &items(600..700));
    wait_for("the rest", 30, || (read_topic(&site.brokers, "news.scored").len() >= 700).then_some(()));
    stalled.end();
    other.end();

    let mut ids: Vec<String> =
        read_topic(&site.brokers, "news.scored").iter().map(|record| record.json()["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    assert!(ids.iter().cloned().eq((0..700).map(|number| format!("n{number:04}"))), "each item once: {} records", ids.len());
    let said = log.text();
    let line = said.lines().find(|line| line.contains("begins anew, from what is committed"));
    assert!(line.is_some_and(|line| line.contains("not finished in time") && line.contains("lower model.slab_texts")), "{said}");
}
