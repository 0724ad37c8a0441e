//! Dead letters over HTTP: what there is, redrive jobs, and records that hold a group up.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/dlq` | dead-letter topics with their sums |
//! | `GET /api/v1/dlq/{topic}/records?after=&limit=` and a filter | dead letters in order |
//! | `POST /api/v1/redrives` | a job that has begun; see [`RedriveAsk`] for the body |
//! | `GET /api/v1/redrives` | all jobs, the newest first |
//! | `GET /api/v1/redrives/{id}?wait_ms=` | one; at once, or when its state changes |
//! | `POST /api/v1/redrives/{id}/{pause,resume,cancel}` | the job after that |
//! | `GET /api/v1/poison` | records that groups come back to, generation after generation |
//! | `POST /api/v1/poison/{group}/{topic}/{partition}/deadletter` | what became of it |
//!
//! A filter in a query has `key`, `group`, `reason`, `header` (a name, or `name=value`),
//! `since_ms`, `until_ms`, `partition`, `from_offset` and `to_offset`. A page ends with `next`, the
//! `after` of the page behind it, or null. Times are epoch milliseconds. A body may name who asks
//! (`by`), for the audit trail; nobody proves it.

mod book;
mod shapes;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::http::{ApiError, Reply, bad, error, in_time};
use crate::base::ids::Uuid;
use crate::retry::redrive::Command;
use crate::retry::redrive::filter::{Filter, HeaderIs};
use crate::retry::view::{
    DeadTopic, MOST_LISTED, Page, PageAsk, RedriveAsk, Refusal, Skipped, Stuck,
};
pub use book::{Answered, DeadLetters};
use shapes::JobShape;

/// Records of a page unless asked otherwise.
const DEFAULT_LISTED: usize = 100;

/// How long a job may be waited for in one request.
const MOST_WAIT_MS: u64 = 5_000;

/// Who asks, if they do not say.
const NOBODY: &str = "http";

type Shared = State<Arc<dyn DeadLetters>>;

/// The routes.
pub(super) fn routes(dead_letters: Arc<dyn DeadLetters>) -> Router {
    Router::new()
        .route("/api/v1/dlq", get(topics))
        .route("/api/v1/dlq/{topic}/records", get(records))
        .route("/api/v1/redrives", get(jobs).post(begin))
        .route("/api/v1/redrives/{id}", get(job))
        .route("/api/v1/redrives/{id}/{command}", post(command))
        .route("/api/v1/poison", get(stuck))
        .route("/api/v1/poison/{group}/{topic}/{partition}/deadletter", post(skip))
        .with_state(dead_letters)
}

#[derive(Serialize)]
struct Topics {
    topics: Vec<DeadTopic>,
}

async fn topics(State(broker): Shared) -> Reply<Topics> {
    in_time(async { Ok(Topics { topics: told(broker.topics()).await? }) }).await
}

/// What a page is asked for with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    after: Option<String>,
    limit: Option<usize>,
    key: Option<String>,
    group: Option<String>,
    reason: Option<String>,
    header: Option<String>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    partition: Option<i32>,
    from_offset: Option<i64>,
    to_offset: Option<i64>,
}

impl PageQuery {
    fn ask(self) -> Result<PageAsk, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_LISTED);
        if !(1..=MOST_LISTED).contains(&limit) {
            return Err(bad(format!("limit is {limit}; it must be from 1 to {MOST_LISTED}")));
        }
        let after = self.after.map(|after| cursor(&after)).transpose()?;
        let header = |text: String| match text.split_once('=') {
            Some((name, value)) => {
                HeaderIs { name: name.to_owned(), value: Some(value.to_owned()) }
            }
            None => HeaderIs { name: text, value: None },
        };
        let filter = Filter {
            headers: self.header.map(header).into_iter().collect(),
            key: self.key,
            group: self.group,
            reasons: self.reason.into_iter().collect(),
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            partition: self.partition,
            from_offset: self.from_offset,
            to_offset: self.to_offset,
        };
        Ok(PageAsk { after, filter, limit })
    }
}

