//! Who asks: a token in the `Authorization` header, or the session of somebody who gave one to the page's form.
//!
//! A session lives in this process and ends with it. Its cookie is one that scripts cannot read and other sites cannot send.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, Form, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Json, Response};
use lru::LruCache;
use serde::Deserialize;
use serde_json::json;

use super::rejected::{Reason, Rejected};
use super::tokens::{Holder, Role, SecretHash, Tokens, new_secret};
use super::{Shared, error};

const COOKIE: &str = "bellwether_session";
/// Only holders of tokens open any; beyond this the one that was used longest ago ends.
const SESSIONS: NonZeroUsize = NonZeroUsize::new(10_000).expect("more than none");

const LOG_IN: &str = include_str!("page/login.html");
/// Stands hidden in the form.
const REFUSED: &str = "id=\"refused\" hidden";

/// Who may look and act.
pub struct Access {
    /// `None`: everybody may look.
    tokens: Option<Tokens>,
    sessions: Mutex<Sessions>,
    /// The cookie is for HTTPS only.
    secure: bool,
}

impl Access {
    pub fn new(tokens: Option<Tokens>, session: Duration, secure: bool) -> Self {
        Self { tokens, sessions: Mutex::new(Sessions::new(session)), secure }
    }

    /// False where everybody may look.
    pub fn asks(&self) -> bool {
        self.tokens.is_some()
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().expect("no holder of this lock panics")
    }

    /// Who sent this request.
    ///
    /// # Errors
    /// The answer to somebody who has to say so first.
    fn visitor(&self, headers: &HeaderMap, now: Instant) -> Result<Visitor, Rejected> {
        let Some(tokens) = &self.tokens else { return Ok(Visitor { holder: None, session: None }) };
        // Another scheme is for a proxy in front.
        if let Some(token) = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.to_str().ok()?)) {
            let refused = || Rejected::new(Reason::Token, "this token is not known here");
            return tokens.holder_of(token).map(|holder| Visitor { holder: Some(holder.clone()), session: None }).ok_or_else(refused);
        }
        let Some(id) = cookie(headers) else {
            return Err(Rejected::new(Reason::Token, "a token is needed: log in at /login, or send Authorization: Bearer TOKEN"));
        };
        let found = self.sessions().holder(id, now);
        let ended = || Rejected::new(Reason::Token, "the session has ended: log in again at /login");
        found.map(|holder| Visitor { holder: Some(holder), session: Some(id.to_owned()) }).ok_or_else(ended)
    }

    /// False once the session by which somebody came in has ended.
    pub fn may_stay(&self, visitor: &Visitor) -> bool {
        visitor.session.as_deref().is_none_or(|id| self.sessions().holder(id, Instant::now()).is_some())
    }

    /// The value of a `Set-Cookie` header.
    fn set_cookie(&self, id: &str, age: Duration) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", age.as_secs())
    }

    /// Whether a request that may change something comes from a page of ours, or from no page at all.
    fn is_own(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        match (text(header::ORIGIN), text(header::HOST)) {
            (Some(origin), Some(host)) => {
                let own = |scheme| origin.strip_prefix(scheme).is_some_and(|origin| origin.eq_ignore_ascii_case(host));
                own("https://") || (!self.secure && own("http://"))
            }
            (Some(_), None) => false,
            // A browser names the origin of every form and script. Programs send none, and no cookie either.
            (None, _) => !headers.contains_key(header::ORIGIN) && !headers.contains_key(header::COOKIE),
        }
    }
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, id)| id)
}

/// The sessions that are open, by the hash of their ids.
struct Sessions {
    length: Duration,
    open: LruCache<String, (Holder, Instant)>,
}

impl Sessions {
    fn new(length: Duration) -> Self {
        Self { length, open: LruCache::new(SESSIONS) }
    }

    fn open(&mut self, id: &str, holder: Holder, now: Instant) {
        self.open.put(SecretHash::of(id).to_hex(), (holder, now + self.length));
    }

    fn holder(&mut self, id: &str, now: Instant) -> Option<Holder> {
        self.open.get(&SecretHash::of(id).to_hex()).filter(|(_, until)| now < *until).map(|(holder, _)| holder.clone())
    }

    fn close(&mut self, id: &str) {
        self.open.pop(&SecretHash::of(id).to_hex());
    }
}

/// Who was let in; an extension of every request behind [`guard`].
#[derive(Debug, Clone)]
pub struct Visitor {
    /// `None`: somebody, where everybody may look.
    holder: Option<Holder>,
    /// The id of the session, for somebody who came by one.
    session: Option<String>,
}

