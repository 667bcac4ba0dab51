//! What operators do to alerts, over HTTP: who may, what is refused, and where it shows.

use std::sync::{Arc, Mutex};

use bellwether::actions::Book;
use serde_json::{Value, json};

use crate::openapi::assert_documented;
use crate::server::{Answer, Holders, Request, Server, alert, bearer};

const ACKNOWLEDGEMENTS: &str = "/api/v1/acknowledgements";
const SILENCES: &str = "/api/v1/silences";

/// Who has acted, by which key.
type Acted = Arc<Mutex<Vec<(String, String)>>>;

/// A server whose topic is a book in memory.
fn server(holders: &Holders) -> (Server, Acted) {
    let server = Server::with(&holders.config());
    server.board.actions().replace(Book::default());
    let acted = Acted::default();
    let (by, actions) = (acted.clone(), server.board.actions().clone());
    server.board.act_by(Box::new(move |action, actor| {
        if action.key() == "silence/entity:lost" {
            return Err("the brokers are away".to_owned());
        }
        by.lock().unwrap().push((actor.to_owned(), action.key()));
        assert!(actions.note(action.key().as_bytes(), &action.value()));
        Ok(())
    }));
    (server, acted)
}

fn send(server: &Server, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let headers = [("Authorization", &*bearer(token)), ("Content-Type", "application/json")];
    let answer = Request { method, path, headers: &headers, body }.send(server.page);
    assert_documented(method, path, &answer);
    answer
}

fn shown(server: &Server, holders: &Holders) -> Value {
    let answer = server.get("/api/v1/snapshot", &[("Authorization", &bearer(&holders.viewer))]);
    assert_documented("GET", "/api/v1/snapshot", &answer);
    answer.json()["actions"].clone()
}

#[test]
fn operators_acknowledge_and_silence_in_their_names_and_everybody_sees_it() {
    let holders = Holders::new();
    let (server, acted) = server(&holders);
    let act = |method: &str, path: &str, body: Value| {
        assert_eq!(send(&server, &holders.viewer, method, path, &body.to_string()).status, 403, "{method} {path}");
        let answer = send(&server, &holders.operator, method, path, &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let id = alert().id;
    let acknowledged = act("POST", ACKNOWLEDGEMENTS, json!({"alert": id, "note": " called the bank "}));
    assert_eq!(
        (&acknowledged["alert"], &acknowledged["by"], &acknowledged["note"]),
        (&json!(id), &json!("ops"), &json!("called the bank"))
    );
    let silenced = act("POST", SILENCES, json!({"subject": "entity:harbour-bank", "for": "2h"}));
    let time = |name: &str| chrono::DateTime::parse_from_rfc3339(silenced[name].as_str().unwrap()).unwrap();
    assert_eq!(time("until") - time("at"), chrono::Duration::hours(2));
    assert_eq!(shown(&server, &holders), json!({"acknowledgements": [acknowledged], "silences": [silenced]}));
    assert_eq!(act("DELETE", ACKNOWLEDGEMENTS, json!({"alert": id})), json!({"alert": id}));
    assert_eq!(act("DELETE", SILENCES, json!({"subject": "entity:harbour-bank"})), json!({"subject": "entity:harbour-bank"}));
    assert_eq!(shown(&server, &holders), json!({"acknowledgements": [], "silences": []}));
    act("DELETE", SILENCES, json!({"subject": "entity:harbour-bank"}));
    let keys = [format!("acknowledge/{id}"), "silence/entity:harbour-bank".to_owned()];
    let expected = [&keys[0], &keys[1], &keys[0], &keys[1], &keys[1]].map(|key| ("ops".to_owned(), key.clone()));
    assert_eq!(*acted.lock().unwrap(), expected, "no viewer among them");
}

#[test]
fn what_is_wrong_with_an_action_is_told_and_nothing_is_done() {
    let holders = Holders::new();
    let (server, acted) = server(&holders);
    let long = "x".repeat(501);
    let id = alert().id;
    for (method, path, body, status, told) in [
        ("POST", ACKNOWLEDGEMENTS, json!({"alert": "no-id"}), 422, "alert must be the id of an alert"),
        ("POST", ACKNOWLEDGEMENTS, json!({"alert": id, "note": long}), 422, "note must be one line of at most 500 characters"),
        ("POST", ACKNOWLEDGEMENTS, json!({"alert": id, "until": "x"}), 422, "unknown field `until`"),
        ("DELETE", ACKNOWLEDGEMENTS, json!({}), 422, "missing field `alert`"),
        ("DELETE", ACKNOWLEDGEMENTS, json!({"alert": "no-id"}), 422, "alert must be"),
        ("POST", SILENCES, json!({"subject": "harbour-bank", "for": "2h"}), 422, "subject must be \"market\""),
        ("POST", SILENCES, json!({"subject": "market", "for": "2 fortnights"}), 422, "must be a duration such as"),
        ("POST", SILENCES, json!({"subject": "market", "for": "30s"}), 422, "for must be at least 1 minute and at most 30 days"),
        ("POST", SILENCES, json!({"subject": "market", "for": "31d"}), 422, "for must be at least"),
        ("POST", SILENCES, json!({"subject": "market"}), 422, "missing field `for`"),
        (
            "POST",
            SILENCES,
            json!({"subject": "entity:lost", "for": "1h"}),
            503,
            "it may not be in Kafka: the brokers are away; do it again",
        ),
        ("DELETE", SILENCES, json!({"subject": "everything"}), 422, "subject must be"),
    ] {
        let answer = send(&server, &holders.operator, method, path, &body.to_string());
        let why = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(answer.status == status && why.contains(told), "{method} {path} {body}: {answer:?}");
    }
    assert_eq!(send(&server, &holders.operator, "POST", SILENCES, "{").status, 400);
    assert_eq!(send(&server, &holders.operator, "POST", SILENCES, &" ".repeat(20_000)).status, 413);
    let plain = Request { method: "DELETE", path: SILENCES, headers: &[("Authorization", &bearer(&holders.operator))], body: "{}" };
    let answer = plain.send(server.page);
    assert_documented("DELETE", SILENCES, &answer);
    assert_eq!(answer.status, 415);
    assert!(acted.lock().unwrap().is_empty());
    for number in 0..1_000 {
        let (key, now) = (format!("silence/entity:e{number}"), chrono::Utc::now());
        let silence = json!({"schema": 1, "kind": "silence", "subject": format!("entity:e{number}"), "by": "ops", "at": now,
            "until": now + chrono::Duration::hours(1), "note": ""});
        assert!(server.board.actions().note(key.as_bytes(), silence.to_string().as_bytes()));
    }
    let silence = |subject: &str| send(&server, &holders.operator, "POST", SILENCES, &json!({"subject": subject, "for": "1h"}).to_string());
    assert_eq!((silence("entity:e7").status, silence("entity:new").status), (200, 409));
}
