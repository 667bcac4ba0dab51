//! What the documents say can be done: the book builds and every link in it leads somewhere, every configuration in it is valid, and every
//! command is run as it stands, with the program that is built, on a real broker.
//!
//! A command finds only what `tests/documents/program` knows, so one that nobody has thought of fails.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use bellwether::config::{Config, DEFAULTS};
use bellwether::news::EventTime;
use common::certificates::Authority;
use common::{Broker, Site, free_port, produce, root};
use serde_json::{Value, json};

/// Commands that another test runs as they stand: the page, a part of the block, and the file of the test.
const RUN_ELSEWHERE: [(&str, &str, &str); 2] = [
    ("docs/operations.md", "acl User:", "tests/kafka_security.rs"),
    ("training/README.md", "python -m bellwether_training", "training/tests/test_readme.py"),
];

/// What `tests/documents/program` is called by.
const PROGRAMS: [&str; 16] = [
    "bellwether",
    "cargo",
    "curl",
    "docker",
    "journalctl",
    "kafka-acls.sh",
    "kafka-configs.sh",
    "kafka-consumer-groups.sh",
    "kafka-topics.sh",
    "kafka-transactions.sh",
    "kcat",
    "kubectl",
    "make",
    "sudo",
    "systemctl",
    "systemd-analyze",
];

const TINY: &str = "tests/fixtures/tiny";

// --- Pages

struct Page {
    /// In the repository.
    name: String,
    text: String,
}

/// All chapters of the book.
fn pages() -> Vec<Page> {
    let summary = read("docs/SUMMARY.md");
    let targets = summary.split("](").skip(1).map(|rest| rest.split(')').next().expect("split gives at least one part"));
    let name = |target: &str| target.strip_prefix("../").map_or_else(|| format!("docs/{target}"), str::to_owned);
    targets.map(name).map(|name| Page { text: read(&name), name }).collect()
}

fn page(name: &str) -> Page {
    Page { name: name.to_owned(), text: read(name) }
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name} cannot be read: {error}"))
}

/// A fenced block and the number of its first line.
struct Block {
    line: usize,
    language: String,
    text: String,
}

