//! Page, API, health and metrics, on a thread and runtime of their own, so that they answer while the pipeline works.

pub mod board;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::map_response;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::stream;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use board::Board;

/// The page works under this policy: everything from here, nothing inline, nothing from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! page {
    ($name:literal) => {
        include_str!(concat!("page/", $name))
    };
}

/// Files of the page by name, with their media type. Embedded: the binary needs no folder beside it.
const ASSETS: [(&str, &str, &str); 7] = [
    ("page.css", "text/css; charset=utf-8", page!("page.css")),
    ("page.js", "text/javascript; charset=utf-8", page!("page.js")),
    ("chart.js", "text/javascript; charset=utf-8", page!("chart.js")),
    ("format.js", "text/javascript; charset=utf-8", page!("format.js")),
    ("lightweight-charts.standalone.production.js", "text/javascript; charset=utf-8", page!("lightweight-charts.standalone.production.js")),
    ("lightweight-charts.LICENSE", "text/plain; charset=utf-8", page!("lightweight-charts.LICENSE")),
    ("lightweight-charts.NOTICE", "text/plain; charset=utf-8", page!("lightweight-charts.NOTICE")),
];

#[derive(Clone)]
struct Shared {
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
#[error("http.listen = \"{address}\" cannot be opened: {cause}")]
pub struct Error {
    address: SocketAddr,
    cause: std::io::Error,
}

/// Opens the address and serves until `stop`. Gives the address in use (port 0 asks for any).
///
/// # Errors
/// [`Error`] where the address is taken or not this machine's.
pub fn serve(listen: SocketAddr, board: Arc<Board>, metrics: Arc<Metrics>, stop: CancellationToken) -> Result<SocketAddr, Error> {
    let fail = |cause| Error { address: listen, cause };
    let listener = std::net::TcpListener::bind(listen).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
    let body = move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("the listener does not block");
            let shared = Shared { board: board.clone(), metrics, stop: stop.clone() };
            tokio::spawn(async move {
                let mut second = tokio::time::interval(Duration::from_secs(1));
                loop {
                    second.tick().await;
                    board.tick();
                }
            });
            let served = axum::serve(listener, router(shared)).with_graceful_shutdown(stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
    };
    thread::Builder::new().name("http".into()).spawn(body).map_err(fail)?;
    Ok(address)
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(|| async { ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page!("index.html")) }))
        .route("/assets/{name}", get(asset))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/status", get(|State(shared): State<Shared>| async move { Json(shared.board.status()) }))
        .route("/metrics", get(metrics))
        .route("/api/v1/snapshot", get(|State(shared): State<Shared>| async move { Json(shared.board.snapshot().0) }))
        .route("/api/v1/events", get(events))
        .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"error": "no such page"}))) })
        .layer(map_response(harden))
        .with_state(shared)
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, value.parse().expect("a constant of visible ASCII"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert_with(|| "no-cache".parse().expect("visible ASCII"));
    response
}

async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(asset, ..)| *asset == name) {
        Some((_, media_type, body)) => ([(header::CONTENT_TYPE, *media_type)], *body).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({"error": "no such file"}))).into_response(),
    }
}

async fn live(State(shared): State<Shared>) -> Response {
    let reasons = shared.board.stalled();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"live": reasons.is_empty(), "reasons": reasons}))).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let reasons = shared.board.not_ready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": reasons.is_empty(), "reasons": reasons}))).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render()).into_response()
}

/// A snapshot at once, then an update a second, until the client or the process goes.
async fn events(State(shared): State<Shared>) -> Response {
    let updates = stream::unfold((shared, None), |(shared, version)| async move {
        let (name, (body, version)) = match version {
            None => ("snapshot", shared.board.snapshot()),
            Some(version) => {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = shared.stop.cancelled() => return None,
                }
                ("update", shared.board.update(version))
            }
        };
        let event = Event::default().event(name).data(body.to_string());
        Some((Ok::<_, Infallible>(event), (shared, Some(version))))
    });
    ([(header::CACHE_CONTROL, "no-store")], Sse::new(updates)).into_response()
}
