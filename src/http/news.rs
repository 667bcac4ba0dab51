//! News that is pushed: one item or a list, checked by the decoder of `news.raw`, taken as a whole or not at all.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

use super::access::Operator;
use super::{Shared, error};
use crate::config::DecodeConfig;
use crate::decode::{Rejection, decode};
use crate::news::EventTime;

/// In one request.
const ITEMS: usize = 1_000;

/// A record of `news.raw` that the decoder takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    pub id: String,
    pub record: Vec<u8>,
}

/// Publishes items and waits until the brokers have them, or says why they may not. Blocking.
pub type Push = dyn Fn(&[Pushed]) -> Result<(), String> + Send + Sync;

/// Answers once the brokers have the items, with their ids.
pub(super) async fn push(Operator(name): Operator, State(shared): State<Shared>, request: Request) -> Response {
    if !shared.board.takes_news() {
        return error(StatusCode::SERVICE_UNAVAILABLE, "the process is starting, or takes no news");
    }
    let items = match Json::<Value>::from_request(request, &()).await {
        Ok(Json(Value::Array(items))) => items,
        Ok(Json(item)) => vec![item],
        Err(rejection) => return unreadable(&rejection),
    };
    if items.is_empty() || items.len() > ITEMS {
        return error(StatusCode::UNPROCESSABLE_ENTITY, &format!("{} items; between 1 and {ITEMS} can be sent at once", items.len()));
    }
    let items = match checked(&items, EventTime::now(), &shared.board.decoding()) {
        Ok(items) => items,
        Err(wrong) => return refused(items.len(), &wrong),
    };
    let Ok(turn) = shared.push_turn.clone().acquire_owned().await else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "the process ends");
    };
    let board = shared.board.clone();
    // Goes on to its end even where the client does not wait for it.
    let pushed = tokio::task::spawn_blocking(move || {
        let pushed = board.push(&items);
        drop(turn);
        (pushed, items)
    });
    match pushed.await {
        Ok((Ok(()), items)) => {
            tracing::info!(actor = name, items = items.len(), "news pushed");
            Json(json!({"ids": items.into_iter().map(|item| item.id).collect::<Vec<_>>()})).into_response()
        }
        Ok((Err(why), _)) => error(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("not all of it is in Kafka: {why}; send it again, items with the same id count once"),
        ),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the push ended unexpectedly; the log says why"),
    }
}

pub(super) fn unreadable(rejection: &JsonRejection) -> Response {
    error(rejection.status(), &rejection.body_text())
}

/// All items, or for each that cannot be taken its place, from 0, and why.
fn checked(items: &[Value], now: EventTime, config: &DecodeConfig) -> Result<Vec<Pushed>, Vec<(usize, Rejection)>> {
    let (mut taken, mut wrong) = (Vec::new(), Vec::new());
    for (place, item) in items.iter().enumerate() {
        let record = item.to_string().into_bytes();
        match decode(&record, now, config) {
            Ok(item) => taken.push(Pushed { id: item.id, record }),
            Err(rejection) => wrong.push((place, rejection)),
        }
    }
    if wrong.is_empty() { Ok(taken) } else { Err(wrong) }
}

fn refused(sent: usize, wrong: &[(usize, Rejection)]) -> Response {
    let of_item =
        |(place, rejection): &(usize, Rejection)| json!({"item": place, "reason": rejection.reason.as_str(), "detail": rejection.detail});
    let message = format!("{} of {sent} items cannot be taken, so none was", wrong.len());
    let body = json!({"error": message, "items": wrong.iter().map(of_item).collect::<Vec<_>>()});
    (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn items_go_on_as_they_came_or_are_each_told_what_is_wrong() {
        let (now, config) = (EventTime(1_790_000_000_000), Config::default().decode);
        let good = [json!({"id": 7, "title": "Bank fails", "desk": {"a": [1]}}), json!({"body": "Rates rise"})];
        let taken = checked(&good, now, &config).unwrap();
        assert_eq!((taken[0].id.as_str(), taken[1].id.len()), ("7", 32));
        assert_eq!(taken[0].record, br#"{"id":7,"title":"Bank fails","desk":{"a":[1]}}"#);
        let bad = [good[0].clone(), json!("text"), json!({"title": " "}), json!({"title": "t", "published_at": "2999-01-01T00:00:00Z"})];
        let wrong = checked(&bad, now, &config).unwrap_err();
        let told: Vec<(usize, &str)> = wrong.iter().map(|(place, rejection)| (*place, rejection.reason.as_str())).collect();
        assert_eq!(told, [(1, "not_an_object"), (2, "no_text"), (3, "date_out_of_range")]);
    }
}