/// Lets nobody past who may not look.
pub async fn guard(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    match shared.access.visitor(request.headers(), Instant::now()) {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(rejected) => rejected.into_response(),
    }
}

/// Refuses what another site's page makes a browser send. The second lock beside `SameSite`.
pub async fn refuse_other_sites(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || shared.access.is_own(request.headers()) {
        next.run(request).await
    } else {
        Rejected::new(Reason::Origin, "this request comes from a page of another site").into_response()
    }
}

/// An operator's name: what a handler takes that changes what the process does. Behind `guard` only.
///
/// 403 for viewers, and where there are no tokens: everybody may look then, but nobody has said who may act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejected> {
        match parts.extensions.get::<Visitor>().map(|visitor| visitor.holder.as_ref()) {
            Some(Some(holder)) if holder.role >= Role::Operator => Ok(Self(holder.name.clone())),
            Some(Some(holder)) => Err(Rejected::new(Reason::Role, format!("{} is a viewer, and this is for operators", holder.name))),
            Some(None) => Err(Rejected::new(Reason::Role, "this is for operators, and http.tokens = \"\" names none")),
            None => Err(Rejected::new(Reason::Token, "a token is needed")),
        }
    }
}

#[derive(Deserialize)]
pub struct Credentials {
    token: String,
}

/// The form.
pub async fn log_in_page(State(shared): State<Shared>) -> Response {
    if shared.access.asks() { Html(LOG_IN).into_response() } else { see_other("./") }
}

/// Takes the form: a token for a session.
pub async fn log_in(State(shared): State<Shared>, form: Result<Form<Credentials>, FormRejection>) -> Response {
    let access = &shared.access;
    let Some(tokens) = &access.tokens else { return see_other("./") };
    let token = match form {
        Ok(Form(Credentials { token })) => token,
        Err(rejection) => return error(rejection.status(), &rejection.body_text()),
    };
    let Some(holder) = tokens.holder_of(token.trim()).cloned() else {
        let mut response = (StatusCode::UNAUTHORIZED, Html(LOG_IN.replace(REFUSED, "id=\"refused\""))).into_response();
        response.extensions_mut().insert(Reason::Token);
        return response;
    };
    let Ok(id) = new_secret() else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "the operating system gives no random numbers");
    };
    tracing::info!(name = holder.name, role = holder.role.as_str(), "logged in");
    let mut sessions = access.sessions();
    sessions.open(&id, holder, Instant::now());
    let set_cookie = access.set_cookie(&id, sessions.length);
    ([(header::SET_COOKIE, set_cookie)], see_other("./")).into_response()
}

/// Ends the session, if there is one.
pub async fn log_out(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    if let Some(id) = cookie(&headers) {
        shared.access.sessions().close(id);
    }
    ([(header::SET_COOKIE, shared.access.set_cookie("", Duration::ZERO))], see_other("login")).into_response()
}

/// Who asks, for the page.
pub async fn session(Extension(visitor): Extension<Visitor>) -> Json<serde_json::Value> {
    let Visitor { holder, session } = visitor;
    let role = holder.as_ref().map_or(Role::Viewer, |holder| holder.role);
    Json(json!({"name": holder.map(|holder| holder.name), "role": role.as_str(), "logged_in": session.is_some()}))
}

