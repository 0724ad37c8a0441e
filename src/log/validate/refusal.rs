//! Why a batch is not accepted.

use crate::base::fault::{Code, Fault};

/// Records listed in one refusal at most. Kafka lists all; a batch of tiny records would then
/// cost many times its own size in the reply. Clients fail the batch's other records all the same.
pub(super) const MOST_LISTED: usize = 100;

/// One record that is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// 0-based, in the batch.
    pub index: i32,
    pub message: String,
}

/// A batch was not accepted, and nothing of it is stored. What Produce v8 and later tells in
/// `ErrorMessage` and `RecordErrors`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code:?})")]
pub struct Refusal {
    pub code: Code,
    pub message: String,
    /// The records at fault, if it is not the batch as a whole: at most the first hundred.
    pub records: Vec<RecordFault>,
}

impl Refusal {
    pub(super) fn new(code: Code, message: String) -> Self {
        Self { code, message, records: Vec::new() }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::with(refusal.code, refusal.message)
    }
}
