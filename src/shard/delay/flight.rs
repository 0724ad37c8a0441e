//! What went to logs and journals and is not durable yet, and who wakes the shard when it is.
//!
//! Released batches are the shard's own doing: no client waits for their answers, so without a
//! bound a storm of due records would fill the committer's queue ahead of producers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use smallvec::SmallVec;

use crate::base::settings::Durability;
use crate::log::commit::Row;
use crate::log::view::{End, PartitionView};
use crate::shard::committer::{Completion, Submission, Submitted};
use crate::shard::landing::{Landing, Parked};
use crate::shard::mailbox::Mailbox;
use crate::shard::worker::{Hosted, Message};

/// Released bytes that may wait for the committer, per shard. Several chunks, so that the next is
/// read while one is written; no more, because what is live waits behind them.
const MOST_IN_FLIGHT_BYTES: usize = 2 << 20;

/// Shared by a shard and the completions of what it submitted.
pub struct Flight {
    bytes: AtomicUsize,
    /// How often something landed.
    landings: AtomicU64,
    /// The shard has something to do that waits for a completion.
    waits: AtomicBool,
    mailbox: Arc<Mailbox<Message>>,
}

impl Flight {
    pub(in crate::shard) fn new(mailbox: Arc<Mailbox<Message>>) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            landings: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            mailbox,
        })
    }

    /// Whether another batch may be released now.
    pub(in crate::shard) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Acquire) < MOST_IN_FLIGHT_BYTES
    }

    /// Asks to be rung at the next landing, unless what is waited for has come about. Returns
    /// whether it has.
    pub(in crate::shard) fn wait_unless(&self, come_about: impl Fn() -> bool) -> bool {
        self.ask_to_be_rung();
        come_about()
    }

    /// Asks to be rung at the next landing. A landing that a look after this misses has seen the
    /// wish.
    pub(in crate::shard) fn ask_to_be_rung(&self) {
        self.waits.store(true, Ordering::SeqCst);
    }

    /// How often something has landed. Who waits compares: the wish to be rung is everybody's, and
    /// one that was rung for may have been made again by another.
    pub(in crate::shard) fn landings(&self) -> u64 {
        self.landings.load(Ordering::SeqCst)
    }

    fn take_off(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn land(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.landings.fetch_add(1, Ordering::SeqCst);
        if self.waits.swap(false, Ordering::SeqCst) {
            self.mailbox.ring();
        }
    }
}

/// The journal's part of a landing.
pub struct JournalEnd {
    view: Arc<PartitionView>,
    end: End,
    flight: Arc<Flight>,
    released_bytes: usize,
}

impl JournalEnd {
    /// `released_bytes` count as in flight until the end of this.
    pub(in crate::shard) fn new(
        view: &Arc<PartitionView>,
        end: End,
        flight: &Arc<Flight>,
        released_bytes: usize,
    ) -> Self {
        flight.take_off(released_bytes);
        Self { view: Arc::clone(view), end, flight: Arc::clone(flight), released_bytes }
    }

    /// The journal is durable up to here.
    pub(in crate::shard) fn reached(&self) {
        self.view.advance(&self.end);
    }
}

impl Drop for JournalEnd {
    fn drop(&mut self) {
        self.flight.land(self.released_bytes);
    }
}

/// What was just appended to a partition's log and journal.
pub(super) struct Written {
    pub(super) rows: SmallVec<[Row; 2]>,
    /// Of what was released: see [`JournalEnd::new`].
    pub(super) released_bytes: usize,
    pub(super) parked: Parked,
}

impl Hosted {
    /// Sends off what was appended to a log, its journal or both: it becomes visible and who is
    /// parked is told when it is durable. With the page cache alone that is now, and nothing is
    /// left to submit.
    pub(super) fn send_off(
        &self,
        written: Written,
        durability: Durability,
        flight: &Arc<Flight>,
    ) -> Option<Submission<Landing>> {
        let Written { rows, released_bytes, parked } = written;
        let journal = &self.delay.as_ref().expect("its journal was appended to").journal;
        let journal = JournalEnd::new(journal.view(), journal.end(), flight, released_bytes);
        let completion = Landing {
            view: Arc::clone(&self.partition.view),
            end: self.log.end(),
            journal: Some(Box::new(journal)),
            parked,
        };
        if durability == Durability::PageCache {
            completion.complete(Ok(()));
            return None;
        }
        let batches = rows.into_iter().map(|row| Submitted { row, segment: None }).collect();
        Some(Submission { batches, completion })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_landing_is_told_to_all_who_wait_though_one_of_them_waits_again() {
        let mailbox = Arc::new(Mailbox::default());
        let flight = Flight::new(Arc::clone(&mailbox));
        let (seen_by_one, seen_by_other) = (flight.landings(), flight.landings());
        assert!(!flight.wait_unless(|| false));
        flight.land(0);
        assert!(!flight.wait_unless(|| flight.landings() == seen_by_other));
        assert_ne!(flight.landings(), seen_by_one);
        // Would be the length of the test otherwise.
        assert!(mailbox.drain(&mut Vec::new(), Duration::from_secs(3_600)));
    }
}
