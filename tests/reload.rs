//! A process that runs takes another model and other rules without losing or doubling anything, refuses what is wrong, and the audit
//! log says who asked for what.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use common::newsroom::Newsroom;
use common::{Broker, Process, Read1, Site, read_topic, root, wait_for};
use serde_json::Value;

/// The small model of the tests under another name, so that it is another version; `change` is made to its labels.
fn another_model(folder: &Path, name: &str, change: impl Fn(&mut Value)) {
    std::fs::create_dir(folder).unwrap();
    for file in ["model.onnx", "tokenizer.json"] {
        std::fs::copy(root().join("tests/fixtures/tiny").join(file), folder.join(file)).unwrap();
    }
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(root().join("tests/fixtures/tiny/config.json")).unwrap()).unwrap();
    config["name"] = name.into();
    change(&mut config);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

fn reloads(process: &Process, outcome: &str) -> f64 {
    process.metric(&format!("bellwether_reloads_total{{outcome=\"{outcome}\"}}"))
}

/// Writes the configuration, asks for it, and waits until that was done or refused.
fn reload(process: &Process, file: &Path, text: &str, outcome: &str) {
    let before = reloads(process, outcome);
    std::fs::write(file, text).unwrap();
    process.signal("-HUP");
    wait_for("the reload", 60, || (reloads(process, outcome) > before).then_some(()));
}

fn assert_second_is_in_force(process: &Process) {
    let metrics = common::get(process.http, "/metrics").unwrap().1;
    let models: Vec<&str> = metrics.lines().filter(|line| line.starts_with("bellwether_model_info{")).collect();
    assert!(models.len() == 1 && models[0].contains("second"), "{models:?}");
}

/// Status and body of what an operator is answered.
fn post_reload(process: &Process, token: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(process.http).unwrap();
    let host = process.http;
    write!(stream, "POST /api/v1/reload HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

#[test]
fn an_operator_reloads_over_http_and_stands_in_the_audit_log() {
    let broker = Broker::start();
    let site = Site::new(&broker, "");
    site.create_topics();
    let (tokens, audit) = (site.folder.path().join("tokens"), site.folder.path().join("audit.jsonl"));
    let made = Command::new(env!("CARGO_BIN_EXE_bellwether")).args(["token", "ops", "--role", "operator"]).output().unwrap();
    std::fs::write(&tokens, &made.stdout).unwrap();
    let token = String::from_utf8(made.stderr).unwrap().split_whitespace().last().unwrap().to_owned();
    let environment = [("BELLWETHER_HTTP__TOKENS", tokens.to_str().unwrap()), ("BELLWETHER_AUDIT__FILE", audit.to_str().unwrap())];
    let mut process = site.run_with("monitor", &environment);
    process.wait_ready();
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), format!("{text}\n[detect]\ndispersion = 5.0\n")).unwrap();
    let (status, answer) = post_reload(&process, &token);
    assert_eq!((status.as_str(), &answer["reloaded"]["keys"]), ("200", &serde_json::json!(["detect.dispersion"])));
    std::fs::write(site.config(), "[detect]\ndispersion = 0.0\n").unwrap();
    let (status, answer) = post_reload(&process, &token);
    assert!(status == "409" && answer["error"].as_str().unwrap().contains("detect.dispersion = 0 must be above 0"), "{status} {answer}");
    process.wait_ready();
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit}:\n{log}");
    let lines: Vec<Value> = std::fs::read_to_string(&audit).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(&str, &str)> = lines.iter().map(|line| (line["event"].as_str().unwrap(), line["actor"].as_str().unwrap())).collect();
    assert_eq!(told, [("start", "process"), ("configuration_changed", "ops"), ("configuration_refused", "ops"), ("stop", "process")]);
}

