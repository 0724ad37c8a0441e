//! How long to wait so that no more than so many bytes per second are moved. Pure: the time comes
//! in.

use std::time::Duration;

/// Waits below this are saved up: a batch at a time would be a system call each.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// See the module's head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When all that was moved so far will have been moved at the pace asked for.
    even_at: Duration,
}

impl Pace {
    /// Takes note of bytes that were moved, and says how long to wait now.
    pub(super) fn after(&mut self, bytes: usize, per_second: f64, now: Duration) -> Duration {
        let cost = Duration::try_from_secs_f64(bytes as f64 / per_second.max(1.0));
        self.even_at = self.even_at.max(now).saturating_add(cost.unwrap_or(Duration::MAX));
        let wait = self.even_at.saturating_sub(now);
        if wait < SHORTEST_WAIT { Duration::ZERO } else { wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn bytes_take_the_time_they_should() {
        let mut pace = Pace::default();
        let mut now = SECOND * 100;
        for _ in 0..1_000 {
            now += pace.after(500, 100_000.0, now);
        }
        let took = now - SECOND * 100;
        assert!((SECOND * 5).abs_diff(took) <= SHORTEST_WAIT, "{took:?}");
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut pace = Pace::default();
        assert_eq!(pace.after(1_000, 1_000.0, SECOND), SECOND);
        assert_eq!(pace.after(1_000, 1_000.0, SECOND * 60), SECOND);
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        assert_eq!(Pace::default().after(usize::MAX, f64::MAX, SECOND), Duration::ZERO);
    }
}
