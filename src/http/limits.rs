//! What one client may ask for: requests a second, the size of a body, the time that it takes.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lru::LruCache;

use super::Shared;
use super::rejected::{Reason, Rejected};
use super::server::Client;

/// Some 100 bytes each. Beyond this the one that has been silent for longest starts anew.
const CLIENTS: NonZeroUsize = NonZeroUsize::new(10_000).expect("more than none");

/// A token bucket for each client address: `burst` requests at once, `per_second` in the long run.
pub struct Rates {
    per_second: f64,
    burst: f64,
    /// How many requests each client still had at that time.
    clients: Mutex<LruCache<IpAddr, (f64, Instant)>>,
}

impl Rates {
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: f64::from(per_second), burst: f64::from(burst), clients: Mutex::new(LruCache::new(CLIENTS)) }
    }

    /// Takes one request off what the client has.
    ///
    /// # Errors
    /// The whole seconds until it has one again.
    pub fn take(&self, client: IpAddr, now: Instant) -> Result<(), u64> {
        let mut clients = self.clients.lock().expect("no holder of this lock panics");
        let (left, at) = clients.get_or_insert_mut(network(client), || (self.burst, now));
        *left = now.saturating_duration_since(*at).as_secs_f64().mul_add(self.per_second, *left).min(self.burst);
        *at = now;
        if *left < 1.0 {
            return Err(((1.0 - *left) / self.per_second).ceil().max(1.0) as u64);
        }
        *left -= 1.0;
        Ok(())
    }
}

/// Whoever has one IPv6 address has the other 2⁶⁴ of its network, too.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// 429 for a client that asks too often.
pub async fn limit_rate(
    State(shared): State<Shared>,
    Extension(Client(client)): Extension<Client>,
    request: Request,
    next: Next,
) -> Response {
    match shared.rates.take(client, Instant::now()) {
        Ok(()) => next.run(request).await,
        Err(seconds) => Rejected::new(Reason::Rate, "too many requests from this address").retry_after(seconds).into_response(),
    }
}

/// Reads the body first, 413 where it is too large; 408 where body and answer take too long. An answer that is a stream has begun
/// by then, and goes on for as long as it likes.
pub async fn limit_body_and_time(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    limit(&shared, shared.max_body_bytes, request, next).await
}

/// The same for pushed news.
pub async fn limit_news(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    limit(&shared, shared.max_news_bytes, request, next).await
}

async fn limit(shared: &Shared, max_bytes: usize, request: Request, next: Next) -> Response {
    let answered = async {
        let (parts, body) = request.into_parts();
        match Limited::new(body, max_bytes).collect().await {
            Ok(body) => next.run(Request::from_parts(parts, Body::from(body.to_bytes()))).await,
            Err(error) if error.is::<LengthLimitError>() => {
                Rejected::new(Reason::Body, format!("the body is larger than {max_bytes} bytes")).into_response()
            }
            // Most likely nobody is left to read this.
            Err(_) => super::error(axum::http::StatusCode::BAD_REQUEST, "the body ended early"),
        }
    };
    let late = |_| Rejected::new(Reason::Time, format!("not done within {} seconds", shared.time_limit.as_secs_f64())).into_response();
    tokio::time::timeout(shared.time_limit, answered).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_its_burst_and_then_its_rate() {
        let (rates, start) = (Rates::new(2, 5), Instant::now());
        let after = |ms: u64| start + Duration::from_millis(ms);
        let taken = |at: Instant, tries: usize| (0..tries).filter(|_| rates.take(address("192.0.2.1"), at).is_ok()).count();
        assert_eq!(taken(start, 10), 5);
        assert_eq!(rates.take(address("192.0.2.1"), after(100)), Err(1));
        assert_eq!(taken(after(1_000), 10), 2, "two a second");
        assert_eq!(taken(after(60_000), 100), 5, "never more than the burst");
    }

    #[test]
    fn clients_do_not_pay_for_each_other_but_an_ipv6_network_is_one() {
        let (rates, now) = (Rates::new(1, 1), Instant::now());
        let may = |client: &str| rates.take(address(client), now).is_ok();
        assert!(may("192.0.2.1") && may("192.0.2.2") && !may("192.0.2.1"));
        assert!(!may("::ffff:192.0.2.1"), "the same client by another name");
        assert!(may("2001:db8:0:1::1") && !may("2001:db8:0:1:ffff::2") && may("2001:db8:0:2::1"));
    }

    #[test]
    fn a_slow_rate_says_how_long_to_wait_and_an_earlier_clock_changes_nothing() {
        let (rates, now) = (Rates::new(1, 3), Instant::now() + Duration::from_secs(60));
        (0..3).for_each(|_| rates.take(address("192.0.2.1"), now).unwrap());
        assert_eq!(rates.take(address("192.0.2.1"), now - Duration::from_secs(30)), Err(1));
    }
}
