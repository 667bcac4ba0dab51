//! The page's files, and news that means them ill: what keeps a browser from making anything of it. What Chromium makes of it is in
//! `tests/page.rs`.

use std::collections::{BTreeMap, BTreeSet};

use bellwether::news::EventTime;

use crate::common::root;
use crate::server::{Holders, Request, Server, alert, bearer, view};

/// Those of our own, by name.
fn scripts() -> BTreeMap<String, String> {
    let folder = std::fs::read_dir(root().join("src/http/page")).unwrap().map(|file| file.unwrap().path());
    let own = folder.filter(|file| file.extension().is_some_and(|kind| kind == "js") && !file.to_str().unwrap().contains("lightweight"));
    own.map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&file).unwrap())).collect()
}

/// The words of one language, by key: as they stand in words.js, a line each or more.
fn words(language: &str) -> BTreeMap<String, String> {
    let file = &scripts()["words.js"];
    let section = file.split_once(&format!("\n  {language}: {{\n")).unwrap().1.split_once("\n  },\n").unwrap().0;
    let mut words = BTreeMap::new();
    let mut rest = section;
    while let Some((key, after)) = rest.split_once(": '") {
        let (text, behind) = after.split_once('\'').unwrap();
        let key = key.rsplit([' ', '\n']).next().unwrap().to_owned();
        assert!(words.insert(key.clone(), text.to_owned()).is_none(), "{language}: {key} twice");
        rest = behind;
    }
    words
}

/// What stands in braces, and must be filled in.
fn blanks(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).map(|part| part.split_once('}').unwrap().0).collect()
}

/// Ways by which text becomes markup or code.
const SINKS: [&str; 17] = [
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "setHTMLUnsafe",
    "document.write",
    "createContextualFragment",
    "DOMParser",
    "srcdoc",
    "eval(",
    "Function(",
    "import(",
    "javascript:",
    "createElement('script",
    "trustedTypes",
    "setAttribute('on",
    "setTimeout('",
    "setInterval('",
];

const HOSTILE: [&str; 4] = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\u{2028}</script><svg/onload=alert(1)>\r\n\r\nevent: snapshot\ndata: {}",
    "'\"><iframe srcdoc='<script>alert(1)</script>'>",
];

/// Such as `onclick="…"`.
fn has_handlers(page: &str) -> bool {
    let named = |part: &str| {
        part.split_once("=\"").is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase()))
    };
    page.split(" on").skip(1).any(named)
}

