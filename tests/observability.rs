//! Dashboards, alert rules, documentation and code name the same metrics, and every query of every board answers.
//!
//! It answers from what a real Prometheus scrapes from `bellwether demo`. `make test` installs what this needs.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bellwether::metrics::Metrics;
use serde_json::Value;

/// Six hours of news at 720 times the clock take 30 s; the rest is for slow machines.
const PATIENCE: Duration = Duration::from_secs(240);

/// Expressions without an answer while all is well, by a part of their text, and why. They must be valid all the same.
const MAY_BE_EMPTY: [(&str, &str); 2] = [
    ("changes(process_start_time_seconds", "the demo does not restart"),
    ("increase(bellwether_rebalances_total{job=~\".+\", instance=~\".+\"}[1m])", "the groups may have formed before the first scrape"),
];

#[test]
fn dashboards_rules_docs_and_code_name_the_same_metrics() {
    let exported = exported_metrics();
    let guide = (at_root("docs/metrics.md"), read(&at_root("docs/metrics.md")));
    let mut problems = Vec::new();
    // JSON's \n before a name would else become part of it.
    let mut texts: Vec<_> = files("dashboards/grafana", "json").into_iter().map(|(path, text)| (path, text.replace("\\n", "\n"))).collect();
    texts.extend(files("dashboards/prometheus", "yml"));
    texts.push(guide.clone());
    for (path, text) in &texts {
        for name in metric_names(text) {
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            if !exported.contains_key(name) && of_histogram.is_none_or(|name| exported.get(name) != Some(&true)) {
                problems.push(format!("{} names {name}, which src/metrics.rs does not export", path.display()));
            }
        }
    }
    for name in exported.keys() {
        if !guide.1.contains(&format!("`{name}`")) {
            problems.push(format!("{} does not list `{name}`", guide.0.display()));
        }
        if !texts.iter().any(|(path, text)| path.extension().is_some_and(|extension| extension == "json") && text.contains(name.as_str())) {
            problems.push(format!("no board shows {name}: who reads it?"));
        }
    }
    problems.dedup();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn prometheus_configuration_and_rules_are_valid() {
    for arguments in [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let output = Command::new("promtool").args(arguments).current_dir(at_root("dashboards/prometheus")).output();
        let output = output.unwrap_or_else(|error| panic!("{}", cannot_start("promtool", &error)));
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "promtool {} failed:\n{said}{complained}", arguments.join(" "));
    }
}

