//! Promises 1 to 4 from end to end: the real binary, real Apache Kafka, the real model, real news of March 2023.
//!
//! Two thousand texts up to the failure of Silicon Valley Bank, with poison among them; then the same with the process
//! killed or stopped half way.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use common::{
    Broker, Read1, Site, TOPICS, brute_force_panes, market_counts, produce, published_panes, read_topic, root, shared_data, wait_for,
};
use serde_json::{Value, json};

const PANE_MS: i64 = 600_000;

/// For a feed of some 140 items a day: windows of hours, a past of days.
const SLOW_FEED: &str = "
# No partition goes idle: between the bursts of this replay lie seconds of the clock and days of the news.
[watermark]
disorder = '1m'
idle_after = '5m'
interval = '100ms'
[window]
pane = '10m'
size = '6h'
hop = '30m'
[detect]
history = '28d'
min_history = '3d'
[kafka]
commit_interval = '200ms'
[kafka.properties]
'session.timeout.ms' = '6000'
# Partitions are read in turns, not one after the other, so that event time moves from the start.
'max.partition.fetch.bytes' = '40000'
[rules.banks]
group_by = 'group'
condition = 'surge'
min_sources = 2
false_alarms_per_month = { warning = 1.0, critical = 0.02 }
keep_firing_for = '6h'
cooldown = '12h'
# Never beyond that: only so that every partition watches the market.
[rules.market]
group_by = 'market'
condition = 'level'
inhibits = true
warning = -0.9
critical = -0.99
resolve = -0.8
[rules.bank]
group_by = 'entity'
condition = 'surge'
min_sources = 2
false_alarms_per_month = { warning = 0.1, critical = 0.002 }
";

fn site(broker: &Broker) -> Site {
    // [kafka] must come once: the site writes [kafka.create] only.
    let site = Site::new(broker, SLOW_FEED);
    site.create_topics();
    site
}

type Raw = (Option<i32>, Option<String>, Vec<u8>);

/// The newest `count` items, by key, in the order of their event times.
fn news(count: usize) -> Option<(Vec<Value>, Vec<Raw>)> {
    let mut rows = shared_data("news-2023-svb.jsonl")?;
    rows.sort_by_key(|row| row["published_at"].as_str().unwrap().to_owned());
    let rows = rows.split_off(rows.len() - count);
    let raw = rows.iter().map(|row| (None, Some(row["id"].as_str().unwrap().to_owned()), row.to_string().into_bytes())).collect();
    Some((rows, raw))
}

/// One item an hour later on every partition, so that every pane of the news closes.
fn closing_bells(rows: &[Value]) -> Vec<Raw> {
    let last = chrono::DateTime::parse_from_rfc3339(rows.last().unwrap()["published_at"].as_str().unwrap()).unwrap();
    let at = (last + chrono::Duration::hours(1)).to_rfc3339();
    (0..3)
        .map(|partition| {
            let item = json!({"id": format!("bell-{partition}"), "title": "Closing bell", "published_at": at, "source": "bell.example"});
            (Some(partition), None, item.to_string().into_bytes())
        })
        .collect()
}

