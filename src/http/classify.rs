//! What the model says of a text that somebody types, and why.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::news::unreadable;
use super::rejected::{Reason, Rejected};
use super::{Shared, error};
use crate::pipeline::ask;

/// Blocking.
pub type Ask = dyn Fn(&str) -> Result<ask::Reading, ask::Error> + Send + Sync;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    text: String,
}

/// One text at a time: who comes meanwhile is told to come again.
pub(super) async fn classify(State(shared): State<Shared>, question: Result<Json<Question>, JsonRejection>) -> Response {
    let text = match question {
        Ok(Json(question)) => question.text,
        Err(rejection) => return unreadable(&rejection),
    };
    let Ok(turn) = shared.ask_turn.clone().try_acquire_owned() else { return busy() };
    let board = shared.board.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let asked = board.ask(&text);
        drop(turn);
        asked
    });
    match asked.await {
        Ok(Some(Ok(reading))) => Json(reading).into_response(),
        Ok(Some(Err(wrong @ ask::Error::Text(_)))) => error(StatusCode::UNPROCESSABLE_ENTITY, &wrong.to_string()),
        Ok(Some(Err(ask::Error::Busy))) => busy(),
        Ok(None) => error(StatusCode::SERVICE_UNAVAILABLE, "the process is starting"),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the answer ended unexpectedly; the log says why"),
    }
}

fn busy() -> Response {
    Rejected::new(Reason::Model, ask::Error::Busy.to_string()).retry_after(5).into_response()
}
