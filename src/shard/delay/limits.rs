//! How much may wait, and how fast it is released: by topic, and by the broker over all shards.

use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::base::fault::{Code, Fault};
use crate::base::settings::{DelaySettings, ReleaseRate};
use crate::delay::note::Totals;
use crate::delay::rate::Limit;

/// What a topic's configs limit. `None`: no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct DelayLimits {
    pub max_pending_records: Option<u64>,
    pub max_pending_bytes: Option<u64>,
    pub release_max: ReleaseRate,
}

impl DelayLimits {
    #[must_use]
    pub const fn of(settings: &DelaySettings) -> Self {
        Self {
            max_pending_records: settings.max_pending_records,
            max_pending_bytes: settings.max_pending_bytes,
            release_max: settings.release_max,
        }
    }

    /// Whether so much may come to what is pending in a partition, and how long the producer is to
    /// pause behind it: the longer, the less is left below a cap.
    ///
    /// # Errors
    /// POLICY_VIOLATION.
    pub(super) fn admit(
        &self,
        pending: Totals,
        records: u64,
        bytes: u64,
    ) -> Result<Duration, Fault> {
        let records = pending.records.saturating_add(records);
        let bytes = pending.bytes.saturating_add(bytes);
        let caps = [
            ("delay.max.pending.records", self.max_pending_records, records),
            ("delay.max.pending.bytes", self.max_pending_bytes, bytes),
        ];
        let mut pause = Duration::ZERO;
        for (name, limit, sum) in caps {
            let Some(limit) = limit else { continue };
            if sum > limit {
                let message = format!("{name}={limit} is reached");
                return Err(Fault::with(Code::PolicyViolation, message));
            }
            pause = pause.max(pause_at(sum, limit));
        }
        Ok(pause)
    }
}

/// How long a producer pauses at a cap: as long as a client's quota makes it wait at most in Kafka.
const MOST_PAUSE_MS: u64 = 1_000;

/// None up to nine tenths of a cap; from there on in proportion to what is beyond.
pub(super) fn pause_at(sum: u64, limit: u64) -> Duration {
    let tenth = (limit / 10).max(1);
    let beyond = sum.saturating_sub(limit - limit / 10).min(tenth);
    let pause_ms = u128::from(beyond) * u128::from(MOST_PAUSE_MS) / u128::from(tenth);
    Duration::from_millis(u64::try_from(pause_ms).unwrap_or(MOST_PAUSE_MS))
}

/// What one chunk may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Bounds {
    /// No more than a tenth of a second's worth, so that a slow rate is no rate of bursts.
    fn within(self, rate: ReleaseRate) -> Self {
        let share = |most: usize, rate: Option<u64>| match rate {
            Some(rate) => most.min(usize::try_from(rate / 10).unwrap_or(most).max(1)),
            None => most,
        };
        Self { records: share(self.records, rate.records), bytes: share(self.bytes, rate.bytes) }
    }
}

/// Rates of release.
pub(super) struct Rates {
    broker_max: ReleaseRate,
    buckets: Mutex<Buckets>,
}

struct Buckets {
    broker: Limit,
    topics: FxHashMap<Uuid, (ReleaseRate, Limit)>,
}

fn limit(rate: ReleaseRate, now: Duration) -> Limit {
    Limit::new(rate.records.unwrap_or(0), rate.bytes.unwrap_or(0), now)
}

const UNLIMITED: ReleaseRate = ReleaseRate { records: None, bytes: None };

impl Rates {
    pub(super) fn new(broker_max: ReleaseRate, now: Duration) -> Self {
        let buckets = Buckets { broker: limit(broker_max, now), topics: FxHashMap::default() };
        Self { broker_max, buckets: Mutex::new(buckets) }
    }

    fn is_unlimited(&self, topic_max: ReleaseRate) -> bool {
        self.broker_max == UNLIMITED && topic_max == UNLIMITED
    }