/// Twenty records that cannot be processed, of every kind, and the reason each must get.
fn poison() -> Vec<(Vec<u8>, &'static str)> {
    let object = |value: Value| value.to_string().into_bytes();
    vec![
        (b"\xff\xfe\x00broken".to_vec(), "invalid_utf8"),
        (b"{\"title\":\"caf\xe9\"}".to_vec(), "invalid_utf8"),
        (b"{\"title\":\"\xed\xa0\x80\"}".to_vec(), "invalid_utf8"),
        (b"".to_vec(), "invalid_json"),
        (b"not json at all".to_vec(), "invalid_json"),
        (b"{\"title\": \"cut off".to_vec(), "invalid_json"),
        (b"{\"title\": \"a\"} {\"title\": \"b\"}".to_vec(), "invalid_json"),
        ([b"[".repeat(5000), b"]".repeat(5000)].concat(), "invalid_json"),
        (b"[]".to_vec(), "not_an_object"),
        (b"null".to_vec(), "not_an_object"),
        (b"\"Bank fails\"".to_vec(), "not_an_object"),
        (object(json!({"title": 7})), "invalid_field"),
        (object(json!({"title": "a", "symbols": "SIVB"})), "invalid_field"),
        (object(json!({"title": "a", "published_at": "last Tuesday"})), "invalid_field"),
        (object(json!({"id": "x"})), "no_text"),
        (object(json!({"title": " \n\t", "body": ""})), "no_text"),
        (object(json!({"title": "a", "published_at": "2999-01-01T00:00:00Z"})), "date_out_of_range"),
        (object(json!({"title": "a", "published_at": 12})), "date_out_of_range"),
        (object(json!({"title": "a", "body": "long ".repeat(60_000)})), "too_large"),
        (vec![b'x'; 900_000], "too_large"),
    ]
}

