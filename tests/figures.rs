//! docs/delivery.md says what docs/delivery.json says, and names tests that there are.

#[path = "../benches/delivery/figures.rs"]
mod figures;

use std::path::{Path, PathBuf};

use figures::{Figures, PARTS};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

#[test]
fn the_document_holds_the_figures_that_were_measured() {
    let figures: Figures = serde_json::from_str(&read("docs/delivery.json")).expect("docs/delivery.json is of the form of figures.rs");
    for part in PARTS {
        assert!(figures.part(part).is_some(), "{part} was never measured: make bench-delivery ARGS={part}");
    }
    let document = read("docs/delivery.md");
    assert!(
        figures.fill(&document) == document,
        "docs/delivery.md has other figures than docs/delivery.json: make bench-delivery ARGS=document"
    );
}

#[test]
fn the_document_names_tests_that_there_are() {
    let mut sources: Vec<PathBuf> = std::fs::read_dir(root().join("tests")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.push(root().join("src/pipeline/partition.rs"));
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let code: String = sources.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let document = read("docs/delivery.md");
    // Names of tests are sentences.
    let named: Vec<&str> = document.split('`').skip(1).step_by(2).filter(|text| text.matches('_').count() > 3).collect();
    assert!(named.len() > 15, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|name| !code.contains(&format!("fn {name}()"))).collect();
    assert!(missing.is_empty(), "docs/delivery.md names tests that are not there: {missing:?}");
}
