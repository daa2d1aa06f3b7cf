//! HTTP: health, readiness, metrics, status.
//!
//! `/healthz` says that the process lives, `/readyz` whether every half is working (and which is not, and why); neither
//! needs a token. `/status`, `/metrics`, `/sources/…` and `/sinks/…` need `admin.token` where one is set, which it is unless the
//! interface listens on loopback. The `Host` header is checked, so that a page in somebody's browser cannot reach the interface by a name of its own.

mod metrics;
mod sinks;
mod sources;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::AbortHandle};

use crate::{
    config::{self, ClusterTime, Secret, Settings},
    retry::Failure,
    status::{Half, Metrics, Status},
};

/// The content type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Starts to listen, if the settings say so. Aborting the handle stops it.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn start(settings: &Settings, status: Arc<Status>) -> Result<AbortHandle, Failure> {
    let Some(config::Admin { listen: address, token }) = settings.admin.clone() else {
        return Ok(tokio::spawn(std::future::pending::<()>()).abort_handle());
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Failure::stop(format!("admin.listen: cannot listen on {address}: {error}")))?;
    tracing::info!(%address, "listening for HTTP");
    let guarded = Router::new()
        .route("/status", get(report))
        .route("/metrics", get(metrics_text))
        .route("/sources/{name}/snapshot", post(sources::snapshot).delete(sources::cancel))
        .route("/sinks/{name}/pause", post(sinks::pause))
        .route("/sinks/{name}/resume", post(sinks::resume))
        .layer(middleware::from_fn_with_state(token, check_token));
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(guarded)
        .with_state(status)
        .layer(middleware::from_fn_with_state(address, check_host));
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP interface ended");
        }
    });
    Ok(server.abort_handle())
}

async fn check_host(State(address): State<SocketAddr>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(|host| is_own_host(host, address)) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "the Host header does not name this interface\n").into_response()
}

async fn check_token(State(token): State<Option<Secret>>, request: Request, next: Next) -> Response {
    let brought = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let is_known = |token: &Secret| brought.is_some_and(|brought| is_bearer(brought, token));
    if token.as_ref().is_none_or(is_known) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "bring admin.token as `Authorization: Bearer …`\n").into_response()
}

/// Whether `brought` is `Bearer TOKEN`, in a time that does not tell how much of it is right.
fn is_bearer(brought: &[u8], token: &Secret) -> bool {
    let token = token.expose().as_bytes();
    brought.strip_prefix(b"Bearer ").is_some_and(|brought| {
        brought.len() == token.len() && brought.iter().zip(token).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
    })
}

/// Whether `host` is an address (which no other site can claim), or the name of this machine to itself.
fn is_own_host(host: &str, address: SocketAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse() == Ok(address.port()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip == address.ip() || ip.is_loopback() || address.ip().is_unspecified())
}

async fn ready(State(status): State<Arc<Status>>) -> Response {
    let missing: Vec<String> = status.halves.iter().filter_map(|half| half.not_ready()).collect();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
}

async fn metrics_text(State(status): State<Arc<Status>>) -> Response {
    match metrics::render(&status) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn report(State(status): State<Arc<Status>>) -> Json<Value> {
    Json(json!({
        "name": status.pipeline,
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": status.started.elapsed().as_secs(),
        "halves": status.halves.iter().map(|half| half_report(half)).collect::<Vec<_>>(),
    }))
}

fn half_report(half: &Half) -> Value {
    let mut report = json!({
        "kind": half.kind(),
        "name": half.name,
        "ready": half.ready.load(Relaxed),
        "restarts": half.restarts.load(Relaxed),
    });
    if let Some(pause) = &half.pause {
        report["paused"] = json!(pause.is_wanted());
    }
    let state = serde_json::to_value(half.state()).unwrap_or_default();
    let numbers = match &half.metrics {
        Metrics::Source(metrics) => json!({
            "events": metrics.events.load(Relaxed),
            "records": metrics.records.load(Relaxed),
            "recordBytes": metrics.record_bytes.load(Relaxed),
            "inFlightBytes": metrics.in_flight_bytes.load(Relaxed),
            "unsent": metrics::unsent_report(metrics),
            "reopens": metrics.reopens.load(Relaxed),
            "historyLosses": metrics.history_losses.load(Relaxed),
            "oplogWindowSeconds": metrics.oplog_window_seconds(),
            "lost": metrics.gap().map(|gap| json!({ "after": time(gap.after), "before": time(gap.until) })),
            "snapshot": metrics::snapshot_report(metrics),
            "acknowledged": time(metrics.acknowledged_time()),
            "checkpoint": time(metrics.stored_time()),
        }),
        Metrics::Sink(metrics) => metrics::sink_report(metrics),
    };
    for part in [state, numbers] {
        if let (Value::Object(report), Value::Object(part)) = (&mut report, part) {
            report.extend(part);
        }
    }
    report
}

fn time(time: ClusterTime) -> Value {
    json!({ "seconds": time.seconds, "increment": time.increment })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_let_in() {
        let token = Secret::new("s3cret");
        assert!(is_bearer(b"Bearer s3cret", &token));
        for wrong in ["Bearer s3cre", "Bearer s3crets", "Bearer S3cret", "s3cret", "Basic s3cret", ""] {
            assert!(!is_bearer(wrong.as_bytes(), &token), "{wrong}");
        }
    }

    #[test]
    fn only_addresses_and_localhost_are_hosts_of_the_interface() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9464));
        for host in ["localhost", "localhost:9464", "127.0.0.1:9464", "[::1]:9464", "127.0.0.1"] {
            assert!(is_own_host(host, address), "{host}");
        }
        for host in ["evil.example", "evil.example:9464", "localhost.evil.example", "10.0.0.7:9464", ""] {
            assert!(!is_own_host(host, address), "{host}");
        }
    }
}
