//! What `bellwether export` writes is what stands in the topics, and polars, DuckDB and pandas open it by the lines that docs/archive.md
//! gives; `make test` installs them.

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{Broker, Read1, Site, produce, read_topic, root, wait_for};
use serde_json::{Value, json};

const FROM: &str = "2026-09-20";
const TO: &str = "2026-09-22";

/// An hour before and an hour after midnight, and an alert in each, whatever the model says.
const CONFIG: &str = "
[window]
pane = '1m'
size = '10m'
hop = '1m'
[watermark]
disorder = '1s'
interval = '100ms'
[rules.mood]
group_by = 'market'
condition = 'level'
confidence = 0.5
min_count = 1
warning = 0.99
critical = -0.99
resolve = 0.999
";

fn news() -> Vec<(Option<i32>, Option<String>, Vec<u8>)> {
    let midnight = 1_789_948_800_000_i64;
    let item = |number: i64| {
        let id = format!("n-{number}");
        let at = midnight + (number - 60) * 60_000;
        let item = json!({"id": id, "title": format!("Harbour Bank, item {number}"), "published_at": at, "symbols": ["HBR", "XLF"],
                          "source": if number % 3 == 0 { Value::Null } else { json!("wire.example") }, "desk": {"number": number}});
        (Some((number % 3) as i32), Some(id), item.to_string().into_bytes())
    };
    (0..120).map(item).collect()
}

