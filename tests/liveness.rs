//! `/live` is about progress: a process whose model hangs is not alive, however well it answers.

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bellwether::classify::drift::Reference;
use bellwether::classify::{Classify, Ticket};
use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use bellwether::http::{board::Board, serve};
use bellwether::metrics::Metrics;
use bellwether::news::{Classification, Logits, ModelIdentity, Sentiment, SentimentProbabilities, SentimentResult, TopicResult};
use bellwether::pipeline::{self, Roles};
use common::{Broker, Site, get, produce, read_topic, wait_for};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A model that answers while its gate is open. The real one cannot be made to hang.
struct Gate {
    identity: ModelIdentity,
    open: Arc<(Mutex<bool>, Condvar)>,
    asked: Arc<AtomicBool>,
}

fn neutral() -> Classification {
    let probabilities = SentimentProbabilities { negative: 0.1, neutral: 0.8, positive: 0.1 };
    Classification {
        topic: TopicResult { label: "Macro".into(), probability: 0.9, probabilities: std::iter::once(("Macro".into(), 0.9)).collect() },
        sentiment: SentimentResult { label: Sentiment::Neutral, score: probabilities.score(), probabilities },
        logits: Logits::default(),
        truncated: false,
        unknown_share: 0.0,
    }
}

impl Classify for Gate {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn drift_reference(&self) -> Option<&Reference> {
        None
    }

    fn submit(&self, texts: Vec<String>) -> Ticket {
        let (done, ticket) = Ticket::open();
        let open = self.open.clone();
        self.asked.store(true, Ordering::SeqCst);
        std::thread::spawn(move || {
            let (gate, opened) = &*open;
            drop(opened.wait_while(gate.lock().unwrap(), |open| !*open).unwrap());
            let _ = done.send(Ok(texts.iter().map(|_| neutral()).collect()));
        });
        ticket
    }
}

fn live(address: SocketAddr) -> (u16, Value) {
    let (status, body) = get(address, "/live").unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn a_stalled_model_fails_the_liveness_probe_and_progress_mends_it() {
    let broker = Broker::start();
    let site = Site::new(&broker, "");
    site.create_topics();
    let text = format!("[kafka]\nbrokers = {:?}\ncommit_interval = '100ms'\n[health]\nstall_after = '3s'", site.brokers);
    let config = Arc::new(Config::from_toml(&text, &[], None).unwrap());
    let (metrics, watchlist, stop) = (Arc::new(Metrics::new()), Arc::new(Watchlist::empty()), CancellationToken::new());
    let board = Arc::new(Board::new(config.clone(), watchlist.clone(), metrics.clone(), Roles::Classifier));
    let address = serve("127.0.0.1:0".parse().unwrap(), board.clone(), metrics.clone(), stop.clone()).unwrap();
    let open = Arc::new((Mutex::new(false), Condvar::new()));
    let asked = Arc::new(AtomicBool::new(false));
    let identity = ModelIdentity { name: "gate".into(), version: "0".into() };
    let model = Arc::new(Gate { identity, open: open.clone(), asked: asked.clone() });
    let running = pipeline::start(config, watchlist, metrics, board, Some(model), Roles::Classifier, stop.clone()).unwrap();

    // Nothing to do is not a stall.
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(live(address), (200, json!({"live": true, "reasons": []})));

    let item = |number: i32| (None, Some(number.to_string()), json!({"title": format!("Lender {number} fails")}).to_string().into_bytes());
    produce(&site.brokers, "news.raw", &(0..500).map(item).collect::<Vec<_>>());
    wait_for("the model to be asked", 30, || asked.load(Ordering::SeqCst).then_some(()));
    let (_, body) = wait_for("the stall to be noticed", 30, || Some(live(address)).filter(|(status, _)| *status == 503));
    let reason = body["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("classifier: records wait, and none was finished for"), "{reason}");

    *open.0.lock().unwrap() = true;
    open.1.notify_all();
    wait_for("life to be noticed", 30, || (live(address).0 == 200).then_some(()));
    wait_for("all items", 30, || (read_topic(&site.brokers, "news.scored").len() == 500).then_some(()));
    stop.cancel();
    running.wait().unwrap();
}
