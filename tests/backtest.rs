//! Back-tests say what the live path says: the real binary on synthetic scored news without a model, on the demo's
//! scenario with the shipped model, and beside a monitor on real Kafka.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use bellwether::backtest::{Feed, Setup, run, survey};
use bellwether::config::Config;
use bellwether::enrich::Watchlist;
use bellwether::news::{EventTime, Observation};
use common::{Broker, Read1, Site, produce, read_topic, root, shared_data, wait_for};
use serde_json::{Value, json};

/// 2026-03-09 00:00 UTC, a Monday.
const START_MS: i64 = 1_773_014_400_000;
const HOUR_MS: i64 = 3_600_000;

const WATCHLIST: &str = "
[[entity]]
id = 'harbour'
name = 'Harbour Bank'
kind = 'company'
aliases = ['Harbour Bank']
[[group]]
id = 'banks'
name = 'Banks'
members = ['harbour']
";

const RULES: &str = "
[window]
pane = '1m'
size = '30m'
hop = '5m'
[rules.share]
group_by = 'group'
condition = 'share'
min_count = 5
confidence = 0.5
warning = 0.6
critical = 0.9
resolve = 0.4
keep_firing_for = '10m'
cooldown = '30m'
";

/// Items as a subscriber of news.scored keeps them: two days, one a minute, every tenth about Harbour Bank, and one bad
/// spell of four hours in which it is bad news every other minute.
fn scored_news() -> Vec<Value> {
    let bad = |minute: i64| (1_800..2_040).contains(&minute);
    let items = (0..2_880).map(|minute| {
        let about_bank = minute % 10 == 0 || (bad(minute) && minute % 2 == 0);
        let sentiment = match (about_bank, bad(minute)) {
            (true, true) => "negative",
            _ if minute % 7 == 0 => "negative",
            _ if minute % 3 == 0 => "positive",
            _ => "neutral",
        };
        let score = match sentiment {
            "negative" => -0.8,
            "positive" => 0.7,
            _ => 0.05,
        };
        let about = if about_bank { "Harbour Bank <b>&\"quoted\"</b>" } else { "Weather" };
        json!({
            "schema": 1,
            "id": format!("n{minute}"),
            "published_at": EventTime(START_MS + minute * 60_000 + 7).to_string(),
            "source": format!("wire-{}.example", minute % 4),
            "title": format!("{about}, item {minute}"),
            "url": if minute % 2 == 0 { format!("https://wire.example/{minute}") } else { "javascript:alert(1)".to_owned() },
            "topic": { "label": if about_bank { "Financials" } else { "General" }, "probability": 0.9 },
            "sentiment": { "label": sentiment, "score": score },
        })
    });
    items.collect()
}

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        bench.write("watchlist.toml", WATCHLIST);
        bench.write("bellwether.toml", &format!("[watchlist]\nfile = 'watchlist.toml'\n{RULES}"));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn write_lines(&self, name: &str, items: &[Value]) -> PathBuf {
        self.write(name, &items.iter().map(|item| format!("{item}\n")).collect::<String>())
    }

    /// Without a model: where one is asked for, it fails.
    fn backtest(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bellwether"))
            .arg("backtest")
            .args(arguments)
            .current_dir(self.folder.path())
            .env("BELLWETHER_MODEL__DIRECTORY", "/nowhere")
            .output()
            .unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        std::fs::read_to_string(self.path(name)).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_valid(topic: &str, records: &[Value]) {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(root().join(format!("schemas/{topic}.json"))).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(!records.is_empty(), "{topic} is empty");
    for record in records {
        assert!(
            validator.is_valid(record),
            "{topic}: {:?} in {record}",
            validator.iter_errors(record).map(|error| error.to_string()).collect::<Vec<_>>()
        );
    }
}

#[test]
fn scored_news_are_judged_without_a_model_and_everything_is_accounted_for() {
    let bench = Bench::new();
    let mut items = scored_news();
    // Delivered twice, out of order, and two that are no items.
    items.push(items[2_879].clone());
    items.swap(100, 101);
    bench.write_lines("news.jsonl", &items);
    let mut text = std::fs::read_to_string(bench.path("news.jsonl")).unwrap();
    text.push_str("not json\n{\"title\":\"When?\",\"topic\":{\"label\":\"x\"},\"sentiment\":{\"label\":\"neutral\",\"score\":0}}\n");
    bench.write("news.jsonl", &text);
    bench.write(
        "events.csv",
        "subject,start,end,name\ngroup:banks,2026-03-10T06:00:00Z,2026-03-10T10:00:00Z,The spell\ngroup:banks,2026-03-09T06:00:00Z,2026-03-09T07:00:00Z,Nothing\n",
    );
    let output = bench.backtest(&["news.jsonl", "-c", "bellwether.toml", "--out", "out", "--events", "events.csv"]);
    assert!(output.status.success(), "{}", said(&output));

    let summary = bench.json("out/summary.json");
    let counts = &summary["run"]["items"];
    assert_eq!(
        *counts,
        json!({"read": 2883, "rejected": {"invalid_json": 1, "no_time": 1}, "counted": 2880, "duplicate": 1, "late": 0, "out_of_order": 1,
               "scored_by_model": 0, "scored_before": 0, "scored_in_the_files": 2881})
    );
    let alerts = bench.lines("out/alerts.jsonl");
    assert_valid("sentiment.alerts", &alerts);
    let steps: Vec<(&str, &str)> =
        alerts.iter().map(|alert| (alert["subject"].as_str().unwrap(), alert["transition"].as_str().unwrap())).collect();
    assert_eq!(steps, [("group:banks", "firing"), ("group:banks", "escalated"), ("group:banks", "resolved")], "{alerts:#?}");
    assert_eq!(summary["run"]["alerts"]["fired"], 1);
    assert_eq!(summary["run"]["rules"]["share"]["escalated"], 1);

    // One event found, one missed, no alert false; the delay is from the start of the event to the firing.
    let score = &summary["run"]["events"];
    assert_eq!((&score["events_found"], &score["precision"], &score["recall"]), (&json!(1), &json!(1.0), &json!(0.5)));
    let fired = EventTime::parse(alerts[0]["at"].as_str().unwrap()).unwrap().0;
    assert_eq!(score["delay_seconds_median"].as_f64().unwrap(), (fired - START_MS - 30 * HOUR_MS) as f64 / 1e3);
    assert_eq!(score["false_alarms_per_subject_month"], 0.0);
    let printed = said(&output);
    assert!(printed.contains("1 of 2 found (recall 50%)") && printed.contains("2 rejected (1 invalid_json, 1 no_time)"), "{printed}");

    // Every item is in a pane of the market once.
    let panes: Vec<Value> = bellwether::replay::open(&bench.path("out/windows.parquet"))
        .unwrap()
        .map(|row| serde_json::from_slice(&row.unwrap().payload).unwrap())
        .collect();
    let market: i64 = panes.iter().filter(|pane| pane["subject"] == "market").map(|pane| pane["count"].as_i64().unwrap()).sum();
    assert_eq!(market, 2880);

    // The same again, to the byte.
    let again = bench.backtest(&["news.jsonl", "-c", "bellwether.toml", "--out", "again", "--events", "events.csv"]);
    assert!(again.status.success());
    for name in ["alerts.jsonl", "summary.json", "report.html"] {
        assert!(std::fs::read(bench.path("out").join(name)).unwrap() == std::fs::read(bench.path("again").join(name)).unwrap(), "{name}");
    }
}

#[test]
fn the_report_stands_alone_and_quotes_news_as_text_only() {
    let bench = Bench::new();
    bench.write_lines("news.jsonl", &scored_news());
    let output = bench.backtest(&["news.jsonl", "-c", "bellwether.toml", "--out", "out"]);
    assert!(output.status.success(), "{}", said(&output));
    let page = std::fs::read_to_string(bench.path("out/report.html")).unwrap();
    for outside in ["<link", " src=", "@import", "url(http", "<img", "<iframe", "fetch(", "javascript:"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(page.contains("Harbour Bank &lt;b&gt;") && !page.contains("Harbour Bank <b>"));
    assert!(page.contains("<svg class='overview'") && page.contains("<svg class='chart'") && page.contains("<svg class='close-up'"));
    assert!(page.contains("id='alert-1'") && page.contains("href='#alert-1'"));
    let section = |id: &str| page.split(&format!("id='{id}'")).nth(1).and_then(|rest| rest.split("</section>").next()).unwrap_or_default();
    for rule in bench.json("out/summary.json")["run"]["rules"].as_object().unwrap().keys() {
        assert!(section("rules").contains(rule.as_str()), "{rule} is not in the table of rules");
    }
    let alert = page.split("id='alert-1'").nth(1).and_then(|rest| rest.split("</article>").next()).unwrap();
    let told: Value =
        serde_json::from_str(std::fs::read_to_string(bench.path("out/alerts.jsonl")).unwrap().lines().next().unwrap()).unwrap();
    let evidence = told["evidence"].as_array().unwrap();
    assert!(!evidence.is_empty());
    for item in evidence {
        let title = item["title"].as_str().unwrap().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        assert!(alert.contains(&title), "{title} is not among the evidence of\n{alert}");
    }
    // Well-formed: every element that is opened is closed.
    for element in ["section", "svg", "table", "article", "details", "ol", "dl", "g", "a"] {
        let opened = page.matches(&format!("<{element} ")).count() + page.matches(&format!("<{element}>")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
}

#[test]
fn two_configurations_are_held_against_each_other() {
    let bench = Bench::new();
    bench.write_lines("news.jsonl", &scored_news());
    let other = RULES.replace("warning = 0.6", "warning = 0.95").replace("critical = 0.9", "critical = 0.99").replace("'group'", "'topic'")
        + "subjects = ['Financials']\n[rules.slow]\ngroup_by = 'group'\ncondition = 'share'\nmin_count = 15\nwarning = 0.6\ncritical = 0.99\nresolve = 0.4\n";
    bench.write("other.toml", &format!("[watchlist]\nfile = 'watchlist.toml'\n{other}"));
    let output = bench.backtest(&["news.jsonl", "-c", "bellwether.toml", "--against", "other.toml", "--out", "out"]);
    assert!(output.status.success(), "{}", said(&output));
    let summary = bench.json("out/summary.json");
    let comparison = &summary["comparison"];
    assert_eq!(
        (&comparison["both"], &comparison["alone"], &comparison["against_alone"]),
        (&json!(1), &json!(0), &json!(1)),
        "{comparison:#}"
    );
    let both = comparison["spells"].as_array().unwrap().iter().find(|spell| spell["subject"] == "group:banks").unwrap();
    assert!(both["later_seconds"].as_f64().unwrap() < 0.0, "a rule that wants more items fires later: {both}");
    assert!(bench.path("out/against-alerts.jsonl").exists() && bench.path("out/against-windows.parquet").exists());
    let page = std::fs::read_to_string(bench.path("out/report.html")).unwrap();
    assert!(page.contains("id='comparison'") && page.contains("the other alone"));
}

#[test]
fn what_cannot_be_used_is_named_and_exits_64() {
    let bench = Bench::new();
    bench.write_lines("news.jsonl", &scored_news()[..10]);
    bench.write("empty.jsonl", "");
    bench.write("events.csv", "subject,start,end\nmarket,2026-03-09,2026-03-10\n");
    for (arguments, expected) in [
        (vec!["nothing.jsonl"], "nothing.jsonl cannot be read"),
        (vec!["news.txt"], "the name must end in .jsonl, .csv or .parquet"),
        (vec!["empty.jsonl", "-c", "bellwether.toml"], "empty.jsonl has no news item"),
        (vec!["news.jsonl", "-c", "no.toml"], "no.toml cannot be read"),
        (vec!["news.jsonl", "-c", "bellwether.toml", "--against", "no.toml"], "no.toml cannot be read"),
        (
            vec!["news.jsonl", "-c", "bellwether.toml", "--events", "events.csv"],
            "events.csv: line 2: \"2026-03-09\" is not an RFC 3339 time",
        ),
        (vec!["news.jsonl", "-c", "bellwether.toml", "--events", "no.csv"], "no.csv: No such file"),
    ] {
        if arguments[0] == "news.txt" {
            bench.write("news.txt", "x");
        }
        let output = bench.backtest(&arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
    }
    // News without a result need a model, and this one is nowhere.
    bench.write("raw.jsonl", "{\"title\":\"Bank fails\",\"published_at\":\"2026-03-09T00:00:00Z\"}\n");
    let output = bench.backtest(&["raw.jsonl", "-c", "bellwether.toml"]);
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(said(&output).contains("/nowhere"), "{}", said(&output));
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn texts(records: &[Read1]) -> Vec<String> {
    sorted(records.iter().map(|record| String::from_utf8(record.payload.clone()).unwrap()).collect())
}

/// The configuration and watchlist of a site, as its processes read them.
fn setup(file: &Path, watchlist: &str) -> Setup {
    Setup {
        name: "site".into(),
        config: Arc::new(Config::load(Some(file)).unwrap()),
        watchlist: Arc::new(Watchlist::parse(watchlist).unwrap()),
    }
}

#[test]
fn a_monitor_on_kafka_gives_the_same_records_byte_for_byte() {
    let bench = Bench::new();
    let news = bench.write_lines("news.jsonl", &scored_news());
    let broker = Broker::start();
    let site = Site::new(&broker, &format!("[kafka]\ncommit_interval = '100ms'\n[explain]\nheadlines = 0\n{RULES}"));
    site.create_topics();
    let file = site.config();
    // The site's own watchlist gives way to this one.
    let text = std::fs::read_to_string(&file).unwrap();
    let given = root().join("config/watchlist.toml");
    std::fs::write(&file, text.replace(&format!("{given:?}"), &format!("{:?}", bench.path("watchlist.toml")))).unwrap();

    let setup = setup(&file, WATCHLIST);
    let (newest, _) = survey(std::slice::from_ref(&news), EventTime::now()).unwrap();
    let feed = Feed::read(std::slice::from_ref(&news), newest, &setup, || ()).unwrap();
    let mut log = Vec::new();
    let outcome = run(
        &feed,
        &setup,
        None,
        None,
        |observation: &Observation| log.push((Some(0), Some("k".to_owned()), serde_json::to_vec(observation).unwrap())),
        || (),
    );
    let expected = sorted(outcome.alerts.iter().map(|alert| serde_json::to_string(alert).unwrap()).collect());
    assert_eq!(expected.len(), 3);

    produce(&site.brokers, "news.observations", &log);
    let mut process = site.run("monitor");
    process.wait_ready();
    // What every partition keeps of the market is no subject's pane.
    let panes = || {
        let windows = read_topic(&site.brokers, "sentiment.windows").into_iter();
        windows.filter(|pane| pane.json()["subject"] != "market-counts").collect::<Vec<_>>()
    };
    let windows = wait_for("all panes", 60, || Some(panes()).filter(|windows| windows.len() >= outcome.panes.len()));
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit}:\n{log}");
    assert_eq!(windows.len(), outcome.panes.len());
    assert_eq!(texts(&read_topic(&site.brokers, "sentiment.alerts")), expected);

    // And the program writes them so.
    let output = bench.backtest(&[news.to_str().unwrap(), "-c", file.to_str().unwrap(), "--out", "out"]);
    assert!(output.status.success(), "{}", said(&output));
    let written = std::fs::read_to_string(bench.path("out/alerts.jsonl")).unwrap();
    assert_eq!(sorted(written.lines().map(str::to_owned).collect()), expected);
}

/// What a transition is, scores apart: those may differ in their last digit with the batch.
fn decisions(alerts: &[Value], until: &str) -> BTreeMap<(String, u64), Value> {
    alerts
        .iter()
        .filter(|alert| alert["at"].as_str().unwrap() <= until)
        .map(|alert| {
            let window = &alert["window"];
            let key = (alert["id"].as_str().unwrap().to_owned(), alert["sequence"].as_u64().unwrap());
            (key, json!([alert["at"], alert["transition"], alert["severity"], window["count"], window["negative"], window["sources"]]))
        })
        .collect()
}

#[test]
fn on_the_demo_scenario_it_finds_what_the_live_path_finds_and_needs_the_model_once() {
    let bench = Bench::new();
    let scenario = std::fs::read_to_string(root().join("config/scenario/bank-run.jsonl")).unwrap();
    let mut items: Vec<(f64, Value)> = scenario
        .lines()
        .map(|line| {
            let mut item: Value = serde_json::from_str(line).unwrap();
            let offset = item.as_object_mut().unwrap().remove("offset_seconds").unwrap().as_f64().unwrap();
            item["published_at"] = json!(EventTime(START_MS + (offset * 1000.0) as i64).to_string());
            (offset, item)
        })
        .collect();
    items.sort_by(|one, two| one.0.total_cmp(&two.0));
    let items: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
    let news = bench.write_lines("news.jsonl", &items);
    let rules = std::fs::read_to_string(root().join("config/demo.toml")).unwrap();
    let rules = rules.split_once("[watermark]").unwrap().1;
    let watchlist = root().join("config/demo-watchlist.toml");

    let broker = Broker::start();
    let site = Site::new(&broker, &format!("[kafka]\ncommit_interval = '100ms'\n[watermark]{rules}"));
    let file = site.config();
    let text = std::fs::read_to_string(&file).unwrap();
    let given = root().join("config/watchlist.toml");
    // One partition, as in a back-test: a young subject is judged by the others of its kind on the same partition.
    let text = text.replace(&format!("{given:?}"), &format!("{watchlist:?}")).replace("partitions = 3", "partitions = 1");
    std::fs::write(&file, text).unwrap();
    site.create_topics();

    let program = |out: &str| {
        Command::new(env!("CARGO_BIN_EXE_bellwether"))
            .args(["backtest", news.to_str().unwrap(), "-c", file.to_str().unwrap(), "--out", out])
            .current_dir(bench.folder.path())
            .output()
            .unwrap()
    };
    let output = program("out");
    assert!(output.status.success(), "{}", said(&output));
    let first = bench.json("out/summary.json");
    assert_eq!(first["run"]["items"]["counted"], items.len());
    assert!(first["run"]["items"]["scored_by_model"].as_u64().unwrap() > 1_500, "{first:#}");
    let found = bench.lines("out/alerts.jsonl");
    assert_valid("sentiment.alerts", &found);

    // A second time from the results that were kept, and the same.
    let before = std::fs::read(bench.path("out/alerts.jsonl")).unwrap();
    let output = program("out");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(bench.json("out/summary.json")["run"]["items"]["scored_by_model"], 0);
    assert!(std::fs::read(bench.path("out/alerts.jsonl")).unwrap() == before);

    // Live, in the order of event time.
    let raw: Vec<_> =
        items.iter().map(|item| (Some(0), Some(item["id"].as_str().unwrap().to_owned()), item.to_string().into_bytes())).collect();
    produce(&site.brokers, "news.raw", &raw);
    let mut process = site.run("both");
    process.wait_ready();
    // The last hops close at the pace of the clock; two minutes of event time before the end are enough to compare.
    let last = EventTime::parse(items.last().unwrap()["published_at"].as_str().unwrap()).unwrap();
    let until = last.plus(-120_000).to_string();
    wait_for("event time to pass", 180, || process.status()["event_time"].as_str().filter(|at| **at > *until).map(drop));
    let expected = decisions(&found, &until);
    let live = || read_topic(&site.brokers, "sentiment.alerts").iter().map(Read1::json).collect::<Vec<_>>();
    wait_for("the last transition", 30, || (decisions(&live(), &until).len() >= expected.len()).then_some(()));
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit}:\n{log}");
    assert!(expected.values().any(|decision| decision[1] == "firing"), "{expected:#?}");
    assert!(found.iter().any(|alert| alert["subject"] == "group:regional-banks" && alert["transition"] == "firing"));
    assert_eq!(decisions(&live(), &until), expected);
}

#[test]
fn on_the_news_of_march_2023_the_default_rules_tell_of_the_bank_failures_and_the_recipes_find_what_the_cookbook_says() {
    // Says so loudly where the news are not here, and fails in CI.
    let Some(rows) = shared_data("news-2023-svb.jsonl") else { return };
    let bench = Bench::new();
    let news = bench.write_lines("news.jsonl", &rows);
    let watchlist = root().join("config/watchlist.toml");
    let model = root().join("models/finnews-e5-small");
    bench.write("defaults.toml", &format!("[watchlist]\nfile = {watchlist:?}\n[model]\ndirectory = {model:?}\ndevice = 'cpu'\n"));
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(["backtest", news.to_str().unwrap(), "-c", "defaults.toml", "--out", "out"])
        .current_dir(bench.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let summary = bench.json("out/summary.json");
    assert_eq!(summary["run"]["items"]["counted"], rows.len());

    let alerts = bench.lines("out/alerts.jsonl");
    let fired: Vec<(&str, &str, &str)> = alerts
        .iter()
        .filter(|alert| alert["transition"] == "firing")
        .map(|alert| (alert["at"].as_str().unwrap(), alert["subject"].as_str().unwrap(), alert["why"].as_str().unwrap()))
        .collect();
    let list = fired.iter().map(|(at, subject, why)| format!("{at} {subject}: {why}")).collect::<Vec<_>>().join("\n");
    println!("{list}");
    // The first headline on Silicon Valley Bank is of 9 March, 20:03; that it is closed, of 10 March, 17:26.
    let banks = ["group:regional-banks", "entity:silicon-valley-bank"];
    for subject in banks {
        let told = fired.iter().find(|(_, about, _)| *about == subject).unwrap_or_else(|| panic!("no alert on {subject}:\n{list}"));
        assert!(("2023-03-09T20:03".."2023-03-10T17:26").contains(&told.0), "{told:?}\n{list}");
    }
    let mut quiet: BTreeMap<&str, usize> = BTreeMap::new();
    fired.iter().filter(|(at, ..)| *at < "2023-03-08").for_each(|(at, ..)| *quiet.entry(&at[..10]).or_default() += 1);
    assert!(quiet.values().all(|&count| count <= 2), "more than two a day in the quiet weeks: {quiet:?}\n{list}");

    // The model has read these news: the recipes of the cookbook take its scores.
    let cookbook = std::fs::read_to_string(root().join("docs/cookbook.md")).unwrap();
    bench.write("cookbook.toml", &format!("[watchlist]\nfile = {watchlist:?}\n[model]\ndirectory = {model:?}\n{}", recipes(&cookbook)));
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(["backtest", news.to_str().unwrap(), "-c", "cookbook.toml", "--out", "out"])
        .current_dir(bench.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success() && said(&output).contains("0 texts scored now"), "{}", said(&output));
    let table = what_recipes_found(&bench.json("out/summary.json"), &bench.lines("out/alerts.jsonl"));
    let written: BTreeSet<&str> = cookbook.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(written, table.iter().map(String::as_str).collect(), "docs/cookbook.md has another table than:\n{}", table.join("\n"));
}

/// The rules of all recipes, without what surrounds them.
fn recipes(page: &str) -> String {
    let blocks = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("split gives at least one part"));
    let rules = blocks.map(|block| &block[block.find("[rules.").expect("a recipe has a rule")..]);
    rules.map(|rules| rules.split("[webhooks.").next().expect("split gives at least one part")).collect()
}

/// A row for each rule: alerts before and since 8 March 2023, and the first of these.
fn what_recipes_found(summary: &Value, alerts: &[Value]) -> Vec<String> {
    let rules = summary["run"]["rules"].as_object().unwrap().keys().map(String::as_str);
    let row = |rule: &str| {
        let fired: Vec<&Value> = alerts.iter().filter(|alert| alert["rule"] == rule && alert["transition"] == "firing").collect();
        let (quiet, failures): (Vec<&Value>, Vec<&Value>) = fired.iter().partition(|alert| alert["at"].as_str().unwrap() < "2023-03-08");
        let first = failures.first().map_or_else(String::new, |alert| {
            let (at, name) = (alert["at"].as_str().unwrap(), alert["subject_name"].as_str().unwrap());
            format!(" {} {}, {}", &at[..10], &at[11..16], name.replace('|', "\\|"))
        });
        format!("| `{rule}` | {} | {} |{first} |", quiet.len(), failures.len())
    };
    rules.map(row).collect()
}