fn ids(records: &[Read1]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record.json()["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

fn expected_ids(rows: &[Value]) -> BTreeSet<String> {
    let bells = (0..3).map(|partition| format!("bell-{partition}"));
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).chain(bells).collect()
}

/// One scored record an id: a repeated delivery is the same item again.
fn distinct(scored: &[Read1]) -> Vec<Value> {
    scored
        .iter()
        .map(Read1::json)
        .map(|json| (json["id"].as_str().unwrap().to_owned(), json))
        .collect::<BTreeMap<_, _>>()
        .into_values()
        .collect()
}

/// Waits until the newest pane of the news has been published.
fn wait_for_panes(site: &Site, rows: &[Value]) {
    let last = chrono::DateTime::parse_from_rfc3339(rows.last().unwrap()["published_at"].as_str().unwrap()).unwrap();
    let start = last.timestamp_millis().div_euclid(PANE_MS) * PANE_MS;
    wait_for("the last pane on sentiment.windows", 180, || {
        let windows = read_topic(&site.brokers, "sentiment.windows");
        published_panes(&windows).contains_key(&("market".to_owned(), start)).then_some(())
    });
}

fn assert_windows_match(site: &Site, scored: &[Read1], rows: &[Value]) {
    let last = chrono::DateTime::parse_from_rfc3339(rows.last().unwrap()["published_at"].as_str().unwrap()).unwrap().timestamp_millis();
    let closed = |panes: BTreeMap<(String, i64), [i64; 5]>| -> BTreeMap<(String, i64), [i64; 5]> {
        panes.into_iter().filter(|((_, start), _)| *start <= last).collect()
    };
    let expected = closed(brute_force_panes(&distinct(scored), PANE_MS));
    let windows = read_topic(&site.brokers, "sentiment.windows");
    let published = closed(published_panes(&windows));
    // Counts are equal. An item that was scored again after a kill, among other batch mates, may round otherwise in its
    // last digit, and which of its scores a pane has counted cannot be told.
    let alike = |one: &[i64; 5], two: &[i64; 5]| one[..4] == two[..4] && (one[4] - two[4]).abs() <= 2 * one[0];
    let differing: Vec<_> = expected
        .iter()
        .map(|(key, pane)| (key, pane, published.get(key)))
        .filter(|(_, pane, other)| !other.is_some_and(|other| alike(pane, other)))
        .take(5)
        .collect();
    assert!(differing.is_empty(), "of {} panes these differ: {differing:?}", expected.len());
    assert_eq!(published.len(), expected.len());
    // What the watermarks say of the market is what its items say, on every partition.
    let of_items = published.iter().filter(|((subject, _), _)| subject == "market").map(|((_, start), pane)| (*start, pane));
    let of_watermarks = closed(market_counts(&windows));
    let of_watermarks: Vec<_> = of_watermarks.iter().map(|((_, start), pane)| (*start, pane)).collect();
    let of_items: Vec<_> = of_items.collect();
    assert_eq!(of_watermarks.len(), of_items.len());
    for (one, other) in of_items.iter().zip(&of_watermarks) {
        assert!(one.0 == other.0 && alike(one.1, other.1), "{one:?} and {other:?}");
    }
}

fn validate(topic: &str, records: &[Read1]) {
    let path = root().join(format!("schemas/{topic}.json"));
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(!records.is_empty(), "{topic} is empty");
    for record in records {
        let errors: Vec<String> =
            validator.iter_errors(&record.json()).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{topic}: {errors:?} in {}", String::from_utf8_lossy(&record.payload));
    }
}

#[test]
fn from_news_to_alerts_with_poison_among_them() {
    let Some((rows, raw)) = news(2000) else { return };
    let broker = Broker::start();
    let site = site(&broker);
    let poison = poison();
    let mut records = raw;
    for (index, (payload, _)) in poison.iter().enumerate() {
        records.insert((index + 1) * 95, (Some((index % 3) as i32), Some(format!("poison-{index}")), payload.clone()));
    }
    records.extend(closing_bells(&rows));
    produce(&site.brokers, "news.raw", &records);

    let mut process = site.run("both");
    process.wait_ready();
    wait_for_panes(&site, &rows);
    wait_for("all items on news.scored", 60, || (process.status()["health"]["items_total"].as_u64() >= Some(2023)).then_some(()));
    let status = process.status();
    assert_eq!(status["model"]["device"], "cpu");
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit}:\n{log}");
    assert!(!log.contains("Silicon Valley"), "no news text in the log");
    // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG: nothing is left, as others' tools see it.
    let described = broker.describe_group("bellwether-classifier");
    let lines = described.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let lags: Vec<&str> = lines.filter(|row| row.get(1) == Some(&"news.raw")).map(|row| row[5]).collect();
    assert_eq!(lags, ["0"; 3], "{described}");

    // Every id exactly once.
    let scored = read_topic(&site.brokers, "news.scored");
    let counts = ids(&scored);
    assert_eq!(counts.keys().cloned().collect::<BTreeSet<_>>(), expected_ids(&rows));
    assert!(counts.values().all(|&count| count == 1), "{:?}", counts.iter().filter(|(_, count)| **count != 1).collect::<Vec<_>>());

    // The poison, byte for byte, each with its reason.
    let dead = read_topic(&site.brokers, "news.dead");
    assert_eq!(dead.len(), poison.len());
    for (index, (payload, reason)) in poison.iter().enumerate() {
        let key = format!("poison-{index}");
        let record = dead.iter().find(|record| record.key.as_deref() == Some(&key)).unwrap_or_else(|| panic!("{key} is not in news.dead"));
        assert!(record.payload == *payload, "{key} is not the same byte for byte");
        assert_eq!(record.headers["bellwether.reason"], *reason, "{key}");
        assert_eq!(record.headers["bellwether.topic"], "news.raw");
        assert!(record.headers["bellwether.offset"].parse::<i64>().is_ok());
    }

    assert_windows_match(&site, &scored, &rows);

    // An alert that names the bank failures.
    let alerts = read_topic(&site.brokers, "sentiment.alerts");
    let banks =
        ["group:regional-banks", "group:banking-stress", "entity:silicon-valley-bank", "entity:signature-bank", "entity:silvergate"];
    let telling = alerts.iter().map(Read1::json).find(|alert| {
        let at = alert["at"].as_str().unwrap();
        let evidence = alert["evidence"].to_string();
        alert["transition"] == "firing"
            && banks.contains(&alert["subject"].as_str().unwrap())
            && ("2023-03-09".."2023-03-13").contains(&at)
            && ["SVB", "Silicon Valley Bank", "Signature Bank"].iter().any(|name| evidence.contains(name))
    });
    let subjects: Vec<String> =
        alerts.iter().map(Read1::json).map(|alert| format!("{} {} {}", alert["at"], alert["transition"], alert["id"])).collect();
    let telling = telling.unwrap_or_else(|| panic!("no alert on the bank failures among {subjects:#?}"));
    println!("{}", telling["why"]);
    println!("{} transitions in all:\n{}", alerts.len(), subjects.join("\n"));

    // Real records hold to the schemas.
    for topic in TOPICS.iter().filter(|topic| !["news.dead", "news.raw"].contains(topic)) {
        validate(topic, &read_topic(&site.brokers, topic));
    }
}

