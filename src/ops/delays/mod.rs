//! What waits to be delivered, over HTTP: counts, a histogram by time until due, pages, cancel.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/delays` | topics with their sums |
//! | `GET /api/v1/delays/{topic}` | its sums, and its partitions |
//! | `GET /api/v1/delays/{topic}/{partition}` | the partition's numbers |
//! | `GET .../{topic}[/{partition}]/histogram` | records by time until due |
//! | `GET .../{topic}[/{partition}]/pending?after=&id=&limit=` | records in order of delivery |
//! | `DELETE .../{topic}/{partition}/pending/{ticket}` | `{"outcome":"cancelled"}` |
//! | `GET .../{topic}/{partition}/outcomes/{offset}` | `{"outcome":"too-late"}`: what a produced cancel achieved |
//!
//! A page ends with `next`, the `after` of the page behind it, or null. Times are epoch
//! milliseconds. Shards are asked all at once for numbers and one after the other for pages, so
//! that a page of a topic with many partitions takes no more memory than two.

mod book;
mod clock;
mod page;
mod shapes;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::http::{ApiError, Reply, bad, error, in_time};
use crate::base::ids::{TopicPartition, Uuid};
use crate::delay::query::{Answer, Ask, Histogram, MOST_LISTED, Summary};
use crate::delay::state::Outcome;
pub use book::{Asked, Delays, Place};
use page::{Cursor, Page};
use shapes::{HistogramShape, PartitionShape, TopicShape};

/// Records of a page unless asked otherwise.
const DEFAULT_LISTED: usize = 100;

type Shared = State<Arc<dyn Delays>>;

/// The routes.
pub(super) fn routes(delays: Arc<dyn Delays>) -> Router {
    Router::new()
        .route("/api/v1/delays", get(all))
        .route("/api/v1/delays/{topic}", get(topic))
        .route("/api/v1/delays/{topic}/histogram", get(topic_histogram))
        .route("/api/v1/delays/{topic}/pending", get(topic_pending))
        .route("/api/v1/delays/{topic}/{partition}", get(partition))
        .route("/api/v1/delays/{topic}/{partition}/histogram", get(partition_histogram))
        .route("/api/v1/delays/{topic}/{partition}/pending", get(partition_pending))
        .route("/api/v1/delays/{topic}/{partition}/pending/{ticket}", delete(cancel))
        .route("/api/v1/delays/{topic}/{partition}/outcomes/{offset}", get(outcome))
        .with_state(Arc::clone(&delays))
        .merge(clock::routes(delays))
}

#[derive(Serialize)]
struct All {
    topics: Vec<TopicShape>,
}

async fn all(State(delays): Shared) -> Reply<All> {
    let mut places = delays.places(None);
    places.sort_unstable();
    let asked = ask_each(&*delays, &places, &Ask::Summary);
    in_time(async {
        let summaries = summaries(asked).await?;
        let names = places.iter().map(|place| (place.tp.topic_id, &place.topic));
        let names: BTreeMap<Uuid, &String> = names.collect();
        let mut topics: Vec<TopicShape> = summaries
            .chunk_by(|a, b| a.0.topic_id == b.0.topic_id)
            .map(|summaries| TopicShape::of(names[&summaries[0].0.topic_id], summaries))
            .collect();
        topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        Ok(All { topics })
    })
    .await
}

#[derive(Serialize)]
struct WithPartitions {
    #[serde(flatten)]
    topic: TopicShape,
    by_partition: Vec<PartitionShape>,
}

async fn topic(State(delays): Shared, Path(topic): Path<String>) -> Reply<WithPartitions> {
    let asked = ask_each(&*delays, &places_of(&*delays, &topic)?, &Ask::Summary);
    in_time(async {
        let summaries = summaries(asked).await?;
        let by_partition = summaries.iter().map(PartitionShape::of).collect();
        Ok(WithPartitions { topic: TopicShape::of(&topic, &summaries), by_partition })
    })
    .await
}

type At = Result<Path<(String, i32)>, PathRejection>;

async fn partition(State(delays): Shared, at: At) -> Reply<PartitionShape> {
    let place = place(&*delays, at)?;
    let asked = ask_each(&*delays, std::slice::from_ref(&place), &Ask::Summary);
    in_time(async {
        let summaries = summaries(asked).await?;
        let first = summaries.first().ok_or_else(|| gone(&place.topic, place.tp.partition))?;
        Ok(PartitionShape::of(first))
    })
    .await
}

async fn topic_histogram(
    State(delays): Shared,
    Path(topic): Path<String>,
) -> Reply<HistogramShape> {
    let asked = ask_each(&*delays, &places_of(&*delays, &topic)?, &Ask::Histogram);
    in_time(histogram(asked)).await
}

async fn partition_histogram(State(delays): Shared, at: At) -> Reply<HistogramShape> {
    let asked = ask_each(&*delays, &[place(&*delays, at)?], &Ask::Histogram);
    in_time(histogram(asked)).await
}

/// What a page is asked for with.
#[derive(Deserialize)]
struct PageQuery {
    after: Option<Cursor>,
    id: Option<String>,
    limit: Option<usize>,
}

type Wanted = Result<Query<PageQuery>, QueryRejection>;

async fn topic_pending(
    State(delays): Shared,
    Path(topic): Path<String>,
    wanted: Wanted,
) -> Reply<Page> {
    pending(&*delays, places_of(&*delays, &topic)?, wanted).await
}

async fn partition_pending(State(delays): Shared, at: At, wanted: Wanted) -> Reply<Page> {
    pending(&*delays, vec![place(&*delays, at)?], wanted).await
}

