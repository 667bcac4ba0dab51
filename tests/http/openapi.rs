//! docs/openapi.yaml says what the server does: no route more, none less, and every answer as it is written there.

use std::collections::BTreeSet;

use bellwether::actions::{Action, Book};
use bellwether::config::HttpConfig;
use bellwether::news::EventTime;
use serde_json::{Value, json};

use crate::limits::begin_stream;
use crate::server::{Answer, Holders, Request, Server, alert, bearer, connect, span, view};

const DOCUMENT: &str = include_str!("../../docs/openapi.yaml");

pub struct Operation {
    pub method: String,
    pub path: String,
    /// Nobody is asked for a token.
    pub public: bool,
    /// It changes what the process does.
    pub acts: bool,
}

impl Operation {
    /// It has a body, and comes from a page of ours or from no page.
    pub fn sends(&self) -> bool {
        self.method != "GET"
    }
}

fn document() -> Value {
    serde_norway::from_str(DOCUMENT).unwrap()
}

pub fn operations() -> Vec<Operation> {
    let document = document();
    let paths = document["paths"].as_object().unwrap().iter();
    let operations =
        paths.flat_map(|(path, methods)| methods.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation)));
    let read = |(path, method, operation): (&String, &String, &Value)| Operation {
        method: method.to_uppercase(),
        path: path.clone(),
        public: operation.get("security") == Some(&json!([])),
        acts: operation["tags"] == json!(["operation"]),
    };
    operations.map(read).collect()
}

/// Paths and methods in the code: `.route("/login", get(…).post(…))`.
fn routes_of_the_code() -> BTreeSet<(String, String)> {
    let code = include_str!("../../src/http/mod.rs");
    let mut routes = BTreeSet::new();
    for route in code.split(".route(\"").skip(1) {
        let (path, rest) = route.split_once("\", ").unwrap();
        // To the parenthesis that closes the route.
        let mut depth = 1;
        let length = rest.chars().take_while(|character| {
            depth += match character {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth > 0
        });
        let handlers: String = length.collect();
        let methods = ["get", "post", "put", "patch", "delete"];
        let has = |method: &str| handlers.starts_with(&format!("{method}(")) || handlers.contains(&format!(".{method}("));
        routes.extend(methods.into_iter().filter(|method| has(method)).map(|method| (method.to_uppercase(), path.to_owned())));
    }
    routes
}

/// A schema of the document that stands by itself.
fn schema(document: &Value, reference: &Value) -> jsonschema::Validator {
    let mut definitions = document["components"]["schemas"].clone();
    definitions["Alert"] = serde_json::from_str(include_str!("../../schemas/sentiment.alerts.json")).unwrap();
    let whole = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "allOf": [reference], "$defs": definitions});
    // Where JSON Schema itself has its definitions.
    let whole: Value = serde_json::from_str(&whole.to_string().replace("#/components/schemas/", "#/$defs/")).unwrap();
    jsonschema::options().should_validate_formats(true).build(&whole).expect("a valid schema")
}

