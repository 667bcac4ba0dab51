//! Feeds and pushed news come to `news.raw` once, whatever servers do and whoever is killed; and nobody leads the program to where it
//! must not go.

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::certificates::{Authority, Issued};
use common::newsstand::{Newsstand, keep_waiting, rss, say, say_for_ever};
use common::{Broker, Process, Read1, Site, ask, read_topic, root, wait_for};
use serde_json::{Value, json};

const PAUSE: Duration = Duration::from_millis(20);

fn site(broker: &Broker, feeds: &[(String, &str)]) -> Site {
    let feeds: String = feeds.iter().map(|(url, source)| format!("[[ingest.feeds]]\nurl = {url:?}\nsource = {source:?}\n")).collect();
    let site = Site::new(
        broker,
        &format!(
            "[ingest]\ninterval = '300ms'\nhost_pause = '20ms'\ntime_limit = '1s'\nmax_body_bytes = 1000000\n\
             contact = 'desk@bellwether.example'\nallow_private = ['127.0.0.1']\n{feeds}"
        ),
    );
    site.create_topics();
    site
}

fn titles(records: &[Read1]) -> Vec<String> {
    let mut titles: Vec<String> = records.iter().map(|record| record.json()["title"].as_str().unwrap().to_owned()).collect();
    titles.sort();
    titles
}

fn assert_valid(topic: &str, records: &[Read1]) {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(root().join(format!("schemas/{topic}.json"))).unwrap()).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    for record in records {
        let errors: Vec<String> = validator.iter_errors(&record.json()).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{topic}: {} {errors:?}", record.json());
    }
}

