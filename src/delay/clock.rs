//! The clock by which delayed records are accepted and released.
//!
//! It starts at wall time and runs with the boot-time clock, which no one sets and which goes on
//! while the machine sleeps. Towards wall time it moves by at most 500 ppm of what has passed,
//! as NTP slews; a difference above `delay.clock.max.step.ms` is not followed at all, so that
//! neither a wrong time server nor an operator's slip releases records early: it is told, and
//! adopted by command or by a restart. It never goes back.
//!
//! At start it does not read less than the newest time in any journal: while wall time is behind
//! that, it stands there until wall time has caught up. Running on from there was rejected: what
//! is asked for an absolute time would stay early for as long as the difference was large.

use std::time::Duration;

/// Most that the clock leaves the boot-time clock's pace, in parts per million.
pub const SLEW_PPM: i64 = 500;

/// See the module's head.
#[derive(Clone, Debug)]
pub struct ReleaseClock {
    /// Microseconds since the epoch, at `read_at`.
    now_us: i64,
    /// Boot time that has been counted.
    read_at: Duration,
    /// The clock shows no less than this, epoch ms.
    floor_ms: i64,
    max_step_ms: i64,
    /// Wall time less this clock, as of the last reading.
    offset_us: i64,
    /// What was too little to slew by, in millionths of a microsecond.
    unslewed: i64,
}

/// What an operator sees of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Epoch ms.
    pub now_ms: i64,
    /// Wall time less the clock.
    pub offset_ms: i64,
    /// See [`ReleaseClock::is_stepped`].
    pub is_stepped: bool,
}

impl ReleaseClock {
    /// A clock that starts now. `floor_ms` is the newest time that a journal tells of,
    /// `max_step_ms` is `delay.clock.max.step.ms`.
    #[must_use]
    pub fn start(wall_ms: i64, boottime: Duration, floor_ms: i64, max_step_ms: i64) -> Self {
        let now_us = wall_ms.saturating_mul(1_000);
        Self { now_us, read_at: boottime, floor_ms, max_step_ms, offset_us: 0, unslewed: 0 }
    }

    /// The time now, epoch ms: never less than it was.
    pub fn read(&mut self, wall_ms: i64, boottime: Duration) -> i64 {
        let passed = boottime.saturating_sub(self.read_at);
        let passed_us = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
        // What is less than a microsecond is left for the next reading: thousands of readings a
        // second would lose more than slewing makes up for.
        self.read_at += Duration::from_micros(passed_us.unsigned_abs());
        self.now_us = self.now_us.saturating_add(passed_us);
        self.offset_us = wall_ms.saturating_mul(1_000).saturating_sub(self.now_us);
        let most = self.unslewed.saturating_add(passed_us.saturating_mul(SLEW_PPM));
        self.unslewed = most % 1_000_000;
        if !self.is_stepped() {
            let most_us = most / 1_000_000;
            let slew_us = self.offset_us.clamp(-most_us, most_us);
            self.now_us += slew_us;
            self.offset_us -= slew_us;
        }
        self.now_ms()
    }

