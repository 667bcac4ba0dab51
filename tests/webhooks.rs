//! Alerts reach webhooks and an Alertmanager: every transition, signed, under one id however often it is sent, in order, whatever the
//! receivers do and whenever the process is killed. The Kafka broker and the Alertmanager are real; `make test` installs them.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Broker, Process, Site, ask, finish, free_port, get, produce, read_topic, root, wait_for};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};

const ALERTS: &str = "sentiment.alerts";
/// Longer than the webhooks of these tests wait.
const TOO_LONG: Duration = Duration::from_secs(3);

/// A process that was killed does not keep its partitions for long.
const SOON_GONE: &str = "[kafka.properties]\n'session.timeout.ms' = '6000'\n'heartbeat.interval.ms' = '1500'\n";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Status(u16),
    /// None in time.
    Late,
    /// The connection is closed before the request is read.
    Closed,
    /// The request is taken, and the answer does not come back.
    Lost,
}

/// A request that came whole.
#[derive(Debug, Clone)]
struct Request {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    answer: Answer,
}

impl Request {
    fn alert(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn taken(&self) -> bool {
        matches!(self.answer, Answer::Status(200) | Answer::Lost)
    }
}

/// A receiver that answers as it is told.
struct Hook {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    /// Of the next requests; the last one stays.
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Hook {
    fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(answers.to_vec())));
        let (requests, told) = (seen.clone(), answers.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (requests, told) = (requests.clone(), told.clone());
                std::thread::spawn(move || serve(stream, &requests, &told));
            }
        });
        Self { address, seen, answers }
    }

    fn tell(&self, answers: &[Answer]) {
        *self.answers.lock().unwrap() = answers.to_vec();
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Each transition once, in the order in which they were first taken.
    fn taken(&self) -> Vec<(String, u64)> {
        let mut taken = Vec::new();
        for alert in self.seen().iter().filter(|request| request.taken()).map(Request::alert) {
            let transition = (alert["id"].as_str().unwrap().to_owned(), alert["sequence"].as_u64().unwrap());
            if !taken.contains(&transition) {
                taken.push(transition);
            }
        }
        taken
    }
}

fn serve(stream: TcpStream, requests: &Mutex<Vec<Request>>, told: &Mutex<Vec<Answer>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let answer = {
            let mut told = told.lock().unwrap();
            if told.len() > 1 { told.remove(0) } else { told[0] }
        };
        if answer == Answer::Closed {
            return None;
        }
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers["content-length"].parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        requests.lock().unwrap().push(Request { headers, body, answer });
        match answer {
            Answer::Status(status) => write!(stream, "HTTP/1.1 {status} Told\r\nContent-Length: 5\r\n\r\nhello").ok()?,
            Answer::Late => std::thread::sleep(TOO_LONG),
            Answer::Closed | Answer::Lost => return None,
        }
    }
}

fn secret(byte: u8) -> String {
    format!("whsec_{}", openssl::base64::encode_block(&[byte; 32]))
}

/// By the standard, with another library than the program's.
fn signature(byte: u8, request: &Request) -> String {
    let key = PKey::hmac(&[byte; 32]).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    signer.update(format!("{}.{}.", request.headers["webhook-id"], request.headers["webhook-timestamp"]).as_bytes()).unwrap();
    signer.update(&request.body).unwrap();
    format!("v1,{}", openssl::base64::encode_block(&signer.sign_to_vec().unwrap()))
}

/// A transition as the monitor writes it.
fn alert(subject: &str, sequence: u64) -> Value {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(root().join("schemas/sentiment.alerts.json")).unwrap()).unwrap();
    let mut alert = schema["examples"][0].clone();
    let time = |minutes: i64| {
        json!((chrono::Utc::now() - chrono::Duration::minutes(minutes)).to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    };
    let changes = [
        ("id", json!(format!("level-market/{subject}/2026-11-30T02:59:00.000Z"))),
        ("rule", json!("level-market")),
        ("subject", json!(subject)),
        ("transition", json!(["firing", "escalated", "resolved"][sequence as usize])),
        ("severity", json!(["warning", "critical", "critical"][sequence as usize])),
        ("sequence", json!(sequence)),
        ("started_at", time(10)),
        ("at", time(0)),
    ];
    changes.into_iter().for_each(|(name, value)| alert[name] = value);
    alert
}

type Raw = (Option<i32>, Option<String>, Vec<u8>);