async fn pending(delays: &dyn Delays, places: Vec<Place>, wanted: Wanted) -> Reply<Page> {
    let Query(wanted) = wanted.map_err(|why| bad(why.body_text()))?;
    let limit = wanted.limit.unwrap_or(DEFAULT_LISTED);
    if !(1..=MOST_LISTED).contains(&limit) {
        return Err(bad(format!("limit is {limit}; it must be from 1 to {MOST_LISTED}")));
    }
    let id = wanted.id.map(Bytes::from);
    in_time(async {
        let mut page = Page::new(limit);
        for Place { tp, .. } in places {
            let ask = page::ask(wanted.after, tp.partition, id.clone(), limit);
            match delays.ask(tp, ask).await {
                Some(Answer::Pending(found)) => page.add(tp.partition, found),
                Some(other) => return Err(unavailable(other)),
                None => {}
            }
        }
        Ok(page)
    })
    .await
}

#[derive(Serialize)]
struct Told {
    outcome: &'static str,
}

async fn outcome(State(delays): Shared, at: AtOffset) -> Reply<Told> {
    let (place, offset) = place_and_offset(&*delays, at)?;
    let asked = delays.ask(place.tp, Ask::Outcome { offset });
    in_time(async {
        match asked.await {
            Some(Answer::Outcome(Some(outcome))) => Ok(Told { outcome: text(outcome) }),
            Some(Answer::Outcome(None)) => {
                let name = format!("{}:{offset} of {}", place.tp.partition, place.topic);
                let message = format!("{name} is none of the last cancels");
                Err(error(StatusCode::NOT_FOUND, "unknown", message))
            }
            Some(other) => Err(unavailable(other)),
            None => Err(gone(&place.topic, place.tp.partition)),
        }
    })
    .await
}

const fn text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Cancelled => "cancelled",
        Outcome::TooLate => "too-late",
        Outcome::Unknown => "unknown",
    }
}

type AtOffset = Result<Path<(String, i32, i64)>, PathRejection>;

fn place_and_offset(delays: &dyn Delays, at: AtOffset) -> Result<(Place, i64), ApiError> {
    let Path((topic, partition, offset)) = at.map_err(|why| bad(why.body_text()))?;
    Ok((place(delays, Ok(Path((topic, partition))))?, offset))
}

async fn cancel(State(delays): Shared, at: AtOffset) -> Reply<Told> {
    let (place, ticket) = place_and_offset(&*delays, at)?;
    let asked = delays.ask(place.tp, Ask::Cancel { ticket });
    in_time(async {
        let name = format!("{}:{ticket} of {}", place.tp.partition, place.topic);
        let refused = |status, outcome, why| Err(error(status, text(outcome), name + why));
        match asked.await {
            Some(Answer::Cancel(outcome)) => match outcome {
                Outcome::Cancelled => Ok(Told { outcome: text(outcome) }),
                Outcome::TooLate => {
                    refused(StatusCode::CONFLICT, outcome, " has been released already")
                }
                Outcome::Unknown => refused(StatusCode::NOT_FOUND, outcome, " is not pending"),
            },
            Some(other) => Err(unavailable(other)),
            None => Err(gone(&place.topic, place.tp.partition)),
        }
    })
    .await
}

/// A topic's partitions in order.
fn places_of(delays: &dyn Delays, topic: &str) -> Result<Vec<Place>, ApiError> {
    let mut places = delays.places(Some(topic));
    if places.is_empty() {
        let message = format!("there is no topic {topic}");
        return Err(error(StatusCode::NOT_FOUND, "unknown-topic", message));
    }
    places.sort_unstable();
    Ok(places)
}

fn place(delays: &dyn Delays, at: At) -> Result<Place, ApiError> {
    let Path((topic, partition)) = at.map_err(|why| bad(why.body_text()))?;
    let mut places = places_of(delays, &topic)?.into_iter();
    places.find(|place| place.tp.partition == partition).ok_or_else(|| gone(&topic, partition))
}

/// All questions are under way before the first answer is waited for.
fn ask_each(delays: &dyn Delays, places: &[Place], ask: &Ask) -> Vec<(TopicPartition, Asked)> {
    places.iter().map(|place| (place.tp, delays.ask(place.tp, ask.clone()))).collect()
}

async fn summaries(
    asked: Vec<(TopicPartition, Asked)>,
) -> Result<Vec<(TopicPartition, Summary)>, ApiError> {
    let mut summaries = Vec::with_capacity(asked.len());
    for (tp, asked) in asked {
        match asked.await {
            Some(Answer::Summary(summary)) => summaries.push((tp, summary)),
            Some(other) => return Err(unavailable(other)),
            None => {}
        }
    }
    Ok(summaries)
}

async fn histogram(asked: Vec<(TopicPartition, Asked)>) -> Result<HistogramShape, ApiError> {
    let mut sum: Option<Histogram> = None;
    for (_, asked) in asked {
        match asked.await {
            Some(Answer::Histogram(one)) => match &mut sum {
                Some(sum) => sum.merge(&one),
                None => sum = Some(one),
            },
            Some(other) => return Err(unavailable(other)),
            None => {}
        }
    }
    Ok(HistogramShape::of(&sum.unwrap_or_default()))
}

fn gone(topic: &str, partition: i32) -> ApiError {
    let message = format!("topic {topic} has no partition {partition}");
    error(StatusCode::NOT_FOUND, "unknown-partition", message)
}

/// An answer that is none.
fn unavailable(answer: Answer) -> ApiError {
    let message = match answer {
        Answer::Unavailable(why) => why,
        _ => "the shard answered another question".to_owned(),
    };
    error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
}
