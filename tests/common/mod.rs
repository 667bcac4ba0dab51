//! What the tests on real Kafka share: a broker, the real binary, topics read to their end.
//!
//! Waiting is polling with a deadline and a message that says what did not come.
#![allow(dead_code)] // Each test file uses its part.

pub mod certificates;
pub mod cluster;
pub mod model;
pub mod newsroom;
pub mod newsstand;
pub mod observations;
pub mod past;
pub mod proxy;
pub mod rights;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bellwether::http::tokens::{Holder, Role, line, new_secret};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Headers, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

/// Of the stages; `news.feeds` is the feeds' own.
pub const TOPICS: [&str; 6] = ["news.raw", "news.scored", "news.observations", "sentiment.windows", "sentiment.alerts", "news.dead"];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn wait_for<T>(what: &str, seconds: u64, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {seconds} s for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Tests with a Kafka of their own take turns: on few cores one's load would be another's lost session.
static TURN: Mutex<()> = Mutex::new(());

pub fn turn() -> MutexGuard<'static, ()> {
    // A test that failed has left nothing behind that the next one needs.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Beside the one of every node, which is open to all.
pub struct Listener<'text> {
    pub name: &'text str,
    pub protocol: &'text str,
    pub port: u16,
    /// The port that clients are told.
    pub advertised: u16,
}

/// One Apache Kafka node of this test's own.
pub struct Broker {
    folder: tempfile::TempDir,
    port: u16,
    controller_port: u16,
    /// Known by SCRAM-SHA-512 from the first start on, as `name=password`.
    users: String,
    /// Of a node by itself; those of a cluster share one.
    turn: Option<MutexGuard<'static, ()>>,
}

impl Broker {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With settings of its own, as in Kafka's `server.properties`.
    pub fn start_with(properties: &str) -> Self {
        let broker = Self::prepare(free_port(), properties, Some(turn()));
        broker.restart();
        broker
    }

    /// With one more listener: on `port`, for clients told that it is on `advertised`.
    pub fn start_with_listener(name: &str, protocol: &str, port: u16, advertised: u16, properties: &str) -> Self {
        Self::start_with_listeners(&[Listener { name, protocol, port, advertised }], "", properties)
    }

