//! What is done when a batch's fate in the commit log is known: it becomes visible, and whoever
//! waits for it is answered.

use std::sync::Arc;

use super::committer::Completion;
use super::delay::flight::JournalEnd;
use super::tally::{Ack, AppendResult, Refused};
use crate::base::fault::{Code, Fault};
use crate::log::commit::CommitError;
use crate::log::view::{End, PartitionView};

/// The completion of one append: a batch, or one in the log and one in its delay journal.
pub struct Landing {
    pub view: Arc<PartitionView>,
    pub end: End,
    /// Of a partition with a delay journal, if that was appended to.
    pub journal: Option<Box<JournalEnd>>,
    pub parked: Parked,
}

/// What waits for stable storage.
pub enum Parked {
    /// `acks` 0 and 1.
    Nothing,
    /// A producer's answer.
    Produced(Ack, AppendResult),
    /// Answers of a coordinator.
    Held(Held),
}

/// Told once whether what it waited for is durable. Runs on the committer's thread.
pub type Held = Box<dyn FnOnce(Result<(), Fault>) + Send>;

impl Parked {
    fn durable(self) {
        match self {
            Self::Nothing => {}
            Self::Produced(ack, result) => ack.complete(result),
            Self::Held(held) => held(Ok(())),
        }
    }

    fn unsure(self, error: &CommitError) {
        // The batch is in its segment and may outlive the failure: KAFKA_STORAGE_ERROR would tell
        // librdkafka that it was not stored.
        let fault = |code| Fault::with(code, error.to_string());
        match self {
            Self::Nothing => {}
            Self::Produced(ack, _) => {
                ack.complete(Err(Refused::from(fault(Code::NotEnoughReplicasAfterAppend))));
            }
            Self::Held(held) => held(Err(fault(Code::NotCoordinator))),
        }
    }
}

impl Completion for Landing {
    fn complete(self, outcome: Result<(), &CommitError>) {
        match outcome {
            Ok(()) => {
                if let Some(journal) = &self.journal {
                    journal.reached();
                }
                self.view.advance(&self.end);
                self.parked.durable();
            }
            Err(error) => self.parked.unsure(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{TopicPartition, Uuid};
    use crate::shard::tally::{Accepted, Tally};
    use std::future::Future;
    use std::io;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn a_failed_commit_does_not_claim_that_nothing_was_stored() {
        let tp = TopicPartition { topic_id: Uuid::from_u128(1), partition: 0 };
        let view = PartitionView::new(tp, 0, 1);
        let end = End { segment: None, position: 0, offset: 1 };
        let tally = Tally::new(1);
        let accepted = Accepted { base_offset: 0, log_append_time_ms: -1, log_start_offset: 0 };
        let parked = Parked::Produced(Ack::new(tally.clone(), 0), Ok(accepted));
        let error = CommitError::Failed(Arc::new(io::Error::other("the disk is gone")));
        Landing { view: view.clone(), end, journal: None, parked }.complete(Err(&error));

        let finished = pin!(tally.finished());
        let Poll::Ready(results) = finished.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("the slot is filled");
        };
        let refused = results[0].as_ref().expect_err("not durable");
        assert_eq!(refused.fault.kind(), Code::NotEnoughReplicasAfterAppend);
        assert_eq!(view.high_watermark(), 0);
    }
}