fn record(alert: &Value, partition: i32) -> Raw {
    (Some(partition), Some(alert["id"].as_str().unwrap().to_owned()), alert.to_string().into_bytes())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_transition_comes_signed_under_one_id_and_in_order_whatever_receivers_do_and_when_it_is_killed() {
    let broker = Broker::start();
    let [desk, quick, gone] = [Answer::Status(500), Answer::Status(200), Answer::Status(410)].map(|answer| Hook::start(&[answer]));
    let nobody = free_port();
    let config = format!(
        "{SOON_GONE}[webhook_defaults]\ntimeout = '1s'\n\
         [webhooks.desk]\nurl = 'http://{}/hook'\n\
         [webhooks.quick]\nurl = 'http://{}/hook?key=1'\nsecret = '{}'\nseverity = 'critical'\n\
         [webhooks.gone]\nurl = 'http://{}'\nsecret = '{}'\nrules = ['level-market']\n\
         [webhooks.dead]\nurl = 'http://127.0.0.1:{nobody}'\nsecret = '{}'\nsubjects = ['market']\ngive_up_after = '1s'\n",
        desk.address,
        quick.address,
        secret(2),
        gone.address,
        secret(3),
        secret(4),
    );
    let site = Site::new(&broker, &config);
    let path = site.folder.path().join("secret");
    std::fs::write(&path, secret(1) + "\n").unwrap();
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("[webhooks.desk]\n", &format!("[webhooks.desk]\nsecret = 'file:{}'\n", path.display())))
        .unwrap();
    site.create_topics();
    let brokers = site.brokers.as_str();

    // What was there before is not told to those who are new.
    produce(brokers, ALERTS, &[record(&alert("topic:Earnings", 0), 0)]);
    let mut process = site.deliver();
    process.wait_ready();
    assert_eq!(process.metric("bellwether_ready"), 1.0);
    let subjects = ["market", "topic:Legal | Regulation", "entity:harbour-bank"];
    let sent: Vec<(Value, Raw)> = (0..3)
        .flat_map(|sequence| subjects.iter().zip(0..).map(move |(subject, partition)| (alert(subject, sequence), partition)))
        .map(|(alert, partition)| (alert.clone(), record(&alert, partition)))
        .collect();
    let records: Vec<Raw> = sent.iter().map(|(_, record)| record.clone()).collect();
    produce(brokers, ALERTS, &records);

    // One that fails holds up no other.
    wait_for("the quick one to have all that it wants", 60, || (quick.taken().len() == 6).then_some(()));
    assert!(desk.taken().is_empty() && !desk.seen().is_empty());
    let undelivered = || read_topic(brokers, "sentiment.undelivered");
    wait_for("what was refused and what nobody takes", 60, || (undelivered().len() == 9 + 3).then_some(()));
    process.kill();

    // Every kind of failure, and a kill in the middle of them.
    use Answer::{Closed, Late, Lost, Status};
    desk.tell(&[Closed, Status(200), Status(503), Lost, Status(200), Late, Status(200), Status(200), Status(500)]);
    let mut process = site.deliver();
    process.wait_ready();
    wait_for("four to be taken", 60, || (desk.taken().len() == 4).then_some(()));
    process.kill();
    let before = desk.taken().len();
    assert_eq!(before, 4, "it was killed in between");
    desk.tell(&[Lost, Status(429), Status(200)]);
    let mut process = site.deliver();
    process.wait_ready();
    wait_for("all to be taken", 60, || (desk.taken().len() == 9).then_some(()));
    let metric = "bellwether_webhook_deliveries_total{outcome=\"delivered\",webhook=\"desk\"}";
    wait_for("the last to be counted", 30, || (process.metric(metric) >= (9 - before) as f64).then_some(()));
    assert!(process.metric("bellwether_webhook_failures_total{webhook=\"desk\"}") >= 2.0);
    let (exit, log) = process.terminate();
    assert!(exit.success() && log.contains("a webhook did not take a transition; it is tried again"), "{exit}:\n{log}");
    assert!(!log.contains("whsec_") && !log.contains("key=1") && !log.contains("hello"), "no secret, and no word of a receiver's:\n{log}");

    let expected: BTreeMap<(String, u64), &Vec<u8>> = sent
        .iter()
        .map(|(alert, (_, _, payload))| ((alert["id"].as_str().unwrap().to_owned(), alert["sequence"].as_u64().unwrap()), payload))
        .collect();
    for (hook, byte) in [(&desk, 1), (&quick, 2), (&gone, 3)] {
        let mut ids: BTreeMap<(String, u64), BTreeSet<String>> = BTreeMap::new();
        for request in hook.seen() {
            let alert = request.alert();
            let transition = (alert["id"].as_str().unwrap().to_owned(), alert["sequence"].as_u64().unwrap());
            assert_eq!(&&request.body, &expected[&transition], "the record as it stands in the topic");
            assert_eq!(request.headers["webhook-signature"], signature(byte, &request));
            let age = chrono::Utc::now().timestamp() - request.headers["webhook-timestamp"].parse::<i64>().unwrap();
            assert!((0..300).contains(&age), "{age}");
            ids.entry(transition).or_default().insert(request.headers["webhook-id"].clone());
        }
        assert!(ids.values().all(|ids| ids.len() == 1), "one id each, however often: {ids:?}");
        assert_eq!(ids.values().flatten().collect::<BTreeSet<_>>().len(), ids.len(), "and no other has it");
    }
    assert!(desk.seen().len() > 12, "some came more than once");
    // After a kill a transition may come again, but never behind a later one of its alert.
    for id in subjects.map(|subject| format!("level-market/{subject}/2026-11-30T02:59:00.000Z")) {
        let sequences: Vec<u64> = desk.taken().into_iter().filter(|(of, _)| *of == id).map(|(_, sequence)| sequence).collect();
        assert_eq!(sequences, [0, 1, 2], "{id}");
        let all: Vec<u64> = desk
            .seen()
            .iter()
            .map(Request::alert)
            .filter(|alert| alert["id"] == json!(id))
            .map(|alert| alert["sequence"].as_u64().unwrap())
            .collect();
        assert!(all.is_sorted(), "{id}: {all:?}");
    }
    // What was given up waits, byte for byte, with the reason; it is not tried again.
    let mut by_webhook: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for record in undelivered() {
        let reason = &record.headers["bellwether.reason"];
        let webhook = record.headers["bellwether.webhook"].clone();
        assert!(reason.contains(if webhook == "gone" { "410 Gone hello" } else { "not taken for 1s: " }), "{webhook}: {reason}");
        by_webhook.entry(webhook).or_default().insert(record.payload);
    }
    assert_eq!(
        by_webhook.iter().map(|(webhook, records)| (webhook.as_str(), records.len())).collect::<Vec<_>>(),
        [("dead", 3), ("gone", 9)]
    );
    assert!(by_webhook["gone"].iter().eq(expected.values().copied().collect::<BTreeSet<_>>()));

    // A test alert says so, and shows what came back.
    let test = |arguments: &[&str]| site.command(&["alert", "test"]).args(arguments).output().unwrap();
    let output = test(&["--webhook", "quick"]);
    assert!(output.status.success() && said(&output).contains("taken: 200 OK hello"), "{}", said(&output));
    let request = quick.seen().pop().unwrap();
    assert!(request.alert()["rule"] == "test" && request.headers["webhook-signature"] == signature(2, &request));
    desk.tell(&[Late]);
    let output = test(&[]);
    let told = said(&output);
    assert!(output.status.code() == Some(69) && told.contains("not taken by dead, desk, gone"), "{told}");
    assert!(
        told.contains("gone: 127.0.0.1:")
            && told.contains("refused, and would not be tried again: 410")
            && told.contains("no whole answer within 1s"),
        "{told}"
    );
    let output = test(&["--webhook", "dsk"]);
    assert!(output.status.code() == Some(64) && said(&output).contains("there are dead, desk, gone, quick"), "{}", said(&output));
}