    /// With more listeners, and users that are known by SCRAM-SHA-512, as `name=password`, with spaces between.
    pub fn start_with_listeners(listeners: &[Listener<'_>], users: &str, properties: &str) -> Self {
        let mut broker = Self::prepare(free_port(), properties, Some(turn()));
        broker.users = users.to_owned();
        let Self { port: own, controller_port, .. } = broker;
        let all = |one: &dyn Fn(&Listener<'_>) -> String| listeners.iter().map(|listener| one(listener) + ",").collect::<String>();
        let (open, told, protocols) = (
            all(&|listener| format!("{}://127.0.0.1:{}", listener.name, listener.port)),
            all(&|listener| format!("{}://127.0.0.1:{}", listener.name, listener.advertised)),
            all(&|listener| format!("{}:{}", listener.name, listener.protocol)),
        );
        let listeners = format!(
            "listeners={open}PLAINTEXT://127.0.0.1:{own},CONTROLLER://127.0.0.1:{controller_port}\n\
             advertised.listeners={told}PLAINTEXT://127.0.0.1:{own}\n\
             listener.security.protocol.map={protocols}PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n{properties}"
        );
        std::fs::write(broker.folder.path().join("extra.properties"), listeners).unwrap();
        broker.restart();
        broker
    }

    fn prepare(controller_port: u16, properties: &str, turn: Option<MutexGuard<'static, ()>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("extra.properties"), properties).unwrap();
        Self { folder, port: free_port(), controller_port, users: String::new(), turn }
    }

    fn command(&self, verb: &str, arguments: &[&str]) {
        let script = root().join("tests/kafka/broker");
        let mut command = Command::new(&script);
        command.arg(verb).arg(self.folder.path()).args(arguments).env("KAFKA_SCRAM_USERS", &self.users);
        // Ends with this process, even if that is killed.
        if std::env::var_os("KAFKA_BROKER_OWNER").is_none() {
            command.env("KAFKA_BROKER_OWNER", std::process::id().to_string());
        }
        // To files, not pipes: the node would hold a pipe open.
        let log = self.folder.path().with_extension("start.log");
        let file = std::fs::File::create(&log).unwrap();
        let status = command.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        assert!(status.success(), "tests/kafka/broker {verb} failed (`make test` sets Kafka up):\n{said}");
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As an operator would.
    pub fn stop(&self) {
        self.command("stop", &[]);
    }

    /// The same node again, with its data.
    pub fn restart(&self) {
        let extra = self.folder.path().join("extra.properties");
        self.command("start", &[&self.port.to_string(), &self.controller_port.to_string(), extra.to_str().unwrap()]);
    }

    /// SIGKILL, as a power cut would.
    pub fn kill(&self) {
        self.command("kill", &[]);
    }

    /// As `kill` names it, "-STOP" for example.
    pub fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.folder.path().join("pid")).unwrap();
        assert!(Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
    }

    /// What kafka-consumer-groups.sh says of a group.
    pub fn describe_group(&self, group: &str) -> String {
        let tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
        self.tool(&[tool, "--bootstrap-server", &self.address(), "--describe", "--group", group])
    }

    /// One of Kafka's own tools.
    pub fn tool(&self, arguments: &[&str]) -> String {
        let output = Command::new(root().join("tests/kafka/broker")).arg("tool").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = Command::new(root().join("tests/kafka/broker")).arg("kill").arg(self.folder.path()).status();
    }
}

/// A configuration file and the processes that run with it.
pub struct Site {
    pub folder: tempfile::TempDir,
    pub brokers: String,
}

impl Site {
    /// `extra` is TOML that comes after the brokers.
    pub fn new(broker: &Broker, extra: &str) -> Self {
        Self::at(broker.address(), "models/finnews-e5-small", extra)
    }

    /// `extra` begins in the section `[kafka.create]`.
    pub fn at(brokers: String, model: &str, extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let watchlist = root().join("config/watchlist.toml");
        let model = root().join(model);
        let text = format!(
            "[watchlist]\nfile = {watchlist:?}\n[model]\ndirectory = {model:?}\ndevice = 'cpu'\n\
             [kafka.create]\npartitions = 3\n{extra}"
        );
        std::fs::write(folder.path().join("bellwether.toml"), text).unwrap();
        Self { folder, brokers }
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("bellwether.toml")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command.args(arguments).arg("-c").arg(self.config()).env("BELLWETHER_KAFKA__BROKERS", &self.brokers);
        command
    }

    pub fn create_topics(&self) {
        let output = self.command(&["topics", "create"]).output().unwrap();
        assert!(output.status.success(), "topics create: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The token of an operator named "ops", in the file that `http.tokens = "tokens"` names.
    pub fn operator(&self) -> String {
        let operator = new_secret().unwrap();
        let holder = Holder { name: "ops".into(), role: Role::Operator };
        std::fs::write(self.folder.path().join("tokens"), line(&holder, &operator)).unwrap();
        operator
    }

    pub fn run(&self, role: &str) -> Process {
        self.run_with(role, &[])
    }

    /// With more in its environment.
    pub fn run_with(&self, role: &str, environment: &[(&str, &str)]) -> Process {
        let mut command = self.command(&["run", "--role", role]);
        command.env("BELLWETHER_HTTP__METRICS_LISTEN", "");
        // Tests look at what is going on far more often than people do.
        command.env("BELLWETHER_HTTP__REQUESTS_PER_SECOND", "10000").env("BELLWETHER_HTTP__BURST", "10000");
        command.envs(environment.iter().copied());
        self.start(role, "BELLWETHER_HTTP__LISTEN", command)
    }

    pub fn ingest(&self) -> Process {
        self.ingest_with([])
    }

    /// With more in its environment.
    pub fn ingest_with<'a>(&self, environment: impl IntoIterator<Item = (&'a str, &'a str)>) -> Process {
        let mut command = self.command(&["ingest"]);
        command.envs(environment);
        self.start("ingest", "BELLWETHER_INGEST__METRICS_LISTEN", command)
    }

    /// A running `bellwether deliver`.
    pub fn deliver(&self) -> Process {
        self.deliver_with(&[])
    }

    pub fn deliver_with(&self, environment: &[(&str, &str)]) -> Process {
        let mut command = self.command(&["deliver"]);
        command.envs(environment.iter().copied());
        self.start("deliver", "BELLWETHER_DELIVER__METRICS_LISTEN", command)
    }

    /// `listen` is the variable for the address of its health.
    fn start(&self, name: &str, listen: &str, mut command: Command) -> Process {
        let port = free_port();
        let log = self.folder.path().join(format!("{name}-{port}.log"));
        let file = std::fs::File::create(&log).unwrap();
        command.env(listen, format!("127.0.0.1:{port}"));
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Process { child, http: SocketAddr::from(([127, 0, 0, 1], port)), log }
    }
}

/// A running `bellwether run`, `ingest` or `deliver`.
pub struct Process {
    pub child: Child,
    pub http: SocketAddr,
    log: PathBuf,
}

impl Process {
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn wait_ready(&mut self) {
        let http = self.http;
        let deadline = Instant::now() + Duration::from_secs(60);
        while get(http, "/ready").is_none_or(|(status, _)| status != 200) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("bellwether ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "not ready after 60 s:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit status.
    pub fn terminate(mut self) -> (ExitStatus, String) {
        let status = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        let status = wait_for("the process to drain and end", 60, || self.child.try_wait().unwrap());
        (status, self.log())
    }

    /// As `kill` names it, "-STOP" for example.
    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// Waits until it ends by itself; its exit code and what it logged.
    pub fn wait_for_end(mut self, what: &str) -> (Option<i32>, String) {
        let status = wait_for(what, 60, || self.child.try_wait().unwrap());
        (status.code(), self.log())
    }

    /// The value of a metric, written with its labels; 0 where there is none, or nobody answers.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = get(self.http, "/metrics").map(|(status, text)| {
            // A number that was not told must not pass for 0.
            assert_eq!(status, 200, "{text}");
            text
        });
        let metrics = metrics.unwrap_or_default();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    pub fn status(&self) -> Value {
        get(self.http, "/status").and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let metrics = get(self.http, "/metrics").map(|(_, text)| text).unwrap_or_default();
            let metrics: Vec<&str> = metrics.lines().filter(|line| line.starts_with("bellwether_") && !line.contains("_bucket")).collect();
            eprintln!("--- the log of process {}, its status {}\n{}\n{}", self.child.id(), self.status(), self.log(), metrics.join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends them as an operator would, and gives what they have logged.
pub fn finish(processes: Vec<Process>) -> String {
    let mut logs = String::new();
    for process in processes {
        let (exit, log) = process.terminate();
        assert!(exit.success(), "{exit}:\n{log}");
        logs += &log;
    }
    logs
}

/// Status and body of a GET, or `None` where nobody listens.
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let (head, body) = get_with_head(address, path)?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body))
}

/// Head and body of a GET over HTTP/1.0, which is never chunked.
pub fn get_with_head(address: SocketAddr, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

/// What a page's API answers to the holder of a token; `what` is the method and the path.
pub fn ask(address: SocketAddr, token: &str, what: &str, body: &Value) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "{what} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

/// One record as a subscriber sees it.
#[derive(Debug, Clone)]
pub struct Read1 {
    pub partition: i32,
    pub key: Option<String>,
    pub payload: Vec<u8>,
    pub headers: BTreeMap<String, String>,
}

impl Read1 {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).expect("the record is JSON")
    }
}

/// Everything a read-committed subscriber finds in a topic now.
pub fn read_topic(brokers: &str, topic: &str) -> Vec<Read1> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test-reader")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(20)).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    let mut open = list.count();
    consumer.assign(&list).unwrap();
    let mut records = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while open > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(Read1 {
                partition: message.partition(),
                key: message.key().map(|key| String::from_utf8_lossy(key).into_owned()),
                payload: message.payload().unwrap_or_default().to_vec(),
                headers: message
                    .headers()
                    .map(|headers| {
                        headers
                            .iter()
                            .map(|header| (header.key.to_owned(), String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned()))
                            .collect()
                    })
                    .unwrap_or_default(),
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            _ => {}
        }
        assert!(Instant::now() < deadline, "reading {topic} did not come to an end");
    }
    records
}

/// What the brokers did not take, and why.
#[derive(Default)]
pub struct Refusals(Mutex<Vec<String>>);

impl ClientContext for Refusals {}

impl ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap().push(error.to_string());
        }
    }
}

