//! What is done when a batch's fate in the commit log is known: it becomes visible, and whoever
//! waits for it is answered.

use std::sync::Arc;

use super::committer::Completion;
use super::tally::{Ack, AppendResult, Refused};
use crate::base::fault::{Code, Fault};
use crate::log::commit::CommitError;
use crate::log::view::{End, PartitionView};

/// The completion of one appended batch.
pub struct Landing {
    pub view: Arc<PartitionView>,
    pub end: End,
    /// The answer that waits for stable storage; none for `acks` 0 and 1.
    pub parked: Option<(Ack, AppendResult)>,
}

impl Completion for Landing {
    fn complete(self, outcome: Result<(), &CommitError>) {
        match outcome {
            Ok(()) => {
                self.view.advance(&self.end);
                if let Some((ack, result)) = self.parked {
                    ack.complete(result);
                }
            }
            Err(error) => {
                if let Some((ack, _)) = self.parked {
                    let fault = Fault::with(Code::KafkaStorageError, error.to_string());
                    ack.complete(Err(Refused::from(fault)));
                }
            }
        }
    }
}
