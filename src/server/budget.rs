//! The bound on request bytes in memory, for the whole broker (`queued.max.request.bytes`).
//!
//! A connection counts the bytes it has received and not yet answered. Past the limit no
//! connection reads on, so TCP slows the clients. Bytes are counted as they arrive, never by what
//! a length field claims, so the limit can be passed by one read of each worker thread.
//!
//! No deadlock: when half-read frames have eaten the whole budget, one connection at a time, with
//! nothing else unanswered, may overdraw until it has its frame and the frame's answer.
//! Rejected: a semaphore with a permit per byte, which must know a frame's size in advance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

pub(super) struct Budget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    /// Length of the queue, so that releasing takes no lock while nobody waits.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next_ticket: u64,
    waiters: BTreeMap<u64, Waiter>,
    overdrawn: bool,
}

struct Waiter {
    waker: Waker,
    alone: bool,
}

impl Budget {
    pub(super) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
        })
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), held_bytes: 0, overdraws: false, ticket: None }
    }

    fn has_room(&self) -> bool {
        self.used_bytes.load(Ordering::SeqCst) < self.limit_bytes
    }

    /// Wakes the longest waiting connection if there is something for it. It wakes the next.
    fn wake_one(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut queue = self.queue.lock();
        let turn = if self.has_room() {
            queue.waiters.keys().next().copied()
        } else if queue.overdrawn {
            None
        } else {
            queue.waiters.iter().find(|(_, waiter)| waiter.alone).map(|(ticket, _)| *ticket)
        };
        let woken = turn.and_then(|ticket| queue.waiters.remove(&ticket));
        self.waiting.store(queue.waiters.len(), Ordering::SeqCst);
        drop(queue);
        if let Some(waiter) = woken {
            waiter.waker.wake();
        }
    }
}

/// One connection's part of the budget.
pub(super) struct Share {
    budget: Arc<Budget>,
    held_bytes: usize,
    overdraws: bool,
    ticket: Option<u64>,
}

impl Share {
    /// Ready when the connection may read on. `alone`: it has no unanswered request, so that what
    /// it reads can be answered without anybody else's bytes going first.
    pub(super) fn poll_room(&mut self, alone: bool, cx: &mut Context<'_>) -> Poll<()> {
        if self.ticket.is_none() && self.budget.has_room() {
            return Poll::Ready(());
        }
        let mut queue = self.budget.queue.lock();
        // Announced before the second look at the counter, so that a release in between wakes us.
        self.budget.waiting.store(queue.waiters.len() + 1, Ordering::SeqCst);
        let has_room = self.budget.has_room();
        if has_room || alone && (self.overdraws || !queue.overdrawn) {
            if !has_room {
                (self.overdraws, queue.overdrawn) = (true, true);
            }
            if let Some(ticket) = self.ticket.take() {
                queue.waiters.remove(&ticket);
            }
            self.budget.waiting.store(queue.waiters.len(), Ordering::SeqCst);
            drop(queue);
            self.budget.wake_one();
            return Poll::Ready(());
        }
        let ticket = self.ticket.unwrap_or(queue.next_ticket);
        queue.next_ticket = queue.next_ticket.max(ticket + 1);
        queue.waiters.insert(ticket, Waiter { waker: cx.waker().clone(), alone });
        self.budget.waiting.store(queue.waiters.len(), Ordering::SeqCst);
        self.ticket = Some(ticket);
        Poll::Pending
    }

    /// Gives up a place in the queue, if there is one, to the next.
    pub(super) fn leave_queue(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let mut queue = self.budget.queue.lock();
            queue.waiters.remove(&ticket);
            self.budget.waiting.store(queue.waiters.len(), Ordering::SeqCst);
            drop(queue);
            self.budget.wake_one();
        }
    }

    /// Says how many bytes the connection holds now.
    pub(super) fn set(&mut self, held_bytes: usize) {
        if held_bytes == self.held_bytes {
            return;
        }
        let used = &self.budget.used_bytes;
        if held_bytes > self.held_bytes {
            used.fetch_add(held_bytes - self.held_bytes, Ordering::SeqCst);
        } else {
            used.fetch_sub(self.held_bytes - held_bytes, Ordering::SeqCst);
        }
        let released = held_bytes < self.held_bytes;
        self.held_bytes = held_bytes;
        if held_bytes == 0 && std::mem::take(&mut self.overdraws) {
            self.budget.queue.lock().overdrawn = false;
        }
        if released {
            self.budget.wake_one();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
        // An overdraft granted before any byte arrived.
        if std::mem::take(&mut self.overdraws) {
            self.budget.queue.lock().overdrawn = false;
            self.budget.wake_one();
        }
        self.leave_queue();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    struct Reader {
        share: Share,
        flag: Arc<Flag>,
    }

    impl Reader {
        fn new(budget: &Arc<Budget>) -> Self {
            Self { share: budget.share(), flag: Arc::default() }
        }

        fn may_read(&mut self, alone: bool) -> bool {
            let waker = Waker::from(Arc::clone(&self.flag));
            self.share.poll_room(alone, &mut Context::from_waker(&waker)).is_ready()
        }

        fn woken(&self) -> bool {
            self.flag.0.swap(false, Ordering::SeqCst)
        }
    }

    #[test]
    fn a_full_budget_stops_readers_and_a_release_wakes_them_in_order() {
        let budget = Budget::new(100);
        let (mut a, mut b, mut c) =
            (Reader::new(&budget), Reader::new(&budget), Reader::new(&budget));
        assert!(a.may_read(false));
        a.share.set(100);
        assert!(!b.may_read(false));
        assert!(!c.may_read(false));
        a.share.set(40);
        assert!(b.woken() && !c.woken(), "one at a time");
        assert!(b.may_read(false));
        assert!(c.woken(), "and it passes the word on");
    }

    #[test]
    fn one_connection_may_overdraw_and_the_next_follows_when_it_is_answered() {
        let budget = Budget::new(100);
        let (mut a, mut b, mut c) =
            (Reader::new(&budget), Reader::new(&budget), Reader::new(&budget));
        for reader in [&mut a, &mut b, &mut c] {
            reader.share.set(40);
        }
        assert!(!a.may_read(false), "with a request unanswered nobody overdraws");
        a.share.leave_queue();
        assert!(b.may_read(true));
        assert!(!c.may_read(true), "one at a time");
        b.share.set(90);
        assert!(b.may_read(true), "it may go on to the end of its frame");
        b.share.set(0);
        assert!(c.woken());
        c.share.set(100);
        assert!(c.may_read(true));
        assert_eq!(budget.used_bytes(), 140);
        drop((a, b, c));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_waiter_that_goes_away_passes_its_turn_on() {
        let budget = Budget::new(100);
        let (mut a, mut b, mut c) =
            (Reader::new(&budget), Reader::new(&budget), Reader::new(&budget));
        a.share.set(100);
        assert!(!b.may_read(false));
        assert!(!c.may_read(false));
        a.share.set(0);
        assert!(b.woken());
        drop(b);
        assert!(c.woken());
        assert!(c.may_read(false));
    }
}
