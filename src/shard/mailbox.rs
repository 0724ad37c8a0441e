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
    /// Go before all others, and are taken while the owner waits for something else too.
    urgent: Vec<T>,
    /// The owner waits on the condition variable; only then must a sender pay for a wake-up.
    asleep: bool,
    /// The owner is to look up though nobody sent it anything.
    rung: bool,
    closed: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        let inner = Inner {
            messages: Vec::new(),
            urgent: Vec::new(),
            asleep: false,
            rung: false,
            closed: false,
        };
        Self { inner: Mutex::new(inner), arrived: Condvar::new() }
    }
}

impl<T> Mailbox<T> {
    /// Gives the message back if the owner is gone.
    ///
    /// # Errors
    /// After [`Mailbox::close`].
    pub fn send(&self, message: T) -> Result<(), T> {
        self.put(message, |inner| &mut inner.messages)
    }

    /// As [`Mailbox::send`], ahead of what waits already.
    ///
    /// # Errors
    /// After [`Mailbox::close`].
    pub fn send_urgent(&self, message: T) -> Result<(), T> {
        self.put(message, |inner| &mut inner.urgent)
    }

    fn put(&self, message: T, place: impl FnOnce(&mut Inner<T>) -> &mut Vec<T>) -> Result<(), T> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(message);
        }
        place(&mut inner).push(message);
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
        let rung = std::mem::take(&mut inner.rung);
        if inner.messages.is_empty() && inner.urgent.is_empty() && !rung && !inner.closed {
            inner.asleep = true;
            self.arrived.wait_for(&mut inner, timeout);
            inner.asleep = false;
            inner.rung = false;
        }
        if inner.urgent.is_empty() {
            std::mem::swap(&mut inner.messages, batch);
        } else {
            batch.append(&mut inner.urgent);
            batch.append(&mut inner.messages);
        }
        !inner.closed
    }

    /// Wakes the owner without a message: what it waited for elsewhere has come about.
    pub fn ring(&self) {
        let mut inner = self.inner.lock();
        inner.rung = true;
        let wake = std::mem::take(&mut inner.asleep);
        drop(inner);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Takes the urgent messages alone, without waiting.
    #[must_use]
    pub fn take_urgent(&self) -> Vec<T> {
        std::mem::take(&mut self.inner.lock().urgent)
    }

    /// No message is taken any more; those already in it are still drained.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(mailbox: &Mailbox<i32>) -> (Vec<i32>, bool) {
        let mut batch = Vec::new();
        let open = mailbox.drain(&mut batch, Duration::ZERO);
        (batch, open)
    }

    #[test]
    fn everything_is_drained_in_order_and_urgent_first() {
        let mailbox = Mailbox::default();
        mailbox.send(1).unwrap();
        mailbox.send(2).unwrap();
        mailbox.send_urgent(9).unwrap();
        assert_eq!(drained(&mailbox), (vec![9, 1, 2], true));
        assert_eq!(drained(&mailbox), (vec![], true));
    }

    #[test]
    fn urgent_messages_are_taken_alone() {
        let mailbox = Mailbox::default();
        mailbox.send(1).unwrap();
        mailbox.send_urgent(9).unwrap();
        assert_eq!(mailbox.take_urgent(), [9]);
        assert_eq!(drained(&mailbox), (vec![1], true));
    }

    #[test]
    fn a_closed_mailbox_gives_what_it_has_and_takes_no_more() {
        let mailbox = Mailbox::default();
        mailbox.send(1).unwrap();
        mailbox.close();
        assert_eq!(mailbox.send(2), Err(2));
        assert_eq!(mailbox.send_urgent(3), Err(3));
        assert_eq!(drained(&mailbox), (vec![1], false));
    }

    #[test]
    fn an_owner_that_was_rung_does_not_wait_once() {
        let mailbox = Mailbox::<i32>::default();
        mailbox.ring();
        let mut batch = Vec::new();
        // Would be the length of the test otherwise.
        assert!(mailbox.drain(&mut batch, Duration::from_secs(3_600)));
        assert!(batch.is_empty());
        assert_eq!(drained(&mailbox), (vec![], true));
    }

    #[test]
    fn a_message_wakes_the_owner() {
        let mailbox = std::sync::Arc::new(Mailbox::default());
        let sender = std::sync::Arc::clone(&mailbox);
        let thread = std::thread::spawn(move || sender.send(7));
        let mut batch = Vec::new();
        while batch.is_empty() {
            mailbox.drain(&mut batch, Duration::from_secs(60));
        }
        assert_eq!(batch, [7]);
        thread.join().unwrap().unwrap();
    }
}
