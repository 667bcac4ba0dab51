//! Page, API, health and metrics, on threads and runtimes of their own, so that they answer while the pipeline works.

mod access;
mod actions;
pub mod board;
pub mod classify;
mod limits;
pub mod news;
pub mod rejected;
mod server;
pub mod tape;
pub mod tls;
pub mod tokens;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response_with_state};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::HttpConfig;
use crate::metrics::Metrics;
pub use access::Operator;
use access::{Access, Visitor, guard, log_in, log_in_page, log_out, refuse_other_sites, session};
use board::Board;
use limits::{Rates, limit_body_and_time, limit_news, limit_rate};
use rejected::{Reason, Rejected};
use server::Server;
use tokens::Tokens;

/// The pages work under this policy: everything from here, nothing inline, nothing from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! page {
    ($name:literal) => {
        include_str!(concat!("page/", $name))
    };
}

/// Files of the page by name, with their media type. Embedded: the binary needs no folder beside it.
const ASSETS: [(&str, &str, &str); 15] = [
    ("page.css", "text/css; charset=utf-8", page!("page.css")),
    ("page.js", "text/javascript; charset=utf-8", page!("page.js")),
    ("chart.js", "text/javascript; charset=utf-8", page!("chart.js")),
    ("format.js", "text/javascript; charset=utf-8", page!("format.js")),
    ("login.js", "text/javascript; charset=utf-8", page!("login.js")),
    ("words.js", "text/javascript; charset=utf-8", page!("words.js")),
    ("dom.js", "text/javascript; charset=utf-8", page!("dom.js")),
    ("store.js", "text/javascript; charset=utf-8", page!("store.js")),
    ("alerts.js", "text/javascript; charset=utf-8", page!("alerts.js")),
    ("why.js", "text/javascript; charset=utf-8", page!("why.js")),
    ("subjects.js", "text/javascript; charset=utf-8", page!("subjects.js")),
    ("views.js", "text/javascript; charset=utf-8", page!("views.js")),
    ("lightweight-charts.standalone.production.js", "text/javascript; charset=utf-8", page!("lightweight-charts.standalone.production.js")),
    ("lightweight-charts.LICENSE", "text/plain; charset=utf-8", page!("lightweight-charts.LICENSE")),
    ("lightweight-charts.NOTICE", "text/plain; charset=utf-8", page!("lightweight-charts.NOTICE")),
];

#[derive(Clone)]
struct Shared {
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    access: Arc<Access>,
    rates: Arc<Rates>,
    event_streams: Arc<Semaphore>,
    max_body_bytes: usize,
    max_news_bytes: usize,
    /// Whoever pushes or acts waits for the brokers, and the next one for its turn.
    push_turn: Arc<Semaphore>,
    ask_turn: Arc<Semaphore>,
    time_limit: Duration,
    stop: CancellationToken,
}

/// For one at a time.
fn turn() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{key} = \"{address}\" cannot be opened: {cause}")]
    Address { key: &'static str, address: SocketAddr, cause: std::io::Error },
    /// Found when they were read for use, not when the configuration was checked.
    #[error("{}", .0.join("; "))]
    Files(Vec<String>),
    #[error("the HTTP server cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Where the server listens (port 0 asks for any).
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Page, API and health.
    pub page: Option<SocketAddr>,
    /// Metrics and health.
    pub metrics: Option<SocketAddr>,
    pub tls: bool,
}

impl Addresses {
    /// For people to open.
    pub fn page_url(&self) -> Option<String> {
        let scheme = if self.tls { "https" } else { "http" };
        self.page.map(|address| format!("{scheme}://{address}"))
    }
}

