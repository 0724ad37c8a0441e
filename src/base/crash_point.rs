//! Named places at which crash tests end the process, as a power cut would: no destructor runs,
//! nothing is flushed.
//!
//! Only with the cargo feature `crash-points`; else [`pass`] is nothing. The environment variable
//! `CRASH_AT`, which is no setting and so has none's prefix, is `<name>:<n>`: the process kills
//! itself the n-th time it passes the place. `tests/crash/points.py` lists the places of a broker
//! under load, `tests/commit_crash/` those of the durable path alone.

/// Passes a named place.
#[cfg(feature = "crash-points")]
pub fn pass(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("CRASH_AT").ok()?;
        let (name, nth) = text.split_once(':')?;
        Some((name.to_owned(), nth.parse().ok()?))
    });
    let Some((armed, nth)) = armed else { return };
    if armed == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *nth {
        let own = rustix::process::getpid();
        let _killed = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        // The signal may take effect a moment later; nothing may happen in between.
        loop {
            std::thread::park();
        }
    }
}

/// Passes a named place.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub const fn pass(_name: &str) {}
