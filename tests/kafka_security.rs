//! Kafka with log-ins, TLS and rights: what docs/operations.md says of them is enough and needed, and whoever is turned away is told
//! why, by what key, and what mends it.

mod common;

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::certificates::{Authority, Issued};
use common::newsroom::Newsroom;
use common::newsstand::{Newsstand, rss, say};
use common::proxy::{Mode, Proxy};
use common::rights::{Right, Rights};
use common::{Broker, Listener, Process, Site, ask, finish, free_port, get, produce, read_topic, root, wait_for};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use serde_json::{Value, json};

const GOOD: (i64, i64) = (-1, 2);
const OVER: (i64, i64) = (-3, -1);

fn guide(section: &str) -> String {
    let guide = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, section) = guide.split_once(&format!("\n## {section}\n")).unwrap();
    section.split("\n## ").next().unwrap().to_owned()
}

/// The blocks of a section that are in this language.
fn blocks(section: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    guide(section).split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The properties that the guide gives for a way to log in: a mechanism, or "certificate".
fn properties(way: &str) -> BTreeMap<String, String> {
    let blocks = blocks("Log-in", "toml").into_iter().map(|block| {
        let table: toml::Table = block.parse().unwrap();
        let properties = table["kafka"]["properties"].as_table().unwrap().clone();
        properties.into_iter().map(|(key, value)| (key, value.as_str().unwrap().to_owned())).collect::<BTreeMap<_, _>>()
    });
    let is_it = |properties: &BTreeMap<String, String>| properties.get("sasl.mechanism").map_or("certificate", String::as_str) == way;
    let found: Vec<_> = blocks.filter(is_it).collect();
    assert_eq!(found.len(), 1, "the guide has one block for {way}");
    found.into_iter().next().unwrap()
}

fn secret_of(user: &str) -> String {
    format!("secret-of-{user}")
}

/// As the identity provider of the tests gives it; these brokers do not ask for a signature.
fn token(user: &str, algorithm: &str, seconds: i64) -> String {
    let part = |json: String| openssl::base64::encode_block(json.as_bytes()).replace(['=', '\n'], "").replace('+', "-").replace('/', "_");
    let now = chrono::Utc::now().timestamp();
    let claims = part(format!("{{\"sub\":\"{user}\",\"iat\":{},\"exp\":{}}}", now - 60, now + seconds));
    format!("{}.{claims}.", part(format!("{{\"alg\":\"{algorithm}\"}}")))
}

/// One Kafka node that lets in whom it knows, and lets them do what they have a right to.
struct Secured {
    broker: Broker,
    authority: Authority,
    /// Where passwords and tokens are asked for, as clients are told; where certificates are; where the broker's own is over.
    by_name: u16,
    by_certificate: u16,
    over: u16,
    proxy: Proxy,
}

impl Secured {
    fn start() -> Self {
        let authority = Authority::new("ca");
        let behind = free_port();
        let (proxy, by_certificate, over) = (Proxy::start(behind), free_port(), free_port());
        let listener = |name, protocol, port, advertised| Listener { name, protocol, port, advertised };
        let listeners = [
            listener("NAMES", "SASL_SSL", behind, proxy.port),
            listener("CERTIFICATES", "SSL", by_certificate, by_certificate),
            listener("OVER", "SSL", over, over),
        ];
        let line = |pem: String| pem.replace('\n', "\\n");
        let key_store = |prefix: &str, issued: Issued| {
            let (certificate, key) = (line(issued.certificate.clone()), line(issued.key()));
            format!("{prefix}ssl.keystore.type=PEM\n{prefix}ssl.keystore.certificate.chain={certificate}\n{prefix}ssl.keystore.key={key}\n")
        };
        let modules = "org.apache.kafka.common.security";
        let properties = format!(
            "{}{}ssl.truststore.type=PEM\nssl.truststore.certificates={}\n\
             listener.name.certificates.ssl.client.auth=required\nssl.principal.mapping.rules=RULE:^CN=([^,]*).*$/$1/\n\
             sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN,OAUTHBEARER\n\
             listener.name.names.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n\
             listener.name.names.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_feed=\"{}\";\n\
             listener.name.names.connections.max.reauth.ms=3600000\n\
             listener.name.names.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required;\n\
             listener.name.names.oauthbearer.sasl.server.callback.handler.class=\
             {modules}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nallow.everyone.if.no.acl.found=false\n\
             super.users=User:ANONYMOUS;User:operator\n",
            key_store("", authority.issue_for_host("127.0.0.1", GOOD)),
            key_store("listener.name.over.", authority.issue_for_host("127.0.0.1", OVER)),
            line(authority.certificate()),
            secret_of("feed"),
        );
        let users: Vec<String> = ["classifier", "desk", "operator"].map(|user| format!("{user}={}", secret_of(user))).into();
        let broker = Broker::start_with_listeners(&listeners, &users.join(" "), &properties);
        Self { broker, authority, by_name: proxy.port, by_certificate, over, proxy }
    }

    /// A user who logs in as the guide says.
    fn user(&self, name: &str, way: &str) -> User {
        let port = if way == "certificate" { self.by_certificate } else { self.by_name };
        let user = User { folder: tempfile::tempdir().unwrap(), brokers: format!("127.0.0.1:{port}"), properties: properties(way) };
        let certificate = self.authority.issue(name, GOOD);
        user.write("ca.pem", &self.authority.certificate());
        user.write("password", &(secret_of(name) + "\n"));
        user.write("client.pem", &certificate.certificate);
        user.write("client.key", &certificate.encrypted_key(&secret_of("key")));
        user.write("key-password", &secret_of("key"));
        user.write("token", &token(name, "none", 600));
        if user.properties.contains_key("sasl.username") { user.with("sasl.username", name) } else { user }
    }

    fn change_password(&self, user: &str, password: &str) {
        let change = format!("SCRAM-SHA-512=[password={password}]");
        let address = self.broker.address();
        let tool = ["kafka.admin.ConfigCommand", "--bootstrap-server", &address, "--alter", "--add-config", &change];
        self.broker.tool(&[&tool[..], &["--entity-type", "users", "--entity-name", user]].concat());
    }

    /// Every connection comes about anew.
    fn cut_connections(&self) {
        let before = self.proxy.cut();
        self.proxy.set(Mode::Refuse);
        wait_for("connections to be cut", 10, || (self.proxy.cut() > before).then_some(()));
        self.proxy.set(Mode::Pass);
    }
}

/// Who somebody is to Kafka, and how that is shown.
struct User {
    folder: tempfile::TempDir,
    brokers: String,
    properties: BTreeMap<String, String>,
}

impl User {
    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).unwrap();
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.properties.insert(key.to_owned(), value.to_owned());
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.properties.remove(key).unwrap();
        self
    }

    fn holding(self, file: &str, text: &str) -> Self {
        self.write(file, text);
        self
    }

    fn at(mut self, brokers: String) -> Self {
        self.brokers = brokers;
        self
    }

    /// Its files are elsewhere than in the guide.
    fn properties(&self) -> impl Iterator<Item = (&str, String)> {
        let folder = format!("{}/", self.folder.path().display());
        let here = move |value: &String| value.replace("/etc/bellwether/", &folder).replace("/run/secrets/", &folder);
        self.properties.iter().map(move |(key, value)| (key.as_str(), here(value)))
    }

    fn environment(&self) -> Vec<(String, String)> {
        let property =
            |(key, value): (&str, String)| (format!("BELLWETHER_KAFKA__PROPERTIES__{}", key.replace('.', "_").to_uppercase()), value);
        self.properties().map(property).chain([("BELLWETHER_KAFKA__BROKERS".to_owned(), self.brokers.clone())]).collect()
    }

    fn run(&self, site: &Site, role: &str) -> Process {
        let environment = self.environment();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        site.run_with(role, &environment)
    }

    fn deliver(&self, site: &Site) -> Process {
        let environment = self.environment();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        site.deliver_with(&environment)
    }

    fn output(&self, site: &Site, arguments: &[&str]) -> Output {
        site.command(arguments).envs(self.environment()).output().unwrap()
    }

    /// A client that is not Bellwether.
    fn subscriber(&self, group: &str) -> BaseConsumer {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers).set("group.id", group).set("auto.offset.reset", "earliest");
        client.set("isolation.level", "read_committed");
        for (key, value) in self.properties() {
            client.set(
                key,
                value.strip_prefix("file:").map_or(value.clone(), |path| std::fs::read_to_string(path).unwrap().trim().to_owned()),
            );
        }
        client.create().unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_is_told(what: &str, (code, said): (Option<i32>, String), parts: &[&str]) {
    assert_eq!(code, Some(69), "{what}:\n{said}");
    let last = said.lines().rfind(|line| line.starts_with("bellwether: ")).unwrap_or_else(|| panic!("{what}: no last word:\n{said}"));
    for part in parts {
        assert!(last.contains(part), "{what}: {part:?} is not in {last:?}\n{said}");
    }
    assert!(!said.contains("secret-of-") && !said.contains("wrong-secret"), "{what}: a secret is told:\n{said}");
    println!("{what}:\n    {last}");
}