impl Page {
    fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut open): (Vec<Block>, Option<usize>) = (Vec::new(), None);
        for (number, line) in self.text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match (open, fence) {
                (None, Some(language)) => {
                    let known = ["", "csv", "ini", "json", "python", "sh", "text", "toml", "yaml"];
                    assert!(known.contains(&language), "{}:{}: what is a block of {language}? Commands are sh", self.name, number + 1);
                    open = Some(line.len() - line.trim_start().len());
                    blocks.push(Block { line: number + 2, language: language.to_owned(), text: String::new() });
                }
                (Some(_), Some("")) => open = None,
                (Some(indent), _) => {
                    let block = blocks.last_mut().expect("a block is open");
                    block.text += line.get(indent..).unwrap_or_default();
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block without an end", self.name);
        blocks
    }

    fn blocks_in(&self, language: &str) -> Vec<Block> {
        self.blocks().into_iter().filter(|block| block.language == language).collect()
    }

    /// What stands between backticks, outside of blocks.
    fn spans(&self) -> BTreeSet<String> {
        let mut fenced = false;
        let outside = self.text.lines().filter(|line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        });
        let text: String = outside.collect::<Vec<_>>().join("\n");
        assert!(text.matches('`').count().is_multiple_of(2), "{}: a backtick without its other", self.name);
        text.split('`').skip(1).step_by(2).map(|span| span.replace("\\|", "|").replace('\n', " ")).collect()
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

// --- The book

fn book(arguments: &[&Path]) -> Output {
    Command::new(root().join("scripts/book")).args(arguments).output().expect("scripts/book can be started: it needs python3")
}

#[test]
fn the_book_builds_and_every_link_in_it_leads_somewhere() {
    let out = tempfile::tempdir().unwrap();
    let output = book(&["--check".as_ref(), "--out".as_ref(), out.path()]);
    assert!(output.status.success(), "`make book` names the same (`make test` fetches mdBook):\n{}", said(&output));
    let index = std::fs::read_to_string(out.path().join("index.html")).unwrap();
    assert!(index.contains("Two commands") && out.path().join("docs/page.png").is_file());
}

#[test]
fn a_link_that_leads_nowhere_and_a_page_that_nobody_finds_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("config/bellwether.toml", "# All.\n\n[a]   # for\nkey = 1   # how many\n          # of <them>\n");
    for name in ["docs/book.toml", "docs/book.css"] {
        write(name, &read(name));
    }
    write("docs/SUMMARY.md", "# Summary\n\n- [Configuration](configuration.md)\n- [Reader](../README.md)\n");
    write("docs/configuration.md", "# Configuration\n\n<!-- keys -->\n<!-- end -->\n\n[Reader](../README.md#read-me)\n");
    write("README.md", "# Read me\n\n`[no](link.md)` [key](docs/configuration.md#a) [file](config/bellwether.toml)\n");
    let (at, out) = (folder.path(), folder.path().join("book"));
    let build = |check: bool| {
        let check: &[&Path] = if check { &["--check".as_ref()] } else { &[] };
        book(&[check, &["--root".as_ref(), at, "--out".as_ref(), &out]].concat())
    };
    let old = build(true);
    assert!(
        !old.status.success() && said(&old).contains("docs/configuration.md is not what config/bellwether.toml says"),
        "{}",
        said(&old)
    );
    assert!(build(false).status.success() && build(true).status.success(), "{}", said(&build(true)));
    let written = std::fs::read_to_string(at.join("docs/configuration.md")).unwrap();
    assert!(written.contains("## a\n\nFor\n") && written.contains("| `key` | `1` | how many of &lt;them&gt; |"), "{written}");

    for (readme, told) in [
        ("[no](gone.md)", "README.md:1: gone.md is not there"),
        ("![no](docs/gone.png)", "README.md:1: docs/gone.png is not there"),
        ("[no](../elsewhere.md)", "README.md:1: ../elsewhere.md is not there"),
        ("[no](docs)", "README.md:1: docs is a folder"),
        ("[no](docs/SUMMARY.md)", "README.md:1: docs/SUMMARY.md is no chapter"),
        ("[no](docs/configuration.md#b)", "docs/configuration.html#b: the page has no such anchor"),
        ("# Other", "README.html#read-me: the page has no such anchor"),
    ] {
        write("README.md", readme);
        let output = build(true);
        assert!(!output.status.success() && said(&output).contains(told), "{told:?} is not in:\n{}", said(&output));
    }
    write("README.md", "# Read me\n");
    write("docs/alone.md", "# Alone\n");
    assert!(said(&build(true)).contains("docs/SUMMARY.md does not list docs/alone.md"));
}

#[test]
fn the_reference_has_every_key_with_its_default() {
    let page = read("docs/configuration.md");
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    let mut missing = Vec::new();
    let mut tables = vec![(String::new(), &defaults)];
    let mut count = 0;
    while let Some((name, table)) = tables.pop() {
        let section = page.split_once(&format!("\n## {name}\n")).map_or("", |(_, rest)| rest.split("\n## ").next().unwrap());
        for (key, value) in table {
            match value {
                // An inline table is a value.
                toml::Value::Table(inner) if key != "false_alarms_per_month" => {
                    let dot = if name.is_empty() { "" } else { "." };
                    tables.push((format!("{name}{dot}{key}"), inner));
                }
                _ => {
                    count += 1;
                    let row = section.lines().find(|line| line.starts_with(&format!("| `{key}` | `")));
                    let shown =
                        row.and_then(|row| row.split('`').nth(3)).and_then(|text| format!("value = {text}").parse::<toml::Table>().ok());
                    if shown.is_none_or(|shown| shown["value"] != *value) {
                        missing.push(format!("{name}.{key} = {value}"));
                    }
                }
            }
        }
    }
    assert!(missing.is_empty() && count > 120, "of {count}, docs/configuration.md lacks or has otherwise: {missing:#?}");
}