pub type Acknowledged = ThreadedProducer<Refusals>;

/// Waits until all that was sent is acknowledged: a flush alone takes a refusal for an answer, too.
pub fn all_acknowledged(producer: &Acknowledged, topic: &str) {
    producer.flush(Duration::from_secs(60)).unwrap();
    let refusals = producer.context().0.lock().unwrap();
    assert!(refusals.is_empty(), "{topic} did not take {} records: {}", refusals.len(), refusals[0]);
}

/// Sends records in order and waits for their acknowledgement: (partition or by key, key, payload).
pub fn produce(brokers: &str, topic: &str, records: &[(Option<i32>, Option<String>, Vec<u8>)]) {
    produce_batches_of(10_000, brokers, topic, records);
}

/// As [`produce`], with at most so many records in one batch.
pub fn produce_batches_of(most: usize, brokers: &str, topic: &str, records: &[(Option<i32>, Option<String>, Vec<u8>)]) {
    let producer: Acknowledged = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "4000000")
        .set("batch.num.messages", most.to_string())
        .create_with_context(Refusals::default())
        .unwrap();
    for (partition, key, payload) in records {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).payload(payload.as_slice());
        if let Some(partition) = partition {
            record = record.partition(*partition);
        }
        if let Some(key) = key {
            record = record.key(key.as_bytes());
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    all_acknowledged(&producer, topic);
}

