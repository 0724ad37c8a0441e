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

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use super::Services;
use super::connection::Connection;
use super::reply::{Ending, Outcome, Reply};

/// What every handler may use: the services, its connection, and the request's own version.
pub struct Cx<'a> {
    pub services: &'a Arc<Services>,
    pub connection: &'a mut Connection,
    /// The request's version, within the endpoint's range.
    pub version: i16,
    /// The client's own name for itself, empty if it gave none.
    pub client_id: &'a str,
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
}

/// One Kafka API.
pub trait Endpoint {
    const KEY: ApiKey;
    /// Versions that are served in full.
    const VERSIONS: RangeInclusive<i16>;
    type Request: Decodable;
    type Response: Encodable + HeaderVersion + Send + 'static;

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
}

impl Row {
    /// The row of an ordinary endpoint.
    #[must_use]
    pub fn of<E: Endpoint>() -> Self {
        Self { key: E::KEY, served: E::VERSIONS, advertised: E::VERSIONS, begin: begin_typed::<E> }
    }
}

fn begin_typed<E: Endpoint>(cx: &mut Cx<'_>, correlation_id: i32, mut body: Bytes) -> Outcome {
    let version = cx.version;
    let request = match E::Request::decode(&mut body, version) {
        Ok(request) => request,
        Err(error) => return Outcome::close(format!("{:?} v{version}: {error}", E::KEY)),
    };
    match E::begin(cx, request) {
        Begun::Done(response) => Outcome::Now(finish(correlation_id, version, &response)),
        Begun::Later(future) => {
            Outcome::Later(Box::pin(async move { finish(correlation_id, version, &future.await) }))
        }
    }
}

fn finish<R: Encodable + HeaderVersion>(correlation_id: i32, version: i16, response: &R) -> Ending {
    match frame(correlation_id, version, response) {
        Ok(bytes) => Ending::Reply(Reply::whole(bytes)),
        Err(error) => Ending::Close(format!("response cannot be encoded: {error}")),
    }
}

/// Frames a response: size, header of the right version, body.
///
/// # Errors
/// If a field is set that the version does not have: a defect of the handler.
pub fn frame<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Result<Bytes, String> {
    let size = response.compute_size(version).map_err(|e| e.to_string())?;
    let mut out = BytesMut::with_capacity(size + 16);
    out.put_u32(0);
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut out, R::header_version(version))
        .map_err(|e| e.to_string())?;
    response.encode(&mut out, version).map_err(|e| e.to_string())?;
    let length = u32::try_from(out.len() - 4).map_err(|e| e.to_string())?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out.freeze())
}