    /// What a chunk of this topic may be, within `most`.
    pub(super) fn bounds(&self, topic_max: ReleaseRate, most: Bounds) -> Bounds {
        most.within(self.broker_max).within(topic_max)
    }

    /// How long the topic has to wait for its next chunk.
    pub(super) fn wait(&self, topic: Uuid, topic_max: ReleaseRate, now: Duration) -> Duration {
        if self.is_unlimited(topic_max) {
            return Duration::ZERO;
        }
        let mut buckets = self.buckets.lock();
        let opens_at = buckets.topic(topic, topic_max, now).opens_at(now);
        buckets.broker.opens_at(now).max(opens_at).saturating_sub(now)
    }

    pub(super) fn take(&self, topic: Uuid, topic_max: ReleaseRate, out: Totals, now: Duration) {
        if !self.is_unlimited(topic_max) {
            let mut buckets = self.buckets.lock();
            buckets.topic(topic, topic_max, now).take(out.records, out.bytes, now);
            buckets.broker.take(out.records, out.bytes, now);
        }
    }
}

impl Buckets {
    fn topic(&mut self, topic: Uuid, max: ReleaseRate, now: Duration) -> &mut Limit {
        let (known, bucket) = self.topics.entry(topic).or_insert_with(|| (max, limit(max, now)));
        if *known != max {
            bucket.set(max.records.unwrap_or(0), max.bytes.unwrap_or(0), now);
            *known = max;
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_over_a_cap_is_named() {
        let limits = DelayLimits { max_pending_records: Some(10), ..DelayLimits::default() };
        let pending = Totals { records: 9, bytes: 1 << 40 };
        limits.admit(pending, 1, 1).unwrap();
        let fault = limits.admit(pending, 2, 1).unwrap_err();
        assert_eq!(fault.kind(), Code::PolicyViolation);
        assert!(fault.to_string().contains("delay.max.pending.records=10"), "{fault}");
    }

    #[test]
    fn producers_pause_the_longer_the_nearer_a_cap_is() {
        let limits = DelayLimits {
            max_pending_records: Some(1_000),
            max_pending_bytes: Some(u64::MAX),
            ..DelayLimits::default()
        };
        let pause_ms =
            |records, bytes| limits.admit(Totals { records, bytes }, 0, 0).unwrap().as_millis();
        assert_eq!([0, 900, 901, 950, 1_000].map(|n| pause_ms(n, 0)), [0, 0, 10, 500, 1_000]);
        assert_eq!(pause_ms(950, u64::MAX), 1_000, "the nearest cap counts");
        assert_eq!(pause_ms(0, u64::MAX / 10 * 9), 0);
        let one = DelayLimits { max_pending_records: Some(1), ..DelayLimits::default() };
        assert!(one.admit(Totals::default(), 1, 0).unwrap() <= Duration::from_secs(1));
        let pending = Totals { records: 7, bytes: 7 };
        assert!(DelayLimits::default().admit(pending, 1, 1).unwrap().is_zero());
    }

    #[test]
    fn a_topic_pays_for_what_it_took_and_another_does_not() {
        let slow = ReleaseRate { records: Some(100), bytes: None };
        let rates = Rates::new(UNLIMITED, Duration::ZERO);
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let most = Bounds { records: 1_000, bytes: 7 };
        assert_eq!(rates.bounds(slow, most), Bounds { records: 10, bytes: 7 });
        let mut out = 0;
        let mut now = Duration::ZERO;
        while now < 10 * SECOND {
            let wait = rates.wait(one, slow, now);
            if wait.is_zero() {
                rates.take(one, slow, Totals { records: 10, bytes: 0 }, now);
                out += 10;
            }
            assert!(rates.wait(other, UNLIMITED, now).is_zero());
            now += wait.max(Duration::from_millis(1));
        }
        assert!((1_000..=1_020).contains(&out), "{out} in 10 s");
    }
}