#[test]
fn every_subcommand_is_in_the_list_of_commands() {
    let page = page("docs/commands.md");
    let listed: BTreeSet<String> =
        page.text.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split(['`', ' ']).next()?.to_owned())).collect();
    let help = help(&[]);
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let named = |line: &str| {
        line.strip_prefix("  ").filter(|line| line.starts_with(char::is_alphabetic)).map(|line| line.split(' ').next().unwrap().to_owned())
    };
    let commands: BTreeSet<String> = commands.lines().filter_map(named).filter(|name| name != "help").collect();
    assert!(commands.len() > 15);
    assert_eq!(listed, commands);
}

fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether")).args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "bellwether {}: {}", command.join(" "), said(&output));
    said(&output)
}

// --- Configurations and records

#[test]
fn every_configuration_that_is_shown_is_valid() {
    let files = Files::new("");
    let mut count = 0;
    for page in pages() {
        for block in page.blocks_in("toml").iter().filter(|_| !page.name.starts_with("training/")) {
            let text = files.adapted(&block.text);
            if let Err(problems) = Config::from_toml(&text, &[], Some(files.path())) {
                panic!("{}:{}: {problems}\n{text}", page.name, block.line);
            }
            count += 1;
        }
    }
    assert!(count > 20, "{count} found");
}

#[test]
fn alerts_that_are_shown_are_as_the_schema_says() {
    let schema: Value = serde_json::from_str(&read("schemas/sentiment.alerts.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let shown = |name: &str| -> Value { serde_json::from_str(&page(name).blocks_in("json")[0].text).unwrap() };
    let (whole, half) = (shown("docs/topics.md"), shown("README.md"));
    let errors: Vec<String> = validator.iter_errors(&whole).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "docs/topics.md:\n{}", errors.join("\n"));
    assert_is_part(&half, &whole, "README.md");
}

/// `part` says nothing that `whole` does not.
fn assert_is_part(part: &Value, whole: &Value, place: &str) {
    match (part, whole) {
        (Value::Object(fields), Value::Object(all)) => {
            for (name, value) in fields {
                assert_is_part(value, all.get(name).unwrap_or(&Value::Null), &format!("{place}: {name}"));
            }
        }
        (Value::Array(some), Value::Array(all)) => some.iter().zip(all).for_each(|(part, whole)| assert_is_part(part, whole, place)),
        _ => assert_eq!(part, whole, "{place}"),
    }
}

// --- Files that commands name

/// A folder that looks like a checkout, with the files that the documents speak of.
struct Files {
    folder: tempfile::TempDir,
    /// Takes every request and answers 200.
    receiver: String,
}

impl Files {
    /// With a configuration of its own, after `[watchlist]`.
    fn new(config: &str) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), receiver: receiver() };
        // Of a checkout, what commands name. Nothing is written there.
        for name in ["config", "deploy", "models"] {
            std::os::unix::fs::symlink(root().join(name), files.path().join(name)).unwrap();
        }
        for (secret, content) in [("desk", format!("whsec_{}", "A".repeat(43) + "=")), ("phone", format!("whsec_{}", "B".repeat(43) + "="))]
        {
            files.write(secret, &content);
        }
        let authority = Authority::new("Example");
        let server = authority.issue_for_host("localhost", (-1, 2));
        let held = [("ca.pem", authority.certificate()), ("certificate.pem", server.certificate.clone()), ("key.pem", server.key())];
        held.iter().for_each(|(name, pem)| files.write(name, pem));
        for secret in ["kafka-password", "password", "key-password", "token", "client.pem", "client.key"] {
            files.write(secret, "secret");
        }
        files.write("tokens", &operator().1);
        files.write("watchlist.toml", &read("config/watchlist.toml"));
        let config =
            if config.contains("[watchlist]") { config.to_owned() } else { format!("[watchlist]\nfile = 'watchlist.toml'\n{config}") };
        files.write("bellwether.toml", &files.adapted(&config));
        for name in ["new.toml", "mine.toml", "trial.toml"] {
            files.write(name, "[watchlist]\nfile = 'watchlist.toml'\n[rules.mine]\ngroup_by = 'group'\ncondition = 'surge'\nfalse_alarms_per_month = { warning = 2.0, critical = 0.1 }\n");
        }
        // As `make model` leaves it.
        for name in ["desk", "NAME"] {
            std::fs::create_dir_all(files.path().join("training/build").join(name)).unwrap();
            std::os::unix::fs::symlink(root().join(TINY), files.path().join("training/build").join(name).join("model")).unwrap();
        }
        let news = news();
        for name in ["news.jsonl", "last-week.jsonl"] {
            files.write(name, &lines(&news));
        }
        // Records of news.scored need no model.
        let scored: Vec<Value> = news.into_iter().map(scored).collect();
        for name in ["march.jsonl", "news-2023-svb.jsonl"] {
            files.write(name, &lines(&scored));
        }
        files.write("known.csv", "subject,start,end\nentity:jpmorgan,2026-03-02T00:00:00Z,2026-03-02T01:00:00Z\n");
        files.write("labelled.jsonl", "{\"text\":\"Bank collapses, shares plunge\",\"topic\":\"Financials\",\"sentiment\":\"negative\"}\n");
        files
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// A configuration as it is shown, with its secrets and receivers on this machine.
    fn adapted(&self, config: &str) -> String {
        let secrets = ["/run/secrets/", "/etc/bellwether/", "/path/to/"];
        let config = secrets.iter().fold(config.to_owned(), |text, place| text.replace(place, &format!("{}/", self.path().display())));
        let receivers = ["https://desk.example", "https://phone.example", "http://alertmanager.example:9093"];
        receivers.iter().fold(config, |text, receiver| text.replace(receiver, &self.receiver))
    }
}