fn cursor(text: &str) -> Result<(i32, i64), ApiError> {
    let place = text
        .split_once(':')
        .and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    place.ok_or_else(|| bad(format!("after is '{text}'; it must be the next of a page")))
}

async fn records(
    State(broker): Shared,
    Path(topic): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Reply<Page> {
    let Query(query) = query.map_err(|why| bad(why.body_text()))?;
    let ask = query.ask()?;
    in_time(told(broker.page(topic, ask))).await
}

async fn begin(
    State(broker): Shared,
    body: Result<Json<RedriveAsk>, JsonRejection>,
) -> Reply<JobShape> {
    let Json(ask) = body.map_err(|why| bad(why.body_text()))?;
    in_time(async { told(broker.begin(ask)).await.map(JobShape::from) }).await
}

#[derive(Serialize)]
struct Jobs {
    jobs: Vec<JobShape>,
}

async fn jobs(State(broker): Shared) -> Reply<Jobs> {
    in_time(async {
        let jobs = told(broker.jobs()).await?;
        Ok(Jobs { jobs: jobs.into_iter().map(JobShape::from).collect() })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    #[serde(default)]
    wait_ms: u64,
}

type OfJob = Result<Path<String>, PathRejection>;

async fn job(
    State(broker): Shared,
    id: OfJob,
    query: Result<Query<Waiting>, QueryRejection>,
) -> Reply<JobShape> {
    let Query(Waiting { wait_ms }) = query.map_err(|why| bad(why.body_text()))?;
    let Path(id) = id.map_err(|why| bad(why.body_text()))?;
    let patience = Duration::from_millis(wait_ms.min(MOST_WAIT_MS));
    let asked = broker.job(job_id(&id)?, patience);
    in_time(async { told(asked).await.map(JobShape::from) }).await
}

fn job_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(text).map_err(|_| bad(format!("'{text}' is no job's id")))
}

/// Of commands: who gives them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    by: Option<String>,
}

async fn command(
    State(broker): Shared,
    at: Result<Path<(String, String)>, PathRejection>,
    body: Bytes,
) -> Reply<JobShape> {
    let Path((id, command)) = at.map_err(|why| bad(why.body_text()))?;
    let command = match &*command {
        "pause" => Command::Pause,
        "resume" => Command::Resume,
        "cancel" => Command::Cancel,
        _ => return Err(error(StatusCode::NOT_FOUND, "not-found", "no such path")),
    };
    let by = if body.is_empty() {
        None
    } else {
        let signed: Signed = serde_json::from_slice(&body).map_err(|why| bad(why.to_string()))?;
        signed.by
    };
    let asked = broker.command(job_id(&id)?, command, by.unwrap_or_else(|| NOBODY.to_owned()));
    in_time(async { told(asked).await.map(JobShape::from) }).await
}

#[derive(Serialize)]
struct Poison {
    stuck: Vec<Stuck>,
}

async fn stuck(State(broker): Shared) -> Reply<Poison> {
    in_time(async { Ok(Poison { stuck: told(broker.stuck()).await? }) }).await
}

async fn skip(
    State(broker): Shared,
    at: Result<Path<(String, String, i32)>, PathRejection>,
) -> Reply<Skipped> {
    let Path((group, topic, partition)) = at.map_err(|why| bad(why.body_text()))?;
    in_time(told(broker.skip(group, topic, partition))).await
}

/// The broker's answer.
async fn told<T>(answer: Answered<T>) -> Result<T, ApiError> {
    answer.await.map_err(|refusal| {
        let (status, code) = match &refusal {
            Refusal::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
            Refusal::Bad(_) => (StatusCode::BAD_REQUEST, "bad-request"),
            Refusal::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Refusal::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        error(status, code, refusal.to_string())
    })
}
