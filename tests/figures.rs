//! docs/delivery.md and docs/performance.md say what was measured; docs/delivery.md names tests that there are; what docs/detection.json has is as
//! good as the detector is meant to be.

#[path = "../benches/shared/document.rs"]
#[allow(dead_code)] // The benchmarks use the rest.
mod document;
#[path = "../benches/delivery/figures.rs"]
#[allow(dead_code)] // The benchmark uses the rest.
mod figures;
#[path = "../benches/performance/report.rs"]
#[allow(dead_code)] // The benchmark uses the rest.
mod performance;
#[path = "../benches/shared/picture.rs"]
#[allow(dead_code)] // The benchmarks use it.
mod picture;

use std::path::Path;

use figures::Figures;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

#[test]
fn the_document_holds_the_figures_that_were_measured() {
    let figures: Figures = serde_json::from_str(&read("docs/delivery.json")).expect("docs/delivery.json is of the form of figures.rs");
    let document = read("docs/delivery.md");
    assert!(
        figures.fill(&document) == document,
        "docs/delivery.md has other figures than docs/delivery.json: make bench-delivery ARGS=document"
    );
}

#[test]
fn the_document_of_performance_holds_the_figures_that_were_measured() {
    let figures: serde_json::Value = serde_json::from_str(&read("docs/performance.json")).expect("JSON");
    let document = read("docs/performance.md");
    assert!(
        performance::fill(&document, &figures) == document,
        "docs/performance.md has other figures than docs/performance.json: make bench ARGS=document"
    );
}

#[test]
fn every_part_of_performance_is_measured_and_the_monitor_is_as_fast_as_it_is_meant_to_be() {
    let report: serde_json::Value = serde_json::from_str(&read("docs/performance.json")).expect("JSON");
    for part in performance::PARTS {
        assert!(report[part].is_object(), "{part} is not measured: make bench ARGS={part}");
    }
    let median = |row: &serde_json::Value, key: &str| row[key]["median"].as_f64().unwrap_or_else(|| panic!("{key} in {row}"));
    let monitor = report["monitor"]["figures"].as_array().unwrap();
    let at_ten_thousand = monitor.iter().find(|row| row["load"]["subjects"] == 10_000).expect("it is one of the sizes");
    assert!(median(at_ten_thousand, "observations_per_second") >= 300_000.0, "{at_ten_thousand}");
    // A hop over a day of panes of a minute, with ten thousand subjects in each.
    let day = &report["horizon"]["figures"]["all"][0];
    assert!(day["load"]["window_minutes"] == 1440 && median(day, "hop_p50_ms") < 50.0, "{day}");
    // And it costs what changed, not what there is: ten thousand times the subjects, 672 times the panes.
    let longest = |figures: &serde_json::Value| {
        let hops: Vec<f64> = figures.as_array().unwrap().iter().map(|row| median(row, "hop_p50_ms")).collect();
        hops[hops.len() - 1] / hops[0]
    };
    assert!(longest(&report["subjects"]["figures"]["thousand"]) < 10.0);
    assert!(longest(&report["horizon"]["figures"]["some"]) < 2.0);
}

#[test]
fn every_part_is_measured_and_keeps_its_promise() {
    let report: serde_json::Value = serde_json::from_str(&read("docs/delivery.json")).expect("JSON");
    for (part, measured) in report.as_object().unwrap() {
        assert!(!measured.is_null(), "{part} is not measured: make bench-delivery ARGS={}", part.replace('_', "-"));
    }
    // A week of a thousand subjects and a day of observations within ten seconds.
    let restore = &report["restore"]["figures"];
    assert!(restore["panes"].as_u64() >= Some(500_000) && restore["observations"].as_u64() >= Some(500_000), "{restore}");
    assert!(restore["ready_seconds"]["median"].as_f64().unwrap() <= 10.0, "{restore}");
    assert!(report["kills"]["figures"]["kills"].as_u64() >= Some(50));
}

#[test]
fn the_documents_name_tests_that_there_are() {
    let mut code = String::new();
    let mut folders = vec![root().join("tests"), root().join("src")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => code += &std::fs::read_to_string(path).unwrap(),
                _ if path.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    for name in ["docs/delivery.md", "docs/security.md"] {
        let document = read(name);
        // Names of tests are sentences.
        let named: Vec<&str> = document.split('`').skip(1).step_by(2).filter(|text| text.matches('_').count() > 3).collect();
        assert!(named.len() > 15, "{named:?}");
        let missing: Vec<&&str> = named.iter().filter(|name| !code.contains(&format!("fn {name}()"))).collect();
        assert!(missing.is_empty(), "{name} names tests that are not there: {missing:?}");
    }
}

#[test]
fn budgets_hold_and_no_other_test_finds_more_surges() {
    let report: serde_json::Value = serde_json::from_str(&read("docs/detection.json")).expect("JSON");
    let document = read("docs/detection.md");
    let kinds = report["kinds"].as_array().expect("kinds of streams");
    assert_eq!(kinds.len(), 7);
    for kind in kinds {
        let name = kind["kind"].as_str().unwrap();
        assert!(kind["subject_windows"].as_u64().unwrap() >= 100_000, "{name}");
        let of_one = kind["budgets"].as_array().unwrap().iter().find(|of| of["budget"] == 1.0).expect("a budget of 1");
        let observed = of_one["observed"].as_f64().unwrap();
        assert!((0.5..=2.0).contains(&observed), "{name}: {observed} false alarms a subject and month, where 1 is the budget");
        let tests = kind["tests"].as_array().unwrap();
        let found = |test: &serde_json::Value| test["found"].as_f64().unwrap();
        let ours = tests.iter().find(|test| test["test"] == "Bellwether").map(found).unwrap();
        let best = tests.iter().filter(|test| test["test"] != "Bellwether").map(found).fold(0.0, f64::max);
        assert!(ours >= best, "{name}: {ours} found, another test {best}");
        // The tables are of the same run.
        let row = document.lines().find(|line| line.starts_with(&format!("| {name} | {observed:.2} |")));
        assert!(row.is_some(), "{name}: docs/detection.md says something else than {observed:.2}: make bench-detection");
        let cell = format!("{:.0}%", 100.0 * ours);
        let cells = document.lines().filter(|line| line.starts_with(&format!("| {name} |"))).filter_map(|line| line.split('|').nth(3));
        assert!(cells.into_iter().any(|found| found.contains(&cell)), "{name}: docs/detection.md has no {cell} for Bellwether");
    }
}
