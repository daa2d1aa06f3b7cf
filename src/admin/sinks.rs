//! What running sinks can be asked for: `POST /sinks/NAME/pause` and `POST /sinks/NAME/resume`, each with `{}`.
//!
//! What is said of requests to sources holds here too.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use serde_json::json;

use super::sources::{Outcome, check_origin};
use crate::status::{self, Status};

/// How long a sink may take: it may be giving partitions up.
const PATIENCE: Duration = Duration::from_secs(10);

/// There is nothing to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

pub(super) async fn pause(
    State(status): State<Arc<Status>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(Nothing {}): Json<Nothing>,
) -> Outcome {
    ask(&status, &name, &headers, true).await
}

pub(super) async fn resume(
    State(status): State<Arc<Status>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(Nothing {}): Json<Nothing>,
) -> Outcome {
    ask(&status, &name, &headers, false).await
}

/// 200 when the consumer has done it, 202 when it will: at its next start, or once it has given its partitions up.
async fn ask(status: &Status, name: &str, headers: &HeaderMap, paused: bool) -> Outcome {
    check_origin(headers)?;
    let found = status.halves.iter().find(|half| half.name == name && half.pause.is_some());
    let Some((half, pause)) = found.and_then(|half| Some((half, half.pause.as_deref()?))) else {
        return Err((StatusCode::NOT_FOUND, format!("there is no sink {name}\n")));
    };
    let patience = if half.state() == status::State::Running { PATIENCE } else { Duration::ZERO };
    let is_done = pause.ask(paused, patience).await;
    let code = if is_done { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((code, Json(json!({ "paused": paused, "done": is_done }))))
}
