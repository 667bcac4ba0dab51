//! Connections: an own accept loop, because `axum::serve` bounds neither their number nor the time that a client takes.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

/// A request's head is smaller than this.
const HEAD_BYTES: usize = 32 * 1024;
/// After an error that is not the client's, such as no file descriptors left.
const PAUSE: Duration = Duration::from_secs(1);

/// The other end of the connection; an extension of every request. What a proxy says about its own clients is not believed.
#[derive(Debug, Clone, Copy)]
pub struct Client(pub IpAddr);

/// An open address and what it answers.
pub struct Server {
    pub listener: TcpListener,
    pub tls: Option<Arc<ServerConfig>>,
    pub router: Router,
    /// Open at one time.
    pub connections: usize,
    /// For a handshake, for a request's head (a connection without one included), and for a client that takes nothing.
    pub time_limit: Duration,
}

impl Server {
    /// Answers until `stop`, then lets what was begun come to its end.
    pub async fn run(self, stop: CancellationToken) {
        let listener = tokio::net::TcpListener::from_std(self.listener).expect("the listener does not block");
        let (tls, slots) = (self.tls.map(TlsAcceptor::from), Arc::new(Semaphore::new(self.connections)));
        let mut protocol = http1::Builder::new();
        protocol.timer(TokioTimer::new()).header_read_timeout(self.time_limit).max_header_size(HEAD_BYTES);
        loop {
            // The place first: those without one wait in the kernel's queue.
            let place = tokio::select! {
                place = slots.clone().acquire_owned() => place.expect("nobody closes the semaphore"),
                () = stop.cancelled() => break,
            };
            let (stream, client) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // A client that is gone again is nobody's trouble.
                        if !matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) {
                            tracing::warn!(%error, "connections cannot be accepted; it is tried again");
                            tokio::time::sleep(PAUSE).await;
                        }
                        continue;
                    }
                },
                () = stop.cancelled() => break,
            };
            let connection = Connection { client, time_limit: self.time_limit, protocol: protocol.clone(), stop: stop.clone() };
            let (tls, router) = (tls.clone(), self.router.clone());
            tokio::spawn(async move {
                connection.serve(stream, tls, router).await;
                drop(place);
            });
        }
        let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
        let _ = slots.acquire_many(all).await;
    }
}

struct Connection {
    client: SocketAddr,
    time_limit: Duration,
    protocol: http1::Builder,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.time_limit));
        let stream = Box::pin(stream);
        let Some(tls) = tls else { return self.answer(stream, router).await };
        match timeout(self.time_limit, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.answer(stream, router).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn answer(self, stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
        let service = TowerToHyperService::new(router.layer(Extension(Client(self.client.ip()))));
        let mut connection = pin!(self.protocol.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
