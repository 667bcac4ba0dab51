//! What operators do to alerts. Each is answered once the brokers have it, and shown by every process a moment later.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;

use super::access::Operator;
use super::news::unreadable;
use super::{Shared, error};
use crate::actions::Action;
use crate::config::Span;
use crate::news::EventTime;

type Body<T> = Result<Json<T>, JsonRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledge {
    alert: String,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Withdraw {
    alert: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Silence {
    subject: String,
    r#for: Span,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lift {
    subject: String,
}

pub(super) async fn acknowledge(Operator(name): Operator, State(shared): State<Shared>, body: Body<Acknowledge>) -> Response {
    act(shared, &name, body, |body| Action::acknowledge(body.alert, &body.note, name.clone(), EventTime::now())).await
}

pub(super) async fn withdraw(Operator(name): Operator, State(shared): State<Shared>, body: Body<Withdraw>) -> Response {
    act(shared, &name, body, |body| Action::withdraw(body.alert)).await
}

pub(super) async fn silence(Operator(name): Operator, State(shared): State<Shared>, body: Body<Silence>) -> Response {
    act(shared, &name, body, |body| Action::silence(&body.subject, body.r#for, &body.note, name.clone(), EventTime::now())).await
}

pub(super) async fn lift(Operator(name): Operator, State(shared): State<Shared>, body: Body<Lift>) -> Response {
    act(shared, &name, body, |body| Action::lift(&body.subject)).await
}

/// `means`: what the body asks for, or what is wrong with it.
async fn act<T>(shared: Shared, name: &str, body: Body<T>, means: impl FnOnce(T) -> Result<Action, String>) -> Response {
    if !shared.board.takes_actions() {
        return error(StatusCode::SERVICE_UNAVAILABLE, "the process is starting, or judges no alerts: ask one that does");
    }
    let action = match body.map(|Json(body)| means(body)) {
        Ok(Ok(action)) => action,
        Ok(Err(wrong)) => return error(StatusCode::UNPROCESSABLE_ENTITY, &wrong),
        Err(rejection) => return unreadable(&rejection),
    };
    if let Action::Silence(silence) = &action
        && !shared.board.actions().has_room_for(&silence.subject, silence.at)
    {
        return error(StatusCode::CONFLICT, "as many subjects are silenced as can be: lift the silence of another one first");
    }
    let Ok(turn) = shared.push_turn.clone().acquire_owned().await else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "the process ends");
    };
    let (board, actor) = (shared.board.clone(), name.to_owned());
    // Goes on to its end even where the client does not wait for it.
    let acted = tokio::task::spawn_blocking(move || {
        let acted = board.act(&action, &actor);
        drop(turn);
        (acted, actor, action)
    });
    match acted.await {
        Ok((Ok(()), actor, action)) => {
            tracing::info!(actor, action = action.key(), taken_back = action.value().is_empty(), "an operator has acted");
            Json(action.told()).into_response()
        }
        Ok((Err(why), ..)) => {
            error(StatusCode::SERVICE_UNAVAILABLE, &format!("it may not be in Kafka: {why}; do it again, twice is as once"))
        }
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "it ended unexpectedly; the log says why"),
    }
}
