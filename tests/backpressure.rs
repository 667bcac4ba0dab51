//! A producer ten times faster than the model: memory stays bounded, partitions pause, the group keeps its members, and
//! nothing is lost or doubled.

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use bellwether::http::board::Board;
use bellwether::metrics::Metrics;
use bellwether::pipeline::{self, Roles};
use common::model::Paced;
use common::{Broker, Site, read_topic, wait_for};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Items a second.
const PRODUCED: u64 = 5_000;
const CLASSIFIED: u64 = PRODUCED / 10;
const SECONDS: u64 = 15;
/// With the headers of a record some 4 KiB: 300 MB in all, of which a bounded process holds a part.
const BODY_BYTES: usize = 4_000;
/// What the flood may add to the memory of the process. The queues in front of the model hold at most 8 MiB in the client,
/// 8 MiB and 128 records before the channel and 4 x 128 records in it; answers from the brokers that are under way come on top.
const BOUND_BYTES: u64 = 100 << 20;

fn resident_bytes() -> u64 {
    let memory = std::fs::read_to_string("/proc/self/statm").unwrap();
    memory.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// News of fifteen seconds, one item every fifth of a millisecond, for `bellwether replay` to send at its own pace.
fn write_news(path: &std::path::Path) -> u64 {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let count = PRODUCED * SECONDS;
    // Text that does not shrink to nothing on its way.
    let mut state = 1_u64;
    for number in 0..count {
        let body: String = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 33) as u8 % 26)
        })
        .take(BODY_BYTES)
        .collect();
        let published_at = 1_794_787_200_000 + number * 1000 / PRODUCED;
        writeln!(file, "{}", json!({"id": format!("n{number}"), "title": "Lender fails", "body": body, "published_at": published_at}))
            .unwrap();
    }
    file.flush().unwrap();
    count
}

#[test]
fn a_flood_pauses_partitions_and_costs_neither_memory_nor_members() {
    let broker = Broker::start();
    let site = Site::new(&broker, "");
    site.create_topics();
    // A member that did not poll for five seconds would be put out, and one that sent no heartbeat for three.
    let text = format!(
        "[kafka]\nbrokers = {:?}\ncommit_interval = '100ms'\n[kafka.properties]\n\
         'max.poll.interval.ms' = '5000'\n'session.timeout.ms' = '3000'\n'heartbeat.interval.ms' = '500'",
        site.brokers
    );
    let config = Arc::new(Config::from_toml(&text, &[], None).unwrap());
    let (metrics, watchlist, stop) = (Arc::new(Metrics::new()), Arc::new(Watchlist::empty()), CancellationToken::new());
    let board = Arc::new(Board::new(config.clone(), watchlist.clone(), metrics.clone(), Roles::Classifier));
    let micros_a_text = Arc::new(AtomicU64::new(1_000_000 / CLASSIFIED));
    let pace = micros_a_text.clone();
    let model = Arc::new(Paced::new(move |texts| {
        std::thread::sleep(Duration::from_micros(texts as u64 * pace.load(Ordering::SeqCst)));
    }));
    let running = pipeline::start(config, watchlist, metrics.clone(), board, Some(model), Roles::Classifier, stop.clone()).unwrap();
    let classifier = ["classifier"];
    wait_for("partitions", 30, || (metrics.partitions_assigned.with_label_values(&classifier).get() == 3).then_some(()));

    let news = site.folder.path().join("news.jsonl");
    let count = write_news(&news);
    let before = resident_bytes();
    let mut replay: Command = site.command(&["replay", news.to_str().unwrap(), "--speed", "1x"]);
    let mut replay = replay.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (mut most_memory, mut most_lag, mut most_paused) = (0, 0, 0);
    let ended = wait_for("the flood to end", 120, || {
        most_memory = most_memory.max(resident_bytes());
        most_lag = most_lag.max(metrics.consumer_lag.with_label_values(&classifier).get());
        most_paused = most_paused.max(metrics.partitions_paused.with_label_values(&classifier).get());
        replay.try_wait().unwrap()
    });
    assert!(ended.success());
    let scored = metrics.items.with_label_values(&["scored"]).get();
    assert!(scored > 0 && scored < count / 4, "{scored} of {count} were scored during the flood: it was no flood");
    let grown = most_memory.saturating_sub(before);
    println!("{scored} of {count} items scored in the flood; memory grew by {} MiB; lag {most_lag}; paused {most_paused}", grown >> 20);
    assert!(grown < BOUND_BYTES, "memory grew by {} MiB", grown >> 20);
    assert_eq!(most_paused, 3, "all partitions are paused");
    // Handed to the model or on the way there are a few slabs at most.
    wait_for("the lag to be of all that waits", 10, || {
        let lag = metrics.consumer_lag.with_label_values(&classifier).get();
        (lag + metrics.records.with_label_values(&classifier).get() as i64 + 2000 >= count as i64).then_some(())
    });

    // The model is quick again: all that waits is worked off.
    micros_a_text.store(1, Ordering::SeqCst);
    wait_for("the rest", 120, || (metrics.items.with_label_values(&["scored"]).get() == count).then_some(()));
    wait_for("no lag", 30, || (metrics.consumer_lag.with_label_values(&classifier).get() == 0).then_some(()));
    assert_eq!(metrics.partitions_paused.with_label_values(&classifier).get(), 0);
    for event in ["revoked", "lost"] {
        assert_eq!(metrics.rebalances.with_label_values(&["classifier", event]).get(), 0, "{event}");
    }
    assert_eq!(metrics.generations.with_label_values(&classifier).get(), 0);
    stop.cancel();
    running.wait().unwrap();
    let records = read_topic(&site.brokers, "news.scored");
    let ids: BTreeSet<String> = records.iter().map(|record| record.key.clone().unwrap()).collect();
    assert_eq!((records.len() as u64, ids.len() as u64), (count, count), "each once");
}
