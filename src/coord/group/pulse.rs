//! Heartbeats that need no decision, so that thousands of idle members cost no thread hand-over.
//!
//! The coordinator opens the pulse of a member whose heartbeat it has accepted in a stable group.
//! While it is open, the member's own connection answers further heartbeats by [`Pulse::beat`],
//! and the coordinator asks for the last one when the session would end. [`Watch::close`] and
//! dropping the watch close the pulse; that is done before anything changes that a heartbeat is
//! answered by, so an open pulse never says what the coordinator would not. What a closed one has
//! heard still counts. Rejected: a map of sessions that
//! connections and coordinators share (a lock and two look-ups in each heartbeat).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const CLOSED: u64 = u64::MAX;

/// The connection's end: when its member was last heard of, in microseconds of the coordinator's
/// clock, or [`CLOSED`].
#[derive(Debug)]
pub struct Pulse(AtomicU64);

impl Default for Pulse {
    /// Closed, until a coordinator opens it.
    fn default() -> Self {
        Self(AtomicU64::new(CLOSED))
    }
}

impl Pulse {
    /// A heartbeat; false if the coordinator must be asked.
    #[must_use]
    pub fn beat(&self, now: Duration) -> bool {
        // Each step reads what the one before it wrote, so no beat is taken after the closing.
        let beat = |last| (last != CLOSED).then(|| micros(now).max(last));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, beat).is_ok()
    }
}

/// The coordinator's end. The pulse is open as long as this lives and was not closed.
#[derive(Debug)]
pub struct Watch {
    pulse: Arc<Pulse>,
    /// The last beat, in microseconds, once it is closed.
    heard: Option<u64>,
}

impl Watch {
    /// Opens a pulse, which must be no other member's, nor one that was open before.
    #[must_use]
    pub fn open(pulse: &Arc<Pulse>, now: Duration) -> Self {
        pulse.0.store(micros(now), Ordering::Relaxed);
        Self { pulse: Arc::clone(pulse), heard: None }
    }

    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.heard.is_none()
    }

    /// The member must ask from now on.
    pub fn close(&mut self) {
        self.heard.get_or_insert_with(|| self.pulse.0.swap(CLOSED, Ordering::Relaxed));
    }

    /// Closes the pulse of a member that was not heard of after `since`.
    ///
    /// # Errors
    /// It was, at this time; an open pulse stays open.
    pub fn end(&self, since: Duration) -> Result<(), Duration> {
        let end = |last| (last <= micros(since)).then_some(CLOSED);
        let ended = match self.heard {
            Some(last) => end(last).ok_or(last),
            None => self.pulse.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end),
        };
        ended.map(drop).map_err(Duration::from_micros)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.pulse.0.store(CLOSED, Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(CLOSED).min(CLOSED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_pulse_beats_only_while_it_is_watched() {
        let pulse = Arc::new(Pulse::default());
        assert!(!pulse.beat(at(1)));
        let watch = Watch::open(&pulse, at(2));
        assert!(pulse.beat(at(3)));
        drop(watch);
        assert!(!pulse.beat(at(4)));
    }

    #[test]
    fn it_ends_at_the_last_beat_and_no_earlier() {
        let pulse = Arc::new(Pulse::default());
        let watch = Watch::open(&pulse, at(10));
        assert!(pulse.beat(at(20)));
        assert!(pulse.beat(at(15)), "a connection may be late with its clock");
        assert_eq!(watch.end(at(19)), Err(at(20)));
        assert!(pulse.beat(at(20)));
        assert_eq!(watch.end(at(20)), Ok(()));
        assert!(!pulse.beat(at(21)));
    }

    #[test]
    fn what_was_heard_outlives_the_closing() {
        let pulse = Arc::new(Pulse::default());
        let mut watch = Watch::open(&pulse, at(10));
        assert!(pulse.beat(at(20)));
        watch.close();
        watch.close();
        assert!(!watch.is_open() && !pulse.beat(at(21)));
        assert_eq!(watch.end(at(19)), Err(at(20)));
        assert_eq!(watch.end(at(20)), Ok(()));
    }
}
