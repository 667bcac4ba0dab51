//! Beside others on the same Kafka: what the classifier does without a model, with its model, and what the monitor does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use bellwether::http::board::Board;
use bellwether::metrics::{Metrics, process_cpu_seconds};
use bellwether::pipeline::{self, Roles};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::RUNS;
use crate::common::model::Paced;
use crate::common::past::fill;
use crate::common::{Broker, Process, Site, finish, root, wait_for};
use crate::document::Spread;
use crate::kafka::{self, PACE_PARTITIONS, busy_log, cpu_seconds, pace};

const PARTITIONS: usize = 3;

/// Values of one name over all runs.
fn over(runs: &[Value], value: impl Fn(&Value) -> f64) -> Value {
    json!(Spread::of(runs.iter().map(value).collect()))
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// The demo's news, again and again, each time with ids of its own.
fn news(count: usize) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("config/scenario/bank-run.jsonl")).expect("it is part of the repository");
    let items: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let numbered = items.iter().cycle().take(count).enumerate().map(|(number, item)| {
        let mut item = item.clone();
        item["id"] = format!("n-{number}").into();
        item
    });
    numbered.collect()
}

fn publish(site: &Site, topic: &str, items: &[Value]) {
    let of = |partition: usize| {
        let mine = items.iter().skip(partition).step_by(PARTITIONS);
        mine.map(|item| (item["id"].as_str().expect("set above").to_owned(), item.to_string().into_bytes())).collect::<Vec<_>>()
    };
    fill(&site.brokers, topic, (0..PARTITIONS).map(of));
}

// --- Without a model

/// From decoding to the commit, with a model that answers at once, beside a consumer that only reads the same topic, and beside a
/// producer that only writes the same outputs, by the same settings.
pub fn plumbing() -> Value {
    const RECORDS: usize = 200_000;
    let broker = Broker::start();
    let site = kafka::site(&broker, "plumbing", PARTITIONS as i32, "", "", "");
    publish(&site, "plumbing.raw", &news(RECORDS));
    let text = std::fs::read_to_string(site.config()).expect("written just now");
    let mut outputs = Vec::new();
    let runs: Vec<Value> = (0..RUNS)
        .map(|run| {
            let consumer = own_cpu(|| read_all(&site.brokers, &["plumbing.raw"], RECORDS, |_| true));
            let config = Config::from_toml(&text, &[("BELLWETHER_KAFKA__GROUP".into(), format!("plumbing-{run}"))], None);
            let mut config = config.expect("a site's configuration is good");
            config.kafka.brokers.clone_from(&site.brokers);
            config.kafka.start = bellwether::config::Start::Earliest;
            let classifier = own_cpu(|| classify_all(config, RECORDS));
            if outputs.is_empty() {
                let keep = |message: &BorrowedMessage<'_>| {
                    let bytes = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
                    let output =
                        Output { topic: message.topic().to_owned(), key: bytes(message.key()), payload: bytes(message.payload()) };
                    let of_item = !output.key.starts_with(b"watermark:");
                    if of_item {
                        outputs.push(output);
                    }
                    of_item
                };
                read_all(&site.brokers, &["plumbing.scored", "plumbing.observations"], OUTPUTS * RECORDS, keep);
            }
            let producer = own_cpu(|| write_all(&site.brokers, &outputs));
            let rate = |seconds: f64| RECORDS as f64 / seconds;
            let row = json!({"consumer": rate(consumer), "producer": rate(producer), "both": rate(consumer + producer), "classifier": rate(classifier)});
            println!("run {run}: {row}");
            row
        })
        .collect();
    let ratio = |to: &'static str| over(&runs, |run| number(run, "classifier") / number(run, to));
    json!([{
        "records": RECORDS,
        "runs": RUNS,
        "consumer_per_cpu_second": over(&runs, |run| number(run, "consumer")),
        "producer_per_cpu_second": over(&runs, |run| number(run, "producer")),
        "both_per_cpu_second": over(&runs, |run| number(run, "both")),
        "classifier_per_cpu_second": over(&runs, |run| number(run, "classifier")),
        "ratio": ratio("consumer"),
        "of_producer": ratio("producer"),
        "of_both": ratio("both"),
    }])
}

/// Of one item without a watchlist: what was scored, the market's observation and the topic's.
const OUTPUTS: usize = 3;

struct Output {
    topic: String,
    key: Vec<u8>,
    payload: Vec<u8>,
}

/// Seconds of CPU that this process takes meanwhile.
fn own_cpu(act: impl FnOnce()) -> f64 {
    let seconds = || process_cpu_seconds().expect("Linux has /proc");
    let before = seconds();
    act();
    seconds() - before
}

