//! The only door to clock and entropy. Everything else takes `now` as an argument or is handed
//! an [`Env`], so that tests and the simulator own time and randomness.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

/// Time as the broker sees it.
pub trait Clock: Send + Sync {
    /// Wall time, milliseconds since the Unix epoch. May step.
    fn wall_ms(&self) -> i64;
    /// Time since an arbitrary fixed point; never steps back.
    fn monotonic(&self) -> Duration;
    /// As [`Clock::monotonic`], from a point of its own, and goes on while the machine sleeps.
    fn boottime(&self) -> Duration {
        self.monotonic()
    }
}

/// Randomness as the broker sees it.
pub trait Entropy: Send + Sync {
    /// Fills the buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// Clock and entropy, cheap to clone.
#[derive(Clone)]
pub struct Env {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Env {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy }
    }

    /// The machine's own clock and entropy.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Arc::new(SystemClock::start()), Arc::new(SystemEntropy))
    }

    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Time since the machine was started, its sleep included; never steps back.
    #[must_use]
    pub fn boottime(&self) -> Duration {
        self.clock.boottime()
    }

    /// A random (version 4) UUID, never nil.
    #[must_use]
    pub fn random_uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    #[must_use]
    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one door to the monotonic clock")]
    fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one door to the wall clock")]
    fn wall_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn boottime(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(now).unwrap_or_default()
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system gives entropy");
    }
}

/// A clock that moves only when told, and a seeded generator: for tests and the simulator.
pub mod scripted {
    use super::{Clock, Duration, Entropy, Env};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    /// Wall and monotonic time that advance together by [`ScriptedClock::advance_ms`].
    pub struct ScriptedClock {
        wall_ms: AtomicI64,
        elapsed_ms: AtomicI64,
    }

    impl ScriptedClock {
        #[must_use]
        pub fn at(wall_ms: i64) -> Arc<Self> {
            Arc::new(Self { wall_ms: AtomicI64::new(wall_ms), elapsed_ms: AtomicI64::new(0) })
        }

        pub fn advance_ms(&self, ms: i64) {
            assert!(ms >= 0, "monotonic time never goes back");
            self.wall_ms.fetch_add(ms, Ordering::SeqCst);
            self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
        }

        /// Moves the wall clock alone, as an operator or NTP would.
        pub fn step_wall_ms(&self, ms: i64) {
            self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        }
    }

    impl Clock for ScriptedClock {
        fn wall_ms(&self) -> i64 {
            self.wall_ms.load(Ordering::SeqCst)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst).unsigned_abs())
        }
    }

    /// SplitMix64: small, seedable, good enough for tests.
    pub struct SeededEntropy(AtomicU64);

    impl SeededEntropy {
        #[must_use]
        pub fn new(seed: u64) -> Arc<Self> {
            Arc::new(Self(AtomicU64::new(seed)))
        }
    }

    impl Entropy for SeededEntropy {
        fn fill(&self, buffer: &mut [u8]) {
            for chunk in buffer.chunks_mut(8) {
                let step = 0x9E37_79B9_7F4A_7C15_u64;
                let mut z = self.0.fetch_add(step, Ordering::SeqCst).wrapping_add(step);
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                z ^= z >> 31;
                chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
            }
        }
    }

    /// An [`Env`] over a scripted clock and a seed.
    #[must_use]
    pub fn env(clock: Arc<ScriptedClock>, seed: u64) -> Env {
        Env::new(clock, SeededEntropy::new(seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_runs_and_is_no_older_than_the_machine() {
        let env = Env::system();
        let (first, second) = (env.boottime(), env.boottime());
        assert!(Duration::ZERO < first && first <= second);
        assert!(i64::try_from(second.as_millis()).is_ok_and(|up_ms| up_ms < env.wall_ms()));
    }
}
