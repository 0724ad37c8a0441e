//! The shape of one Kafka API: key, versions, handler. `ApiVersions` is generated from the rows,
//! so what is advertised and what is served cannot drift apart.
//!
//! A handler's first stage ([`Endpoint::begin`]) runs in connection order and never waits: it
//! checks the request's shape, starts the work and says whether the answer is there already.
//! Versions stop here: nothing below `api/` knows a version number.

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::Services;
use super::connection::Connection;
use super::error_codes::ErrorCodes;
use super::reply::{Ending, Outcome, Reply};
use crate::base::metrics::Metrics;
use crate::wire::encode;

/// What every handler may use: the services, its connection, and the request's own version.
pub struct Cx<'a> {
    pub services: &'a Arc<Services>,
    pub connection: &'a mut Connection,
    /// The request's version, within the endpoint's range.
    pub version: i16,
    /// The client's own name for itself, empty if it gave none.
    pub client_id: &'a StrBytes,
}

/// A response in the making.
pub type ResponseFuture<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// What [`Endpoint::begin`] gives.
pub enum Begun<R> {
    Done(R),
    /// The work is under way; the future only waits for its end.
    Later(ResponseFuture<R>),
}

impl<R> Begun<R> {
    pub fn later(future: impl Future<Output = R> + Send + 'static) -> Self {
        Self::Later(Box::pin(future))
    }

    /// Work that waits for the disk, on a thread that may. If it panics, so does the connection
    /// that waits for it: a client sees a closed connection, never a made-up answer.
    pub fn blocking(work: impl FnOnce() -> R + Send + 'static) -> Self
    where
        R: Send + 'static,
    {
        let task = tokio::task::spawn_blocking(work);
        Self::later(async move {
            match task.await.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(response) => response,
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                // Cancelled: the runtime is going down, and this future with it.
                Err(Err(_)) => std::future::pending().await,
            }
        })
    }
}

/// One Kafka API.
pub trait Endpoint {
    const KEY: ApiKey;
    /// Versions that are served in full.
    const VERSIONS: RangeInclusive<i16>;
    type Request: Decodable;
    type Response: Encodable + HeaderVersion + ErrorCodes + Send + 'static;

    fn begin(cx: &mut Cx<'_>, request: Self::Request) -> Begun<Self::Response>;
}

/// A row of the API table.
pub struct Row {
    pub key: ApiKey,
    /// Versions that are served in full.
    pub served: RangeInclusive<i16>,
    /// Versions that `ApiVersions` names. Differs for Produce alone: old librdkafka stops
    /// compressing when version 0 is missing, though it never sends it.
    pub advertised: RangeInclusive<i16>,
    pub begin: fn(&mut Cx<'_>, correlation_id: i32, body: Bytes) -> Outcome,
    /// Answers a version that is not served; without it the connection is closed, as Kafka does
    /// for every API but `ApiVersions`.
    pub unserved: Option<fn(&mut Cx<'_>, correlation_id: i32) -> Outcome>,
}

impl Row {
    /// The row of an ordinary endpoint.
    #[must_use]
    pub fn of<E: Endpoint>() -> Self {
        Self {
            key: E::KEY,
            served: E::VERSIONS,
            advertised: E::VERSIONS,
            begin: begin_typed::<E>,
            unserved: None,
        }
    }
}

fn begin_typed<E: Endpoint>(cx: &mut Cx<'_>, correlation_id: i32, body: Bytes) -> Outcome {
    match decode::<E>(cx.version, body) {
        Ok(request) => begin_decoded::<E>(cx, correlation_id, request),
        Err(refused) => refused,
    }
}

/// Decodes a body that has passed its bounds.
///
/// # Errors
/// The end of the connection.
pub fn decode<E: Endpoint>(version: i16, mut body: Bytes) -> Result<E::Request, Outcome> {
    E::Request::decode(&mut body, version)
        .map_err(|error| Outcome::close(format!("{:?} v{version}: {error}", E::KEY)))
}

/// Begins a decoded request, and frames its response when it is there.
pub fn begin_decoded<E: Endpoint>(
    cx: &mut Cx<'_>,
    correlation_id: i32,
    request: E::Request,
) -> Outcome {
    let version = cx.version;
    match E::begin(cx, request) {
        Begun::Done(response) => {
            count_errors(&cx.services.metrics, &response);
            Outcome::Now(finish(correlation_id, version, &response))
        }
        Begun::Later(future) => {
            let metrics = Arc::clone(&cx.services.metrics);
            Outcome::Later(Box::pin(async move {
                let response = future.await;
                count_errors(&metrics, &response);
                finish(correlation_id, version, &response)
            }))
        }
    }
}

fn count_errors(metrics: &Metrics, response: &impl ErrorCodes) {
    response.each_code(&mut |code| {
        if code != 0 {
            metrics.errors.of(code).add(1);
        }
    });
}

/// Frames a response. One that cannot be encoded is a defect of its handler; the client sees a
/// closed connection and the log the reason.
pub fn finish<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Ending {
    match encode::response(correlation_id, version, response) {
        Ok(bytes) => Ending::Reply(Reply::whole(bytes)),
        Err(error) => Ending::Close(format!("response cannot be encoded: {error}")),
    }
}
