//! What the decisions of a round bring about, gathered into one batch per partition.

use tokio::sync::oneshot;

use crate::base::fault::Fault;
use crate::coord::machine::LogRecord;
use crate::log::validate::ValidBatch;
use crate::shard::landing::Held;
use crate::wire::builder::{BatchBuilder, BuildError};
use crate::wire::compression::Codec;

/// Where a reply goes.
pub type Answer<R> = oneshot::Sender<Result<R, Fault>>;

/// What several decisions share a batch up to; a single one may be larger.
const BATCH_BYTES: usize = 1 << 20;
/// Most bytes of one decision's records: what fits the commit log many times over.
const MAX_BATCH_BYTES: usize = 16 << 20;

/// Records of whole decisions, and the replies that tell of them.
pub(super) struct Gathered<R> {
    records: Vec<LogRecord>,
    bytes: usize,
    replies: Vec<(Answer<R>, R)>,
}

impl<R> Default for Gathered<R> {
    fn default() -> Self {
        Self { records: Vec::new(), bytes: 0, replies: Vec::new() }
    }
}

impl<R: Send + 'static> Gathered<R> {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.replies.is_empty()
    }

    pub(super) fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Whether these records of one decision should begin a new batch.
    pub(super) fn is_full_for(&self, records: &[LogRecord]) -> bool {
        let more = size_bytes(records);
        self.bytes > 0 && more > 0 && self.bytes + more > BATCH_BYTES
    }

    /// Adds the records of one decision.
    pub(super) fn record(&mut self, records: Vec<LogRecord>) {
        self.bytes += size_bytes(&records);
        if self.records.is_empty() {
            self.records = records;
        } else {
            self.records.extend(records);
        }
    }

    pub(super) fn reply(&mut self, answer: Answer<R>, reply: R) {
        self.replies.push((answer, reply));
    }

    /// The records as one batch.
    ///
    /// # Errors
    /// They are too many bytes for one, or the codec failed.
    pub(super) fn batch(&self, codec: Codec, now_ms: i64) -> Result<ValidBatch, BuildError> {
        if self.bytes > MAX_BATCH_BYTES {
            return Err(BuildError::TooLarge);
        }
        let mut builder = BatchBuilder::new(codec, None);
        for LogRecord { key, value } in &self.records {
            builder.push(now_ms, Some(key), value.as_deref(), std::iter::empty());
        }
        ValidBatch::own(builder)
    }

    /// The replies, to be sent once it is known whether what they tell of is durable.
    pub(super) fn held(self) -> Held {
        let replies = self.replies;
        Box::new(move |outcome| match outcome {
            // Whoever asked may have gone away with its connection.
            Ok(()) => replies.into_iter().for_each(|(answer, reply)| drop(answer.send(Ok(reply)))),
            Err(fault) => {
                replies.into_iter().for_each(|(answer, _)| drop(answer.send(Err(fault.clone()))));
            }
        })
    }
}

fn size_bytes(records: &[LogRecord]) -> usize {
    records.iter().map(|r| r.key.len() + r.value.as_ref().map_or(0, |value| value.len())).sum()
}