#[test]
fn killed_half_way_it_goes_on_where_it_was() {
    let Some((rows, mut raw)) = news(2500) else { return };
    raw.extend(closing_bells(&rows));
    let broker = Broker::start();
    let site = site(&broker);
    produce(&site.brokers, "news.raw", &raw[..500]);

    // Each time: running and judging, then a thousand more, and killed in the middle of them.
    for chunk in [500..1500, 1500..2500] {
        let mut process = site.run("both");
        process.wait_ready();
        wait_for("event time to move", 60, || process.status()["event_time"].as_str().map(drop));
        let items = |process: &common::Process| process.status()["health"]["items_total"].as_u64().unwrap_or(0);
        let quiet = items(&process);
        produce(&site.brokers, "news.raw", &raw[chunk]);
        wait_for("part of the items", 120, || (items(&process) >= quiet + 200).then_some(()));
        process.kill();
    }
    let before = ids(&read_topic(&site.brokers, "news.scored")).len();
    assert!(before < raw.len(), "the process was killed half way, not at the end ({before} items)");

    produce(&site.brokers, "news.raw", &raw[2500..]);
    let mut process = site.run("both");
    process.wait_ready();
    wait_for_panes(&site, &rows);
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit}:\n{log}");
    assert!(log.contains("state restored"), "the monitor read its state back:\n{log}");

    let scored = read_topic(&site.brokers, "news.scored");
    let counts = ids(&scored);
    assert_eq!(counts.keys().cloned().collect::<BTreeSet<_>>(), expected_ids(&rows));
    assert!(counts.values().all(|&count| count == 1), "a kill repeats nothing: {counts:?}");
    // No pane counts an item twice, and none published twice differs.
    assert_windows_match(&site, &scored, &rows);
    let mut seen = BTreeSet::new();
    for alert in read_topic(&site.brokers, "sentiment.alerts").iter().map(Read1::json) {
        let key = (alert["id"].as_str().unwrap().to_owned(), alert["sequence"].as_u64().unwrap());
        assert!(seen.insert(key.clone()), "{key:?} was published twice");
    }
    assert!(seen.iter().any(|(id, _)| id.starts_with("bank")), "{seen:?}");
}

#[test]
fn stopped_half_way_it_drains_and_repeats_nothing() {
    let Some((rows, mut raw)) = news(4000) else { return };
    raw.extend(closing_bells(&rows));
    let broker = Broker::start();
    let site = site(&broker);
    produce(&site.brokers, "news.raw", &raw);

    let mut process = site.run("both");
    process.wait_ready();
    wait_for("part of the items", 120, || (process.status()["health"]["items_total"].as_u64() >= Some(100)).then_some(()));
    let (exit, log) = process.terminate();
    assert!(exit.success() && log.contains("drained and committed"), "{exit}:\n{log}");
    let before = ids(&read_topic(&site.brokers, "news.scored")).len();
    assert!(before < raw.len(), "stopped half way, not at the end ({before} items)");

    // Roles apart this time.
    let mut classifier = site.run("classifier");
    let mut monitor = site.run("monitor");
    classifier.wait_ready();
    monitor.wait_ready();
    wait_for_panes(&site, &rows);
    for process in [classifier, monitor] {
        let (exit, log) = process.terminate();
        assert!(exit.success(), "{exit}:\n{log}");
    }
    let scored = read_topic(&site.brokers, "news.scored");
    let counts = ids(&scored);
    assert_eq!(counts.keys().cloned().collect::<BTreeSet<_>>(), expected_ids(&rows));
    assert!(counts.values().all(|&count| count == 1), "nothing is repeated after a clean stop");
    assert_windows_match(&site, &scored, &rows);
}

