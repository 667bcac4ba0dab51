//! A text that somebody tries. The model itself answers in `tests/page.rs`; here is what surrounds it.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use bellwether::classify::explain::Word;
use bellwether::config::HttpConfig;
use bellwether::http::tape::TapeItem;
use bellwether::news::{EventTime, Score, Sentiment};
use bellwether::pipeline::ask::{Error, Reading};
use serde_json::{Value, json};

use crate::openapi::assert_documented;
use crate::server::{Answer, Holders, PATIENCE, Request, Server, bearer};

/// As the model might have it.
pub fn reading(text: &str) -> Reading {
    let schema: Value = serde_json::from_str(include_str!("../../schemas/news.scored.json")).unwrap();
    let example = &schema["examples"][0];
    Reading {
        text: text.to_owned(),
        sentiment: serde_json::from_value(example["sentiment"].clone()).unwrap(),
        topic: serde_json::from_value(example["topic"].clone()).unwrap(),
        words: text.split_whitespace().map(|word| Word { word: word.to_owned(), sentiment: 1.5, topic: -0.25 }).collect(),
        subjects: Vec::new(),
        masked: [("email".to_owned(), 1)].into(),
        model: serde_json::from_value(example["model"].clone()).unwrap(),
    }
}

pub fn on_the_tape() -> TapeItem {
    let (sentiment, score) = (Sentiment::Negative, Score(-900_000));
    let some = |text: &str| Some(text.to_owned());
    let (title, source) = (some("Bank fails"), some("wire.example"));
    TapeItem { id: "a".into(), at: EventTime(0), title, source, url: None, topic: "Macro".into(), sentiment, score }
}

fn classify(server: &Server, token: &str, body: &str) -> Answer {
    let headers = [("Authorization", bearer(token)), ("Content-Type", "application/json".to_owned())];
    let headers = [(headers[0].0, headers[0].1.as_str()), (headers[1].0, headers[1].1.as_str())];
    let answer = Request { method: "POST", path: "/api/v1/classify", headers: &headers, body }.send(server.page);
    assert_documented("POST", "/api/v1/classify", &answer);
    answer
}

#[test]
fn a_viewer_gets_an_answer_and_what_cannot_be_answered_is_told() {
    let holders = Holders::new();
    let server = Server::with(&HttpConfig { max_body_bytes: 200, ..holders.config() });
    assert_eq!(classify(&server, &holders.viewer, "{\"text\":\"early\"}").status, 503, "the process is starting");
    server.board.ask_by(Box::new(|text| match text {
        "" => Err(Error::Text("neither title nor body has text".into())),
        "busy" => Err(Error::Busy),
        text => Ok(reading(text)),
    }));
    let status = |body: &str| classify(&server, &holders.viewer, body).status;
    let answer = classify(&server, &holders.viewer, "{\"text\":\"Bank fails\"}");
    assert_eq!((answer.status, &answer.json()["words"][0]["word"]), (200, &json!("Bank")));
    for (body, expected) in
        [("{\"text\":\"\"}", 422), ("{\"text\":7}", 422), ("{\"title\":\"t\"}", 422), ("{", 400), ("{\"text\":\"busy\"}", 503)]
    {
        assert_eq!(status(body), expected, "{body}");
    }
    assert_eq!(status(&format!("{{\"text\":\"{}\"}}", "x".repeat(300))), 413);
    assert_eq!(classify(&server, "unknown", "{\"text\":\"t\"}").status, 401);
    assert_eq!(server.rejected("model"), 1);
}

#[test]
fn who_comes_while_another_text_is_read_is_told_to_come_again() {
    let holders = Holders::new();
    let server = Server::with(&holders.config());
    let (begun, begins) = channel();
    let (go_on, held): (_, Receiver<()>) = channel();
    let (begun, held) = (Mutex::new(begun), Arc::new(Mutex::new(held)));
    server.board.ask_by(Box::new(move |text| {
        begun.lock().unwrap().send(()).unwrap();
        held.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Ok(reading(text))
    }));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| classify(&server, &holders.viewer, "{\"text\":\"first\"}"));
        begins.recv_timeout(PATIENCE).unwrap();
        let second = classify(&server, &holders.viewer, "{\"text\":\"second\"}");
        assert_eq!((second.status, second.header("retry-after")), (503, Some("5")));
        go_on.send(()).unwrap();
        assert_eq!(first.join().unwrap().status, 200);
    });
}