/// What the program says of a right that it lacks. Where both are needed on a topic it says both when it has neither.
fn assert_is_missed(right: &Right, outcome: (Option<i32>, String)) {
    let on = format!("{} on the {} {:?}", right.operation(), right.resource(), right.name);
    assert_is_told(&format!("{right:?}"), outcome, &["Kafka refuses: ", "give this user ", &on, "docs/operations.md, \"Rights\""]);
}

/// Runs the commands that docs/operations.md gives under "Rights".
fn grant_by_the_book(broker: &Broker) {
    let commands = blocks("Rights", "sh").concat();
    let tool = root().join("tests/kafka/broker");
    let acls = format!("kafka-acls.sh() {{ {tool:?} tool org.apache.kafka.tools.AclCommand \"$@\"; }}");
    let script = format!("set -euo pipefail\nBROKERS={}\n{acls}\n{commands}", broker.address());
    let output = Command::new("bash").arg("-c").arg(script).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn the_rights_of_the_guide_are_enough_and_each_is_needed_and_named_where_it_is_missing() {
    let kafka = Secured::start();
    grant_by_the_book(&kafka.broker);
    let rights = Rights::on(kafka.broker.address());
    let all = rights.all();
    let of = |user: &str| -> Vec<&Right> { all.iter().filter(|right| right.user() == user).collect() };
    assert_eq!(
        ["classifier", "monitor", "topics", "ingest", "feed", "archive", "courier", "desk"].map(|user| of(user).len()),
        [8, 12, 9, 4, 1, 3, 4, 2],
        "{all:?}"
    );
    let without = |right: &Right, run: &mut dyn FnMut() -> (Option<i32>, String)| {
        rights.withdraw(right);
        assert_is_missed(right, run());
        rights.grant(right);
    };
    let [topics, feed] = [("topics", "OAUTHBEARER"), ("feed", "PLAIN")].map(|(user, way)| kafka.user(user, way));
    let [classifier, monitor] = [("classifier", "SCRAM-SHA-512"), ("monitor", "certificate")].map(|(user, way)| kafka.user(user, way));
    let finished = |output: Output| (output.status.code(), text(&output));

    let site = Site::at(kafka.broker.address(), "tests/fixtures/tiny", "");
    for right in of("topics") {
        without(right, &mut || finished(topics.output(&site, &["topics", "create"])));
    }
    let made = topics.output(&site, &["topics", "create"]);
    assert!(made.status.success(), "{}", text(&made));

    let mut news = Newsroom::open(&kafka.broker.address(), &kafka.broker.address(), "", "", "");
    news.publish(1200);
    for right in of("classifier") {
        without(right, &mut || classifier.run(&news.site, "classifier").wait_for_end("the refusal"));
    }
    let mut running = classifier.run(&news.site, "classifier");
    running.wait_ready();
    news.wait_until_all_are_scored();

    // What was published before is read back only by a monitor that goes on from it.
    let is_for_a_restore =
        |right: &Right| right.operation() == "Read" && ["sentiment.windows", "sentiment.alerts"].contains(&right.name.as_str());
    // Alerts do not need it: a monitor goes on.
    let is_for_operators = |right: &Right| right.name == "sentiment.actions";
    for right in of("monitor").into_iter().filter(|right| !is_for_a_restore(right) && !is_for_operators(right)) {
        without(right, &mut || monitor.run(&news.site, "monitor").wait_for_end("the refusal"));
    }
    let mut judging = monitor.run(&news.site, "monitor");
    judging.wait_ready();
    news.publish(100);
    news.wait_until_all_are_scored();
    wait_for("a commit", 30, || (judging.metric("bellwether_commits_total{outcome=\"ok\",role=\"monitor\"}") > 0.0).then_some(()));

    // Taken away from those who are at work; who they are may be shown in another way, too.
    let [output, id] =
        ["news.scored", "bellwether-classifier-"].map(|name| of("classifier").into_iter().find(|right| right.name == name).unwrap());
    let by_token = kafka.user("classifier", "OAUTHBEARER");
    for (right, user) in [(output, &by_token), (id, &classifier)] {
        rights.withdraw(right);
        news.publish(50);
        assert_is_missed(right, running.wait_for_end("the refusal"));
        rights.grant(right);
        running = user.run(&news.site, "classifier");
        running.wait_ready();
        news.wait_until_all_are_scored();
    }
    let group = of("monitor").into_iter().find(|right| right.name == "bellwether-monitor").unwrap();
    rights.withdraw(group);
    news.publish(50);
    assert_is_missed(group, judging.wait_for_end("the refusal"));
    rights.grant(group);
    for right in of("monitor").into_iter().filter(|right| is_for_a_restore(right)) {
        without(right, &mut || monitor.run(&news.site, "monitor").wait_for_end("the refusal"));
    }

    let operator = news.site.operator();
    let tokens = news.site.folder.path().join("tokens");
    let environment = [monitor.environment(), vec![("BELLWETHER_HTTP__TOKENS".to_owned(), tokens.display().to_string())]].concat();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let [read, write] = ["Read", "Write"]
        .map(|operation| of("monitor").into_iter().find(|right| is_for_operators(right) && right.operation() == operation).unwrap());
    rights.withdraw(read);
    let asked = news.site.run_with("monitor", &environment);
    let health = || ask(asked.http, &operator, "GET /status", &json!({})).1["health"].clone();
    let mend = |operation: &str| format!("give this user {operation} on the topic \"sentiment.actions\" (docs/operations.md, \"Rights\")");
    let is_missed = |reason: &Value| reason.as_str().unwrap().contains(&mend("Read"));
    wait_for("the page", 60, || get(asked.http, "/live"));
    wait_for("the refusal", 60, || health()["reasons"].as_array().unwrap().iter().any(is_missed).then_some(()));
    rights.grant(read);
    wait_for("all to be well", 60, || (health()["state"] == "ok").then_some(()));
    let silence = || ask(asked.http, &operator, "POST /api/v1/silences", &json!({"subject": "market", "for": "1h"}));
    rights.withdraw(write);
    let (status, answer) = silence();
    assert!(status == 503 && answer["error"].as_str().unwrap().contains(&mend("Write")), "{status} {answer}");
    rights.grant(write);
    assert_eq!(silence().0, 200);
    finish(vec![asked]);

    let mut judging = monitor.run(&news.site, "monitor");
    judging.wait_ready();
    news.close_and_check("all rights are there");
    let said = finish(vec![running, judging]);
    assert!(!said.contains("refuses") && !said.contains("uthoriz"), "these rights are enough:\n{said}");

    let file = news.site.folder.path().join("news.jsonl");
    std::fs::write(&file, "{\"title\":\"Lender opens a branch\"}\n").unwrap();
    let replay = || feed.output(&news.site, &["replay", file.to_str().unwrap()]);
    of("feed").into_iter().for_each(|right| without(right, &mut || finished(replay())));
    let sent = replay();
    assert!(sent.status.success() && text(&sent).contains("1 items sent"), "{}", text(&sent));

    let ingest = kafka.user("ingest", "OAUTHBEARER");
    let stand = Newsstand::open(|_, stream| say(stream, "200 OK", rss(&["Lender closes a branch"]).as_bytes()));
    let feed = format!("[{{ url = {:?}, source = \"wire.example\" }}]", stand.url("/rss"));
    let feeds = [("BELLWETHER_INGEST__FEEDS", feed.as_str()), ("BELLWETHER_INGEST__ALLOW_PRIVATE", "[\"127.0.0.1\"]")];
    let begin = || news.site.ingest_with(ingest.environment().iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(feeds));
    let (reads, writes): (Vec<&Right>, Vec<&Right>) = of("ingest").into_iter().partition(|right| right.operation() == "Read");
    writes.into_iter().for_each(|right| without(right, &mut || begin().wait_for_end("the refusal")));
    let asking = begin();
    wait_for("its item", 30, || (asking.metric("bellwether_feed_items_total{outcome=\"published\"}") == 1.0).then_some(()));
    let said = finish(vec![asking]);
    // Now there is something to be read back.
    reads.into_iter().for_each(|right| without(right, &mut || begin().wait_for_end("the refusal")));
    assert!(!said.contains("refuses") && !said.contains("uthoriz"), "these rights are enough:\n{said}");

    let archive = kafka.user("archive", "certificate");
    let folder = news.site.folder.path().join("archive");
    let export =
        || archive.output(&news.site, &["export", "--from", "2023-03-09", "--to", "2023-03-10", "--out", folder.to_str().unwrap()]);
    of("archive").into_iter().for_each(|right| without(right, &mut || finished(export())));
    let exported = export();
    assert!(exported.status.success() && folder.join("alerts/date=2023-03-09").is_dir(), "{}", text(&exported));

    let webhook = "[webhooks.desk]\nurl = 'http://127.0.0.1:1'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\ngive_up_after = '1ms'\n";
    let config = std::fs::read_to_string(news.site.config()).unwrap() + webhook;
    std::fs::write(news.site.config(), config).unwrap();
    let courier = kafka.user("courier", "certificate");
    for right in of("courier") {
        without(right, &mut || courier.deliver(&news.site).wait_for_end("the refusal"));
    }
    let mut delivering = courier.deliver(&news.site);
    delivering.wait_ready();
    let alert = read_topic(&kafka.broker.address(), "sentiment.alerts").swap_remove(0);
    produce(&kafka.broker.address(), "sentiment.alerts", &[(None, alert.key, alert.payload)]);
    let undelivered = || read_topic(&kafka.broker.address(), "sentiment.undelivered");
    wait_for("an alert that nobody takes", 60, || (!undelivered().is_empty()).then_some(()));
    let said = finish(vec![delivering]);
    assert!(!said.contains("refuses") && !said.contains("uthoriz"), "these rights are enough:\n{said}");

    let desk = kafka.user("desk", "SCRAM-SHA-512");
    for right in of("desk") {
        rights.withdraw(right);
        let refused = first_alert(&desk.subscriber("desk")).unwrap_err();
        let codes = [RDKafkaErrorCode::TopicAuthorizationFailed, RDKafkaErrorCode::GroupAuthorizationFailed];
        assert!(refused.rdkafka_error_code().is_some_and(|code| codes.contains(&code)), "{right:?}: {refused}");
        rights.grant(right);
    }
    let alert = first_alert(&desk.subscriber("desk")).unwrap();
    assert!(alert.contains("\"transition\":\"firing\""), "{alert}");
}

fn first_alert(subscriber: &BaseConsumer) -> Result<String, KafkaError> {
    subscriber.subscribe(&["sentiment.alerts"]).unwrap();
    wait_for("an alert or a refusal", 30, || {
        let polled = subscriber.poll(Duration::from_millis(100))?;
        Some(polled.map(|message| String::from_utf8(message.payload().unwrap().to_vec()).unwrap()))
    })
}

#[test]
fn whoever_is_not_let_in_is_told_why_with_the_key_and_the_mend() {
    let kafka = Secured::start();
    let other = Authority::new("another-ca");
    let (scram, plain, bearer, certificate) = ("SCRAM-SHA-512", "PLAIN", "OAUTHBEARER", "certificate");
    let of_client = |issued: Issued| {
        let key = issued.encrypted_key(&secret_of("key"));
        kafka.user("monitor", certificate).holding("client.pem", &issued.certificate).holding("client.key", &key)
    };
    let cases = [
        (
            "a wrong password, by SCRAM",
            kafka.user("classifier", scram).holding("password", "wrong-secret"),
            vec!["invalid credentials", "kafka.properties.\"sasl.username\" = \"classifier\"", "\"sasl.password\"", "by SCRAM-SHA-512"],
        ),
        (
            "an unknown user, by SCRAM",
            kafka.user("nobody", scram),
            vec!["kafka.properties.\"sasl.username\" = \"nobody\"", "that the brokers know this user"],
        ),
        (
            "a wrong password, by PLAIN",
            kafka.user("feed", plain).holding("password", "wrong-secret"),
            vec!["Invalid username or password", "kafka.properties.\"sasl.username\" = \"feed\"", "\"sasl.password\""],
        ),
        (
            "a mechanism that the brokers do not have",
            kafka.user("classifier", scram).with("sasl.mechanism", "SCRAM-SHA-256"),
            vec!["SCRAM-SHA-512,PLAIN,OAUTHBEARER", "set kafka.properties.\"sasl.mechanism\" to one of those"],
        ),
        (
            "a token that is over",
            kafka.user("classifier", bearer).holding("token", &token("classifier", "none", -5)),
            vec!["unexpired token", "put a JSON Web Token that is not over into kafka.properties.\"sasl.oauthbearer.config\""],
        ),
        (
            "a token that the brokers do not trust",
            kafka.user("classifier", bearer).holding("token", &token("classifier", "RS256", 600)),
            vec!["invalid_token", "renew the token in kafka.properties.\"sasl.oauthbearer.config\""],
        ),
        (
            "an expired certificate of the client",
            of_client(kafka.authority.issue("monitor", OVER)),
            vec!["certificate in kafka.properties.\"ssl.certificate.location\" = \"/", "client.pem\", CN=monitor, expired on ", "renew it"],
        ),
        (
            "a certificate of a client that another authority has issued",
            of_client(other.issue("monitor", GOOD)),
            vec!["CN=monitor, issued by CN=another-ca, was not accepted", "have it issued by a CA that the brokers trust"],
        ),
        (
            "no certificate of the client",
            kafka.user("monitor", certificate).without("ssl.certificate.location").without("ssl.key.location"),
            vec![
                "wants a certificate of this client",
                "set kafka.properties.\"ssl.certificate.location\" and kafka.properties.\"ssl.key.location\"",
            ],
        ),
        (
            "a broker whose certificate another authority has issued",
            kafka.user("classifier", scram).holding("ca.pem", &other.certificate()),
            vec!["CN=broker was issued by CN=ca", "add the CA that issued it to kafka.properties.\"ssl.ca.location\" = \"/"],
        ),
        (
            "a broker whose certificate no CA of the system has issued",
            kafka.user("classifier", scram).without("ssl.ca.location"),
            vec!["CN=broker was issued by CN=ca", "the CAs of this system (kafka.properties.\"ssl.ca.location\" is not set)"],
        ),
        (
            "a broker whose certificate is for another host",
            kafka.user("classifier", scram).at(format!("localhost:{}", kafka.by_name)),
            vec!["it is for \"127.0.0.1\", not for \"localhost\"", "kafka.brokers", "advertised.listeners"],
        ),
        (
            "a broker whose certificate has expired",
            kafka.user("monitor", certificate).at(format!("127.0.0.1:{}", kafka.over)),
            vec!["CN=broker expired on ", "have it renewed on the broker"],
        ),
        (
            "a client that has no TLS",
            kafka.user("monitor", certificate).with("security.protocol", "PLAINTEXT").with("log.connection.close", "true"),
            vec!["no answer within 6s", "kafka.properties.\"security.protocol\""],
        ),
    ];
    let timeout = Duration::from_secs(6);
    let site = Site::at(kafka.broker.address(), "tests/fixtures/tiny", "[kafka]\ntimeout = '6s'");
    let started = Instant::now();
    let running: Vec<_> = cases.iter().map(|(what, user, parts)| (what, user.run(&site, "monitor"), parts)).collect();
    for (what, process, parts) in running {
        assert_is_told(what, process.wait_for_end(what), parts);
    }
    assert!(started.elapsed() < timeout * 3, "all at once: {:?}", started.elapsed());
}

#[test]
fn a_log_in_that_is_refused_while_it_runs_shows_at_once_and_ends_the_process_and_a_new_token_is_taken() {
    let kafka = Secured::start();
    let mut news = Newsroom::open(&kafka.broker.address(), &kafka.broker.address(), "", "", "'reconnect.backoff.max.ms' = '500'");
    let (operator, bearer) = (kafka.user("operator", "SCRAM-SHA-512"), kafka.user("operator", "OAUTHBEARER"));
    // Longer than Kafka's tool takes to change a password.
    let operator = operator.with("session.timeout.ms", "30000");
    let state = |process: &Process| process.status()["health"]["state"].as_str().unwrap_or_default().to_owned();
    let mut process = operator.run(&news.site, "both");
    process.wait_ready();
    news.publish(100);
    news.wait_until_all_are_scored();
    kafka.change_password("operator", "another-secret");
    assert_eq!(state(&process), "ok", "an open connection stays open");
    kafka.cut_connections();
    let reasons = wait_for("the refusal to show", 30, || {
        let reasons = process.status()["health"]["reasons"].to_string();
        (state(&process) == "degraded" && reasons.contains("sasl.password")).then_some(reasons)
    });
    assert!(reasons.contains("no connection: ") && reasons.contains("invalid credentials"), "{reasons}");
    assert!(!reasons.contains("secret"), "{reasons}");
    kafka.change_password("operator", &secret_of("operator"));
    wait_for("it to be well again", 30, || (state(&process) == "ok").then_some(()));
    news.publish(100);
    news.wait_until_all_are_scored();
    finish(vec![process]);

    let environment = [operator.environment(), [("BELLWETHER_KAFKA__TIMEOUT".to_owned(), "5s".to_owned())].into()].concat();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut process = news.site.run_with("both", &environment);
    process.wait_ready();
    kafka.change_password("operator", "another-secret");
    kafka.cut_connections();
    let parts = ["Kafka refuses", "\"sasl.password\"", "invalid credentials"];
    assert_is_told("a password that was changed", process.wait_for_end("the end"), &parts);

    operator.write("password", "another-secret\n");
    let mut process = news.site.run_with("both", &environment);
    process.wait_ready();
    finish(vec![process]);

    // A token is good for a while; the next one lies in the file before that is over.
    let begun = Instant::now();
    let life = 15;
    bearer.write("token", &token("operator", "none", life));
    let mut process = bearer.run(&news.site, "both");
    process.wait_ready();
    bearer.write("token", &token("operator", "none", 600));
    wait_for("the first token to be over", 30, || (begun.elapsed() > Duration::from_secs(life as u64 + 1)).then_some(()));
    kafka.cut_connections();
    news.publish(100);
    news.close_and_check("log-ins were refused and renewed");
    wait_for("it to be well", 30, || (state(&process) == "ok").then_some(()));
    finish(vec![process]);
}