    /// As of the last reading, epoch ms.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_us.div_euclid(1_000).max(self.floor_ms)
    }

    /// Wall time less this clock as of the last reading, ms.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.offset_us.div_euclid(1_000).saturating_sub(self.held_ms())
    }

    /// Whether wall time is so far off that it is not followed.
    #[must_use]
    pub const fn is_stepped(&self) -> bool {
        self.offset_us.unsigned_abs() > self.max_step_ms.unsigned_abs().saturating_mul(1_000)
    }

    /// As of the last reading.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let (now_ms, offset_ms) = (self.now_ms(), self.offset_ms());
        Reading { now_ms, offset_ms, is_stepped: self.is_stepped() }
    }

    /// How far the clock's own time is behind the floor at which it stands, ms.
    #[must_use]
    pub fn held_ms(&self) -> i64 {
        self.floor_ms.saturating_sub(self.now_us.div_euclid(1_000)).max(0)
    }

    /// Follows wall time from now on, by an operator's command; does not go back.
    pub fn adopt(&mut self, wall_ms: i64, boottime: Duration) {
        self.floor_ms = self.read(wall_ms, boottime);
        self.now_us = wall_ms.saturating_mul(1_000);
        self.offset_us = 0;
    }

    /// A partition was loaded whose journal has seen this time, epoch ms.
    pub fn raise_floor(&mut self, floor_ms: i64) {
        self.floor_ms = self.floor_ms.max(floor_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR_MS: i64 = 3_600_000;
    const START_MS: i64 = 1_700_000_000_000;

    /// A true time, a wall clock that is set at will, and the clock under test.
    struct Bed {
        boot_us: u64,
        wall_us: i64,
        clock: ReleaseClock,
    }

    impl Bed {
        fn new(floor_ms: i64) -> Self {
            let clock = ReleaseClock::start(START_MS, Duration::ZERO, floor_ms, 5_000);
            Self { boot_us: 0, wall_us: START_MS * 1_000, clock }
        }

        fn pass_us(&mut self, us: i64) -> i64 {
            self.boot_us += us.unsigned_abs();
            self.wall_us += us;
            self.clock.read(self.wall_us.div_euclid(1_000), Duration::from_micros(self.boot_us))
        }

        /// How far the clock may be ahead of what has truly passed.
        fn latest_ms(&self) -> i64 {
            let passed_us = i64::try_from(self.boot_us).unwrap();
            START_MS + (passed_us + passed_us * SLEW_PPM / 1_000_000) / 1_000
        }
    }

    #[test]
    fn however_often_it_is_read_it_keeps_pace() {
        let mut clock = ReleaseClock::start(START_MS, Duration::ZERO, 0, 5_000);
        for reading in 1..=1_000_000_u64 {
            let boottime = Duration::from_nanos(reading * 1_999);
            let passed_ms = i64::try_from(boottime.as_millis()).unwrap();
            let shown_ms = clock.read(START_MS + passed_ms, boottime);
            assert!(
                (passed_ms - 1..=passed_ms).contains(&(shown_ms - START_MS)),
                "at {boottime:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_wall_time_does_nothing_is_early_and_time_never_goes_back(
            moves in prop::collection::vec((0..2_000_000_i64, -HOUR_MS..=HOUR_MS, 0..4), 1..200),
        ) {
            let mut bed = Bed::new(0);
            let mut before = START_MS;
            for (us, step_ms, stepped) in moves {
                match stepped {
                    0 => bed.wall_us += step_ms * 1_000,
                    1 => bed.wall_us += step_ms,
                    _ => {}
                }
                let now_ms = bed.pass_us(us);
                prop_assert!(now_ms >= before && now_ms <= bed.latest_ms());
                before = now_ms;
            }
        }
    }

    #[test]
    fn an_hour_forward_and_back_is_not_adopted() {
        for step_ms in [HOUR_MS, -HOUR_MS] {
            let mut bed = Bed::new(0);
            bed.wall_us += step_ms * 1_000;
            for second in 1..=60 {
                assert_eq!(bed.pass_us(1_000_000), START_MS + second * 1_000);
                assert!(bed.clock.is_stepped());
                assert_eq!(bed.clock.offset_ms(), step_ms);
            }
            bed.wall_us -= step_ms * 1_000;
            bed.pass_us(1_000_000);
            assert!(!bed.clock.is_stepped());
        }
    }

    #[test]
    fn a_small_difference_is_slewed_away() {
        for offset_ms in [400, -400] {
            let mut bed = Bed::new(0);
            bed.wall_us += offset_ms * 1_000;
            let first = bed.pass_us(100_000_000) - START_MS;
            assert_eq!(first, 100_000 + offset_ms.signum() * 50);
            for _ in 0..10 {
                bed.pass_us(100_000_000);
            }
            assert_eq!(bed.clock.offset_ms(), 0);
            assert_eq!(bed.clock.now_ms(), bed.wall_us / 1_000);
        }
    }

    #[test]
    fn it_slews_however_often_it_is_read() {
        let mut bed = Bed::new(0);
        bed.wall_us += 400_000;
        for _ in 0..1_000_000 {
            bed.pass_us(1_000);
        }
        assert_eq!(bed.clock.offset_ms(), 0);
    }

    #[test]
    fn a_start_behind_the_persisted_clock_waits_there() {
        let mut bed = Bed::new(START_MS + 10_000);
        assert_eq!(bed.pass_us(4_000_000), START_MS + 10_000);
        assert_eq!(bed.clock.held_ms(), 6_000);
        assert_eq!(bed.pass_us(6_001_000), START_MS + 10_001);
        assert_eq!(bed.clock.held_ms(), 0);
    }

    #[test]
    fn an_operator_may_set_it_forward_but_not_back() {
        let mut bed = Bed::new(0);
        bed.wall_us += HOUR_MS * 1_000;
        bed.pass_us(1_000_000);
        bed.clock.adopt(bed.wall_us / 1_000, Duration::from_micros(bed.boot_us));
        assert_eq!(bed.pass_us(1_000_000), START_MS + HOUR_MS + 2_000);
        bed.wall_us -= HOUR_MS * 1_000;
        bed.clock.adopt(bed.wall_us / 1_000, Duration::from_micros(bed.boot_us));
        assert_eq!(bed.pass_us(1_000_000), START_MS + HOUR_MS + 2_000);
        assert_eq!(bed.clock.held_ms(), HOUR_MS - 1_000);
    }
}
