//! The command line as a user meets it: help, exit codes, errors that name the thing and the mend.

mod common;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use common::{free_port, root};
use serde_json::Value;

fn bellwether(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.args(arguments).current_dir(root()).env("BELLWETHER_MODEL__DEVICE", "cpu");
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn config(body: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bellwether.toml");
    std::fs::write(&path, body).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn help_and_version_exit_0_and_wrong_usage_64() {
    let help = bellwether(&["--help"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    for word in ["run", "demo", "replay", "classify", "evaluate", "export", "topics", "check-config", "Exit codes"] {
        assert!(text(&help).contains(word), "{word}");
    }
    assert_eq!(bellwether(&["--version"]).output().unwrap().status.code(), Some(0));
    for wrong in [&["walk"][..], &["replay"], &["replay", "a.jsonl", "--speed", "fast"], &["evaluate"], &[]] {
        assert_eq!(bellwether(wrong).output().unwrap().status.code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn a_device_is_measured_against_the_bare_model_and_one_that_is_not_there_is_an_error() {
    let options = ["bench-device", "--model", "tests/fixtures/tiny", "--texts", "40", "--rounds", "2", "--sessions", "2x1"];
    let measured = bellwether(&options).args(["--batch", "8x512,4x64", "--format", "json"]).output().unwrap();
    assert!(measured.status.success(), "{}", text(&measured));
    let report: Value = serde_json::from_slice(&measured.stdout).unwrap();
    let setting = &report["devices"][0]["settings"][0];
    assert!(setting["peak"]["operations_per_second"].as_f64().unwrap() > 0.0);
    assert!(setting["bare"]["texts_per_second"].as_f64().unwrap() > 0.0);
    let budgets = setting["classifier"].as_array().unwrap();
    assert_eq!(budgets.iter().map(|budget| budget["batch_texts"].as_u64().unwrap()).collect::<Vec<_>>(), [8, 4]);
    assert!(budgets.iter().all(|budget| budget["ratio_to_bare"].as_f64().unwrap() > 0.0), "{setting}");
    let absent = bellwether(&options).args(["--device", "cuda:7"]).output().unwrap();
    assert_eq!(absent.status.code(), Some(69));
    assert!(text(&absent).contains("device cuda:7 was asked for and cannot be used"), "{}", text(&absent));
}

#[test]
fn keys_that_cannot_be_used_and_half_a_setting_are_told_before_anything_runs() {
    let told = |body: &str| {
        let (_folder, path) = config(body);
        let output = bellwether(&["check-config", "-c", &path]).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{}", text(&output));
        text(&output)
    };
    let gone = told("[privacy]\ntext = 'encrypted'\nkeys = 'nowhere/keys'");
    assert!(gone.contains("privacy.keys = \"nowhere/keys\" cannot be read"), "{gone}");
    for half in ["[privacy]\ntext = 'encrypted'", "[privacy]\nkeys = 'keys.txt'"] {
        assert!(told(half).contains("privacy.text = \"encrypted\" and privacy.keys belong together"));
    }
    let mode = told("[privacy]\ntext = 'secret'");
    assert!(mode.contains("privacy.text = \"secret\"") && mode.contains("encrypted"), "{mode}");
}

#[test]
fn a_text_is_explained_word_by_word() {
    let explain = |arguments: &[&str]| {
        let output = bellwether(&["explain", "--model", "models/finnews-e5-small"]).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, said) = explain(&["Harbour Bank shares plunge as depositors withdraw funds"]);
    assert!(code == Some(0) && said.starts_with("negative ("), "{said}");
    let first = said.lines().find(|line| line.contains('█')).unwrap();
    assert!(first.trim_start().starts_with("plunge"), "the word that says so comes first:\n{said}");
    let (_, json) = explain(&["--json", "腾讯股价大跌"]);
    let json: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(json["words"].as_array().unwrap().len(), 6, "{json}");
    let (code, said) = explain(&[" "]);
    assert!(code == Some(64) && said.contains("the text has no word to explain"), "{said}");
}

#[test]
fn a_series_is_scored_row_by_row_from_a_file_or_standard_input() {
    let rows: String =
        (0..200).map(|row| format!("{},{}\n", 1_700_000_000 + row * 60, if row == 190 { 400 } else { 20 + row % 7 })).collect();
    let (folder, _) = config("");
    let file = folder.path().join("series.csv");
    std::fs::write(&file, format!("timestamp,value\n{rows}")).unwrap();
    let from_file = bellwether(&["detect", "--series", file.to_str().unwrap()]).output().unwrap();
    let mut piped = bellwether(&["detect", "--series", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(format!("timestamp,value\n{rows}").as_bytes()).unwrap();
    let piped = piped.wait_with_output().unwrap();
    assert!(from_file.status.success() && piped.status.success(), "{}", text(&from_file));
    assert_eq!(from_file.stdout, piped.stdout);
    let scored = String::from_utf8(from_file.stdout).unwrap();
    let lines: Vec<&str> = scored.lines().collect();
    assert_eq!((lines.len(), lines[0]), (201, "timestamp,value,score,alert"));
    let alerts: Vec<usize> = (1..=200).filter(|&row| lines[row].ends_with(",1")).collect();
    assert_eq!(alerts.first(), Some(&191), "{scored}");
    std::fs::write(&file, "timestamp,value\nyesterday,1\n").unwrap();
    let wrong = bellwether(&["detect", "--series", file.to_str().unwrap()]).output().unwrap();
    assert!(wrong.status.code() == Some(64) && text(&wrong).contains("line 2"), "{}", text(&wrong));
}

#[test]
fn check_config_prints_all_problems_at_once() {
    let (_folder, path) = config("[window]\npane = '7s'\n[kafka]\nbroker = 'x'\n[rules.r]\ngroup_by = 'group'\ncondition = 'mood'");
    let output = bellwether(&["check-config", "-c", &path]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = text(&output);
    for line in ["kafka.broker is not a known key; did you mean brokers?", "rules.r"] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    let (_folder, broken) = config("[kafka\nbrokers = 'x'");
    let output = bellwether(&["check-config", "-c", &broken]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(64) && told.contains(&format!("{broken} is not TOML: ")), "{told}");
    let missing = bellwether(&["check-config", "-c", "nowhere.toml"]).output().unwrap();
    assert!(missing.status.code() == Some(64) && String::from_utf8_lossy(&missing.stderr).contains("nowhere.toml cannot be read"));
}

#[test]
fn check_config_shows_what_is_in_force_with_secrets_hidden() {
    let (_folder, path) = config("[kafka.properties]\n'sasl.password' = 'hunter2'\n'security.protocol' = 'SASL_SSL'");
    let output = bellwether(&["check-config", "-c", &path]).output().unwrap();
    let text = text(&output);
    assert!(output.status.success() && text.contains("SASL_SSL") && text.contains("***") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_reader_that_wants_no_more_ends_a_command_quietly() {
    for command in [&["check-config"][..], &["topics", "create", "--dry-run"], &["token", "desk", "--role", "viewer"], &["key"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = bellwether(command).stdout(writer).output().unwrap();
        assert!(output.status.success() && !text(&output).contains("panicked"), "{command:?}: {}", text(&output));
    }
}

#[test]
fn a_file_that_cannot_be_sent_is_named_before_brokers_are_asked_for() {
    let address = format!("127.0.0.1:{}", free_port());
    let (_folder, path) = config(&format!("[kafka]\nbrokers = '{address}'"));
    for (file, why) in [("LICENSE", "the name must end in .jsonl, .csv or .parquet"), ("nowhere.jsonl", "cannot be read")] {
        let output = bellwether(&["replay", file, "-c", &path]).output().unwrap();
        assert!(output.status.code() == Some(64) && text(&output).contains(why), "{file}: {}", text(&output));
        assert!(!text(&output).contains(&address), "{file}: {}", text(&output));
    }
}

#[test]
fn every_shipped_configuration_is_valid() {
    for file in ["config/bellwether.toml", "config/compose.toml"] {
        let output = bellwether(&["check-config", "-c", file]).output().unwrap();
        assert!(output.status.success(), "{file}: {}", text(&output));
    }
}

#[test]
fn a_rule_on_a_subject_that_nobody_watches_is_a_problem() {
    let rule = "[rules.r]\ngroup_by='group'\nsubjects=['bnaks']\ncondition='share'\nwarning=0.6\ncritical=0.8\nresolve=0.5";
    let (_folder, path) = config(rule);
    let output = bellwether(&["check-config", "-c", &path]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output).contains("rules.r.subjects names \"bnaks\""), "{}", text(&output));
}

#[test]
fn a_new_token_fits_the_tokens_file_and_is_shown_once() {
    let (folder, path) = config("[http]\nlisten = '0.0.0.0:8080'\ntokens = 'tokens'");
    let make = |arguments: &[&str]| bellwether(&["token"]).args(arguments).output().unwrap();
    let (desk, ops) = (make(&["desk", "--role", "viewer"]), make(&["ops", "--role", "operator"]));
    assert!(desk.status.success() && ops.status.success(), "{} {}", text(&desk), text(&ops));
    let shown = String::from_utf8(desk.stderr.clone()).unwrap();
    let token = shown.lines().last().unwrap();
    assert!(shown.starts_with("The token of desk, a viewer.") && token.len() == 67 && token.starts_with("bw_"), "{shown}");
    let line = String::from_utf8(desk.stdout.clone()).unwrap();
    assert!(line.starts_with("desk viewer ") && line.lines().count() == 1 && !line.contains(&token[3..]), "{line}");
    std::fs::write(folder.path().join("tokens"), [desk.stdout, ops.stdout].concat()).unwrap();
    let checked = bellwether(&["check-config", "-c", &path]).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked));

    std::fs::write(folder.path().join("tokens"), format!("desk viewer {token}\n")).unwrap();
    let checked = bellwether(&["check-config", "-c", &path]).output().unwrap();
    assert_eq!(checked.status.code(), Some(64));
    assert!(text(&checked).contains("tokens\", line 1: the third word must be the token's SHA-256") && !text(&checked).contains(token));
    for wrong in [&["desk"][..], &["desk", "--role", "king"], &["two words", "--role", "viewer"]] {
        assert_eq!(make(wrong).status.code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn a_page_for_everybody_must_be_asked_for() {
    let (_folder, path) = config("[http]\nlisten = '0.0.0.0:0'");
    let refused = bellwether(&["run", "-c", &path]).output().unwrap();
    assert_eq!(refused.status.code(), Some(64));
    for word in ["http.listen = \"0.0.0.0:0\"", "bellwether token NAME --role viewer", "http.tokens", "http.open = true"] {
        assert!(text(&refused).contains(word), "{word}: {}", text(&refused));
    }
}

#[test]
fn an_unreachable_broker_is_69_and_named() {
    let address = format!("127.0.0.1:{}", free_port());
    let (_folder, path) = config(&format!("[kafka]\nbrokers = '{address}'\ntimeout = '1s'\n[http]\nlisten = ''\nmetrics_listen = ''"));
    for arguments in [&["run", "--role", "monitor"][..], &["topics", "create"], &["replay", "config/scenario/bank-run.jsonl"]] {
        let output = bellwether(arguments).args(["-c", &path]).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(&address), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn a_missing_model_and_a_missing_gpu_are_69() {
    let model = bellwether(&["classify", "--model", "nowhere"]).stdin(Stdio::null()).output().unwrap();
    assert!(model.status.code() == Some(69) && text(&model).contains("nowhere/config.json"), "{}", text(&model));
    let gpu = bellwether(&["classify", "--device", "cuda:3"]).stdin(Stdio::null()).output().unwrap();
    assert!(gpu.status.code() == Some(69) && text(&gpu).contains("cuda:3"), "{}", text(&gpu));
    let library = bellwether(&["classify"]).env("ORT_DYLIB_PATH", "/nowhere.so").stdin(Stdio::null()).output().unwrap();
    assert!(library.status.code() == Some(69) && text(&library).contains("/nowhere.so"), "{}", text(&library));
}

#[test]
fn classify_reads_lines_and_json_and_writes_both_heads() {
    let mut child = bellwether(&["classify", "-", "--logits"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input =
        "Bank collapses after losses, shares plunge\n\n{\"id\":\"7\",\"title\":\"Profit beats estimates\",\"body\":\"Shares surge.\"}\n";
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0]["sentiment"]["label"].as_str(), lines[1]["sentiment"]["label"].as_str()), (Some("negative"), Some("positive")));
    assert_eq!(lines[1]["id"], "7");
    let probabilities = lines[0]["topic"]["probabilities"].as_object().unwrap();
    assert!(probabilities.len() == 20 && (probabilities.values().map(|p| p.as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-4);
    assert_eq!(lines[0]["logits"]["topic"].as_array().unwrap().len(), 20);
}

#[test]
fn the_models_runtime_leaves_nothing_in_the_home_directory() {
    let home = tempfile::tempdir().unwrap();
    let mut command = bellwether(&["explain", "Harbour Bank shares plunge"]);
    let output = command.env("HOME", home.path()).env_remove("ORT_DISABLE_TELEMETRY").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn classify_names_the_line_that_is_wrong() {
    let mut child = bellwether(&["classify"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"fine\n{broken\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output).contains("line 2: not a JSON object"), "{}", text(&output));
}

#[test]
fn topics_create_can_be_looked_at_first() {
    let output = bellwether(&["topics", "create", "--dry-run"]).output().unwrap();
    let text = text(&output);
    assert!(
        output.status.success() && text.contains("sentiment.alerts: 6 partitions, replication factor 1, cleanup.policy=compact"),
        "{text}"
    );
}