#[test]
fn model_and_rules_are_swapped_while_news_comes_and_what_is_wrong_is_refused() {
    let broker = Broker::start();
    let brokers = broker.address();
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let mut newsroom = Newsroom::open(&brokers, &brokers, "", "", "");
    let file = newsroom.site.config();
    let first = std::fs::read_to_string(&file).unwrap() + &format!("\n[audit]\nfile = {audit:?}\n");
    std::fs::write(&file, &first).unwrap();
    let mut process = newsroom.site.run("both");
    process.wait_ready();
    let version = |process: &Process| process.status()["config_version"].as_str().unwrap().to_owned();
    let (first_version, first_model) = (version(&process), process.status()["model"].clone());

    // Another model in the middle of the news: the core alone decides the same of the log.
    let [second_folder, third_folder, stranger_folder] = ["second", "third", "stranger"].map(|name| folder.path().join(name));
    another_model(&second_folder, "second", |_| ());
    another_model(&third_folder, "third", |_| ());
    let with_model = |text: &str, model: &Path| {
        let line = text.lines().find(|line| line.starts_with("directory = ")).unwrap();
        text.replace(line, &format!("directory = {model:?}"))
    };
    let second = with_model(&first, &second_folder);
    newsroom.publish_at_once(&process, 1500);
    reload(&process, &file, &second, "ok");
    newsroom.publish(1500);
    newsroom.close_and_check("a model swapped while news came");
    assert_eq!(version(&process), first_version, "the same rules");
    let names: BTreeSet<String> =
        read_topic(&brokers, "news.scored").iter().map(|record| record.json()["model"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["second".to_owned(), first_model["name"].as_str().unwrap().to_owned()].into(), "both have scored");
    assert_eq!(process.status()["model"]["name"], "second");
    assert_second_is_in_force(&process);

    // Other rules.
    let alerts_before = read_topic(&brokers, "sentiment.alerts").len();
    let third = second.replace("rules.share", "rules.dread");
    assert_ne!(third, second);
    newsroom.publish_at_once(&process, 1500);
    reload(&process, &file, &third, "ok");
    let third_version = wait_for("the new rules", 30, || Some(version(&process)).filter(|version| *version != first_version));
    newsroom.publish(1500);
    newsroom.close();
    newsroom.check_scored("rules swapped while news came");
    let new = wait_for("alerts of the new rule", 60, || {
        let alerts: Vec<Value> = read_topic(&brokers, "sentiment.alerts").iter().map(Read1::json).collect();
        alerts.iter().any(|alert| alert["rule"] == "dread").then_some(alerts)
    });
    assert!(new.len() > alerts_before);
    for alert in &new {
        let version = alert["config_version"].as_str().unwrap();
        match alert["rule"].as_str().unwrap() {
            "dread" => assert_eq!(version, third_version, "{alert}"),
            "share" => assert_eq!(version, first_version, "{alert}"),
            _ => assert!([&first_version, &third_version].iter().any(|known| *known == version), "{alert}"),
        }
    }

    // What is wrong changes nothing.
    another_model(&stranger_folder, "stranger", |config| {
        let labels = config["heads"]["sentiment"]["id2label"].as_object_mut().unwrap();
        let swapped: Vec<Value> = labels.values().rev().cloned().collect();
        labels.values_mut().zip(swapped).for_each(|(label, other)| *label = other);
    });
    let wrong = [
        (third.replace("hop = '30s'", "hop = '7s'"), "must"),
        (third.replace("[kafka]\n", "[kafka]\ngroup = 'other'\n"), "kafka.group can only be changed by a restart"),
        (with_model(&third, Path::new("nowhere")), "nowhere"),
        (with_model(&third, &stranger_folder), "the model stranger"),
        ("not TOML".to_owned(), "TOML"),
        // After a model that would do: nothing of it may stay.
        (with_model(&third, &third_folder) + "\n[privacy]\ntext = 'encrypted'\nkeys = 'nowhere/keys'\n", "nowhere/keys\" cannot be read"),
    ];
    for (text, _) in &wrong {
        assert_ne!(*text, third);
        reload(&process, &file, text, "refused");
    }
    assert_eq!((version(&process), &process.status()["model"]["name"]), (third_version, &Value::from("second")));
    assert_second_is_in_force(&process);
    std::fs::write(&file, &third).unwrap();
    newsroom.publish(200);
    newsroom.check_scored("after what was refused");
    let (exit, log) = process.terminate();
    assert!(exit.success(), "{exit}:\n{log}");
    for (_, why) in &wrong {
        assert!(log.split("reload refused").skip(1).any(|told| told.contains(why)), "{why} is not in\n{log}");
    }

    // Who did what.
    let lines: Vec<Value> = std::fs::read_to_string(&audit).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(&str, &str)> = lines.iter().map(|line| (line["event"].as_str().unwrap(), line["actor"].as_str().unwrap())).collect();
    let by_signal = |event: &'static str| (event, "SIGHUP");
    let refused = [
        "configuration_refused",
        "configuration_refused",
        "model_refused",
        "model_refused",
        "configuration_refused",
        "configuration_refused",
    ];
    let mut expected = vec![
        ("start", "process"),
        ("model_changed", "process"),
        by_signal("model_changed"),
        by_signal("configuration_changed"),
        by_signal("configuration_changed"),
    ];
    expected.extend(refused.map(by_signal));
    expected.push(("stop", "process"));
    assert_eq!(told, expected);
    assert_eq!(lines[2]["detail"]["from"]["name"], first_model["name"]);
    assert_eq!(lines[4]["detail"]["from"], first_version);
    let verify = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bellwether")).args(["audit", "verify"]).arg(&audit).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, said) = verify(&["--hash", lines[2]["hash"].as_str().unwrap()]);
    assert!(code == Some(0) && said.starts_with("whole: 12 lines"), "{said}");
    let text = std::fs::read_to_string(&audit).unwrap();
    std::fs::write(&audit, text.replacen("SIGHUP", "nobody", 1)).unwrap();
    let (code, said) = verify(&[]);
    assert!(code == Some(64) && said.contains("line 3: it was changed"), "{said}");
}