#[test]
fn the_page_and_all_it_names_come_from_here_under_a_strict_policy() {
    let server = Server::start();
    assert!(has_handlers("<b onclick=\"x\">") && !has_handlers("<b>based on=</b>"));
    for path in ["/", "/login"] {
        let answer = Server::with(&Holders::new().config()).get(path, &[]);
        let policy = answer.header("content-security-policy").unwrap();
        for rule in
            ["default-src 'none'", "script-src 'self';", "style-src 'self';", "form-action 'self'", "require-trusted-types-for 'script'"]
        {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        let page = answer.body;
        assert!(!page.contains("<script>") && !page.contains("style=\"") && !has_handlers(&page), "{path}: nothing inline");
        let assets: Vec<&str> = page.split('"').filter(|part| part.starts_with("assets/")).collect();
        assert!(!assets.is_empty(), "{path}");
        for asset in assets {
            assert_eq!(server.get(&format!("/{asset}"), &[]).status, 200, "{asset}");
        }
    }
    assert_eq!(server.get("/assets/../Cargo.toml", &[]).status, 404);
    assert_eq!(server.get("/assets/Cargo.toml", &[]).status, 404);
    assert_eq!(server.get("/nowhere", &[]).status, 404);
}

#[test]
fn hostile_news_reaches_the_page_as_text_and_as_nothing_else() {
    let server = Server::start();
    for (number, hostile) in HOSTILE.into_iter().enumerate() {
        let mut alert = alert();
        alert.id = format!("share/topic:Macro/{}", EventTime(number as i64));
        alert.subject_name = hostile.to_owned();
        alert.why = hostile.to_owned();
        alert.evidence[0].title = Some(hostile.to_owned());
        alert.evidence[0].source = Some(hostile.to_owned());
        alert.evidence[0].url = Some("javascript:alert(1)".to_owned());
        server.board.alert(alert);
        server.board.view(number as i32, view(&format!("topic:{hostile}")));
    }
    let answer = server.get("/api/v1/snapshot", &[]);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "no browser takes it for a page");
    let open = answer.json()["alerts"]["open"].as_array().unwrap().clone();
    let titles: Vec<&str> = open.iter().map(|alert| alert["evidence"][0]["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), HOSTILE.len());
    assert!(HOSTILE.iter().all(|hostile| titles.contains(hostile)), "whole and unchanged: {titles:?}");

    // One event has one line of data, whatever the text in it: it cannot make up another event.
    let stream = crate::server::connect(server.page);
    let (head, events) = crate::limits::begin_stream(stream, &Request::get("/api/v1/events").text(server.page));
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let lines: Vec<String> = events.take(4).collect();
    assert_eq!((lines[0].as_str(), lines[2].as_str()), ("event: snapshot", ""), "{lines:?}");
    let data: serde_json::Value = serde_json::from_str(lines[1].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(data["alerts"]["open"].as_array().unwrap().len(), HOSTILE.len());
}

#[test]
fn scripts_of_the_page_have_no_way_to_make_markup_or_code_of_a_text() {
    let scripts = scripts();
    assert!(scripts.len() >= 9, "{:?}", scripts.keys());
    for (script, code) in &scripts {
        for sink in SINKS {
            assert!(!code.contains(sink), "{script} has {sink}");
        }
        // Links go to places on the page, to the log-in, or where a checked address says.
        for line in code.lines().filter(|line| line.contains(".href = ") || line.contains(".src = ")) {
            let value = line.split(" = ").nth(1).unwrap().trim();
            assert!(
                value.starts_with("hashOf(") || value.starts_with("hashOfAlert(") || ["'login';", "url;"].contains(&value),
                "{script}: {line}"
            );
        }
    }
    let help = &scripts["dom.js"];
    assert!(help.contains("const url = item.url ? safeUrl(item.url) : null;"), "an item's address is checked before it is a link");
    assert!(help.contains("url.protocol === 'https:' || url.protocol === 'http:'"), "javascript: is no address");
}

#[test]
fn both_languages_say_all_that_the_page_asks_for_and_nothing_else() {
    let (english, chinese) = (words("en"), words("zh"));
    assert!(english.len() > 150, "{}", english.len());
    assert_eq!(english.keys().collect::<Vec<_>>(), chinese.keys().collect::<Vec<_>>());
    for (key, text) in &english {
        assert_eq!(blanks(text), blanks(&chinese[key]), "{key}");
    }
    let page: String =
        ["index.html", "login.html"].map(|page| std::fs::read_to_string(root().join("src/http/page").join(page)).unwrap()).concat();
    let code: String = scripts().into_iter().filter(|(name, _)| name != "words.js").map(|(_, code)| code).collect();
    let asked = |text: &str, before: &str, end: char| -> Vec<String> {
        text.split(before).skip(1).map(|part| part.split(end).next().unwrap().to_owned()).collect()
    };
    let mut used: BTreeSet<String> = ["data-word=\"", "data-label=\"", "data-hint=\"", "data-meaning=\""]
        .iter()
        .flat_map(|attribute| asked(&page, attribute, '"'))
        .collect();
    used.extend(["say('", "counted('"].iter().flat_map(|call| asked(&code, call, '\'')));
    for key in &used {
        assert!(english.contains_key(key), "no words for {key}");
    }
    // Some keys are made of what the server says, others are chosen among in the code.
    let chosen = |key: &str| code.contains(&format!("'{key}'"));
    let made = ["wait_", "critical", "warning", "_word", "firing", "escalated", "resolved", "own", "pooled", "ok", "starting", "degraded"];
    for key in english.keys().filter(|key| !used.contains(*key) && !chosen(key)) {
        let kinds = ["group", "entity", "topic", "market"];
        assert!(made.iter().any(|part| key.contains(part)) || kinds.contains(&key.as_str()), "nobody asks for {key}");
    }
}

#[test]
fn a_session_that_has_ended_is_refused_and_who_asks_learns_who_he_is() {
    let holders = Holders::new();
    let server = Server::with(&holders.config());
    for path in ["/api/v1/events", "/api/v1/session"] {
        assert_eq!(server.get(path, &[("Cookie", "bellwether_session=ended")]).status, 401, "{path}");
    }
    let session = server.get("/api/v1/session", &[("Authorization", &bearer(&holders.viewer))]).json();
    assert_eq!(session, serde_json::json!({"name": "desk", "role": "viewer", "logged_in": false}));
}
