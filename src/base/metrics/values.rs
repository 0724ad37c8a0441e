//! The kinds of metrics: atomics that count, and how each is written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::text::Text;
use crate::base::fault::Code;

/// Only ever rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) const KIND: &str = "counter";

    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn render(&self, name: &str, text: &mut Text) {
        text.sample(name, &[], self.get());
    }
}

/// What was found last.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub(super) const KIND: &str = "gauge";

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn render(&self, name: &str, text: &mut Text) {
        text.sample(name, &[], self.get());
    }
}

/// A distribution over fixed buckets, in whole base units (microseconds, bytes).
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds, inclusive, rising.
    bounds: &'static [u64],
    /// Base units in one unit of the exposition (a second has 1e6 microseconds).
    scale: f64,
    /// One more than bounds: the last counts what is above all of them.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

const TIME_BOUNDS_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];
const SIZE_BOUNDS_BYTES: &[u64] =
    &[1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20];

const COUNT_BOUNDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

impl Histogram {
    pub(super) const KIND: &str = "histogram";

    pub(super) fn of_time() -> Self {
        Self::new(TIME_BOUNDS_US, 1e6)
    }

    pub(super) fn of_counts() -> Self {
        Self::new(COUNT_BOUNDS, 1.0)
    }

    pub(super) fn of_bytes() -> Self {
        Self::new(SIZE_BOUNDS_BYTES, 1.0)
    }

    fn new(bounds: &'static [u64], scale: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, scale, counts, sum: AtomicU64::new(0) }
    }

    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub fn record_time(&self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn render(&self, name: &str, text: &mut Text) {
        let bucket = format!("{name}_bucket");
        let mut total = 0;
        for (count, bound) in self.counts.iter().zip(self.bounds.iter().map(Some).chain([None])) {
            total += count.load(Ordering::Relaxed);
            let bound =
                bound.map_or("+Inf".into(), |bound| (*bound as f64 / self.scale).to_string());
            text.sample(&bucket, &[("le", &bound)], total);
        }
        text.sample(
            &format!("{name}_sum"),
            &[],
            self.sum.load(Ordering::Relaxed) as f64 / self.scale,
        );
        text.sample(&format!("{name}_count"), &[], total);
    }
}

/// API keys counted on their own; what lies above shares the last cell.
const APIS: usize = 128;

/// A counter for each API.
#[derive(Debug)]
pub struct PerApi([Counter; APIS]);

impl Default for PerApi {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl PerApi {
    pub(super) const KIND: &str = Counter::KIND;

    #[must_use]
    pub fn of(&self, api_key: i16) -> &Counter {
        let cell = usize::try_from(api_key).unwrap_or(APIS);
        &self.0[cell.min(APIS - 1)]
    }

    pub(super) fn render(&self, name: &str, text: &mut Text) {
        for (key, counter) in (0_i16..).zip(&self.0) {
            if counter.get() > 0 {
                let api = ApiKey::try_from(key);
                let api = api.map_or("unknown".into(), |api| format!("{api:?}"));
                text.sample(name, &[("api", &api)], counter.get());
            }
        }
    }
}

/// Attempts counted on their own, from 1 on; the last cell has all that are later.
const ATTEMPTS: usize = 32;

/// A counter for each of the first attempts.
#[derive(Debug)]
pub struct PerAttempt([Counter; ATTEMPTS]);

impl Default for PerAttempt {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl PerAttempt {
    pub(super) const KIND: &str = Counter::KIND;

    #[must_use]
    pub fn of(&self, attempt: u32) -> &Counter {
        let cell = usize::try_from(attempt).unwrap_or(ATTEMPTS).saturating_sub(1);
        &self.0[cell.min(ATTEMPTS - 1)]
    }

    pub(super) fn render(&self, name: &str, text: &mut Text) {
        for (attempt, counter) in (1..).zip(&self.0) {
            if counter.get() > 0 {
                let later = if attempt == ATTEMPTS { "+" } else { "" };
                text.sample(name, &[("attempt", &format!("{attempt}{later}"))], counter.get());
            }
        }
    }
}

/// Why records are dead, as their letters say it. What is none of these shares the last cell.
pub const REASONS: [&str; 9] = [
    "rejected",
    "delivery-limit",
    "expired",
    "schedule-exhausted",
    "nack-dead",
    "source-gone",
    "oversize",
    "admin",
    "other",
];

/// A counter for each reason.
#[derive(Debug)]
pub struct PerReason([Counter; REASONS.len()]);

impl Default for PerReason {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl PerReason {
    pub(super) const KIND: &str = Counter::KIND;

    #[must_use]
    pub fn of(&self, reason: &str) -> &Counter {
        let cell = REASONS.iter().position(|known| *known == reason);
        &self.0[cell.unwrap_or(REASONS.len() - 1)]
    }

    pub(super) fn render(&self, name: &str, text: &mut Text) {
        for (reason, counter) in REASONS.iter().zip(&self.0) {
            if counter.get() > 0 {
                text.sample(name, &[("reason", reason)], counter.get());
            }
        }
    }
}

/// Error codes counted on their own, from -1 on; what lies above shares the last cell.
const CODES: usize = 160;

/// A counter for each of Kafka's error codes.
#[derive(Debug)]
pub struct PerCode([Counter; CODES]);

impl Default for PerCode {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl PerCode {
    pub(super) const KIND: &str = Counter::KIND;

    #[must_use]
    pub fn of(&self, code: i16) -> &Counter {
        let cell = usize::try_from(i32::from(code) + 1).unwrap_or(CODES);
        &self.0[cell.min(CODES - 1)]
    }

    pub(super) fn render(&self, name: &str, text: &mut Text) {
        for (code, counter) in (-1_i16..).zip(&self.0) {
            if counter.get() > 0 {
                let kind = Code::try_from_code(code);
                let kind = kind.map_or("none".into(), |kind| format!("{kind:?}"));
                text.sample(name, &[("code", &kind)], counter.get());
            }
        }
    }
}