fn read_all(brokers: &str, topics: &[&str], records: usize, mut counts: impl FnMut(&BorrowedMessage<'_>) -> bool) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers).set("group.id", "bare-consumer").set("enable.auto.commit", "false");
    client.set("auto.offset.reset", "earliest").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = client.create().expect("good properties");
    consumer.subscribe(topics).expect("topics");
    let mut read = 0;
    let began = Instant::now();
    while read < records {
        assert!(began.elapsed() < Duration::from_secs(300), "{read} of {records} records after 300 s");
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            read += usize::from(counts(&message));
        }
    }
}

/// By the settings of the classifier's producer.
fn write_all(brokers: &str, outputs: &[Output]) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("acks", "all");
    client.set("linger.ms", "1").set("compression.type", "lz4").set("partitioner", "murmur2_random");
    let producer: ThreadedProducer<DefaultProducerContext> = client.create().expect("good properties");
    for Output { topic, key, payload } in outputs {
        let mut record = BaseRecord::to(topic).key(key).payload(payload);
        while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) = producer.send(record) {
            record = back;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    producer.flush(Duration::from_secs(60)).expect("the broker is there");
}

fn classify_all(config: Config, records: usize) {
    let (config, metrics, watchlist) = (Arc::new(config), Arc::new(Metrics::new()), Arc::new(Watchlist::empty()));
    let stop = CancellationToken::new();
    let board = Arc::new(Board::new(config.clone(), watchlist.clone(), metrics.clone(), Roles::Classifier));
    let model = Arc::new(Paced::new(|_| {}));
    let running = pipeline::start(config, watchlist, metrics.clone(), board, Some(model), Roles::Classifier, stop.clone());
    let running = running.expect("the topics are there");
    wait_for("all to be scored", 300, || (metrics.items.with_label_values(&["scored"]).get() >= records as u64).then_some(()));
    stop.cancel();
    running.wait().expect("it drains");
}

// --- With the model

/// Kafka to Kafka in transactions, beside a pipeline of Python's libraries, and beside ONNX Runtime alone on the same texts.
pub fn classifier() -> Value {
    /// Enough that the end, when one session has nothing left, is next to nothing.
    const TEXTS: usize = 4_096;
    // The first ones only warm up.
    const FIRST: usize = 128;
    let broker = Broker::start();
    let site = kafka::site(&broker, "classifier", PARTITIONS as i32, "", "", "");
    let items = news(TEXTS);
    publish(&site, "classifier.raw", &items);
    let texts = site.folder.path().join("texts.jsonl");
    std::fs::write(&texts, items.iter().map(|item| format!("{item}\n")).collect::<String>()).expect("a folder of our own");
    let model = root().join("models/finnews-e5-small");
    let runs: Vec<Value> = (0..RUNS)
        .map(|run| {
            let group = format!("classifier-{run}");
            let settings =
                [("BELLWETHER_KAFKA__GROUP", &group[..]), ("BELLWETHER_KAFKA__START", "earliest"), ("BELLWETHER_MODEL__CACHE_TEXTS", "0")];
            let process = site.run_with("classifier", &settings);
            let scored = |process: &Process| process.metric("bellwether_items_total{outcome=\"scored\"}");
            wait_for("the first ones", 120, || (scored(&process) >= FIRST as f64).then_some(()));
            let (from, began, cpu) = (scored(&process), Instant::now(), cpu_seconds(&process));
            while scored(&process) < TEXTS as f64 {
                assert!(began.elapsed() < Duration::from_secs(300), "{} of {TEXTS} texts after 300 s", scored(&process));
                // Each look takes the process a millisecond of a core.
                std::thread::sleep(Duration::from_millis(100));
            }
            let done = TEXTS as f64 - from;
            let ours = json!({"texts_per_second": done / began.elapsed().as_secs_f64(),
                              "texts_per_cpu_second": done / (cpu_seconds(&process) - cpu)});
            finish(vec![process]);
            let count = TEXTS.to_string();
            let output = format!("python-{run}");
            create_topic(&broker, &output);
            let python = peer(
                python()
                    .arg(root().join("benches/peers/pipeline.py"))
                    .args([&site.brokers, "classifier.raw", &output])
                    .arg(&model)
                    .arg(count),
            );
            // As the classifier has it by default.
            let sessions = format!("{}x1", std::thread::available_parallelism().map_or(1, usize::from));
            let mut bare = site.command(&["bench-device"]);
            bare.arg(&texts).args(["--texts", &TEXTS.to_string(), "--rounds", "1", "--format", "json"]);
            let bare = peer(bare.args(["--sessions", &sessions, "--batch", "8x2048"]));
            let setting = &bare["devices"][0]["settings"][0];
            let row = json!({"ours": ours, "python": python, "bare": setting["bare"], "sessions": setting["sessions"],
                             "threads": setting["threads_per_session"]});
            println!("run {run}: {row}");
            row
        })
        .collect();
    let ratio = |peer: &'static str| over(&runs, |run| number(&run["ours"], "texts_per_second") / number(&run[peer], "texts_per_second"));
    let rate = |of: &'static str| over(&runs, |run| number(&run[of], "texts_per_second"));
    json!([{
        "texts": TEXTS,
        "runs": RUNS,
        "sessions": runs[0]["sessions"],
        "threads": runs[0]["threads"],
        "ours": rate("ours"),
        "bare": rate("bare"),
        "python": rate("python"),
        "of_bare": ratio("bare"),
        "of_bare_by_cpu": over(&runs, |run| number(&run["ours"], "texts_per_cpu_second") / number(&run["bare"], "texts_per_cpu_second")),
        "of_python": ratio("python"),
    }])
}

