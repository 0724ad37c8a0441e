//! The release clock over HTTP: what it shows, and the operator's word that wall time is right.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/clock` | `{"clock_ms","wall_ahead_ms","stepped"}` |
//! | `POST /api/v1/clock/adopt` | the same, once the clock follows wall time |

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::{get, post};
use serde::Serialize;

use super::Delays;
use crate::delay::clock::Reading;
use crate::ops::http::{ApiError, error};

pub(super) fn routes(delays: Arc<dyn Delays>) -> Router {
    Router::new()
        .route("/api/v1/clock", get(shown))
        .route("/api/v1/clock/adopt", post(adopt))
        .with_state(delays)
}

#[derive(Serialize)]
struct Shape {
    clock_ms: i64,
    /// Negative where wall time is behind.
    wall_ahead_ms: i64,
    /// So far off that it is not followed.
    stepped: bool,
}

type Reply = Result<Json<Shape>, ApiError>;

async fn shown(State(delays): State<Arc<dyn Delays>>) -> Reply {
    reply(delays.clock())
}

async fn adopt(State(delays): State<Arc<dyn Delays>>) -> Reply {
    reply(delays.adopt_clock())
}

fn reply(reading: Option<Reading>) -> Reply {
    let unserved = || {
        error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the broker is not serving clients")
    };
    let Reading { now_ms, offset_ms, is_stepped } = reading.ok_or_else(unserved)?;
    Ok(Json(Shape { clock_ms: now_ms, wall_ahead_ms: offset_ms, stepped: is_stepped }))
}
