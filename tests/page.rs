//! The page in a real browser, with the shipped model and a real Kafka behind it: `tests/page/desk.py` does what a desk does, and
//! Chromium says what came of it.
//!
//! With BELLWETHER_PICTURES=FOLDER it leaves the pictures of the documents there, from a day without hostile news.

mod common;

use std::path::PathBuf;
use std::process::Command;

use bellwether::http::tokens::{Holder, Role, line, new_secret};
use bellwether::news::EventTime;
use common::{Broker, Site, ask, finish, produce, root, wait_for};
use serde_json::{Map, Value, json};

/// Of the demo's six hours so much that its alerts are open.
const UNTIL_SECONDS: f64 = 4.4 * 3600.0;

/// Part of the story as it goes on, by a source that means it ill.
const HOSTILE: &str = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> Harbourline Bank collapses";

fn rules() -> String {
    let demo = std::fs::read_to_string(root().join("config/demo.toml")).unwrap();
    demo[demo.find("[watermark]").unwrap()..].to_owned()
}

fn story() -> Vec<(Option<i32>, Option<String>, Vec<u8>)> {
    let text = std::fs::read_to_string(root().join("config/scenario/bank-run.jsonl")).unwrap();
    let items: Vec<Map<String, Value>> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // On a whole minute, so that the same items share a window whenever it is told.
    let start = EventTime::now().floor(60_000).plus(-(UNTIL_SECONDS * 1e3) as i64);
    let mut told = Vec::new();
    let mut hostile = 0;
    let pretty = std::env::var_os("BELLWETHER_PICTURES").is_some();
    for mut item in items {
        let offset = item.remove("offset_seconds").unwrap().as_f64().unwrap();
        if offset > UNTIL_SECONDS {
            break;
        }
        let at = start.plus((offset * 1e3) as i64).to_string();
        // Once the run has begun, every now and then.
        if !pretty && offset > 3.5 * 3600.0 + f64::from(hostile) * 200.0 {
            let (source, url) = (format!("<b onclick=alert({hostile})>.example"), "javascript:document.title='owned'");
            let bad = json!({"id": format!("hostile-{hostile}"), "title": HOSTILE, "source": source, "url": url, "published_at": at});
            told.push((None, Some(format!("hostile-{hostile}")), bad.to_string().into_bytes()));
            hostile += 1;
        }
        item.insert("published_at".into(), at.into());
        told.push((None, item["id"].as_str().map(str::to_owned), Value::Object(item).to_string().into_bytes()));
    }
    told
}

#[test]
fn a_desk_can_do_its_work_on_the_page_and_hostile_news_does_nothing() {
    let broker = Broker::start();
    let site = Site::new(&broker, &format!("[http]\ntokens = 'tokens'\n{}", rules()));
    let (viewer, operator) = (new_secret().unwrap(), new_secret().unwrap());
    let entry = |name: &str, role, token: &str| line(&Holder { name: name.into(), role }, token);
    let tokens = [entry("desk", Role::Viewer, &viewer), entry("ops", Role::Operator, &operator)];
    std::fs::write(site.folder.path().join("tokens"), tokens.join("\n")).unwrap();
    site.create_topics();
    let watchlist = root().join("config/demo-watchlist.toml");
    let mut process = site.run_with("both", &[("BELLWETHER_WATCHLIST__FILE", watchlist.to_str().unwrap())]);
    process.wait_ready();
    let story = story();
    produce(&site.brokers, "news.raw", &story);
    let asked = |path: &str| ask(process.http, &viewer, &format!("GET {path}"), &json!({})).1;
    wait_for("all items to be scored", 120, || (asked("/status")["health"]["items_total"] == story.len()).then_some(()));
    wait_for("alerts to be open", 60, || (asked("/api/v1/snapshot")["alerts"]["open"].as_array()?.len() >= 3).then_some(()));

    let program = runtime().join("playwright");
    let output = Command::new("python3")
        .arg(root().join("tests/page/desk.py"))
        .env("PYTHONPATH", &program)
        .env("PAGE", format!("http://{}", process.http))
        .env("PROCESS", process.child.id().to_string())
        .env("VIEWER", &viewer)
        .env("OPERATOR", &operator)
        .env("HOSTILE", HOSTILE)
        .output()
        .unwrap_or_else(|error| panic!("python3 cannot be started: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} (`make test` installs Playwright in {}):\n{said}", output.status, program.display());
    println!("{said}");
    finish(vec![process]);
}

fn runtime() -> PathBuf {
    std::env::var_os("BELLWETHER_RUNTIME_DIR").map_or_else(|| root().join(".runtime"), PathBuf::from)
}