/// Opens the addresses of the configuration and serves until `stop`.
///
/// # Errors
/// [`Error`] where an address is taken or not this machine's, or a file cannot be read any more.
pub fn serve(http: &HttpConfig, board: Arc<Board>, metrics: Arc<Metrics>, stop: CancellationToken) -> Result<Addresses, Error> {
    let tokens = match http.tokens.as_os_str().is_empty() {
        true => None,
        false => Some(Tokens::read(&http.tokens).map_err(Error::Files)?),
    };
    let tls = tls::server_config(http).map_err(Error::Files)?;
    let shared = Shared {
        board,
        metrics,
        access: Arc::new(Access::new(tokens, http.session.duration(), tls.is_some())),
        rates: Arc::new(Rates::new(http.requests_per_second, http.burst)),
        event_streams: Arc::new(Semaphore::new(http.event_streams)),
        max_body_bytes: http.max_body_bytes,
        max_news_bytes: http.max_news_bytes,
        push_turn: turn(),
        ask_turn: turn(),
        time_limit: http.time_limit.duration(),
        stop,
    };
    let page = http.page_address().map(|address| open("http.listen", address)).transpose()?;
    let own = http.metrics_address().map(|address| open("http.metrics_listen", address)).transpose()?;
    let addresses = Addresses { page: page.as_ref().map(|(_, at)| *at), metrics: own.as_ref().map(|(_, at)| *at), tls: tls.is_some() };
    if let Some(at) = addresses.page.filter(|at| !at.ip().is_loopback() && shared.access.asks() && tls.is_none()) {
        tracing::warn!(listen = %at, "tokens travel without encryption; set http.tls_certificate and http.tls_key, unless a proxy in front does TLS");
    }
    let server =
        |(listener, _), tls, router| Server { listener, tls, router, connections: http.connections, time_limit: shared.time_limit };
    let with_page = own.is_none();
    // On a thread of their own: whoever keeps the page busy does not keep probes waiting.
    let own = own.map(|opened| ("http-metrics", server(opened, None, metrics_router(&shared))));
    let page = page.map(|opened| ("http", server(opened, tls, page_router(&shared, with_page))));
    let mut ticking = Some(shared.board.clone());
    for (name, server) in own.into_iter().chain(page) {
        start(name, server, ticking.take(), shared.stop.clone()).map_err(Error::Thread)?;
    }
    Ok(addresses)
}

/// Metrics and health of a process that has no page. `not_ready`: why it is not, if so.
///
/// # Errors
/// [`Error`] where the address is taken or not this machine's.
pub fn serve_metrics(
    key: &'static str,
    address: SocketAddr,
    limits: &HttpConfig,
    metrics: Arc<Metrics>,
    not_ready: impl Fn() -> Vec<String> + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) -> Result<SocketAddr, Error> {
    let (listener, address) = open(key, address)?;
    let (asked, counted) = (not_ready.clone(), metrics.clone());
    let ready = move || async move { answer("ready", asked()) };
    let scrape = move || async move {
        counted.ready.set(i64::from(not_ready().is_empty()));
        render(&counted)
    };
    let router = Router::new()
        .route("/live", get(|| async { answer("live", Vec::new()) }))
        .route("/ready", get(ready))
        .route("/metrics", get(scrape))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .layer(map_response_with_state(metrics, harden));
    let server = Server { listener, tls: None, router, connections: limits.connections, time_limit: limits.time_limit.duration() };
    start("http-metrics", server, None, stop).map_err(Error::Thread)?;
    Ok(address)
}

fn open(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let opened = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    opened.map_err(|cause| Error::Address { key, address, cause })
}

fn start(name: &str, server: Server, ticking: Option<Arc<Board>>, stop: CancellationToken) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = move || {
        runtime.block_on(async move {
            if let Some(board) = ticking {
                tokio::spawn(async move {
                    let mut second = tokio::time::interval(Duration::from_secs(1));
                    loop {
                        second.tick().await;
                        board.tick();
                    }
                });
            }
            server.run(stop).await;
        });
    };
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

/// `with_metrics` where they have no address of their own.
fn page_router(shared: &Shared, with_metrics: bool) -> Router {
    // What is in the news, and how the process is: for those who may look.
    let mut guarded = Router::new()
        .route("/status", get(|State(shared): State<Shared>| async move { Json(shared.board.status()) }))
        .route("/api/v1/session", get(session))
        .route("/api/v1/snapshot", get(|State(shared): State<Shared>| async move { Json(shared.board.snapshot().0) }))
        .route("/api/v1/events", get(events))
        .route("/api/v1/classify", post(classify::classify))
        .route("/api/v1/acknowledgements", post(actions::acknowledge).delete(actions::withdraw))
        .route("/api/v1/silences", post(actions::silence).delete(actions::lift))
        .route("/api/v1/reload", post(reload));
    if with_metrics {
        guarded = guarded.route("/metrics", get(metrics));
    }
    // Larger than other bodies, so whoever sends one is asked first who it is.
    let news = Router::new()
        .route("/api/v1/news", post(news::push))
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::disable())
        .route_layer(from_fn_with_state(shared.clone(), limit_news))
        .route_layer(from_fn_with_state(shared.clone(), guard));
    // The page itself knows nothing; a visitor who comes by a link from elsewhere has no cookie before it asks for the data.
    let limited = Router::new()
        .route("/", get(|| async { ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page!("index.html")) }))
        .route("/assets/{name}", get(asset))
        .route("/login", get(log_in_page).post(log_in))
        .route("/logout", post(log_out))
        .merge(guarded.route_layer(from_fn_with_state(shared.clone(), guard)))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(shared.clone(), limit_body_and_time))
        .merge(news)
        .layer(from_fn_with_state(shared.clone(), refuse_other_sites))
        .layer(from_fn_with_state(shared.clone(), limit_rate));
    finish(limited.merge(health()), shared)
}