/// The address of a server that takes whatever comes.
fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut request = [0; 65_536];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                // Until the client has let go: what it still sends must not reset the connection.
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    address
}

/// The first of the demo's news, at event times of their own.
fn news() -> Vec<Value> {
    let scenario = read("config/scenario/bank-run.jsonl");
    let items = scenario.lines().take(20).map(|line| serde_json::from_str::<Value>(line).unwrap()).map(|mut item| {
        let at = 1_772_409_600_000.0 + item["offset_seconds"].as_f64().unwrap() * 1000.0;
        item["published_at"] = json!(at as i64);
        item.as_object_mut().unwrap().remove("offset_seconds");
        item
    });
    items.collect()
}

/// As a subscriber of news.scored keeps it.
fn scored(mut item: Value) -> Value {
    let at = EventTime(item["published_at"].as_i64().unwrap());
    item["schema"] = json!(1);
    item["published_at"] = json!(at.to_string());
    item["topic"] = json!({ "label": "Financials", "probability": 0.9 });
    item["sentiment"] = json!({ "label": "negative", "score": -0.8 });
    item
}

fn lines(items: &[Value]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}

// --- Commands

/// Runs commands with the programs of the documents and a broker.
struct Shell<'a> {
    brokers: &'a str,
    programs: tempfile::TempDir,
    /// Address and operator's token of a Bellwether that runs.
    page: String,
    token: String,
}

impl<'a> Shell<'a> {
    fn new(brokers: &'a str) -> Self {
        let programs = tempfile::tempdir().unwrap();
        for name in PROGRAMS {
            std::os::unix::fs::symlink(root().join("tests/documents/program"), programs.path().join(name)).unwrap();
        }
        // What `program` itself begins with, and what makes secrets.
        for path in ["/bin/bash", "/usr/bin/openssl"] {
            std::os::unix::fs::symlink(path, programs.path().join(Path::new(path).file_name().unwrap())).unwrap();
        }
        Self { brokers, programs, page: String::new(), token: String::new() }
    }

