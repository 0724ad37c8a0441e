//! Encoded answers to "all topics".
//!
//! Clients of many topics ask for all of them, all at once when something changes; encoding ten
//! thousand partitions takes milliseconds. An answer depends on the catalog and a few facts of the
//! question, so it is encoded once and sent, without a copy, until the catalog changes.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::protocol::HeaderVersion;
use parking_lot::Mutex;

use crate::api::connection::ListenerInfo;
use crate::api::reply::{Chunk, Reply};
use crate::catalog::Catalog;
use crate::wire::encode;

/// Answers kept at once. A fleet has a few client versions and listeners.
const MAX_ANSWERS: usize = 16;

/// What an answer depends on besides the catalog.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    pub version: i16,
    pub listener: Arc<ListenerInfo>,
    pub topic_operations: bool,
    pub cluster_operations: bool,
}

/// The answers for the newest catalog that was asked for.
#[derive(Default)]
pub struct Cache {
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct Answers {
    catalog: Option<Arc<Catalog>>,
    /// Bodies, the one kept longest first.
    bodies: Vec<(Question, Bytes)>,
}

impl Answers {
    fn are_of(&self, catalog: &Arc<Catalog>) -> bool {
        self.catalog.as_ref().is_some_and(|known| Arc::ptr_eq(known, catalog))
    }
}

impl Cache {
    /// The answer, encoded now if it is not there.
    ///
    /// # Errors
    /// If the response cannot be encoded: a defect of the handler.
    pub fn reply(
        &self,
        correlation_id: i32,
        catalog: &Arc<Catalog>,
        question: Question,
        respond: impl FnOnce() -> MetadataResponse,
    ) -> Result<Reply, String> {
        let version = question.version;
        let body = match self.find(catalog, &question) {
            Some(body) => body,
            None => {
                // Not under the lock: encoding is what takes long.
                let frame =
                    encode::response(0, version, &respond()).map_err(|error| error.to_string())?;
                let body = frame.slice(header_bytes(version)..);
                self.keep(catalog, question, body.clone());
                body
            }
        };
        Ok(framed(correlation_id, version, body))
    }

    fn find(&self, catalog: &Arc<Catalog>, question: &Question) -> Option<Bytes> {
        let answers = self.answers.lock();
        let bodies = answers.bodies.iter().filter(|_| answers.are_of(catalog));
        let mut same = bodies.filter(|(known, _)| known == question);
        same.next().map(|(_, body)| body.clone())
    }

    fn keep(&self, catalog: &Arc<Catalog>, question: Question, body: Bytes) {
        let mut answers = self.answers.lock();
        if !answers.are_of(catalog) {
            *answers = Answers { catalog: Some(Arc::clone(catalog)), bodies: Vec::new() };
        }
        if answers.bodies.len() == MAX_ANSWERS {
            answers.bodies.remove(0);
        }
        answers.bodies.push((question, body));
    }
}

/// Size, correlation id, and tagged fields in flexible headers.
fn header_bytes(version: i16) -> usize {
    if MetadataResponse::header_version(version) >= 1 { 9 } else { 8 }
}

fn framed(correlation_id: i32, version: i16, body: Bytes) -> Reply {
    let header_bytes = header_bytes(version);
    let size = u32::try_from(header_bytes - 4 + body.len()).expect("the encoder bounds a frame");
    let mut header = BytesMut::with_capacity(header_bytes);
    header.put_u32(size);
    header.put_i32(correlation_id);
    header.resize(header_bytes, 0);
    let chunks = [header.freeze(), body].map(Chunk::Bytes).into_iter().collect();
    Reply { chunks, ..Reply::default() }
}
