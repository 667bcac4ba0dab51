//! Requests that are turned away: one answer for each reason, and each is counted.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;

/// Why a request is turned away; the label of `bellwether_http_requests_rejected_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No token, one that is not known, or a session that has ended.
    Token,
    /// The holder may look and not act.
    Role,
    /// A form or script of another site.
    Origin,
    /// Too many requests of one client address.
    Rate,
    /// A body that is too large.
    Body,
    /// A body or an answer that took too long.
    Time,
    /// As many event streams are open as may be.
    EventStreams,
    /// The model has no time for a text that somebody tries.
    Model,
}

impl Reason {
    pub const ALL: [Self; 8] = [Self::Token, Self::Role, Self::Origin, Self::Rate, Self::Body, Self::Time, Self::EventStreams, Self::Model];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Role => "role",
            Self::Origin => "origin",
            Self::Rate => "rate",
            Self::Body => "body",
            Self::Time => "time",
            Self::EventStreams => "event_streams",
            Self::Model => "model",
        }
    }

    pub fn status(self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Role | Self::Origin => StatusCode::FORBIDDEN,
            Self::Rate => StatusCode::TOO_MANY_REQUESTS,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Time => StatusCode::REQUEST_TIMEOUT,
            Self::EventStreams | Self::Model => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The answer to a request that is turned away. The response carries its [`Reason`] as an extension, by which it is counted.
#[derive(Debug)]
pub struct Rejected {
    pub reason: Reason,
    pub message: String,
    /// When it is worth another try.
    pub retry_after_seconds: Option<u64>,
}

impl Rejected {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after_seconds: None }
    }

    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let mut response = (self.reason.status(), Json(json!({"error": self.message}))).into_response();
        let headers = response.headers_mut();
        if self.reason == Reason::Token {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bellwether\""));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self.reason);
        response
    }
}
