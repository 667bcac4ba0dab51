//! Tokens, roles and sessions on every route of the document, and what other sites cannot do.

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether::config::HttpConfig;
use bellwether::http::news::Pushed;
use serde_json::json;

use crate::common::wait_for;
use crate::limits::begin_stream;
use crate::openapi::{Operation, assert_documented, operations};
use crate::server::{Answer, Holders, Request, Server, bearer, config, connect, span};

fn log_in(server: &Server, token: &str) -> Answer {
    Request::form("/login", &format!("token={token}")).send(server.page)
}

/// A request as the document has it, with these headers.
fn ask(server: &Server, operation: &Operation, headers: &[(&str, &str)]) -> u16 {
    let mut stream = connect(server.page);
    let path = operation.path.replace("{name}", "page.css");
    let text = Request { method: &operation.method, path: &path, headers, body: "" }.text(server.page);
    std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
    // An event stream does not end.
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[test]
fn every_route_asks_for_a_token_unless_the_document_says_that_it_is_public() {
    let holders = Holders::new();
    let server = Server::with(&HttpConfig { metrics_listen: String::new(), requests_per_second: 1_000, burst: 1_000, ..holders.config() });
    let expiring = Server::with(&HttpConfig { metrics_listen: String::new(), session: span(1), ..holders.config() });
    let expired = log_in(&expiring, &holders.viewer).cookie().to_owned();
    wait_for("the session to end", 10, || (expiring.get("/status", &[("Cookie", &expired)]).status == 401).then_some(()));
    let session = log_in(&server, &holders.operator).cookie().to_owned();
    let (viewer, operator, wrong) = (bearer(&holders.viewer), bearer(&holders.operator), bearer("bw_0"));
    let basic = format!("Basic {}", holders.viewer);
    let stranger = [
        ("no token", None),
        ("a wrong token", Some(("Authorization", wrong.as_str()))),
        ("a token by another scheme", Some(("Authorization", basic.as_str()))),
        ("a made-up cookie", Some(("Cookie", "bellwether_session=0123"))),
        ("a token for a cookie", Some(("Cookie", holders.viewer.as_str()))),
    ];
    let known = [
        ("a viewer", ("Authorization", viewer.as_str())),
        ("an operator", ("Authorization", operator.as_str())),
        ("a session", ("Cookie", session.as_str())),
    ];
    let mut guarded = 0;
    for operation in operations() {
        let place = format!("{} {}", operation.method, operation.path);
        for (who, header) in stranger {
            let status = ask(&server, &operation, header.as_slice());
            // To act, a cookie alone is not even looked at.
            let by_cookie = operation.sends() && header.is_some_and(|(name, _)| name == "Cookie");
            let refusal = if by_cookie { 403 } else { 401 };
            assert!(operation.public && status != 401 || status == refusal, "{place} answers {who} with {status}");
        }
        // What acts, without an origin and with a cookie, is refused first.
        if operation.public {
            continue;
        }
        guarded += 1;
        let ended = if operation.sends() { 403 } else { 401 };
        assert_eq!(ask(&expiring, &operation, &[("Cookie", &expired)]), ended, "{place}, a session that has ended");
        for (who, header) in known {
            // Only operators act, and this server has nothing to act on, and no text to read; a cookie alone may be another site's doing.
            let expected = match (operation.method.as_str(), who) {
                ("GET", _) => 200,
                (_, "a session") => 403,
                _ if !operation.acts => 415,
                (_, "an operator") => 503,
                _ => 403,
            };
            assert_eq!(ask(&server, &operation, &[header]), expected, "{place} for {who}");
        }
        if operation.method == "GET" {
            // A wrong token is not made good by a cookie.
            assert_eq!(ask(&server, &operation, &[("Authorization", &wrong), ("Cookie", &session)]), 401, "{place}");
            // What a proxy in front asks for is not ours.
            assert_eq!(ask(&server, &operation, &[("Authorization", &basic), ("Cookie", &session)]), 200, "{place}");
        }
    }
    assert!(guarded >= 5, "only {guarded} routes ask for a token");
}

#[test]
fn only_operators_push_news_and_each_bad_item_is_named() {
    let holders = Holders::new();
    let server = Server::with(&HttpConfig { max_news_bytes: 5_000, ..holders.config() });
    let pushed: Arc<Mutex<Vec<String>>> = Arc::default();
    let taken = pushed.clone();
    let by_operators = move |items: &[Pushed]| {
        let records = items.iter().map(|item| String::from_utf8(item.record.clone()).unwrap());
        taken.lock().unwrap().extend(records);
        if items[0].id == "lost" { Err("the brokers are away".to_owned()) } else { Ok(()) }
    };
    server.board.push_by(Box::new(by_operators));
    let send = |token: &str, kind: &str, body: &str| {
        let headers = [("Authorization", &*bearer(token)), ("Content-Type", kind)];
        Request { method: "POST", path: "/api/v1/news", headers: &headers, body }.send(server.page)
    };
    let push = |body: &str| send(&holders.operator, "application/json", body);
    assert_eq!(send(&holders.viewer, "application/json", "{\"title\":\"t\"}").status, 403);
    assert_eq!(send("bw_0", "application/json", "{\"title\":\"t\"}").status, 401);
    assert!(pushed.lock().unwrap().is_empty());
    let answer = push("[{\"id\":4711,\"title\":\"Lender fails\"},{\"id\":\"b\",\"body\":\"Depositors queue\",\"desk\":1}]");
    assert_eq!((answer.status, answer.json()), (200, json!({"ids": ["4711", "b"]})));
    assert_eq!(
        *pushed.lock().unwrap(),
        ["{\"id\":4711,\"title\":\"Lender fails\"}", "{\"id\":\"b\",\"body\":\"Depositors queue\",\"desk\":1}"]
    );
    let many = format!("[{}]", vec!["{}"; 1_001].join(","));
    let answers = [
        (200, push("{\"title\":\"one by itself\"}")),
        (400, push("{\"title\":")),
        (413, push(&format!("{{\"title\":\"{}\"}}", "x".repeat(5_000)))),
        (415, send(&holders.operator, "text/plain", "{\"title\":\"t\"}")),
        (422, push("[]")),
        (422, push(&many)),
        (422, push("7")),
        (422, push("[{\"title\":\"good\"},{\"title\":\"t\",\"published_at\":\"yesterday\"},{\"source\":\"s\"}]")),
        (503, push("{\"id\":\"lost\",\"title\":\"t\"}")),
    ];
    for (status, answer) in &answers {
        assert_eq!(answer.status, *status, "{answer:?}");
        assert_documented("POST", "/api/v1/news", answer);
    }
    let wrong = answers[7].1.json();
    assert_eq!(wrong["error"], "2 of 3 items cannot be taken, so none was");
    let named: Vec<_> = wrong["items"].as_array().unwrap().iter().map(|item| (item["item"].as_u64(), item["reason"].as_str())).collect();
    assert_eq!(named, [(Some(1), Some("invalid_field")), (Some(2), Some("no_text"))]);
    assert_eq!(pushed.lock().unwrap().len(), 4, "all or none");
}

#[test]
fn an_operator_asks_for_a_reload_in_his_name_and_learns_what_came_of_it() {
    let holders = Holders::new();
    let server = Server::with(&holders.config());
    let ask = |token: &str| {
        Request { method: "POST", path: "/api/v1/reload", headers: &[("Authorization", &bearer(token))], body: "" }.send(server.page)
    };
    assert_eq!(ask(&holders.operator).status, 503, "while it starts");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let by = asked.clone();
    server.board.reload_by(Box::new(move |actor| {
        let mut asked = by.lock().unwrap();
        asked.push(actor.to_owned());
        match asked.len() {
            1 => Ok(json!({"keys": ["explain.headlines"], "watchlist": false, "model": null})),
            _ => Err("window.pane can only be changed by a restart".to_owned()),
        }
    }));
    let (first, second) = (ask(&holders.operator), ask(&holders.operator));
    for answer in [&first, &second, &ask(&holders.viewer)] {
        crate::openapi::assert_documented("POST", "/api/v1/reload", answer);
    }
    assert_eq!((first.status, first.json()["reloaded"]["keys"][0].as_str()), (200, Some("explain.headlines")));
    assert_eq!((second.status, second.json()), (409, json!({"error": "window.pane can only be changed by a restart"})));
    assert_eq!(*asked.lock().unwrap(), ["ops", "ops"], "the viewer was not let through");
}

#[test]
fn without_a_tokens_file_everybody_may_look_and_nobody_is_asked() {
    let server = Server::start();
    assert_eq!(server.json("/api/v1/session"), json!({"name": null, "role": "viewer", "logged_in": false}));
    for path in ["/", "/status", "/api/v1/snapshot", "/metrics"] {
        assert_eq!(server.get(path, &[]).status, 200, "{path}");
        assert_eq!(server.get(path, &[("Authorization", "Bearer of news")]).status, 200, "{path}");
    }
    for answer in [server.get("/login", &[]), log_in(&server, "any")] {
        assert_eq!((answer.status, answer.header("location"), answer.header("set-cookie")), (303, Some("./"), None));
    }
}

#[test]
fn a_log_in_sets_a_cookie_that_holds_until_the_log_out() {
    let holders = Holders::new();
    let server = Server::with(&holders.config());
    let answer = log_in(&server, &format!("%20{}+", holders.viewer));
    assert_eq!((answer.status, answer.header("location")), (303, Some("./")));
    let set = answer.header("set-cookie").unwrap();
    let (id, attributes) = set.strip_prefix("bellwether_session=").unwrap().split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict; Max-Age=43200");
    assert!(id.len() > 64 && !id.contains(&holders.viewer), "an id of its own, not the token");
    let cookie = answer.cookie();
    let session = server.get("/api/v1/session", &[("Cookie", cookie)]).json();
    assert_eq!(session, json!({"name": "desk", "role": "viewer", "logged_in": true}));
    let other = log_in(&server, &holders.viewer);
    assert_ne!(other.cookie(), cookie, "every log-in is a session of its own");

    let origin = format!("http://{}", server.page);
    let out = Request { headers: &[("Cookie", cookie), ("Origin", &origin)], ..Request::form("/logout", "") }.send(server.page);
    assert_eq!((out.status, out.header("location"), out.cookie()), (303, Some("login"), "bellwether_session="));
    assert_eq!(server.get("/status", &[("Cookie", cookie)]).status, 401);
    assert_eq!(server.get("/status", &[("Cookie", other.cookie())]).status, 200);
}

#[test]
fn an_unknown_token_gets_the_form_once_more_and_no_cookie() {
    let holders = Holders::new();
    let server = Server::with(&holders.config());
    let before = server.rejected("token");
    let answer = log_in(&server, "bw_<script>alert(1)</script>");
    assert_eq!((answer.status, answer.header("set-cookie")), (401, None));
    assert!(answer.body.contains("id=\"refused\" role=\"alert\"") && !answer.body.contains("<script>"), "{}", answer.body);
    assert!(server.get("/login", &[]).body.contains("id=\"refused\" hidden role=\"alert\""));
    assert_eq!(server.rejected("token"), before + 1);
    // A token in the address would stay in logs and histories: it counts for nothing there.
    assert_eq!(server.get(&format!("/status?token={0}&access_token={0}", holders.viewer), &[]).status, 401);
}

#[test]
fn an_event_stream_ends_with_its_session() {
    let holders = Holders::new();
    let server = Server::with(&HttpConfig { session: span(1_500), ..holders.config() });
    let answer = log_in(&server, &holders.viewer);
    let headers = [("Cookie", answer.cookie())];
    let request = Request { headers: &headers, ..Request::get("/api/v1/events") }.text(server.page);
    let (_, events) = begin_stream(connect(server.page), &request);
    let names: Vec<String> = events.filter(|line| line.starts_with("event: ")).collect();
    assert!(names.len() >= 2 && names[0] == "event: snapshot", "it ran, and it ended: {names:?}");
    let by_token = [("Authorization", &*bearer(&holders.viewer))];
    let request = Request { headers: &by_token, ..Request::get("/api/v1/events") }.text(server.page);
    let (_, mut events) = begin_stream(connect(server.page), &request);
    assert_eq!(events.by_ref().filter(|line| line == "event: update").take(3).count(), 3, "a token has no end");
}

#[test]
fn what_another_site_makes_a_browser_send_is_refused() {
    let holders = Holders::new();
    let server = Server::with(&holders.config());
    let form = format!("token={}", holders.operator);
    let own = format!("http://{}", server.page);
    let from = |origin: &str| {
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Origin", origin)];
        Request { headers: &headers, ..Request::form("/login", &form) }.send(server.page)
    };
    for other in ["http://evil.example", "null", "http://127.0.0.1:1", &format!("{own}.evil.example")] {
        let answer = from(other);
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{other}");
    }
    assert_eq!(from(&own).status, 303);
    assert_eq!(server.rejected("origin"), 4);
}

#[test]
fn metrics_have_an_address_of_their_own_where_nobody_is_asked() {
    let holders = Holders::new();
    let server = Server::with(&holders.config());
    let metrics = server.metrics.unwrap();
    assert_ne!(metrics, server.page);
    for (path, status) in
        [("/metrics", 200), ("/live", 200), ("/ready", 503), ("/", 404), ("/status", 404), ("/api/v1/snapshot", 404), ("/login", 404)]
    {
        assert_eq!(Request::get(path).send(metrics).status, status, "{path}");
    }
    let operator = bearer(&holders.operator);
    assert_eq!(server.get("/metrics", &[("Authorization", &operator)]).status, 404, "not with the page");
    assert_eq!((server.get("/live", &[]).status, server.get("/ready", &[]).status), (200, 503), "health is there as well");
}

#[test]
fn every_answer_has_its_headers_and_none_lets_other_sites_read_it() {
    let holders = Holders::new();
    let server = Server::with(&HttpConfig { max_body_bytes: 100, burst: 20, requests_per_second: 1, ..holders.config() });
    let viewer = bearer(&holders.viewer);
    let (origin, long) = (("Origin", "http://evil.example"), "x".repeat(101));
    let at =
        |address, method: &str, path: &str, headers: &[(&str, &str)], body: &str| Request { method, path, headers, body }.send(address);
    let mut answers = vec![
        (200, at(server.page, "GET", "/", &[origin], "")),
        (200, at(server.page, "GET", "/api/v1/snapshot", &[origin, ("Authorization", &viewer)], "")),
        (200, at(server.page, "HEAD", "/", &[origin], "")),
        (401, at(server.page, "GET", "/status", &[origin], "")),
        (403, at(server.page, "POST", "/login", &[origin], "")),
        (404, at(server.page, "GET", "/nowhere", &[origin], "")),
        (405, at(server.page, "DELETE", "/login", &[], "")),
        (405, at(server.page, "OPTIONS", "/status", &[origin, ("Access-Control-Request-Method", "GET"), ("Authorization", &viewer)], "")),
        (413, at(server.page, "POST", "/login", &[], &long)),
        (415, at(server.page, "POST", "/login", &[], "token=x")),
        (422, Request::form("/login", "no=token").send(server.page)),
        (503, at(server.page, "GET", "/ready", &[origin], "")),
        (200, at(server.metrics.unwrap(), "GET", "/metrics", &[origin], "")),
        (404, at(server.metrics.unwrap(), "GET", "/nowhere", &[origin], "")),
        (405, at(server.metrics.unwrap(), "POST", "/metrics", &[origin], "")),
    ];
    let limited = wait_for("a request too many", 10, || Some(server.get("/", &[origin])).filter(|answer| answer.status == 429));
    answers.push((429, limited));
    for (status, answer) in &answers {
        assert_eq!(answer.status, *status, "{answer:?}");
        let fixed = [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ];
        for (name, value) in fixed {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
        assert!(answer.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'; ")), "{answer:?}");
        assert!(answer.header("cache-control").is_some(), "{answer:?}");
        assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control-")), "{answer:?}");
        if *status >= 400 && *status != 503 {
            assert!(answer.json()["error"].as_str().is_some_and(|error| !error.is_empty()), "{answer:?}");
        }
        assert_eq!(answer.header("www-authenticate").is_some(), *status == 401, "{answer:?}");
    }
}

#[test]
fn a_file_that_went_after_the_check_is_an_error_that_names_it() {
    let holders = Holders::new();
    let http = holders.config();
    std::fs::remove_file(&http.tokens).unwrap();
    let error = crate::server::try_serve(&http).0.unwrap_err().to_string();
    assert!(error.starts_with("http.tokens = ") && error.contains("bellwether token NAME --role viewer"), "{error}");
    assert!(config().tokens.as_os_str().is_empty() && Duration::from_secs(43_200) == config().session.duration());
}