#[test]
fn members_join_and_leave_and_nothing_is_lost_or_repeated() {
    let Some((rows, mut raw)) = news(3000) else { return };
    raw.extend(closing_bells(&rows));
    let broker = Broker::start();
    let site = site(&broker);
    produce(&site.brokers, "news.raw", &raw[..1000]);
    let assigned = |process: &common::Process, role: &str| -> i64 {
        let metrics = common::get(process.http, "/metrics").map(|(_, text)| text).unwrap_or_default();
        let name = format!("bellwether_partitions_assigned{{role=\"{role}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name).and_then(|count| count.parse().ok())).unwrap_or(0)
    };

    let mut first = site.run("both");
    first.wait_ready();
    // There is a state to hand over.
    wait_for("event time to move", 60, || first.status()["event_time"].as_str().map(drop));
    let second = site.run("both");
    produce(&site.brokers, "news.raw", &raw[1000..2000]);
    for role in ["classifier", "monitor"] {
        wait_for("the partitions to be shared out", 60, || {
            let shares = (assigned(&first, role), assigned(&second, role));
            (shares.0 + shares.1 == 3 && shares.0 > 0 && shares.1 > 0).then_some(())
        });
    }
    produce(&site.brokers, "news.raw", &raw[2000..]);
    let (exit, first) = first.terminate();
    assert!(exit.success(), "{exit}:\n{first}");
    assert!(first.contains("partitions revoked") && !first.contains("not finished in time"), "{first}");
    wait_for_panes(&site, &rows);
    let (exit, log) = second.terminate();
    assert!(exit.success() && log.contains("state restored"), "{exit}:\n{log}\nthe first said:\n{first}");

    let scored = read_topic(&site.brokers, "news.scored");
    let counts = ids(&scored);
    assert_eq!(counts.keys().cloned().collect::<BTreeSet<_>>(), expected_ids(&rows));
    assert!(counts.values().all(|&count| count == 1), "a clean hand-over repeats nothing");
    assert_windows_match(&site, &scored, &rows);
}

#[test]
fn a_missing_topic_is_named_with_its_mend() {
    let broker = Broker::start();
    let site = Site::new(&broker, "");
    let output = site.command(&["run"]).env("BELLWETHER_HTTP__LISTEN", "").env("BELLWETHER_HTTP__METRICS_LISTEN", "").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("does not exist; create it with `bellwether topics create`"), "{text}");
    site.create_topics();
    // A second time changes nothing and says so.
    let again = site.command(&["topics", "create"]).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).contains("is there already"));
}

#[test]
fn replay_sends_csv_and_jsonl_with_their_event_times() {
    let broker = Broker::start();
    let site = Site::new(&broker, "");
    site.create_topics();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = site.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let csv = file("a.csv", "id,title,published_at\nc1,Bank fails,2023-03-10T16:00:00Z\n");
    let jsonl = file("b.jsonl", "{\"id\":\"j1\",\"title\":\"Rates rise\",\"published_at\":\"2023-03-10T17:00:00Z\"}\n");
    let output = site.command(&["replay", csv.to_str().unwrap(), jsonl.to_str().unwrap(), "--speed", "max"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("2 items sent to news.raw"));
    let raw = read_topic(&site.brokers, "news.raw");
    let times: BTreeSet<String> = raw.iter().map(|record| record.json()["published_at"].as_str().unwrap().to_owned()).collect();
    assert_eq!(times.into_iter().collect::<Vec<_>>(), ["2023-03-10T16:00:00Z", "2023-03-10T17:00:00Z"]);
    validate("news.raw", &raw);
}