/// The answer is one that the operation lists: its status, its media type, its body.
fn assert_as_documented(document: &Value, method: &str, path: &str, answer: &Answer) {
    let place = format!("{method} {path} → {}", answer.status);
    let mut response = &document["paths"][path][method.to_lowercase()]["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{place} is not in the document: {answer:?}");
    if let Some(reference) = response["$ref"].as_str() {
        response = document.pointer(reference.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{place}: {reference}"));
    }
    let Some(content) = response["content"].as_object() else {
        return assert_eq!(answer.body, "", "{place} has no body in the document");
    };
    let media_type = answer.header("content-type").unwrap().split(';').next().unwrap();
    let described = content.get(media_type).unwrap_or_else(|| panic!("{place}: {media_type} is not in the document"));
    if media_type == "application/json" {
        let validator = schema(document, &described["schema"]);
        let body = answer.json();
        let errors: Vec<String> = validator.iter_errors(&body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{place}: {}", errors.join("\n"));
        assert!(!validator.is_valid(&json!({"unheard-of": 1})), "{place}: the schema accepts anything");
    }
}

/// As [`assert_as_documented`], by the document as it lies there.
pub fn assert_documented(method: &str, path: &str, answer: &Answer) {
    assert_as_documented(&document(), method, path, answer);
}

/// Ready, with two subjects and an open alert, which is acknowledged, and its subject silenced; it reads texts, too.
pub fn busy_server(http: &HttpConfig) -> Server {
    let server = Server::with(http);
    server.board.monitor_restoring(&[0]);
    server.board.monitor_restored(&[0]);
    server.board.view(0, view("market"));
    server.board.view(1, view("group:banks"));
    server.board.view(0, view("topic:Macro"));
    server.board.alert(alert());
    server.board.tape(vec![crate::classify::on_the_tape()]);
    server.board.ask_by(Box::new(|text| Ok(crate::classify::reading(text))));
    server.board.actions().replace(Book::default());
    let (alert, now) = (alert(), EventTime::now());
    let acknowledged = Action::acknowledge(alert.id, "called the bank", "ops".into(), now).unwrap();
    let silenced = Action::silence(alert.subject.as_str(), span(60_000), "", "ops".into(), now).unwrap();
    for action in [acknowledged, silenced] {
        assert!(server.board.actions().note(action.key().as_bytes(), &action.value()));
    }
    server
}

#[test]
fn the_document_and_the_router_have_the_same_routes() {
    let documented: BTreeSet<_> = operations().into_iter().map(|operation| (operation.method, operation.path)).collect();
    let routes = routes_of_the_code();
    assert!(routes.contains(&("POST".into(), "/login".into())) && routes.contains(&("GET".into(), "/ready".into())), "{routes:?}");
    assert_eq!(documented, routes);
}

#[test]
fn every_answer_is_as_the_document_says() {
    let (document, holders) = (document(), Holders::new());
    let server =
        busy_server(&HttpConfig { metrics_listen: String::new(), max_body_bytes: 1_000, requests_per_second: 100, ..holders.config() });
    let token = bearer(&holders.viewer);
    for Operation { method, path, .. } in operations().iter().filter(|operation| operation.path != "/api/v1/events") {
        let assets = document["paths"]["/assets/{name}"]["get"]["parameters"][0]["schema"]["enum"].as_array().unwrap();
        let names: Vec<&str> = if path.contains("{name}") { assets.iter().map(|name| name.as_str().unwrap()).collect() } else { vec![""] };
        for name in names {
            let target = path.replace("{name}", name);
            for headers in [&[][..], &[("Authorization", token.as_str())]] {
                assert_as_documented(&document, method, path, &Request { method, path: &target, headers, body: "" }.send(server.page));
            }
        }
    }
    let good = format!("token={}", holders.viewer);
    for (body, status) in
        [(good.as_str(), 303), ("token=wrong", 401), ("token=a&token=b", 422), ("no=token", 422), (&"x".repeat(2_000), 413)]
    {
        let answer = Request::form("/login", body).send(server.page);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert_as_documented(&document, "POST", "/login", &answer);
    }
    assert_as_documented(&document, "GET", "/assets/{name}", &server.get("/assets/nothing", &[]));
    assert_as_documented(&document, "GET", "/ready", &Server::start().get("/ready", &[]));
    let open = Server::start();
    for path in ["/login", "/api/v1/session", "/metrics"] {
        assert_as_documented(&document, "GET", path, &open.get(path, &[]));
    }
    let own = Server::with(&holders.config());
    assert_as_documented(&document, "GET", "/metrics", &own.get("/metrics", &[]));
}

#[test]
fn the_event_stream_is_as_the_document_says() {
    let (document, server) = (document(), busy_server(&crate::server::config()));
    let (head, mut lines) = begin_stream(connect(server.page), &Request::get("/api/v1/events").text(server.page));
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    for (event, name) in [("snapshot", "Snapshot"), ("update", "Update"), ("update", "Update")] {
        assert_eq!(lines.next().unwrap(), format!("event: {event}"));
        let data: Value = serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(lines.next().unwrap(), "");
        let validator = schema(&document, &json!({"$ref": format!("#/components/schemas/{name}")}));
        let errors: Vec<String> = validator.iter_errors(&data).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{event}: {}", errors.join("\n"));
        server.board.view(0, view("market"));
    }
}