/// Rows of a labelled or time-stamped file, or a loud failure that says how to get it. `None` only outside CI.
pub fn shared_data(name: &str) -> Option<Vec<Value>> {
    let folder = std::env::var_os("BELLWETHER_SHARED_DATA").map(PathBuf::from);
    let path = folder.map(|folder| folder.join(name)).filter(|path| path.is_file());
    let Some(path) = path else {
        assert!(
            std::env::var_os("CI").is_none(),
            "{name} is missing: in CI this test must run. Set BELLWETHER_SHARED_DATA to the folder of the labelled news"
        );
        eprintln!("\n*** NOT RUN: {name} is not here. Set BELLWETHER_SHARED_DATA to the folder of the labelled news. ***\n");
        return None;
    };
    let text = std::fs::read_to_string(path).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Windows as they must be, from `news.scored` alone: (subject, pane start) → [count, negative, neutral, positive, score in millionths].
pub fn brute_force_panes(scored: &[Value], pane_ms: i64) -> BTreeMap<(String, i64), [i64; 5]> {
    let mut panes: BTreeMap<(String, i64), [i64; 5]> = BTreeMap::new();
    for record in scored {
        let at = chrono::DateTime::parse_from_rfc3339(record["published_at"].as_str().unwrap()).unwrap().timestamp_millis();
        let sentiment = record["sentiment"]["label"].as_str().unwrap();
        let place = ["negative", "neutral", "positive"].iter().position(|label| *label == sentiment).unwrap() + 1;
        let score = (record["sentiment"]["score"].as_f64().unwrap() * 1e6).round() as i64;
        for subject in record["subjects"].as_array().unwrap() {
            let key = (subject.as_str().unwrap().to_owned(), at.div_euclid(pane_ms) * pane_ms);
            let pane = panes.entry(key).or_default();
            pane[0] += 1;
            pane[place] += 1;
            pane[4] += score;
        }
    }
    panes
}

/// What each partition knows of the market, as panes in the same form; all must know the same.
pub fn market_counts(windows: &[Read1]) -> BTreeMap<(String, i64), [i64; 5]> {
    panes_of(windows, |subject| subject == "market-counts")
}

/// `sentiment.windows` in the same form; a pane published again must be the same.
pub fn published_panes(windows: &[Read1]) -> BTreeMap<(String, i64), [i64; 5]> {
    panes_of(windows, |subject| subject != "market-counts")
}

fn panes_of(windows: &[Read1], which: impl Fn(&str) -> bool) -> BTreeMap<(String, i64), [i64; 5]> {
    let mut panes = BTreeMap::new();
    for json in windows.iter().map(Read1::json).filter(|json| which(json["subject"].as_str().unwrap())) {
        let start = chrono::DateTime::parse_from_rfc3339(json["pane_start"].as_str().unwrap()).unwrap().timestamp_millis();
        let count = |name: &str| json[name].as_i64().unwrap();
        let score = (json["score_sum"].as_f64().unwrap() * 1e6).round() as i64;
        let pane = [count("count"), count("negative"), count("neutral"), count("positive"), score];
        let key = (json["subject"].as_str().unwrap().to_owned(), start);
        let before = panes.insert(key.clone(), pane);
        assert!(before.is_none_or(|before| before == pane), "{key:?} was published as {before:?} and as {pane:?}");
    }
    panes
}