fn create_topic(broker: &Broker, topic: &str) {
    let partitions = PARTITIONS.to_string();
    let address = broker.address();
    let create = ["--create", "--topic", topic, "--partitions", &partitions];
    broker.tool(&[&["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &address], &create[..]].concat());
}

/// What scripts/setup bench has fetched.
fn runtime() -> PathBuf {
    std::env::var_os("BELLWETHER_RUNTIME_DIR").map_or_else(|| root().join(".runtime"), PathBuf::from)
}

fn python() -> Command {
    Command::new(runtime().join("peers/bin/python"))
}

/// Runs a peer, whose last line is JSON, or all of it.
fn peer(command: &mut Command) -> Value {
    let output = command.stderr(Stdio::inherit()).output().unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/setup bench"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {said}");
    let last = said.lines().next_back().unwrap_or_default();
    serde_json::from_str(&said).or_else(|_| serde_json::from_str(last)).unwrap_or_else(|error| panic!("{command:?}: {error}: {said}"))
}

// --- Windows

/// The monitor, with all its rules, beside windows of the same length in Kafka Streams, from the same log of observations; and beside
/// polars over the whole log as a file.
pub fn windows() -> Value {
    const RECORDS: usize = 400_000;
    let broker = Broker::start();
    let folder = tempfile::tempdir().expect("a place for files");
    let log = folder.path().join("log.jsonl");
    let lines = (0..PACE_PARTITIONS).flat_map(|partition| busy_log(partition, RECORDS / PACE_PARTITIONS)).map(|(_, record)| record);
    let lines: Vec<u8> =
        lines.filter(|record| record.starts_with(b"{\"kind\":\"item\"")).flat_map(|record| [&record[..], b"\n"].concat()).collect();
    std::fs::write(&log, lines).expect("a folder of our own");
    let classes = compile(folder.path());
    let interval_ms = Config::default().kafka.commit_interval.ms() as u64;
    let runs: Vec<Value> = (0..RUNS)
        .map(|run| {
            let name = format!("windows-{run}");
            let (per_second, micros) = pace(&broker, &name, 1, RECORDS, interval_ms);
            let output = format!("{name}.streams");
            create_topic(&broker, &output);
            let state = folder.path().join(&name);
            let mut java = Command::new("java");
            java.arg("-cp").arg(format!("{}:{}/*", classes.display(), runtime().join("streams").display())).arg("Counts");
            java.args([&broker.address(), &format!("{name}.observations"), &output, &RECORDS.to_string(), "2"]).arg(&state);
            let streams = peer(&mut java);
            let batch = peer(python().arg(root().join("benches/peers/batch.py")).arg(&log));
            let row = json!({"monitor": {"records_per_second": per_second, "records_per_cpu_second": 1e6 / micros}, "streams": streams, "batch": batch});
            println!("run {run}: {row}");
            row
        })
        .collect();
    let batch = |run: &Value| {
        number(&run["batch"], "observations") / (number(&run["batch"], "cpu_seconds") + number(&run["batch"], "read_cpu_seconds"))
    };
    let rate = |of: &'static str, key: &'static str| over(&runs, |run| number(&run[of], key));
    let ratio = |run: &Value| number(&run["monitor"], "records_per_cpu_second") / number(&run["streams"], "records_per_cpu_second");
    json!([
        {"what": "monitor", "records_per_second": rate("monitor", "records_per_second"), "per_cpu_second": rate("monitor", "records_per_cpu_second"), "runs": RUNS},
        {"what": "streams", "records_per_second": rate("streams", "records_per_second"), "per_cpu_second": rate("streams", "records_per_cpu_second"),
         "monitor_is": over(&runs, ratio), "runs": RUNS},
        {"what": "batch", "per_cpu_second": over(&runs, batch),
         "monitor_is": over(&runs, |run| number(&run["monitor"], "records_per_cpu_second") / batch(run)), "runs": RUNS},
    ])
}

fn compile(folder: &Path) -> PathBuf {
    let classes = folder.join("classes");
    let mut javac = Command::new("javac");
    javac.arg("-cp").arg(format!("{}/*", runtime().join("streams").display())).arg("-d").arg(&classes);
    let status = javac.arg(root().join("benches/peers/Counts.java")).status();
    assert!(status.is_ok_and(|status| status.success()), "{javac:?} has failed; scripts/setup bench");
    classes
}
