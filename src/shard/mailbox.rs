//! A shard's inbox: many senders, one owner thread that takes everything at once.
//!
//! Draining by swapping two vectors makes group commit free: whatever arrived while the shard
//! was writing is the next round. It holds no more than the requests that the server's in-flight
//! byte budget has admitted, which is its bound.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// An inbox of messages `T`.
pub struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    arrived: Condvar,
}

struct Inner<T> {
    messages: Vec<T>,
    /// The owner waits on the condition variable; only then must a sender pay for a wake-up.
    asleep: bool,
    closed: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        let inner = Inner { messages: Vec::new(), asleep: false, closed: false };
        Self { inner: Mutex::new(inner), arrived: Condvar::new() }
    }
}

impl<T> Mailbox<T> {
    /// Gives the message back if the owner is gone.
    ///
    /// # Errors
    /// After [`Mailbox::close`].
    pub fn send(&self, message: T) -> Result<(), T> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(message);
        }
        inner.messages.push(message);
        let wake = std::mem::take(&mut inner.asleep);
        drop(inner);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Swaps the waiting messages into `batch` (which must be empty), waiting up to `timeout`
    /// for the first. `false` once the mailbox is closed: what was drained is the last.
    pub fn drain(&self, batch: &mut Vec<T>, timeout: Duration) -> bool {
        debug_assert!(batch.is_empty());
        let mut inner = self.inner.lock();
        if inner.messages.is_empty() && !inner.closed {
            inner.asleep = true;
            self.arrived.wait_for(&mut inner, timeout);
            inner.asleep = false;
        }
        std::mem::swap(&mut inner.messages, batch);
        !inner.closed
    }

    /// No message is taken any more; those already in it are still drained.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.arrived.notify_one();
    }
}
