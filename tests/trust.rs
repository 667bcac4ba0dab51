//! An alert can be trusted: it says which words, which model and which configuration made it, `trace` finds what it came of, and
//! where texts are encrypted nobody reads them but who holds the key.

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

use common::{Broker, Read1, Site, observations, produce, read_topic, wait_for};
use serde_json::{Value, json};

const RULES: &str = "
[explain]
headlines = 2
within = '30s'
[window]
pane = '10s'
size = '5m'
hop = '30s'
[rules.shock]
group_by = 'market'
condition = 'share'
min_count = 8
confidence = 0.5
warning = 0.5
critical = 0.99
resolve = 0.2
";
/// In every headline, and nowhere else.
const NAME: &str = "Brackwater";
const PREDICATES: [&str; 10] = [
    "shares plunge as depositors withdraw funds",
    "warns of a heavy loss and cuts its dividend",
    "collapses into bankruptcy after a failed rescue",
    "is sued by the regulator over false accounts",
    "defaults on its bonds, contagion feared",
    "slumps to a record low on fraud charges",
    "fires thousands as sales fall sharply",
    "halts withdrawals, savers queue in panic",
    "faces a criminal probe, executives resign",
    "misses its forecasts badly, outlook cut",
];

/// Ten bad headlines, the first of them told again by another source, and later a bell on each partition.
fn news() -> Vec<(Option<i32>, Option<String>, Vec<u8>)> {
    let item = |partition: i32, id: String, second: i64, title: String, source: &str| {
        let at = chrono::DateTime::from_timestamp_millis(1_790_000_000_000 + second * 1000).unwrap().to_rfc3339();
        let item = json!({"id": id, "title": title, "published_at": at, "source": source, "desk": format!("{NAME} desk")});
        (Some(partition), None, item.to_string().into_bytes())
    };
    let headline = |number: usize| format!("{NAME} {}", PREDICATES[number]);
    let mut news: Vec<_> = (0..10)
        .map(|number| item(0, format!("bad-{number}"), number as i64 * 5, headline(number), &format!("wire-{number}.example")))
        .collect();
    news.push(item(0, "copy".to_owned(), 55, headline(0).to_uppercase(), "copies.example"));
    news.extend((0..3).map(|partition| item(partition, format!("bell-{partition}"), 7200, "Closing bell".to_owned(), "bell.example")));
    news
}

/// Topics and groups of its own, on a broker that it shares.
fn site(broker: &Broker, name: &str, more: &str) -> Site {
    let topics: String =
        ["raw", "scored", "observations", "windows", "alerts", "dead"].map(|topic| format!("{topic} = '{name}.{topic}'\n")).concat();
    Site::new(broker, &format!("[kafka]\ngroup = '{name}'\n[kafka.topics]\n{topics}{more}{RULES}"))
}

/// Runs both roles over the news; the alert when it fired.
fn fired(site: &Site, name: &str) -> (Value, Value) {
    site.create_topics();
    produce(&site.brokers, &format!("{name}.raw"), &news());
    let mut process = site.run("both");
    process.wait_ready();
    let alert = wait_for("the alert", 120, || read_topic(&site.brokers, &format!("{name}.alerts")).first().map(Read1::json));
    let status = process.status();
    let (exit, log) = process.terminate();
    assert!(exit.success() && !log.contains(NAME), "{exit}:\n{log}");
    (alert, status)
}

fn printed(site: &Site, arguments: &[&str]) -> String {
    let output = site.command(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("text, not {value}"))
}