struct Alertmanager {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Alertmanager {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = folder.path().join("alertmanager.yml");
        std::fs::write(&config, "route: { receiver: nobody }\nreceivers: [ { name: nobody } ]\n").unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus-alertmanager: {error}; `make test` installs it"));
        let alertmanager = Self { child, address, folder };
        wait_for("the Alertmanager", 30, || get(address, "/-/ready").filter(|(status, _)| *status == 200));
        alertmanager
    }

    /// What is active, by subject and severity.
    fn active(&self) -> BTreeMap<String, Value> {
        let (_, body) = get(self.address, "/api/v2/alerts?active=true").unwrap();
        let alerts: Vec<Value> = serde_json::from_str(&body).unwrap_or_else(|error| {
            panic!("{error}: {body}\n{}", std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default())
        });
        let label = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap().to_owned();
        alerts.into_iter().map(|alert| (format!("{} {}", label(&alert, "subject"), label(&alert, "severity")), alert)).collect()
    }

    /// Waits until exactly these are.
    fn wait_for_active(&self, expected: &[&str]) {
        wait_for(&format!("{expected:?} to be active"), 30, || self.active().keys().eq(expected).then_some(()));
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const BANKS: &str = "group:regional-banks";

#[test]
fn an_alertmanager_has_what_fires_and_no_longer_what_is_resolved() {
    let broker = Broker::start();
    let alertmanager = Alertmanager::start();
    let site =
        Site::new(&broker, &format!("{SOON_GONE}[webhooks.pager]\nurl = 'http://{}'\nformat = 'alertmanager'\n", alertmanager.address));
    site.create_topics();
    let tell = |alert: &Value| produce(&site.brokers, ALERTS, &[record(alert, 1)]);
    let mut process = site.deliver();
    process.wait_ready();

    let fired = alert(BANKS, 0);
    tell(&fired);
    let active = wait_for("the alert", 30, || Some(alertmanager.active()).filter(|active| !active.is_empty()));
    let told = &active["group:regional-banks warning"];
    assert_eq!(told["labels"], json!({"alertname": "level-market", "subject": BANKS, "severity": "warning"}));
    assert_eq!(told["annotations"]["summary"], fired["why"]);
    assert_eq!(told["annotations"]["evidence"], fired["evidence"][0]["url"]);
    assert_eq!(told["startsAt"], fired["started_at"]);

    // The next process knows from the topic what is open, and tells it again.
    process.kill();
    let ends = |active: &BTreeMap<String, Value>| active["group:regional-banks warning"]["endsAt"].as_str().unwrap().to_owned();
    let mut process = site.deliver();
    process.wait_ready();
    wait_for("it to be told again", 60, || (ends(&alertmanager.active()) > ends(&active)).then_some(()));

    tell(&alert(BANKS, 1));
    // It is not a warning as well.
    alertmanager.wait_for_active(&["group:regional-banks critical"]);
    tell(&alert(BANKS, 2));
    alertmanager.wait_for_active(&[]);
    let (exit, log) = process.terminate();
    assert!(exit.success() && read_topic(&site.brokers, "sentiment.undelivered").is_empty(), "{exit}:\n{log}");

    let output = site.command(&["alert", "test"]).output().unwrap();
    assert!(output.status.success() && said(&output).contains("taken: 200 OK"), "{}", said(&output));
    assert_eq!(alertmanager.active().into_values().next().unwrap()["labels"]["alertname"], "test");
    nothing_new_of_a_silenced_subject_is_told_until_the_silence_is_over(&broker);
}

/// On the broker of another test, with topics and groups of its own.
fn nothing_new_of_a_silenced_subject_is_told_until_the_silence_is_over(broker: &Broker) {
    let (alertmanager, desk) = (Alertmanager::start(), Hook::start(&[Answer::Status(200)]));
    let topics = ["raw", "scored", "observations", "windows", "alerts", "dead", "undelivered", "feeds", "actions"];
    let topics: String = topics.iter().map(|topic| format!("{topic} = 'silences.{topic}'\n")).collect();
    let site = Site::new(
        broker,
        &format!(
            "[kafka]\ngroup = 'silences'\n[kafka.topics]\n{topics}{SOON_GONE}[http]\ntokens = 'tokens'\n\
             [webhooks.desk]\nurl = 'http://{}'\nsecret = '{}'\n[webhooks.pager]\nurl = 'http://{}'\nformat = 'alertmanager'\n",
            desk.address,
            secret(1),
            alertmanager.address,
        ),
    );
    let (operator, audit) = (site.operator(), site.folder.path().join("audit.jsonl").display().to_string());
    site.create_topics();
    let (mut asked, mut other, mut process) =
        (site.run_with("monitor", &[("BELLWETHER_AUDIT__FILE", &audit)]), site.run("monitor"), site.deliver());
    let act = |at: &Process, what: &str, body: Value| {
        let (status, answer) = ask(at.http, &operator, what, &body);
        assert_eq!(status, 200, "{what} {body}: {answer}");
        answer
    };
    let tell = |alerts: &[&Value]| {
        let records: Vec<Raw> = alerts.iter().map(|alert| record(alert, 1)).collect();
        produce(&site.brokers, "silences.alerts", &records);
    };
    let taken = |expected: &[(&str, u64)]| {
        let id = |(subject, sequence): &(&str, u64)| (alert(subject, *sequence)["id"].as_str().unwrap().to_owned(), *sequence);
        let expected: Vec<(String, u64)> = expected.iter().map(id).collect();
        wait_for(&format!("{expected:?} to be taken"), 30, || (desk.taken().len() >= expected.len()).then_some(()));
        assert_eq!(desk.taken(), expected);
    };
    [&mut asked, &mut other, &mut process].into_iter().for_each(Process::wait_ready);
    tell(&[&alert(BANKS, 0)]);
    alertmanager.wait_for_active(&["group:regional-banks warning"]);
    taken(&[(BANKS, 0)]);
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit}:\n{log}");

    // Who asks one process is heard by all.
    let acknowledged = act(&asked, "POST /api/v1/acknowledgements", json!({"alert": alert(BANKS, 0)["id"], "note": "mine"}));
    assert_eq!((&acknowledged["by"], &acknowledged["note"]), (&json!("ops"), &json!("mine")));
    let silenced =
        [BANKS, "market", "entity:one"].map(|subject| act(&asked, "POST /api/v1/silences", json!({"subject": subject, "for": "1h"})));
    let shown = || act(&other, "GET /api/v1/snapshot", json!({}))["actions"].clone();
    let all = json!({"acknowledgements": [acknowledged], "silences": [silenced[2], silenced[0], silenced[1]]});
    wait_for("the other one to show it", 30, || (shown() == all).then_some(()));

    // Of what is silenced nobody hears that it fires or grows worse, over a restart as well.
    let mut process = site.deliver();
    process.wait_ready();
    let market = alert("market", 0);
    tell(&[&alert(BANKS, 1), &market, &alert("entity:one", 0), &alert("entity:two", 0)]);
    taken(&[(BANKS, 0), ("entity:two", 0)]);
    alertmanager.wait_for_active(&["entity:two warning", "group:regional-banks warning"]);
    let before = alertmanager.active();
    let (exit, log) = process.terminate();
    assert!(exit.success() && log.contains("withheld: its subject is silenced"), "{exit}:\n{log}");
    // A silence that ends by itself.
    let now = chrono::Utc::now();
    let until = now + chrono::Duration::seconds(4);
    let brief = json!({"schema": 1, "kind": "silence", "subject": "entity:three", "by": "ops", "at": now, "until": until, "note": ""});
    produce(&site.brokers, "silences.actions", &[(None, Some("silence/entity:three".into()), brief.to_string().into_bytes())]);
    let mut process = site.deliver();
    process.wait_ready();
    wait_for("what was told to be told again", 30, || {
        let now = alertmanager.active();
        assert!(now.keys().eq(before.keys()), "{now:?}");
        now.iter().all(|(name, alert)| alert["endsAt"].as_str() > before[name]["endsAt"].as_str()).then_some(())
    });
    tell(&[&alert("entity:three", 0)]);
    taken(&[(BANKS, 0), ("entity:two", 0), ("entity:three", 0)]);
    assert!(chrono::Utc::now() >= until);
    alertmanager.wait_for_active(&["entity:three warning", "entity:two warning", "group:regional-banks warning"]);
    // But that it is over, if anybody knew of it.
    tell(&[&alert("entity:one", 2), &alert(BANKS, 2)]);
    taken(&[(BANKS, 0), ("entity:two", 0), ("entity:three", 0), (BANKS, 2)]);
    alertmanager.wait_for_active(&["entity:three warning", "entity:two warning"]);

    // Lifted at the other process: what is still open is told, as it stands in the topic.
    act(&other, "DELETE /api/v1/silences", json!({"subject": "market"}));
    taken(&[(BANKS, 0), ("entity:two", 0), ("entity:three", 0), (BANKS, 2), ("market", 0)]);
    assert_eq!(desk.seen().last().unwrap().body, market.to_string().into_bytes());
    alertmanager.wait_for_active(&["entity:three warning", "entity:two warning", "market warning"]);

    let schema: Value = serde_json::from_str(&std::fs::read_to_string(root().join("schemas/sentiment.actions.json")).unwrap()).unwrap();
    let (written, lifted): (Vec<_>, Vec<_>) =
        read_topic(&site.brokers, "silences.actions").into_iter().partition(|record| !record.payload.is_empty());
    assert!(written.iter().all(|record| jsonschema::is_valid(&schema, &record.json())));
    assert_eq!((written.len(), lifted.len(), lifted[0].key.as_deref()), (5, 1, Some("silence/market")));
    let logs = finish(vec![process, asked, other]);
    assert!(logs.contains("an operator has acted") && !logs.contains("mine"), "{logs}");
    assert!(read_topic(&site.brokers, "silences.undelivered").is_empty());
    let audited: Vec<Value> = std::fs::read_to_string(&audit).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done: Vec<&Value> = audited.iter().filter(|line| line["actor"] == "ops").collect();
    assert_eq!(
        done.iter().map(|line| &line["event"]).collect::<Vec<_>>(),
        ["alert_acknowledged", "subject_silenced", "subject_silenced", "subject_silenced"]
    );
    assert_eq!((&done[0]["detail"], &done[1]["detail"]), (&acknowledged, &silenced[0]));
}