    fn run(&self, files: &Files, commands: &str) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        // A model all the same, and at once there: what it says is not what is asked here.
        let tiny = root().join(TINY).display().to_string();
        let mut command = Command::new("timeout");
        command
            .args(["120", "/bin/bash", "-c"])
            .arg(format!("set -euo pipefail\nshopt -s expand_aliases\nPATH=$DOCUMENTS_BIN\n{commands}"));
        command.current_dir(files.path()).stdin(std::process::Stdio::null());
        let variables = [
            ("BELLWETHER_KAFKA__BROKERS", self.brokers),
            ("BELLWETHER_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "PLAINTEXT"),
            ("BELLWETHER_MODEL__DEVICE", "cpu"),
            ("BELLWETHER_MODEL__DIRECTORY", &tiny),
            ("BROKERS", self.brokers),
            ("DOCUMENTS_PAGE", &self.page),
            ("DOCUMENTS_PATH", &path),
            ("DOCUMENTS_PROGRAM", env!("CARGO_BIN_EXE_bellwether")),
            ("EDITOR", "test -s"),
            ("OPERATOR_TOKEN", &self.token),
            ("TOKEN", &self.token),
        ];
        command.envs(variables).env("DOCUMENTS_ROOT", root()).env("DOCUMENTS_BIN", self.programs.path());
        command.env("DOCUMENTS_PORT", free_port().to_string());
        command.output().unwrap()
    }
}

/// Programs that a shell has by itself, or that say nothing of Bellwether.
const PLAIN: [&str; 3] = ["echo", "kill", "printf"];

/// A command within a sentence, which may be a part of one: its options must be in the help of its program, and what needs no more than a
/// look at the checkout is looked at.
struct Spans<'a> {
    shell: &'a Shell<'a>,
    files: &'a Files,
    helps: BTreeMap<String, String>,
}