/// For probes and Prometheus: no tokens, and no limit but on connections.
fn metrics_router(shared: &Shared) -> Router {
    let router = health().route("/metrics", get(metrics)).fallback(no_such_page).method_not_allowed_fallback(no_such_method);
    finish(router, shared)
}

fn health() -> Router<Shared> {
    Router::new().route("/live", get(live)).route("/ready", get(ready))
}

fn finish(router: Router<Shared>, shared: &Shared) -> Router {
    router.layer(map_response_with_state(shared.metrics.clone(), harden)).with_state(shared.clone())
}

/// Counts what was turned away, and gives every response its headers.
async fn harden(State(metrics): State<Arc<Metrics>>, mut response: Response) -> Response {
    if let Some(reason) = response.extensions().get::<Reason>() {
        metrics.http_requests_rejected.with_label_values(&[reason.as_str()]).inc();
    }
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not "no-referrer": forms would then say that they come from "null".
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, value.parse().expect("a constant of visible ASCII"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert_with(|| "no-cache".parse().expect("visible ASCII"));
    response
}

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}

async fn no_such_page() -> Response {
    error(StatusCode::NOT_FOUND, "no such page")
}

async fn no_such_method() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method")
}

/// Configuration, watchlist and model anew; it goes on to its end even where the client does not wait for it.
async fn reload(Operator(name): Operator, State(shared): State<Shared>) -> Response {
    let board = shared.board.clone();
    match tokio::task::spawn_blocking(move || board.reload(&name)).await {
        Ok(Some(Ok(changes))) => Json(json!({"reloaded": changes})).into_response(),
        Ok(Some(Err(why))) => error(StatusCode::CONFLICT, &why),
        Ok(None) => error(StatusCode::SERVICE_UNAVAILABLE, "the process is starting"),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the reload ended unexpectedly; the log says why"),
    }
}

async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(asset, ..)| *asset == name) {
        Some((_, media_type, body)) => ([(header::CONTENT_TYPE, *media_type)], *body).into_response(),
        None => error(StatusCode::NOT_FOUND, "no such file"),
    }
}

async fn live(State(shared): State<Shared>) -> Response {
    answer("live", shared.board.stalled())
}

async fn ready(State(shared): State<Shared>) -> Response {
    answer("ready", shared.board.not_ready())
}

/// Yes, where there are no reasons against it.
fn answer(what: &str, reasons: Vec<String>) -> Response {
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({what: reasons.is_empty(), "reasons": reasons}))).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    render(&shared.metrics)
}

fn render(metrics: &Metrics) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
}

/// A snapshot at once, then an update a second, until the client, its session or the process goes.
async fn events(State(shared): State<Shared>, Extension(visitor): Extension<Visitor>) -> Response {
    let Ok(place) = shared.event_streams.clone().try_acquire_owned() else {
        return Rejected::new(Reason::EventStreams, "as many event streams are open as http.event_streams allows")
            .retry_after(30)
            .into_response();
    };
    let updates = stream::unfold((shared, visitor, place, None), |(shared, visitor, place, version)| async move {
        let (name, (body, version)) = match version {
            None => ("snapshot", shared.board.snapshot()),
            Some(version) => {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = shared.stop.cancelled() => return None,
                }
                if !shared.access.may_stay(&visitor) {
                    return None;
                }
                ("update", shared.board.update(version))
            }
        };
        let event = Event::default().event(name).data(body.to_string());
        Some((Ok::<_, Infallible>(event), (shared, visitor, place, Some(version))))
    });
    ([(header::CACHE_CONTROL, "no-store")], Sse::new(updates)).into_response()
}