#[test]
fn an_alert_says_what_made_it_and_encrypted_ones_only_to_who_holds_the_key() {
    let broker = Broker::start();
    let open = site(&broker, "open", "");
    let (alert, status) = fired(&open, "open");

    // Which model, which configuration: in the alert, in the items, and as the process itself says.
    let model = json!({"name": status["model"]["name"], "version": status["model"]["version"]});
    assert_eq!(alert["models"], json!([model]));
    let in_force = printed(&open, &["check-config"]);
    assert!(in_force.contains(&format!("(version {})", text(&alert["config_version"]))), "{in_force}");
    let scored: Vec<Value> = read_topic(&open.brokers, "open.scored").iter().map(Read1::json).collect();
    assert_eq!(scored.len(), 14);
    for item in &scored {
        assert_eq!((&item["model"], &item["config_version"]), (&model, &alert["config_version"]));
    }

    // Which words: those of the two most negative headlines, and one that is bad news speaks for it most.
    let evidence = alert["evidence"].as_array().unwrap();
    for item in &evidence[..2] {
        let explanation = &item["explanation"];
        let words = explanation["words"].as_array().unwrap();
        let told: Vec<&str> = words.iter().map(|word| text(&word["word"])).collect();
        assert_eq!(told.join(" "), text(&item["title"]));
        assert_eq!(explanation["sentiment"], "negative");
        let most =
            words.iter().max_by(|one, other| one["sentiment"].as_f64().unwrap().total_cmp(&other["sentiment"].as_f64().unwrap())).unwrap();
        assert!(most["word"] != NAME && most["sentiment"].as_f64().unwrap() > 0.0, "{explanation}");
    }
    assert!(evidence[2..].iter().all(|item| item.get("explanation").is_none()), "two headlines are explained");

    // What it came of, from the topics alone.
    let id = text(&alert["id"]);
    let trace = printed(&open, &["trace", id]);
    for part in
        [id, text(&alert["why"]), "as in the configuration in force", "panes on sentiment.windows add up to it", text(&model["version"])]
    {
        assert!(trace.contains(part), "{part:?} is not in\n{trace}");
    }
    let whole: Value = serde_json::from_str(&printed(&open, &["trace", "--json", id])).unwrap();
    let traced: BTreeSet<&str> = whole["items"].as_array().unwrap().iter().map(|item| text(&item["id"])).collect();
    assert!(traced.len() as u64 >= alert["window"]["count"].as_u64().unwrap(), "{traced:?}");
    for item in evidence {
        let id = text(&item["id"]);
        assert!(traced.contains(id) && whole["scored"][id]["raw"]["partition"] == 0, "{id} in {whole}");
    }
    let unknown = open.command(&["trace", "shock/market/never"]).output().unwrap();
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(unknown.status.code() == Some(64) && said.contains(&format!("the nearest on open.alerts: {id}")), "{said}");

    // The same news under a key.
    let keys = open.folder.path().join("keys");
    std::fs::write(&keys, new_key()).unwrap();
    let sealed = site(&broker, "sealed", &format!("[privacy]\ntext = 'encrypted'\nkeys = {keys:?}\n"));
    let (hidden, _) = fired(&sealed, "sealed");
    for topic in ["scored", "observations", "windows", "alerts"] {
        let records = read_topic(&sealed.brokers, &format!("sealed.{topic}"));
        assert!(!records.is_empty());
        for record in records {
            let payload = String::from_utf8(record.payload).unwrap();
            assert!(!payload.to_lowercase().contains(&NAME.to_lowercase()), "{topic}: {payload}");
        }
    }
    // Copies are told without their text: the same items are new, and the same alert fires.
    assert_eq!((&hidden["id"], &hidden["window"], &hidden["why"]), (&alert["id"], &alert["window"], &alert["why"]));
    let opened = decrypted(&keys, &hidden);
    let shown = |alert: &Value| -> Vec<(Value, Value, Value)> {
        let items = alert["evidence"].as_array().unwrap().iter();
        items.map(|item| (item["id"].clone(), item["title"].clone(), item["copies"].clone())).collect()
    };
    assert_eq!(shown(&opened), shown(&alert));
    let item = read_topic(&sealed.brokers, "sealed.scored").iter().map(Read1::json).find(|item| item["id"] == "bad-3").unwrap();
    let opened = decrypted(&keys, &item);
    assert_eq!(opened["title"], format!("{NAME} {}", PREDICATES[3]));
    assert_eq!(opened["extra"]["desk"], format!("{NAME} desk"));
}

#[test]
fn a_monitor_that_is_stopped_while_it_opens_the_model_for_words_ends_well() {
    let broker = Broker::start();
    let site = observations::site(&broker, "words", "", "");
    observations::publish(&broker, &observations::log(7_000));
    let environment = [("BELLWETHER_EXPLAIN__HEADLINES", "5"), ("BELLWETHER_EXPLAIN__WITHIN", "1ms")];
    let mut process = site.run_with("monitor", &environment);
    process.wait_ready();
    // An alert has asked, and has not waited so long.
    wait_for("an alert without words", 60, || (process.metric("bellwether_explanations_total{outcome=\"left_out\"}") > 0.0).then_some(()));
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit}:\n{log}");
}

fn new_key() -> Vec<u8> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bellwether")).arg("key").output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn decrypted(keys: &std::path::Path, record: &Value) -> Value {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(["decrypt", "--keys"])
        .arg(keys)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{record}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}
