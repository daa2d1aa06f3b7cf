//! What running sources can be asked for: `POST /sources/NAME/snapshot` with `{"namespaces": ["db.coll", …]}`, and
//! `DELETE` of the same to cancel what is left to copy.
//!
//! The body has to be `application/json`, and a request that says from which site it comes is refused: so no page in
//! somebody's browser can ask.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    source::{Answer, Ask, Requests},
    status::{self, Status},
};

/// How long a source may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) type Outcome = Result<(StatusCode, Json<Value>), (StatusCode, String)>;

/// Which collections to copy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Namespaces {
    namespaces: Vec<String>,
}

pub(super) async fn snapshot(
    State(status): State<Arc<Status>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Namespaces>,
) -> Outcome {
    if body.namespaces.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "`namespaces` names no collection\n".to_owned()));
    }
    ask(&status, &name, &headers, Ask::Snapshot(body.namespaces)).await
}

pub(super) async fn cancel(
    State(status): State<Arc<Status>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Outcome {
    ask(&status, &name, &headers, Ask::Cancel).await
}

async fn ask(status: &Status, name: &str, headers: &HeaderMap, ask: Ask) -> Outcome {
    check_origin(headers)?;
    let requests = find(status, name)?;
    let refused = |reason| (StatusCode::CONFLICT, format!("{reason}\n"));
    match tokio::time::timeout(PATIENCE, requests.ask(ask)).await {
        Ok(answer) => answer.map(|answer| (StatusCode::ACCEPTED, Json(report(&answer)))).map_err(refused),
        Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("source {name} does not answer now\n"))),
    }
}

/// Refuses what a page in somebody's browser sends.
pub(super) fn check_origin(headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    if headers.contains_key(header::ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "requests from web pages are refused\n".to_owned()));
    }
    Ok(())
}

fn find<'a>(status: &'a Status, name: &str) -> Result<&'a Requests, (StatusCode, String)> {
    let half = status.halves.iter().find(|half| half.name == name && half.requests.is_some());
    let Some((half, requests)) = half.and_then(|half| Some((half, half.requests.as_deref()?))) else {
        return Err((StatusCode::NOT_FOUND, format!("there is no source {name}\n")));
    };
    match half.state() {
        status::State::Running => Ok(requests),
        _ => Err((StatusCode::CONFLICT, format!("{}\n", half.not_ready().unwrap_or_default()))),
    }
}

fn report(answer: &Answer) -> Value {
    json!({
        "collections": answer.collections.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "documents": answer.documents,
    })
}
