//! The operator's HTTP endpoint: health, metrics, what is delayed (`delays/`), what is dead and put
//! back (`dlq/`).
//!
//! `GET /health/live` says that the process answers, `GET /health/ready` whether clients can use
//! the broker (503 with the reason if not), `GET /metrics` the Prometheus text. Errors are JSON
//! `{"code","message"}`. Bounded like the Kafka side: connections, body, and time per request.
//! Requests that change something must be JSON and name one of our own addresses as their host,
//! so that no page in a browser can command the broker.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::capped::Capped;
use super::delays::{self, Delays};
use super::dlq::{self, DeadLetters};
use crate::base::metrics::Text;
use crate::base::settings::Address;

const MAX_BODY_BYTES: usize = 64 << 10;

/// How long the broker may take for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Metrics on their way.
pub type Scrape = Pin<Box<dyn Future<Output = Text> + Send>>;

/// What the endpoint asks the broker. Called on worker threads: must not block.
pub struct Probes {
    /// `Err` says in a sentence why clients can't be served now.
    pub ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// All metrics, within a bounded time.
    pub metrics: Box<dyn Fn() -> Scrape + Send + Sync>,
    pub delays: Arc<dyn Delays>,
    pub dead_letters: Arc<dyn DeadLetters>,
}

/// An error as clients get it.
#[derive(Debug, Serialize)]
pub struct ApiError {
    #[serde(skip)]
    pub status: StatusCode,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

/// A running HTTP server.
pub struct HttpServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Binds and serves. Port 0 lets the system choose.
    ///
    /// # Errors
    /// One line with the remedy, if the address can't be had.
    pub async fn start(address: &Address, probes: Probes) -> Result<Self, String> {
        let host = if address.host.is_empty() { "0.0.0.0" } else { &address.host };
        let bound = TcpListener::bind((host, address.port)).await;
        let listener = bound.map_err(|error| refusal(address, &error))?;
        let address = listener.local_addr().map_err(|error| refusal(address, &error))?;
        let router = router(Arc::new(probes), Arc::new(own_hosts(address)));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(Capped::new(listener), router).await {
                tracing::error!("http: {error}");
            }
        });
        Ok(Self { address, task })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting and frees the port; requests under way may still be answered.
    pub async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn refusal(address: &Address, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "http: {address} is in use by another program (another broker?); stop it, or choose another with --http HOST:PORT"
        ),
        _ => format!("http: can't listen on {address}: {error}; check --http HOST:PORT"),
    }
}

/// The names under which a client on this machine may address us.
fn own_hosts(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    vec![
        address.to_string(),
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
    ]
}

fn router(probes: Arc<Probes>, hosts: Arc<Vec<String>>) -> Router {
    Router::new()
        .route("/health/live", get(|| async { Json(Health { status: "live" }) }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&probes))
        .merge(delays::routes(Arc::clone(&probes.delays)))
        .merge(dlq::routes(Arc::clone(&probes.dead_letters)))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "not-found", "no such path") })
        .method_not_allowed_fallback(|| async {
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "the path has other methods",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(hosts, guard_writes))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

async fn ready(State(probes): State<Arc<Probes>>) -> Result<Json<Health>, ApiError> {
    (probes.ready)()
        .map(|()| Json(Health { status: "ready" }))
        .map_err(|reason| error(StatusCode::SERVICE_UNAVAILABLE, "not-ready", reason))
}

async fn metrics(State(probes): State<Arc<Probes>>) -> impl IntoResponse {
    let text = (probes.metrics)().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.finish())
}

/// Lets reads pass; a write must be JSON, addressed to one of our own hosts.
async fn guard_writes(
    State(hosts): State<Arc<Vec<String>>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        check_write(request.headers(), &hosts)?;
    }
    Ok(next.run(request).await)
}

fn check_write(headers: &HeaderMap, hosts: &[String]) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !hosts.iter().any(|host| host.eq_ignore_ascii_case(text(header::HOST))) {
        let message = "the Host header names none of the broker's addresses";
        return Err(error(StatusCode::FORBIDDEN, "foreign-host", message));
    }
    let media = text(header::CONTENT_TYPE).split(';').next().unwrap_or("").trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let message = "requests that change something must be application/json";
        return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", message));
    }
    Ok(())
}

/// An answer in JSON.
pub(super) type Reply<T> = Result<Json<T>, ApiError>;

/// Answers, unless the broker takes too long.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, ApiError>>) -> Reply<T> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map(Json),
        Err(_) => {
            let message = "the shards did not answer in time";
            Err(error(StatusCode::SERVICE_UNAVAILABLE, "timed-out", message))
        }
    }
}

pub(super) fn bad(message: impl Into<String>) -> ApiError {
    error(StatusCode::BAD_REQUEST, "bad-request", message)
}

/// An error of the endpoint's own.
pub(super) fn error(
    status: StatusCode,
    code: &'static str,
    message: impl Into<String>,
) -> ApiError {
    ApiError { status, code, message: message.into() }
}
