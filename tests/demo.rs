//! `bellwether demo --once`: a stranger's first minute, at full speed.

mod common;

use std::collections::BTreeMap;
use std::process::Command;

use bellwether::config::Config;
use bellwether::decode::decode;
use bellwether::news::EventTime;
use bellwether::privacy::mask;
use common::root;

#[test]
fn the_demo_fires_accounts_for_every_item_and_exits_0() {
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(["demo", "--once", "--speed", "max", "--listen", "127.0.0.1:0"])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let items = std::fs::read_to_string(root().join("config/scenario/bank-run.jsonl")).unwrap().lines().count();
    assert!(items >= 1500);
    assert!(text.contains(&format!("{items} of {items} accounted for ({items} scored, 0 dead letters)")), "{text}");
    assert!(text.contains("FIRING") && text.contains("Regional banks"), "{text}");
    assert!(text.contains("kcat -b 127.0.0.1:"), "{text}");
    assert!(output.stderr.is_empty(), "a clean run warns of nothing: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_scenario_holds_personal_data_to_be_masked_and_names_no_real_company() {
    let scenario = std::fs::read_to_string(root().join("config/scenario/bank-run.jsonl")).unwrap();
    let mut kinds = BTreeMap::new();
    for line in scenario.lines() {
        let mut item = decode(line.as_bytes(), EventTime::now(), &Config::default().decode).unwrap();
        for (kind, count) in mask(&mut item) {
            *kinds.entry(kind).or_insert(0) += count;
        }
    }
    assert_eq!(kinds, [("card".to_owned(), 1), ("email".to_owned(), 2), ("iban".to_owned(), 1)].into());
    for name in ["Silicon Valley Bank", "JPMorgan", "Apple ", "Tesla", "Goldman", "Reuters", "Bloomberg"] {
        assert!(!scenario.contains(name), "{name}");
    }
}