fn export(site: &Site, arguments: &[&str]) -> Output {
    site.command(&["export"]).args(arguments).current_dir(site.folder.path()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The lines of docs/archive.md that open a dataset.
fn lines(dataset: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/archive.md")).unwrap();
    let lines: Vec<String> =
        page.lines().filter(|line| line.contains("read_parquet(")).map(|line| line.replace("scored", dataset)).collect();
    assert_eq!(lines.len(), 3, "polars, DuckDB and pandas: {lines:?}");
    lines
}

/// What each of them finds, in the order of the keys.
fn read(folder: &Path, dataset: &str, key: &[&str]) -> [Vec<Value>; 3] {
    let runtime = std::env::var_os("BELLWETHER_RUNTIME_DIR").map_or_else(|| root().join(".runtime"), PathBuf::from);
    let mut python = Command::new("python3")
        .arg(root().join("tests/archive/read.py"))
        .env("PYTHONPATH", runtime.join("readers"))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all((lines(dataset).join("\n") + "\n").as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: `make test` installs polars, DuckDB and pandas", output.status);
    let found: Vec<Vec<Value>> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |row: &Value| key.iter().map(|name| row[*name].to_string()).collect::<Vec<_>>();
    let sorted = |mut rows: Vec<Value>| {
        rows.sort_by_key(of);
        rows
    };
    let found: Vec<Vec<Value>> = found.into_iter().map(sorted).collect();
    found.try_into().unwrap()
}

/// Every file of an archive, by its path.
fn files(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![archive.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    found.insert(path.strip_prefix(archive).unwrap().display().to_string(), std::fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

fn parsed(records: &[Read1], topic: &str) -> Vec<Value> {
    let records: Vec<Value> = records.iter().filter_map(|record| serde_json::from_slice(&record.payload).ok()).collect();
    assert!(!records.is_empty(), "{topic} is empty");
    records
}

fn text(value: &Value) -> Value {
    json!(serde_json::to_string(value).unwrap())
}

fn assert_column(row: &Value, name: &str, expected: &Value) {
    let found = &row[name];
    // JSON as text: keys may stand in another order.
    let read = |value: &Value| value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let same = found == expected || matches!((found.as_f64(), expected.as_f64()), (Some(one), Some(other)) if one == other);
    assert!(same || (read(found).is_some() && read(found) == read(expected)), "{name}: {found} and not {expected}, in {row}");
}

#[test]
fn an_archive_holds_what_the_topics_hold_and_opens_by_one_line_in_polars_duckdb_and_pandas() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.txt");
    std::fs::write(&keys, Command::new(env!("CARGO_BIN_EXE_bellwether")).arg("key").output().unwrap().stdout).unwrap();
    let config = format!("[privacy]\ntext = 'encrypted'\nkeys = {keys:?}\n{CONFIG}");
    let site = Site::at(broker.address(), "tests/fixtures/tiny", &config);
    site.create_topics();
    let brokers = site.brokers.as_str();

    produce(brokers, "news.raw", &news());
    let mut process = site.run("both");
    process.wait_ready();
    wait_for("the last item", 60, || (read_topic(brokers, "news.scored").len() == 120).then_some(()));
    let panes = || read_topic(brokers, "sentiment.windows");
    wait_for("panes of the second day", 60, || {
        let of_second = |pane: &Read1| pane.json()["pane_start"].as_str().unwrap().starts_with("2026-09-21T00:4");
        panes().iter().any(of_second).then_some(())
    });
    wait_for("an alert", 60, || (!read_topic(brokers, "sentiment.alerts").is_empty()).then_some(()));
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit}:\n{log}");

    // A window and a transition once more, as after a crash without transactions, the latter in other words; and no record at all.
    let window = panes().into_iter().find(|pane| pane.json()["subject"] == "market").unwrap();
    produce(brokers, "sentiment.windows", &[(Some(window.partition), window.key, window.payload)]);
    let alert = &read_topic(brokers, "sentiment.alerts")[0];
    let mut again = alert.json();
    again["why"] = json!("Said again.");
    produce(brokers, "sentiment.alerts", &[(Some(alert.partition), alert.key.clone(), again.to_string().into_bytes())]);
    produce(brokers, "news.scored", &[(Some(0), None, b"no record".to_vec())]);

    let output = export(&site, &["--from", FROM, "--to", TO]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("scored   120 rows, 6 files; 1 not readable, left out"), "{}", said(&output));
    assert_eq!(said(&output).matches("; 1 said again later, left out").count(), 2, "{}", said(&output));

    // Scored items.
    let mut scored = parsed(&read_topic(brokers, "news.scored"), "news.scored");
    scored.sort_by_key(|item| item["id"].to_string());
    for rows in read(site.folder.path(), "scored", &["id"]) {
        assert_eq!(rows.len(), scored.len());
        for (row, item) in rows.iter().zip(&scored) {
            for name in ["id", "published_at", "source", "url", "symbols", "lang", "title", "entities", "groups", "subjects", "truncated"] {
                assert_column(row, name, &item[name]);
            }
            assert!(row["title"].as_str().unwrap().starts_with("enc:v1:"), "what is encrypted stays so: {row}");
            let sentiment = &item["sentiment"];
            let flat = [
                ("date", json!(item["published_at"].as_str().unwrap()[..10])),
                ("topic", item["topic"]["label"].clone()),
                ("topic_probability", item["topic"]["probability"].clone()),
                ("topic_probabilities", text(&item["topic"]["probabilities"])),
                ("sentiment", sentiment["label"].clone()),
                ("score", sentiment["score"].clone()),
                ("p_negative", sentiment["probabilities"]["negative"].clone()),
                ("p_positive", sentiment["probabilities"]["positive"].clone()),
                ("extra", text(&item["extra"])),
                ("model_version", item["model"]["version"].clone()),
                ("raw_offset", item["raw"]["offset"].clone()),
                ("scored_at", item["scored_at"].clone()),
            ];
            flat.iter().for_each(|(name, expected)| assert_column(row, name, expected));
        }
    }

    // Windows, each once, and without the copy of the market that monitors tell each other.
    let published: BTreeMap<(String, String), Value> = parsed(&panes(), "sentiment.windows")
        .into_iter()
        .filter(|pane| pane["subject"] != "market-counts")
        .map(|pane| ((pane["subject"].to_string(), pane["pane_start"].to_string()), pane))
        .collect();
    for rows in read(site.folder.path(), "windows", &["subject", "pane_start"]) {
        assert_eq!(rows.len(), published.len());
        for (row, pane) in rows.iter().zip(published.values()) {
            for name in ["subject", "pane_start", "pane_end", "count", "negative", "neutral", "positive", "score_sum", "index", "buzz"] {
                assert_column(row, name, &pane[name]);
            }
            assert_column(row, "sources", &json!(pane["sources"].as_object().unwrap().len()));
        }
    }

    // Transitions, the one that was said again as it was said last.
    let told: BTreeMap<(String, String), Value> = parsed(&read_topic(brokers, "sentiment.alerts"), "sentiment.alerts")
        .into_iter()
        .map(|alert| ((alert["id"].to_string(), alert["sequence"].to_string()), alert))
        .collect();
    for rows in read(site.folder.path(), "alerts", &["id", "sequence"]) {
        assert_eq!(rows.len(), told.len());
        assert_eq!(rows.iter().filter(|row| row["why"] == "Said again.").count(), 1);
        for (row, alert) in rows.iter().zip(told.values()) {
            for name in
                ["id", "sequence", "transition", "severity", "rule", "subject", "started_at", "at", "p_value", "why", "config_version"]
            {
                assert_column(row, name, &alert[name]);
            }
            for name in ["evidence", "interval", "baseline", "members", "models"] {
                assert_column(row, name, &text(&alert[name]));
            }
            assert_column(row, "negative_share", &alert["window"]["negative_share"]);
            assert_column(row, "threshold_value", &alert["threshold"]["value"]);
        }
    }

    // The same range again, and one day of it: the same files, byte for byte.
    let archive = site.folder.path().join("archive");
    let first = files(&archive);
    assert!(first.keys().any(|name| name.starts_with("scored/date=2026-09-21/part-00002-000000-240000.parquet")), "{:?}", first.keys());
    for arguments in [["--from", FROM, "--to", TO], ["--from", "2026-09-21", "--to", TO]] {
        let output = export(&site, &arguments);
        assert!(output.status.success() && files(&archive) == first, "{}", said(&output));
    }

    // What cannot be done is told with its mend, and changes nothing.
    let refused = |arguments: &[&str], code: i32, told: &str| {
        let output = export(&site, arguments);
        assert!(output.status.code() == Some(code) && said(&output).contains(told), "{arguments:?}: {}", said(&output));
        assert_eq!(files(&archive), first, "{arguments:?}");
    };
    refused(&["--from", "2026-09-21T00:30:00Z", "--to", TO], 64, "holds another part of a day that this range has, too");
    refused(&["--from", "2026-09-18", "--to", "2026-09-19"], 64, "those that were read have 2026-09-20T23:00:00.000Z to");
    refused(&["--from", TO, "--to", FROM], 64, "must be before --to");
    refused(&["--from", "Monday", "--to", TO], 64, "it must be a date such as");
    let missing =
        site.command(&["export", "--from", FROM, "--to", TO]).env("BELLWETHER_KAFKA__TOPICS__ALERTS", "nowhere").output().unwrap();
    assert!(missing.status.code() == Some(69) && said(&missing).contains("\"nowhere\" does not exist"), "{}", said(&missing));

    // A disk that is full: the file system takes a kibibyte.
    let full = format!(
        "trap '' XFSZ; ulimit -f 1; exec {} export --from {FROM} --to {TO} -c {}",
        env!("CARGO_BIN_EXE_bellwether"),
        site.config().display()
    );
    let output = Command::new("bash")
        .args(["-c", &full])
        .env("BELLWETHER_KAFKA__BROKERS", brokers)
        .current_dir(site.folder.path())
        .output()
        .unwrap();
    assert!(output.status.code() == Some(64) && said(&output).contains("The archive is as it was before; make room"), "{}", said(&output));
    assert_eq!(files(&archive), first);

    // Compaction and retention take records away; what was exported stays.
    let other = site.folder.path().join("archive/alerts/date=2026-09-20");
    let held = std::fs::read_dir(&other).unwrap().next().unwrap().unwrap().path();
    let fuller = std::fs::read_dir(site.folder.path().join("archive/windows/date=2026-09-20")).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(&fuller, &held).unwrap();
    let output = export(&site, &["--from", FROM, "--to", TO]);
    assert!(output.status.success() && said(&output).contains("stays: it has more rows than the topic has now"), "{}", said(&output));
    assert_eq!(std::fs::read(&held).unwrap(), std::fs::read(&fuller).unwrap());
}