fn outcome(process: &Process, outcome: &str) -> f64 {
    process.metric(&format!("bellwether_feed_fetches_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn what_feeds_bring_is_published_once_whoever_is_killed_and_what_was_seen_is_remembered() {
    let news: Arc<Mutex<Vec<&str>>> = Arc::new(Mutex::new(vec!["Lender fails", "Rates &amp; yields rise"]));
    let told = news.clone();
    let stand = Newsstand::open(move |asked, stream| match asked.path.as_str() {
        "/rss" => {
            let news = told.lock().unwrap().clone();
            let etag = format!("\"{}\"", news.len());
            match asked.headers.get("if-none-match") == Some(&etag) {
                true => say(stream, "304 Not Modified", b""),
                false => say(stream, &format!("200 OK\r\nETag: {etag}\r\nContent-Type: application/rss+xml"), rss(&news).as_bytes()),
            }
        }
        "/atom" => {
            let since = "Tue, 10 Mar 2026 16:35:00 GMT";
            let atom = "<feed xmlns='http://www.w3.org/2005/Atom'><title>t</title><id>i</id><updated>2026-03-10T16:35:00Z</updated><entry>\
                        <title>Oil steady</title><id>urn:1</id><updated>2026-03-10T16:35:00Z</updated><link href='/oil'/>\
                        <summary type='html'>&lt;p&gt;Before the &lt;b&gt;meeting&lt;/b&gt;&lt;/p&gt;&lt;script&gt;x()&lt;/script&gt;</summary></entry></feed>";
            match asked.headers.get("if-modified-since").is_some_and(|value| value == since) {
                true => say(stream, "304 Not Modified", b""),
                false => say(stream, &format!("200 OK\r\nLast-Modified: {since}"), atom.as_bytes()),
            }
        }
        _ => say(stream, "404 Not Found", b""),
    });
    let broker = Broker::start();
    let site = site(&broker, &[(stand.url("/rss"), "wire.example"), (stand.url("/atom"), "oil.example")]);
    let raw = || read_topic(&site.brokers, "news.raw");
    let mut first = site.ingest();
    first.wait_ready();
    assert_eq!(first.metric("bellwether_ready"), 1.0);
    wait_for("both feeds to have nothing new", 20, || (outcome(&first, "unchanged") >= 4.0).then_some(()));
    let items = raw();
    assert_eq!(titles(&items), ["Lender fails", "Oil steady", "Rates & yields rise"]);
    assert_valid("news.raw", &items);
    let oil = items.iter().map(Read1::json).find(|item| item["title"] == "Oil steady").unwrap();
    let expected = json!({
        "id": oil["id"], "title": "Oil steady", "body": "Before the meeting", "published_at": "2026-03-10T16:35:00.000Z", "source": "oil.example", "url": stand.url("/oil"),
    });
    assert_eq!(oil, expected);
    assert_eq!(first.metric("bellwether_feed_items_total{outcome=\"published\"}"), 3.0);
    assert!(first.metric("bellwether_feed_last_success_timestamp_seconds") > 1.7e9 && first.metric("bellwether_feeds_failing") == 0.0);
    first.kill();

    let before = stand.asked_for("/rss").len();
    news.lock().unwrap().insert(0, "Depositors queue");
    let mut second = site.ingest();
    second.wait_ready();
    let items = wait_for("the news of the meantime", 20, || Some(raw()).filter(|items| items.len() > 3));
    assert_eq!(titles(&items), ["Depositors queue", "Lender fails", "Oil steady", "Rates & yields rise"], "nothing twice");
    assert_eq!(stand.asked_for("/rss")[before].headers.get("if-none-match").map(String::as_str), Some("\"2\""), "it knew where it was");
    let feeds = read_topic(&site.brokers, "news.feeds");
    assert_valid("news.feeds", &feeds);
    assert!(feeds.iter().all(|record| record.key.as_deref() == record.json()["url"].as_str()));

    // Of two with one name the later one goes on.
    let mut third = site.ingest();
    third.wait_ready();
    news.lock().unwrap().insert(0, "Regulator steps in");
    let (code, log) = second.wait_for_end("the one that was taken over from");
    assert!(code == Some(69) && log.contains("was fenced"), "{code:?} {log}");
    wait_for("the news by the other", 20, || (third.metric("bellwether_feed_items_total{outcome=\"published\"}") >= 1.0).then_some(()));
    assert_eq!(titles(&raw()), ["Depositors queue", "Lender fails", "Oil steady", "Rates & yields rise", "Regulator steps in"]);

    // The brokers go and come back: what was read meanwhile is not lost.
    broker.stop();
    news.lock().unwrap().insert(0, "Run on a bank");
    wait_for("the news to be read again and again", 60, || third.log().contains("begins anew").then_some(()));
    broker.restart();
    wait_for("the news to be published", 60, || (third.metric("bellwether_feed_items_total{outcome=\"published\"}") >= 2.0).then_some(()));
    let (exit, log) = third.terminate();
    assert!(exit.success(), "{exit} {log}");
    let items = raw();
    assert_eq!(items.len(), 6, "{:?}", titles(&items));

    let asked = stand.asked();
    let by_robots: Vec<usize> = (0..asked.len()).filter(|place| asked[*place].path == "/robots.txt").collect();
    assert_eq!(by_robots.len(), 3, "once by each process: {by_robots:?}");
    assert!(
        asked.iter().all(|asked| asked.headers["user-agent"].starts_with("bellwether/") && asked.headers["user-agent"].contains("desk@"))
    );
}

#[test]
fn servers_that_misbehave_cost_their_own_news_and_no_others_and_lead_nowhere() {
    let inner = Newsstand::open(|_, stream| say(stream, "200 OK", rss(&["Inner secret"]).as_bytes()));
    let (inner_port, bomb) = (inner.address.port(), gzip_bomb());
    let stand = Newsstand::open(move |asked, stream| match asked.path.as_str() {
        "/robots.txt" => say(stream, "200 OK", b"User-agent: *\nDisallow: /\n\nUser-agent: bellwether\nDisallow: /members/\n"),
        "/good" => say(stream, "200 OK", rss(&["Good news"]).as_bytes()),
        "/moved" => say(stream, "301 Moved Permanently\r\nLocation: /here", b""),
        "/here" => say(stream, "200 OK\r\nContent-Type: text/xml; charset=ISO-8859-1", &latin("Börse schließt")),
        "/mislabelled" => say(stream, "200 OK\r\nContent-Type: text/xml; charset=utf-8", &latin("Zürich führt")),
        "/zipped" => say(stream, "200 OK\r\nContent-Encoding: gzip", &gzip(rss(&["Zipped news"]).as_bytes())),
        "/silent" => keep_waiting(stream),
        "/slow" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n<rss");
            keep_waiting(stream);
        }
        "/huge" => say_for_ever(stream, "200 OK", &vec![b' '; 60_000]),
        "/long-head" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ");
            while stream.write_all(&[b'x'; 60_000]).is_ok() {}
        }
        "/bomb" => say(stream, "200 OK\r\nContent-Encoding: gzip", &bomb),
        "/brotli" => say(stream, "200 OK\r\nContent-Encoding: br", b"\x0b\x02\x80"),
        "/no-zip" => say(stream, "200 OK\r\nContent-Encoding: gzip", rss(&["Not zipped"]).as_bytes()),
        "/html" => say(stream, "200 OK", b"<!DOCTYPE html><html><body>Log in</body></html>"),
        "/cut" => say(stream, "200 OK", rss(&["Cut"]).split_at(150).0.as_bytes()),
        "/early" => drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n<rss")),
        "/garbage" => drop(stream.write_all(b"\x00\x01\x02 what?\r\n\r\n")),
        "/loop" => say(stream, "302 Found\r\nLocation: /loop", b""),
        "/lost" => say(stream, "302 Found", b""),
        "/to-loopback" => say(stream, &format!("302 Found\r\nLocation: http://127.0.0.2:{inner_port}/"), b""),
        "/to-name" => say(stream, &format!("302 Found\r\nLocation: http://localhost:{inner_port}/"), b""),
        "/to-number" => say(stream, &format!("307 Temporary Redirect\r\nLocation: http://2130706434:{inner_port}/"), b""),
        "/to-mapped" => say(stream, &format!("302 Found\r\nLocation: http://[::ffff:127.0.0.1]:{inner_port}/"), b""),
        "/to-metadata" => say(stream, "302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/", b""),
        "/to-file" => say(stream, "302 Found\r\nLocation: file:///etc/passwd", b""),
        "/broken" => say(stream, "500 Internal Server Error", b""),
        "/busy" => say(stream, "429 Too Many Requests\r\nRetry-After: 3600", b""),
        "/closed" => say(stream, "503 Service Unavailable\r\nRetry-After: Tue, 31 Dec 2999 23:59:59 GMT", b""),
        "/gone" => say(stream, "410 Gone", b""),
        _ => say(stream, "404 Not Found", b""),
    });
    let (authority, stranger) = (Authority::new("desk"), Authority::new("stranger"));
    let sealed = Newsstand::open(|asked, stream| match asked.path.as_str() {
        "/robots.txt" => say(stream, "404 Not Found", b""),
        _ => say(stream, "200 OK", rss(&["Sealed news"]).as_bytes()),
    });
    let https = |certificate: &Issued| format!("https://{}/feed", sealed.behind_tls(certificate));
    let without_robots = Newsstand::open(|_, stream| say(stream, "500 Internal Server Error", b""));
    let expected: BTreeMap<&str, Vec<&str>> = [
        ("new", vec!["/good", "/moved", "/mislabelled", "/zipped"]),
        ("unreachable", vec!["/silent", "/slow", "/long-head", "/early", "/garbage"]),
        ("too_large", vec!["/huge", "/bomb"]),
        ("malformed", vec!["/brotli", "/no-zip", "/html", "/cut"]),
        ("refused", vec!["/loop", "/lost", "/to-loopback", "/to-name", "/to-number", "/to-mapped", "/to-metadata", "/to-file"]),
        ("status", vec!["/broken", "/nowhere"]),
        ("limited", vec!["/busy", "/closed"]),
        ("gone", vec!["/gone"]),
        ("robots", vec!["/members/feed"]),
    ]
    .into();
    let all = expected.values().flatten();
    let mut feeds: Vec<(String, &str)> = all.clone().map(|path| (stand.url(path), "wire.example")).collect();
    feeds.push((without_robots.url("/feed"), "robots.example"));
    feeds.push((format!("http://127.0.0.2:{inner_port}/"), "inner.example"));
    let certificates = [
        authority.issue_for_host("127.0.0.1", (-1, 1)),
        stranger.issue_for_host("127.0.0.1", (-1, 1)),
        authority.issue_for_host("127.0.0.1", (-2, -1)),
    ];
    feeds.extend(certificates.iter().map(|certificate| (https(certificate), "sealed.example")));
    let broker = Broker::start();
    let site = site(&broker, &feeds);
    let trusted = site.folder.path().join("trusted.pem");
    std::fs::write(&trusted, authority.certificate()).unwrap();
    let trusting = [("SSL_CERT_FILE", trusted.to_str().unwrap())];
    let mut process = site.ingest_with(trusting);
    process.wait_ready();
    for (name, paths) in &expected {
        // More of the feeds: one whose robots.txt cannot be had, one at an address of the inner network, one by HTTPS, two by HTTPS
        // from servers that are not who they should be.
        let more = match *name {
            "robots" | "refused" | "new" => 1,
            "unreachable" => 2,
            _ => 0,
        };
        let count = paths.len() + more;
        wait_for(&format!("{count} {name}:\n{}", process.log()), 60, || (outcome(&process, name) >= count as f64).then_some(()));
    }
    // All but the good ones are failing, and those are asked on.
    wait_for("each to have been told", 20, || (process.log().matches("no news from a feed").count() >= feeds.len() - 5).then_some(()));
    assert_eq!(process.metric("bellwether_feeds_failing"), (feeds.len() - 5) as f64);
    for (name, paths) in expected.iter().filter(|(name, _)| **name != "new") {
        for path in paths {
            let line = process
                .log()
                .lines()
                .find(|line| line.contains(&format!("{path}\"")) || line.contains(&format!("{path} ")))
                .map(str::to_owned);
            assert!(line.as_ref().is_some_and(|line| line.contains(name)), "{path}: {name}, not {line:?}");
        }
    }
    let asked_before = stand.asked_for("/good").len();
    wait_for("the good feed to be asked again", 20, || (stand.asked_for("/good").len() > asked_before + 1).then_some(()));
    let good = ["Börse schließt", "Good news", "Sealed news", "Zipped news", "Zürich führt"];
    assert_eq!(titles(&read_topic(&site.brokers, "news.raw")), good);
    assert!(inner.asked().is_empty(), "nobody was led there: {:?}", inner.asked());
    assert_eq!(sealed.asked_for("/feed").len(), sealed.asked().len() - 1, "robots.txt once, and nothing for those who were not trusted");
    let log = process.log();
    assert!(log.contains("UnknownIssuer") && log.contains("xpired"), "{log}");
    assert!(without_robots.asked().iter().all(|asked| asked.path == "/robots.txt"), "what is not known to be allowed is not asked for");
    assert_eq!(stand.asked_for("/members/feed").len(), 0);
    assert_eq!(["/busy", "/closed", "/gone"].map(|path| stand.asked_for(path).len()), [1, 1, 1]);
    assert!(stand.asked_for("/loop").len() >= 6 && stand.most_at_once() == 1, "{} at once", stand.most_at_once());
    let mut at: Vec<_> = stand.asked().iter().map(|asked| asked.at).collect();
    at.sort();
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= PAUSE), "no pause between two requests");

    // A stop waits for no server; a restart does not forget what servers have asked for.
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit} {log}");
    let asked_before = stand.asked_for("/good").len();
    let mut again = site.ingest_with(trusting);
    again.wait_ready();
    wait_for("the feeds to be asked again", 60, || (stand.asked_for("/good").len() > asked_before + 3).then_some(()));
    assert_eq!(["/busy", "/closed"].map(|path| stand.asked_for(path).len()), [1, 1]);
    assert_eq!(titles(&read_topic(&site.brokers, "news.raw")), good, "nothing twice");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    zipped.write_all(bytes).unwrap();
    zipped.finish().unwrap()
}

