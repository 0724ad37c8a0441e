//! How fast delayed records are released: token buckets over what a partition, a topic and the
//! broker may take.
//!
//! A chunk is taken when nothing is owed, and may overdraw: the debt is paid before the next one.
//! So a rate holds on average whatever the chunk's size, and no record waits for a full bucket.

use std::time::Duration;

/// Microtokens of one token.
const MICRO: i128 = 1_000_000;

/// Units per second, with at most a tenth of a second saved up.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Nothing: no limit.
    per_second: Option<u64>,
    /// Below zero: owed.
    microtokens: i128,
    at: Duration,
}

impl Bucket {
    /// Of so many units a second; 0 for no limit. Full at `now`.
    #[must_use]
    pub fn new(per_second: u64, now: Duration) -> Self {
        let per_second = Some(per_second).filter(|limit| *limit > 0);
        let mut bucket = Self { per_second, microtokens: 0, at: now };
        bucket.microtokens = bucket.most();
        bucket
    }

    /// Another rate from now on. What is owed stays so.
    pub fn set(&mut self, per_second: u64, now: Duration) {
        self.refill(now);
        self.per_second = Some(per_second).filter(|limit| *limit > 0);
        self.microtokens = self.microtokens.min(self.most());
    }

    fn most(&self) -> i128 {
        (i128::from(self.per_second.unwrap_or(0)) * MICRO / 10).max(MICRO)
    }

    fn refill(&mut self, now: Duration) {
        let passed_us = i128::try_from(now.saturating_sub(self.at).as_micros()).unwrap_or(0);
        self.at = self.at.max(now);
        let earned = passed_us * i128::from(self.per_second.unwrap_or(0));
        self.microtokens = (self.microtokens + earned).min(self.most());
    }

    /// When something may be taken: `now` at the earliest.
    pub fn opens_at(&mut self, now: Duration) -> Duration {
        self.refill(now);
        let Some(per_second) = self.per_second.filter(|_| self.microtokens < MICRO) else {
            return now;
        };
        let missing = MICRO - self.microtokens;
        let wait_us = missing.div_euclid(i128::from(per_second)) + 1;
        now.saturating_add(Duration::from_micros(u64::try_from(wait_us).unwrap_or(u64::MAX)))
    }

    /// Takes units, more than there are if need be.
    pub fn take(&mut self, units: u64, now: Duration) {
        if self.per_second.is_some() {
            self.refill(now);
            self.microtokens -= i128::from(units) * MICRO;
        }
    }
}

/// Records and bytes of one partition, topic or broker:
/// `delay.release.max.records.per.second` and `delay.release.max.bytes.per.second`.
#[derive(Clone, Debug)]
pub struct Limit {
    records: Bucket,
    bytes: Bucket,
}

impl Limit {
    /// 0 for no limit.
    #[must_use]
    pub fn new(records_per_second: u64, bytes_per_second: u64, now: Duration) -> Self {
        let (records, bytes) = (records_per_second, bytes_per_second);
        Self { records: Bucket::new(records, now), bytes: Bucket::new(bytes, now) }
    }

    pub fn set(&mut self, records_per_second: u64, bytes_per_second: u64, now: Duration) {
        self.records.set(records_per_second, now);
        self.bytes.set(bytes_per_second, now);
    }

    /// When a chunk may be taken: `now` at the earliest.
    pub fn opens_at(&mut self, now: Duration) -> Duration {
        self.records.opens_at(now).max(self.bytes.opens_at(now))
    }

    pub fn take(&mut self, records: u64, bytes: u64, now: Duration) {
        self.records.take(records, now);
        self.bytes.take(bytes, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    proptest! {
        #[test]
        fn a_rate_holds_on_average_and_is_used_up(
            per_second in 1_u64..1_000_000, chunks in prop::collection::vec(1_u64..50_000, 1..200),
        ) {
            let mut bucket = Bucket::new(per_second, ms(0));
            let (mut now, mut taken) = (ms(0), 0_u64);
            for chunk in &chunks {
                now = bucket.opens_at(now);
                prop_assert_eq!(bucket.opens_at(now), now);
                bucket.take(*chunk, now);
                taken += chunk;
            }
            let last = chunks.last().copied().unwrap_or(0);
            let earned = per_second as f64 * now.as_secs_f64();
            let saved = (per_second as f64 / 10.0).max(1.0);
            prop_assert!((taken - last) as f64 <= earned + saved + 1.0);
            // One unit more for every rounding up to a microsecond.
            prop_assert!(taken as f64 + 2.0 + per_second as f64 * chunks.len() as f64 / 1e6 >= earned);
        }
    }

    #[test]
    fn without_a_limit_it_is_always_open() {
        let mut limit = Limit::new(0, 0, ms(5));
        limit.take(u64::MAX, u64::MAX, ms(5));
        assert_eq!(limit.opens_at(ms(5)), ms(5));
    }

    #[test]
    fn the_slower_of_records_and_bytes_counts() {
        let mut limit = Limit::new(10, 1_000, ms(0));
        limit.take(1, 1_100, ms(0));
        let opens = limit.opens_at(ms(0));
        assert!(opens > ms(1_000) && opens < ms(1_002), "{opens:?}");
        limit.set(10, 0, ms(0));
        assert!(limit.opens_at(ms(0)) <= ms(101));
    }

    #[test]
    fn an_idle_bucket_saves_up_a_tenth_of_a_second() {
        let mut bucket = Bucket::new(1_000, ms(0));
        bucket.take(100, ms(3_600_000));
        assert!(bucket.opens_at(ms(3_600_000)) > ms(3_600_000));
        assert_eq!(bucket.opens_at(ms(3_600_002)), ms(3_600_002));
    }
}
