//! docs/operations.md says of every warning and error that the program logs, and of every alert of Prometheus, what to do.

use std::path::{Path, PathBuf};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The string that each call ends with.
fn messages(code: &str, macro_name: &str) -> Vec<String> {
    let begin = format!("tracing::{macro_name}!(");
    let message = |call: &str| {
        let mut quotes = call.match_indices('"').map(|(at, _)| at);
        let end = quotes.find(|at| call[at + 1..].trim_start().starts_with(')')).expect("a call ends with its message");
        call[..end].rsplit('"').next().unwrap_or_default().to_owned()
    };
    code.split(&begin).skip(1).map(message).collect()
}

#[test]
fn the_guide_knows_every_warning_and_error_of_the_log() {
    let guide = read(&root().join("docs/operations.md"));
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut count = 0;
    for file in &files {
        let code = read(file);
        for (macro_name, level) in [("warn", "WARN"), ("error", "ERROR")] {
            for message in messages(&code, macro_name) {
                count += 1;
                // The guide may leave the end out, behind a sign that says so.
                let start = message.split([';', ':', ',', '.']).next().unwrap().trim();
                let rows = guide.lines().filter(|line| line.starts_with('|') && line.contains(level));
                let known = rows.map(|line| line.split('|').nth(1).unwrap()).any(|row| row.contains(start));
                assert!(known, "{}: docs/operations.md has no row for {level} {message:?}", file.display());
            }
        }
    }
    assert!(count > 10, "{count} messages found");
}

/// The string that follows each `begin`.
fn strings_behind<'code>(code: &'code str, begin: &str) -> Vec<&'code str> {
    let string = |rest: &'code str| rest.trim_start().strip_prefix('"')?.split_once('"').map(|(text, _)| text);
    code.split(begin).skip(1).filter_map(|rest| string(rest.trim_start().trim_start_matches("format!("))).collect()
}

#[test]
fn the_guide_knows_every_error_that_ends_a_role_or_its_generation() {
    let guide = read(&root().join("docs/operations.md"));
    let rows: Vec<&str> = guide.lines().filter(|line| line.starts_with('|')).map(|line| line.split('|').nth(1).unwrap()).collect();
    let (mut files, mut count) = (Vec::new(), 0);
    for folder in ["src/kafka", "src/pipeline"] {
        sources(&root().join(folder), &mut files);
    }
    for file in &files {
        let code = read(file);
        let errors = ["#[error(", "Aborted("].iter().flat_map(|begin| strings_behind(&code, begin));
        for error in errors {
            // What is the same each time; the guide may leave the end out.
            let fixed: Vec<&str> =
                error.split('{').flat_map(|piece| piece.rsplit('}').next().unwrap().split([';', ':', ',', '.', '('])).collect();
            let telling: Vec<&str> = fixed.iter().map(|piece| piece.trim()).filter(|piece| piece.len() >= 12).collect();
            count += telling.len();
            let known = telling.is_empty() || telling.iter().any(|piece| rows.iter().any(|row| row.contains(piece)));
            assert!(known, "{}: docs/operations.md has no row for {error:?}", file.display());
        }
    }
    assert!(count > 25, "{count} phrases found");
}

#[test]
fn the_guide_knows_every_alert_of_prometheus() {
    let (guide, rules) = (read(&root().join("docs/operations.md")), read(&root().join("dashboards/prometheus/alerts.yml")));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in alerts {
        assert!(guide.contains(alert), "docs/operations.md does not say what {alert} asks for");
    }
}
