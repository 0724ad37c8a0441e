//! When a connection has been waited for long enough.
//!
//! [`Waits`] knows what a connection is waiting for and derives one deadline. [`Alarm`] is its
//! timer, and costs nothing per request: it stays where it is as long as it fires no later than
//! the deadline, and is looked at again when it does; moving it each time would take the
//! runtime's timer lock. Time is the runtime's, which tests can pause.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::end::End;
use super::settings::Limits;

/// Arrived bytes that buy a begun frame one more second.
const MIN_BYTES_PER_SECOND: u64 = 32 << 10;

/// How long a connection that is being closed may take to send its last replies.
const LINGER: Duration = Duration::from_secs(10);

/// What the deadlines of one connection are measured from.
pub(super) struct Waits {
    opened: Instant,
    /// The last time bytes moved in either direction.
    active: Instant,
    /// A request has arrived.
    greeted: bool,
    /// The frame that is arriving: since when it has been waited for, and its bytes then and now.
    frame: Option<(Instant, usize, usize)>,
    /// The broker itself holds up reading, so the client can't be blamed for slowness.
    paused: bool,
    /// Since when the socket has taken none of the waiting reply bytes.
    stalled: Option<Instant>,
    closing: Option<Instant>,
}

impl Waits {
    pub(super) fn start(now: Instant) -> Self {
        Self {
            opened: now,
            active: now,
            greeted: false,
            frame: None,
            paused: false,
            stalled: None,
            closing: None,
        }
    }

    /// Bytes came in; `part_bytes` of them belong to a frame that is not whole. `begun`: the
    /// frame before it was.
    pub(super) fn received(&mut self, part_bytes: usize, begun: bool, now: Instant) {
        self.active = now;
        self.greeted |= begun;
        self.frame = match self.frame {
            _ if part_bytes == 0 => None,
            Some((since, before, _)) if !begun => Some((since, before, part_bytes)),
            _ => Some((now, part_bytes, part_bytes)),
        };
    }

    pub(super) fn paused(&mut self) {
        self.paused = true;
    }

    /// The broker reads again; a frame that was arriving gets its time anew.
    pub(super) fn resumed(&mut self, now: Instant) {
        if std::mem::take(&mut self.paused) {
            self.frame = self.frame.map(|(_, _, bytes)| (now, bytes, bytes));
        }
    }

    /// Reply bytes went out; `blocked`: more are waiting.
    pub(super) fn sent(&mut self, bytes: u64, blocked: bool, now: Instant) {
        if bytes > 0 {
            (self.active, self.stalled) = (now, None);
        }
        self.stalled = blocked.then(|| self.stalled.unwrap_or(now));
    }

    pub(super) fn closing(&mut self, now: Instant) {
        self.closing = Some(now);
    }

    /// When to give the connection up, and why. `busy`: it has unanswered requests.
    pub(super) fn deadline(&self, limits: &Limits, busy: bool) -> (Option<Instant>, End) {
        if let Some(since) = self.closing {
            return (Some(since + LINGER), End::Stopped);
        }
        if let Some(since) = self.stalled {
            return (Some(since + limits.send_stall), End::Stalled);
        }
        if self.paused {
            return (None, End::Idle);
        }
        if let Some((since, before, now)) = self.frame {
            let bought = Duration::from_secs((now - before) as u64 / MIN_BYTES_PER_SECOND);
            return (Some(since + limits.frame + bought), End::SlowRequest);
        }
        if busy {
            return (None, End::Idle);
        }
        if !self.greeted {
            return (Some(self.opened + limits.handshake), End::Mute);
        }
        (Some(self.active + limits.idle), End::Idle)
    }
}

#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready at `deadline` or later; otherwise the task is woken then, possibly before.
    pub(super) fn poll(
        &mut self,
        deadline: Option<Instant>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        let timer = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if deadline <= now.max(timer.deadline()) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script {
        start: Instant,
        waits: Waits,
        limits: Limits,
    }

    impl Script {
        fn new() -> Self {
            let start = Instant::now();
            Self { start, waits: Waits::start(start), limits: Limits::default() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        /// Seconds after the start, and whose fault it is.
        fn deadline(&self, busy: bool) -> Option<(u64, bool)> {
            let (deadline, end) = self.waits.deadline(&self.limits, busy);
            deadline.map(|deadline| ((deadline - self.start).as_secs(), end.is_fault()))
        }
    }

    #[test]
    fn first_the_hand_shake_then_idleness() {
        let mut script = Script::new();
        assert_eq!(script.deadline(false), Some((15, true)));
        script.waits.received(0, true, script.at(5));
        assert_eq!(script.deadline(false), Some((605, false)));
        script.waits.sent(100, false, script.at(9));
        assert_eq!(script.deadline(false), Some((609, false)));
        assert_eq!(script.deadline(true), None, "the service bounds what it answers later");
    }

    #[test]
    fn a_begun_frame_buys_time_with_bytes_not_with_arrivals() {
        let mut script = Script::new();
        script.waits.received(4, false, script.at(1));
        assert_eq!(script.deadline(false), Some((31, true)), "bytes alone are no hand-shake");
        script.waits.received(30 << 10, false, script.at(29));
        assert_eq!(script.deadline(true), Some((31, true)));
        script.waits.received(4 + (10 << 20), false, script.at(30));
        assert_eq!(script.deadline(true), Some((31 + 320, true)), "32 KiB a second");
        script.waits.received(7, true, script.at(40));
        assert_eq!(script.deadline(true), Some((70, true)), "the next frame begins anew");
    }

    #[test]
    fn the_broker_s_own_pauses_are_not_held_against_the_client() {
        let mut script = Script::new();
        script.waits.received(100, false, script.at(1));
        script.waits.paused();
        assert_eq!(script.deadline(false), None);
        script.waits.resumed(script.at(500));
        assert_eq!(script.deadline(false), Some((530, true)));
    }

    #[test]
    fn unread_replies_and_closing_have_their_own_time() {
        let mut script = Script::new();
        script.waits.received(0, true, script.at(1));
        script.waits.sent(10, true, script.at(2));
        script.waits.sent(0, true, script.at(50));
        assert_eq!(script.deadline(true), Some((62, true)), "since the socket took the last byte");
        script.waits.sent(1, true, script.at(60));
        assert_eq!(script.deadline(true), Some((120, true)));
        script.waits.closing(script.at(70));
        assert_eq!(script.deadline(true), Some((80, false)));
    }
}