impl Spans<'_> {
    fn check(&mut self, span: &str) -> Result<(), String> {
        let words: Vec<&str> = span.split_whitespace().collect();
        match words[..] {
            // A name.
            [_] => Ok(()),
            ["bellwether", ..] => {
                // A second plain word may be a subcommand, or an argument.
                let plain =
                    |word: &&&str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-') && !word.starts_with('-');
                let command: Vec<&str> = words[1..].iter().take(2).take_while(plain).copied().collect();
                let (one, two) = (command.first().copied().unwrap_or_default(), command.join(" "));
                self.options(&words, &[&format!("bellwether {two}"), &format!("bellwether {one}")])
            }
            ["python", "-m", module, ..] => {
                let file = root().join("training").join(module.replace('.', "/") + ".py");
                if file.is_file() { Ok(()) } else { Err(format!("there is no {}", file.display())) }
            }
            ["kafka-transactions.sh", ..] => self.options(&words, &["kafka-transactions.sh", "kafka-transactions.sh find-hanging"]),
            [program, ..] if program.starts_with("kafka-") => self.options(&words, &[program]),
            ["curl", ..] => {
                let (api, paths) = (read("docs/openapi.yaml"), words.iter().filter_map(|word| word.split_once("127.0.0.1:8080")));
                let unknown: Vec<&str> = paths.map(|(_, path)| path).filter(|path| !api.contains(&format!("\n  {path}:\n"))).collect();
                if unknown.is_empty() { Ok(()) } else { Err(format!("docs/openapi.yaml has no {}", unknown.join(", "))) }
            }
            [program, ..] if PROGRAMS.contains(&program) => self.run(span),
            [program, option, ..] if option.starts_with('-') && !PLAIN.contains(&program) && is_program(program) => {
                Err("tests/documents/program does not know it".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn run(&self, command: &str) -> Result<(), String> {
        let output = self.shell.run(self.files, command);
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    }

    /// The helps of the commands, of those that there are, must have every option.
    fn options(&mut self, words: &[&str], commands: &[&str]) -> Result<(), String> {
        let (shell, files) = (self.shell, self.files);
        let mut help = |command: &&str| {
            let ask = || {
                let output = shell.run(files, &format!("{command} --help"));
                if output.status.success() { said(&output) } else { String::new() }
            };
            self.helps.entry((*command).to_owned()).or_insert_with(ask).clone()
        };
        let text: String = commands.iter().map(&mut help).collect();
        let options = words.iter().filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap());
        let unknown: Vec<&str> = options.filter(|option| !text.contains(option)).collect();
        match (text.is_empty(), unknown.is_empty()) {
            (true, _) => Err("there is no such command".to_owned()),
            (_, true) => Ok(()),
            (_, false) => Err(format!("its help has no {}", unknown.join(", "))),
        }
    }
}

fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    !name.contains('/') && std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// An operator's token, and a line of the tokens' file for it.
fn operator() -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether")).args(["token", "ops", "--role", "operator"]).output().unwrap();
    let shown = String::from_utf8(output.stderr).unwrap();
    (shown.lines().last().unwrap().to_owned(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_command_is_run_as_it_stands() {
    let broker = Broker::start();
    let brokers = broker.address();
    let mut shell = Shell::new(&brokers);
    let (mut problems, mut count) = (String::new(), 0);

    // The alert that the documents show is there for those who read alerts; topics are made as by the first page.
    let first = Files::new("");
    assert!(shell.run(&first, "bellwether topics create -c bellwether.toml").status.success());
    let alert = page("docs/topics.md").blocks_in("json").remove(0).text;
    let alert: Value = serde_json::from_str(&alert).unwrap();
    let key = alert["id"].as_str().unwrap().to_owned();
    produce(&brokers, "sentiment.alerts", &[(None, Some(key), alert.to_string().into_bytes())]);

    for page in pages() {
        let blocks = page.blocks();
        let shown = |language: &str, begin: &str| {
            blocks
                .iter()
                .filter(|block| block.language == language && block.text.contains(begin))
                .map(|block| block.text.as_str())
                .collect::<String>()
        };
        // What a page says of a configuration is what its commands run with.
        let config: String = ["# bellwether.toml", "[ingest]", "[webhooks."].map(|begin| shown("toml", begin)).concat();
        let files = Files::new(&config);
        // Who pushes news or silences a subject needs somebody who takes it.
        let server = page.text.contains("$OPERATOR_TOKEN").then(|| {
            let (token, line) = operator();
            files.write("tokens", &line);
            let tokens = files.path().join("tokens");
            let site = Site::at(brokers.clone(), TINY, "[kafka]\ngroup = 'page'\n");
            let mut process = site.run_with("monitor", &[("BELLWETHER_HTTP__TOKENS", tokens.to_str().unwrap())]);
            process.wait_ready();
            (process, token)
        });
        (shell.page, shell.token) = server.as_ref().map(|(process, token)| (process.http.to_string(), token.clone())).unwrap_or_default();
        run_blocks(&shell, &files, &page, &mut problems, &mut count);
    }

    println!("{count} commands or blocks of them");
    assert!(problems.is_empty(), "\n{problems}");
    assert!(count > 30, "{count}");
}

#[test]
fn every_command_within_a_sentence_has_the_words_that_its_program_knows() {
    let (files, nobody) = (Files::new(""), format!("127.0.0.1:{}", free_port()));
    let shell = Shell::new(&nobody);
    let mut spans = Spans { shell: &shell, files: &files, helps: BTreeMap::new() };
    let (mut seen, mut problems, mut count) = (BTreeSet::new(), String::new(), 0);
    for page in pages() {
        for span in page.spans().into_iter().filter(|span| !is_query(span)) {
            count += usize::from(PROGRAMS.contains(&span.split_whitespace().next().unwrap_or_default()));
            if seen.insert(span.clone())
                && let Err(problem) = spans.check(&span)
            {
                let _ = writeln!(problems, "{}: `{span}`: {problem}", page.name);
            }
        }
    }
    println!("{count} commands");
    assert!(problems.is_empty(), "\n{problems}");
    assert!(count > 80, "{count}");
}

/// A whole command that only reads: it is run as blocks are.
fn is_query(span: &str) -> bool {
    span.starts_with("kcat -")
}

/// Runs what is whole on a page: queries within its sentences, then its blocks in their order.
fn run_blocks(shell: &Shell<'_>, files: &Files, page: &Page, problems: &mut String, count: &mut usize) {
    let mut aliases = String::new();
    let queries = page.spans().into_iter().filter(|span| is_query(span)).map(|text| (0, text));
    let blocks = page.blocks_in("sh").into_iter().map(|block| (block.line, block.text));
    for (line, commands) in queries.chain(blocks) {
        let place = format!("{}:{line}", page.name);
        *count += 1;
        if let Some((_, _, test)) = RUN_ELSEWHERE.iter().find(|(name, part, _)| *name == page.name && commands.contains(part)) {
            assert!(root().join(test).is_file(), "{test}");
            continue;
        }
        let started = Instant::now();
        let output = shell.run(files, &format!("{aliases}{commands}"));
        println!("{place}: {:.1} s", started.elapsed().as_secs_f64());
        if !output.status.success() {
            let _ = writeln!(problems, "{place} ended with {}:\n{commands}\n{}", output.status, said(&output));
        }
        aliases.extend(commands.lines().filter(|line| line.starts_with("alias ")).map(|line| format!("{line}\n")));
    }
}

#[test]
fn a_command_that_nobody_has_thought_of_fails() {
    let (files, nobody) = (Files::new(""), format!("127.0.0.1:{}", free_port()));
    let shell = Shell::new(&nobody);
    let commands = [
        "helm install bellwether .",
        "sudo make build",
        "sudo cp nowhere.toml /etc",
        "bellwether walk",
        "bellwether check-config --configuration bellwether.toml",
        "bellwether check-config -c nowhere.toml | true",
        "make love",
        "make model DATUM=news",
        "make bench ARGS=everything",
        "docker compose up --biuld",
        "docker compose -f nowhere.yml up",
        "kubectl apply -k deploy/k8s/nowhere",
        "kubectl port-forward service/nobody 8080",
        "kubectl create secrets generic tokens",
        "systemctl destroy bellwether.service",
        "cargo test --lib novelty",
        "cargo test --release --test nowhere",
        "cargo test --release --test cli no_such_test",
        "kafka-mirror-maker.sh --help",
        "curl http://127.0.0.1:8080/status",
        "$EDITOR nowhere.toml",
    ];
    for command in commands {
        assert!(!shell.run(&files, command).status.success(), "{command}");
    }
    let mut spans = Spans { shell: &shell, files: &files, helps: BTreeMap::new() };
    for span in [
        "bellwether walk",
        "bellwether run --rolle monitor",
        "make love",
        "kafka-topics.sh --lisst",
        "git --version",
        "curl -s 127.0.0.1:8080/reday",
    ] {
        assert!(spans.check(span).is_err(), "{span}");
    }
    for span in
        ["bellwether", "bellwether run --role monitor", "make test ARGS=masking", "kill -HUP", "news.raw", "curl -s 127.0.0.1:8080/ready"]
    {
        assert_eq!(spans.check(span), Ok(()), "{span}");
    }
}

#[test]
fn what_a_back_test_writes_is_what_the_table_says() {
    let page = page("docs/backtests.md");
    let listed: Vec<&str> = page.text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(listed.len() >= 5, "{listed:?}");
    let files = Files::new("");
    files.write("march.jsonl", &lines(&news()));
    // It needs none.
    let nobody = format!("127.0.0.1:{}", free_port());
    let output = Shell::new(&nobody).run(&files, &page.blocks_in("sh")[0].text);
    assert!(output.status.success(), "{}", said(&output));
    let written: Vec<PathBuf> = std::fs::read_dir(files.path().join("backtest")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for name in listed {
        let (begin, end) = name.split_once("<version>").unwrap_or((name, ""));
        let fits = |path: &&PathBuf| path.file_name().unwrap().to_str().is_some_and(|name| name.starts_with(begin) && name.ends_with(end));
        assert!(written.iter().any(|path| fits(&path)), "{name} is not there: {written:?}");
    }
}

#[test]
fn the_readme_names_every_package_that_demo_and_tests_need() {
    let (readme, setup) = (read("README.md"), read("scripts/setup"));
    let list = readme.lines().skip_while(|line| !line.starts_with("- Debian packages:")).take(3).collect::<String>();
    let named: BTreeSet<&str> = list.split(['`', ' ', ',']).collect();
    let needed = setup.lines().filter_map(|line| line.trim().trim_start_matches("has_kafka || ").strip_prefix("need "));
    let needed: BTreeSet<&str> = needed.map(|rest| rest.split(' ').next().unwrap()).collect();
    // Of training and benchmarks, which name them by themselves.
    let missing: Vec<&&str> =
        needed.iter().filter(|package| !named.contains(**package) && !["python3-venv", "libjemalloc2"].contains(package)).collect();
    assert!(needed.len() > 10 && missing.is_empty(), "README.md does not name {missing:?}");
}