/// A hundred megabytes in a hundred kilobytes.
fn gzip_bomb() -> Vec<u8> {
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let piece = vec![b' '; 1_000_000];
    (0..100).for_each(|_| zipped.write_all(&piece).unwrap());
    zipped.finish().unwrap()
}

/// In Latin-1, whatever the document says of itself.
fn latin(title: &str) -> Vec<u8> {
    rss(&[title]).chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}

#[test]
fn news_that_is_pushed_is_in_kafka_when_it_is_answered_and_is_not_taken_when_it_cannot_be() {
    let broker = Broker::start();
    let site = Site::new(&broker, "[http]\ntokens = 'tokens'\ntime_limit = '4s'");
    let operator = site.operator();
    site.create_topics();
    let mut process = site.run("monitor");
    process.wait_ready();
    let send = |body: &Value| ask(process.http, &operator, "POST /api/v1/news", body);
    let raw = || read_topic(&site.brokers, "news.raw");

    let (status, answer) = send(&json!({"id": "a-1", "title": "Lender fails", "desk": {"floor": 3}}));
    assert_eq!((status, &answer), (200, &json!({"ids": ["a-1"]})));
    let records = raw();
    assert_eq!((records.len(), records[0].key.as_deref(), &records[0].json()["desk"]["floor"]), (1, Some("a-1"), &json!(3)));
    let many: Vec<Value> = (0..1_000).map(|number| json!({"title": format!("Item {number}"), "body": "x".repeat(500)})).collect();
    let (status, answer) = send(&json!(many));
    let ids: Vec<&str> = answer["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!((status, ids.len(), raw().len()), (200, 1_000, 1_001));
    assert!(raw().iter().any(|record| record.key.as_deref() == Some(ids[999])));

    let (status, answer) = send(&json!([{"title": "good"}, {"title": ""}, {"body": 7}]));
    assert_eq!(status, 422, "{answer}");
    assert_eq!(answer["items"][0]["item"], 1);
    assert_eq!((&answer["items"][1]["item"], &answer["items"][1]["reason"]), (&json!(2), &json!("invalid_field")));
    assert_eq!(raw().len(), 1_001, "all or none");

    broker.stop();
    let (status, answer) = send(&json!({"id": "a-2", "title": "Depositors queue"}));
    assert!(status == 503 && answer["error"].as_str().unwrap().contains("send it again"), "{status} {answer}");
    broker.restart();
    let (status, _) = wait_for("Kafka to take news again", 30, || {
        Some(send(&json!({"id": "a-2", "title": "Depositors queue"}))).filter(|(status, _)| *status == 200)
    });
    assert_eq!((status, raw().len()), (200, 1_002), "what was refused did not come later");
    let (status, silence) = ask(process.http, &operator, "POST /api/v1/silences", &json!({"subject": "market", "for": "1h"}));
    assert_eq!(status, 200, "{silence}");
    let silences = || ask(process.http, &operator, "GET /api/v1/snapshot", &json!({})).1["actions"]["silences"].clone();
    wait_for("the silence to be shown, although the brokers were away", 30, || (silences() == json!([silence])).then_some(()));
}
