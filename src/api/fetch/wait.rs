//! Waiting for partitions to move: a fetch registers its waker in the views it watches, and only
//! an append to one of them, a deletion or the deadline wakes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use crate::shard::registry::Partition;

static NEXT_WAITER: AtomicU64 = AtomicU64::new(1);

/// Completes when one of the watched partitions has moved past what was seen of it.
pub struct Moved {
    id: u64,
    watched: Vec<(Arc<Partition>, i64)>,
}

impl Moved {
    /// Watches partitions; each comes with the high watermark that the caller has seen.
    #[must_use]
    pub fn past(watched: Vec<(Arc<Partition>, i64)>) -> Self {
        Self { id: NEXT_WAITER.fetch_add(1, Ordering::Relaxed), watched }
    }

    fn has_moved(&self) -> bool {
        self.watched.iter().any(|(p, seen)| p.view.high_watermark() != *seen || p.view.is_closed())
    }
}

impl Future for Moved {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_moved() {
            return Poll::Ready(());
        }
        for (partition, _) in &self.watched {
            partition.view.register_waiter(self.id, cx.waker().clone());
        }
        // A partition may have moved between the first look and the registration.
        if self.has_moved() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        for (partition, _) in &self.watched {
            partition.view.remove_waiter(self.id);
        }
    }
}