#[test]
fn every_expression_of_every_board_answers_under_the_demo_scenario() {
    let queries: Vec<Query> = files("dashboards/grafana", "json").iter().flat_map(|(path, text)| board_queries(path, text)).collect();
    assert!(!queries.is_empty(), "no expression found in dashboards/grafana");
    for (part, _) in MAY_BE_EMPTY {
        assert!(queries.iter().any(|query| query.text.contains(part)), "no expression holds {part}: take it off MAY_BE_EMPTY");
    }

    let deadline = Instant::now() + PATIENCE;
    let model = model_that_knows_the_scenario();
    let start = seconds_since_epoch();
    let arguments = ["demo", "--listen", "127.0.0.1:0", "--speed", "720x"];
    let mut command = bellwether(&arguments);
    let mut demo = Program::start("bellwether demo", command.env("BELLWETHER_MODEL__DIRECTORY", model.path()));
    let page = demo.wait_for("the page's address", deadline, |line| Some(line.strip_prefix("  page     http://")?.to_owned()));
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let mut prometheus = start_prometheus(directory.path(), &page);
    let server = prometheus.wait_for("the address it listens on", deadline, |line| {
        let (_, rest) = line.split_once("Listening on")?;
        rest.split_whitespace().find_map(|word| word.strip_prefix("address=")).map(str::to_owned)
    });
    demo.wait_for("the summary at the end of the scenario", deadline, |line| (line == "Summary").then_some(()));
    let end = wait_for_a_scrape(&server, &page, deadline);

    let mut problems = Vec::new();
    // All of the scenario has been read, and its own results are the reference.
    let drift = ask(&server, "query", &[("query", "max(bellwether_drift_psi) < 0.01")]).expect("a valid expression");
    if drift["result"].as_array().is_none_or(Vec::is_empty) {
        let indices = ask(&server, "query", &[("query", "bellwether_drift_psi")]).expect("a valid expression");
        problems.push(format!("the scenario has drifted from itself: {}", indices["result"]));
    }
    for query in &queries {
        match query.answer(&server, start, end) {
            Err(error) => problems.push(format!("{query} is refused: {error}")),
            Ok(false) if !MAY_BE_EMPTY.iter().any(|(part, _)| query.text.contains(part)) => problems.push(format!("{query} has no answer")),
            Ok(_) => {}
        }
    }
    // Some faults of a rule show only on real series, such as labels that match more than once.
    let rules = ask(&server, "rules", &[]).expect("Prometheus lists its rules");
    for rule in rules.pointer("/groups/0/rules").and_then(Value::as_array).expect("the rules were loaded") {
        if rule["health"] != "ok" {
            problems.push(format!("alert rule {} cannot be evaluated: {}", rule["name"], rule["lastError"]));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

fn bellwether(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.args(arguments).current_dir(at_root(""));
    command
}

/// A copy of the shipped model whose drift reference `bellwether evaluate` has written from the scenario of the demo.
fn model_that_knows_the_scenario() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory for temporary files");
    // Without SHA256SUMS, which would hold metrics.json to the one that is shipped.
    for file in ["config.json", "tokenizer.json", "model.int8.onnx"] {
        let shipped = at_root("models/finnews-e5-small").join(file);
        std::fs::copy(&shipped, folder.path().join(file)).unwrap_or_else(|error| panic!("{} cannot be copied: {error}", shipped.display()));
    }
    let written = folder.path().join("reference.json");
    let mut command = bellwether(&["evaluate", "--data", "config/scenario/bank-run.jsonl", "--device", "cpu"]);
    command.arg("--model").arg(folder.path()).arg("--reference").arg(&written);
    let output = command.output().expect("the binary that was built for this test");
    assert!(output.status.success(), "bellwether evaluate failed:\n{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(folder.path().join("metrics.json"), format!("{{\"reference\": {}}}", read(&written)))
        .expect("the temporary directory takes files");
    folder
}

// --- Names

/// What src/metrics.rs exports; true for a histogram. From its text, because a metric with labels renders only once it has a value.
fn exported_metrics() -> BTreeMap<String, bool> {
    let code = include_str!("../src/metrics.rs").split("#[cfg(test)]").next().expect("split gives at least one part");
    let mut exported = BTreeMap::new();
    for (at, _) in code.match_indices('(') {
        // A name is the first of several arguments: make.counter("hops_total", "Hops evaluated").
        let literal = code[at + 1..].trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
        if let Some((name, rest)) = literal
            && rest.starts_with(',')
            && name.chars().all(in_name)
        {
            let name = if name.starts_with("process_") { name.to_owned() } else { format!("bellwether_{name}") };
            exported.insert(name, code[..at].ends_with("histogram_opts"));
        }
    }
    for rendered in Metrics::new().render().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = rendered.split_once(' ').expect("a TYPE line has a name and a type");
        assert_eq!(exported.get(name), Some(&(kind == "histogram")), "{rendered}: not read from src/metrics.rs as it is rendered");
    }
    exported
}

fn in_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Words that begin like a metric of ours. The bare prefix is prose.
fn metric_names(text: &str) -> impl Iterator<Item = &str> {
    let ours = |word: &&str| ["bellwether_", "process_"].iter().any(|prefix| word.len() > prefix.len() && word.starts_with(prefix));
    text.split(|character| !in_name(character)).filter(ours)
}

// --- The boards

/// A PromQL expression, or a variable's `label_values(…)`, and the panel, annotation or variable it belongs to.
struct Query {
    place: String,
    text: String,
}

impl std::fmt::Display for Query {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "\"{}\": {}", self.place, self.text)
    }
}

impl Query {
    /// Whether there is anything to show between the two times: a finite number, or a value to choose.
    fn answer(&self, server: &str, start: f64, end: f64) -> Result<bool, String> {
        let (start, end) = (start.to_string(), end.to_string());
        if let Some(arguments) = self.text.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')) {
            let (selector, label) = arguments.rsplit_once(", ").ok_or("label_values needs a metric and a label here")?;
            let values = ask(server, &format!("label/{label}/values"), &[("match[]", selector), ("start", &start), ("end", &end)])?;
            return Ok(values.as_array().is_some_and(|values| !values.is_empty()));
        }
        let answer = ask(server, "query_range", &[("query", &self.text), ("start", &start), ("end", &end), ("step", "1")])?;
        let series = answer["result"].as_array().into_iter().flatten();
        let mut values = series.flat_map(|series| series["values"].as_array().into_iter().flatten());
        Ok(values.any(|value| value[1].as_str().and_then(|number| number.parse::<f64>().ok()).is_some_and(f64::is_finite)))
    }
}

/// All queries of a board with its variables filled in, as Grafana does it with "All" chosen, or where there is no "All" with what it opens with.
fn board_queries(path: &Path, text: &str) -> Vec<Query> {
    let board: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let intervals = [("__rate_interval", "15s"), ("__interval", "5s"), ("__range", "5m")];
    let mut filling: HashMap<&str, &str> = intervals.into();
    let mut queries = Vec::new();
    for variable in board.pointer("/templating/list").and_then(Value::as_array).into_iter().flatten() {
        let name = variable["name"].as_str().expect("a variable has a name");
        let opens_with = variable.pointer("/current/value").and_then(Value::as_str);
        filling.insert(
            name,
            variable["allValue"].as_str().or(opens_with).unwrap_or_else(|| panic!("{}: ${name} has no value", path.display())),
        );
        if variable["type"] == "query" {
            let text = variable["query"]["query"].as_str().unwrap_or_else(|| panic!("{}: ${name} has no query", path.display()));
            queries.push(Query { place: format!("${name}"), text: text.to_owned() });
        }
    }
    collect_expressions(&board, "", &mut queries);
    for query in &mut queries {
        query.text = filled(&query.text, &filling).unwrap_or_else(|name| panic!("{query} uses ${name}, which the board does not have"));
    }
    queries
}

