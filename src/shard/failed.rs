//! Whether the data directory has failed: seen by whoever writes or syncs, obeyed by all.
//!
//! A write or sync that failed for another reason than room is final. What was written before may
//! be lost, and nothing tells what; so nothing is accepted any more and the broker ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Clones share it.
#[derive(Clone)]
pub struct Failed {
    flag: Arc<AtomicBool>,
    report: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Failed {
    /// `report` is called once, with the first failure, on the thread that saw it.
    #[must_use]
    pub fn new(report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { flag: Arc::default(), report: Arc::new(report) }
    }

    #[must_use]
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    pub fn set(&self, reason: &str) {
        if !self.flag.swap(true, Ordering::AcqRel) {
            (self.report)(reason);
        }
    }
}