/// A redirect after a form. Relative, so that it works below a proxy's path as well.
fn see_other(location: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use tokio::sync::Semaphore;
    use tokio_util::sync::CancellationToken;

    use super::super::board::Board;
    use super::super::limits::Rates;
    use super::super::tokens::line;
    use super::*;
    use crate::config::Config;
    use crate::enrich::Watchlist;
    use crate::metrics::Metrics;
    use crate::pipeline::Roles;

    /// What a route for operators answers: its status and its body, which is the operator's name.
    fn answers(tokens: Option<Tokens>, authorization: Option<String>) -> (StatusCode, String) {
        let (config, metrics) = (Arc::new(Config::default()), Arc::new(Metrics::new()));
        let shared = Shared {
            board: Arc::new(Board::new(config, Arc::new(Watchlist::empty()), metrics.clone(), Roles::Both)),
            metrics,
            access: Arc::new(Access::new(tokens, Duration::from_secs(60), false)),
            rates: Arc::new(Rates::new(1, 1)),
            event_streams: Arc::new(Semaphore::new(1)),
            max_body_bytes: 1,
            max_news_bytes: 1,
            push_turn: super::super::turn(),
            ask_turn: super::super::turn(),
            time_limit: Duration::from_secs(60),
            stop: CancellationToken::new(),
        };
        let router = Router::new().route("/act", post(|Operator(name): Operator| async move { name }));
        let router = router.route_layer(from_fn_with_state(shared, guard));
        let request = Request::post("/act");
        let request = authorization.into_iter().fold(request, |request, value| request.header(header::AUTHORIZATION, value));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let response = TowerToHyperService::new(router).call(request.body(Body::empty()).unwrap()).await.unwrap();
            let (parts, body) = response.into_parts();
            (parts.status, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
        })
    }

    #[test]
    fn only_operators_act_and_the_handler_learns_their_names() {
        let (viewer, operator) = (new_secret().unwrap(), new_secret().unwrap());
        let ops = Holder { name: "ops".into(), role: Role::Operator };
        let file = format!("{}\n{}", line(&holder(Role::Viewer), &viewer), line(&ops, &operator));
        let tokens = || Some(file.parse::<Tokens>().unwrap());
        let with = |token: &str| answers(tokens(), Some(format!("Bearer {token}")));
        assert_eq!(with(&operator), (StatusCode::OK, "ops".into()));
        let (status, why) = with(&viewer);
        assert!(status == StatusCode::FORBIDDEN && why.contains("desk is a viewer"), "{status} {why}");
        assert_eq!(with("wrong").0, StatusCode::UNAUTHORIZED);
        assert_eq!(answers(tokens(), None).0, StatusCode::UNAUTHORIZED);
        // Everybody may look where there are no tokens; to act somebody must have been named.
        let (status, why) = answers(None, None);
        assert!(status == StatusCode::FORBIDDEN && why.contains("http.tokens"), "{status} {why}");
    }

    fn holder(role: Role) -> Holder {
        Holder { name: "desk".into(), role }
    }

    #[test]
    fn a_session_holds_until_its_end_or_until_it_is_closed() {
        let (mut sessions, now) = (Sessions::new(Duration::from_secs(60)), Instant::now());
        sessions.open("first", holder(Role::Viewer), now);
        sessions.open("second", holder(Role::Operator), now + Duration::from_secs(30));
        assert_eq!(sessions.holder("first", now + Duration::from_secs(59)), Some(holder(Role::Viewer)));
        assert_eq!(sessions.holder("first", now + Duration::from_secs(60)), None);
        assert_eq!(sessions.holder("second", now + Duration::from_secs(60)), Some(holder(Role::Operator)));
        sessions.close("second");
        assert_eq!(sessions.holder("second", now + Duration::from_secs(60)), None);
        assert_eq!(sessions.holder("third", now), None);
    }

    #[test]
    fn only_own_pages_and_programs_may_change_something() {
        let own = |secure: bool, fields: &[(header::HeaderName, &str)]| {
            let headers = fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            Access::new(None, Duration::from_secs(1), secure).is_own(&headers)
        };
        let host = (header::HOST, "news.example:8080");
        assert!(own(false, std::slice::from_ref(&host)), "curl");
        assert!(own(false, &[host.clone(), (header::ORIGIN, "http://news.example:8080")]));
        assert!(own(true, &[host.clone(), (header::ORIGIN, "https://NEWS.example:8080")]));
        let cookie = (header::COOKIE, "bellwether_session=x");
        for (secure, fields) in [
            (false, vec![host.clone(), cookie]),
            (false, vec![host.clone(), (header::ORIGIN, "null")]),
            (false, vec![host.clone(), (header::ORIGIN, "http://evil.example")]),
            (false, vec![host.clone(), (header::ORIGIN, "http://news.example:8081")]),
            (false, vec![host.clone(), (header::ORIGIN, "http://news.example:8080.evil.example")]),
            (true, vec![host.clone(), (header::ORIGIN, "http://news.example:8080")]),
            (false, vec![(header::ORIGIN, "http://news.example:8080")]),
        ] {
            assert!(!own(secure, &fields), "{fields:?}");
        }
    }

    #[test]
    fn cookies_and_schemes_are_found_among_others() {
        let headers: HeaderMap = [(header::COOKIE, "a=b; bellwether_session=x; c".parse().unwrap())].into_iter().collect();
        assert_eq!(cookie(&headers), Some("x"));
        assert_eq!(cookie(&HeaderMap::new()), None);
        assert_eq!((bearer("bearer  x "), bearer("Basic x"), bearer("x")), (Some("x"), None, None));
    }
}