/// Every `expr` below this value, with the nearest title or name above it.
fn collect_expressions(value: &Value, place: &str, queries: &mut Vec<Query>) {
    match value {
        Value::Object(fields) => {
            let place = ["title", "name"].iter().find_map(|key| fields.get(*key)?.as_str()).unwrap_or(place);
            if let Some(Value::String(text)) = fields.get("expr") {
                queries.push(Query { place: place.to_owned(), text: text.clone() });
            }
            fields.values().for_each(|value| collect_expressions(value, place, queries));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_expressions(value, place, queries)),
        _ => {}
    }
}

/// The text with `$name` and `${name}` replaced.
///
/// # Errors
/// The name that has no value.
fn filled(text: &str, values: &HashMap<&str, &str>) -> Result<String, String> {
    let mut parts = text.split('$');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let braced = part.strip_prefix('{').and_then(|part| part.split_once('}'));
        let (name, rest) = braced.unwrap_or_else(|| part.split_at(part.find(|character| !in_name(character)).unwrap_or(part.len())));
        filled.push_str(values.get(name).ok_or(name)?);
        filled.push_str(rest);
    }
    Ok(filled)
}

// --- Prometheus

/// Starts it as dashboards/prometheus/prometheus.yml says, but on any port, every second, and with the demo as its target.
fn start_prometheus(directory: &Path, target: &str) -> Program {
    let mut configuration = read(&at_root("dashboards/prometheus/prometheus.yml"));
    for (from, to) in [("_interval: 10s", "_interval: 1s"), ("bellwether:9464", target)] {
        assert!(configuration.contains(from), "prometheus.yml no longer says {from}: say here what it says now");
        configuration = configuration.replace(from, to);
    }
    let file = directory.join("prometheus.yml");
    std::fs::write(&file, configuration).expect("the temporary directory takes files");
    std::fs::copy(at_root("dashboards/prometheus/alerts.yml"), directory.join("alerts.yml")).expect("the temporary directory takes files");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
    command.arg("--web.listen-address=127.0.0.1:0");
    Program::start("prometheus", &mut command)
}

/// Waits for a scrape that began after this call, so that the end of the scenario is in it. Gives the time then.
fn wait_for_a_scrape(server: &str, target: &str, deadline: Instant) -> f64 {
    let expression = format!("timestamp(bellwether_ready) > {}", seconds_since_epoch());
    loop {
        let answer = ask(server, "query", &[("query", &expression)]).expect("a valid expression");
        if answer["result"].as_array().is_some_and(|result| !result.is_empty()) {
            return seconds_since_epoch();
        }
        assert!(Instant::now() < deadline, "Prometheus at {server} did not scrape http://{target}/metrics within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The data of an answer of Prometheus' HTTP API.
///
/// # Errors
/// What Prometheus says against the request.
fn ask(server: &str, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
    let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    let body = get(server, &format!("/api/v1/{path}?{}", parameters.join("&")))
        .unwrap_or_else(|error| panic!("Prometheus at {server} does not answer /api/v1/{path}: {error}"));
    let mut answer: Value = serde_json::from_str(&body).map_err(|_| format!("not JSON: {body}"))?;
    if answer["status"] == "success" { Ok(answer["data"].take()) } else { Err(answer["error"].to_string()) }
}

/// By HTTP/1.0, where a body is never in chunks and ends with the connection.
fn get(server: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

// --- Programs and files

/// A program that is read line by line and ends with the test.
struct Program {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Program {
    fn start(name: &'static str, command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}", cannot_start(name, &error)));
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("a pipe was asked for")), Box::new(child.stderr.take().expect("a pipe was asked for"))];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    // Nobody listens at the end, yet a full pipe would stop the program.
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        Self { name, child, lines, said: Vec::new() }
    }

    /// Reads on until a line holds what is looked for.
    fn wait_for<T>(&mut self, what: &str, deadline: Instant, find: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let problem = match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match find(&line) {
                    Some(found) => return found,
                    None => {
                        self.said.push(line);
                        continue;
                    }
                },
                Err(RecvTimeoutError::Timeout) => format!("did not print it within {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => "ended before".to_owned(),
            };
            let hint = "`make test` sets up what it needs";
            panic!("waiting for {what}: {} {problem} ({hint}). It said:\n{}", self.name, self.said.join("\n"));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cannot_start(program: &str, error: &std::io::Error) -> String {
    format!(
        "{program} cannot be started ({error}). prometheus and promtool come with Debian's package prometheus, which `make test` installs"
    )
}

fn seconds_since_epoch() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64()
}

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// Path and text of the files with this extension in a directory, in the order of their names; at least one.
fn files(directory: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(at_root(directory)).unwrap_or_else(|error| panic!("{directory} cannot be read: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    assert!(!paths.is_empty(), "{directory} holds no .{extension} file");
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}
