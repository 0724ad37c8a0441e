//! What a shard released and is not durable yet, and who wakes the shard when it is.
//!
//! Released batches are the shard's own doing: no client waits for their answers, so without a
//! bound a storm of due records would fill the committer's queue ahead of producers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::log::view::{End, PartitionView};
use crate::shard::mailbox::Mailbox;
use crate::shard::worker::Message;

/// Released bytes that may wait for the committer, per shard. Several chunks, so that the next is
/// read while one is written.
const MOST_IN_FLIGHT_BYTES: usize = 8 << 20;

/// Shared by a shard and the completions of what it submitted.
pub struct Flight {
    bytes: AtomicUsize,
    /// The shard has something due that waits for a completion.
    waits: AtomicBool,
    mailbox: Arc<Mailbox<Message>>,
}

impl Flight {
    pub(in crate::shard) fn new(mailbox: Arc<Mailbox<Message>>) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), waits: AtomicBool::new(false), mailbox })
    }

    /// Whether another batch may be released now.
    pub(in crate::shard) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Acquire) < MOST_IN_FLIGHT_BYTES
    }

    /// Asks to be rung at the next landing, unless what is waited for has come about. Returns
    /// whether it has.
    pub(in crate::shard) fn wait_unless(&self, come_about: impl Fn() -> bool) -> bool {
        self.waits.store(true, Ordering::SeqCst);
        // A landing that was missed by this look has seen the wish.
        come_about()
    }

    /// Whether something has landed since the last wish to wait.
    pub(in crate::shard) fn has_landed(&self) -> bool {
        !self.waits.load(Ordering::SeqCst)
    }

    fn take_off(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn land(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
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
