//! Delayed delivery at work: a partition's journal and machine beside its log, and what the
//! shards share for it.
//!
//! A partition has none of this until its first delayed record. From then on its log and its
//! journal share one line of offsets: each is told how far the other has come before it is
//! appended to. What has to be in both is written as a pair (`log/pairs.rs`).

mod accept;
mod decide;
pub mod flight;
mod load;
mod open;
mod payload;
mod query;
mod release;
mod turns;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::env::Env;
use crate::base::ids::TopicPartition;
use crate::base::settings::DelayStoreSettings;
use crate::delay::clock::ReleaseClock;
use crate::delay::state::State;
use crate::log::error::AppendError;
use crate::log::journal;
use crate::log::partition::{Appended, PartitionLog};
use crate::log::settings::LogSettings;
use crate::log::validate::ValidBatch;
use crate::shard::mailbox::Mailbox;
use crate::shard::worker::{Message, ShardDeps};
use parking_lot::Mutex;

pub(super) use accept::Delayed;
use flight::Flight;
use turns::Turns;

/// What all shards share for delayed delivery.
pub struct DelayShared {
    pub settings: DelayStoreSettings,
    env: Env,
    clock: Mutex<ReleaseClock>,
}

impl DelayShared {
    #[must_use]
    pub fn new(settings: DelayStoreSettings, env: &Env) -> Arc<Self> {
        let max_step_ms = settings.clock_max_step_ms;
        let clock = ReleaseClock::start(env.wall_ms(), env.boottime(), 0, max_step_ms);
        Arc::new(Self { settings, env: env.clone(), clock: Mutex::new(clock) })
    }

    /// The release clock, epoch ms.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock.lock().read(self.env.wall_ms(), self.env.boottime())
    }

    /// How long it takes at least until the release clock shows this time.
    #[must_use]
    pub fn until(&self, due_ms: i64) -> Duration {
        let left_ms = due_ms.saturating_sub(self.now_ms());
        Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
    }

    /// A journal has seen this time: the clock shows no less.
    fn raise_clock(&self, floor_ms: i64) {
        self.clock.lock().raise_floor(floor_ms);
    }
}

/// What one shard has for it.
pub(super) struct DelayHost {
    turns: Turns,
    flight: Arc<Flight>,
    /// Partitions whose next release waits for a landing.
    grounded: Vec<TopicPartition>,
    /// Scratch space for records that are read back.
    buffer: Vec<u8>,
}

impl DelayHost {
    /// The moment at which something is due, by the release clock.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        self.turns.next_due_ms()
    }

    pub(super) fn new(mailbox: &Arc<Mailbox<Message>>) -> Self {
        let flight = Flight::new(Arc::clone(mailbox));
        Self { turns: Turns::default(), flight, grounded: Vec::new(), buffer: Vec::new() }
    }
}

/// What a partition has delayed.
pub(super) struct Delay {
    pub(super) journal: PartitionLog,
    /// The `delay` directory.
    dir: PathBuf,
    /// Nothing while the journal can't be read: nothing is accepted or released then.
    state: Option<State>,
}

impl Delay {
    fn new(journal: PartitionLog, log: &PartitionLog) -> Self {
        let dir = log.identity().dir.join(journal::DELAY_DIR);
        Self { journal, dir, state: None }
    }

    pub(super) fn configure(&mut self, deps: &ShardDeps, partition: &LogSettings) {
        let segment_bytes = deps.delay.settings.journal_segment_bytes;
        self.journal.apply_settings(journal::settings(partition, segment_bytes));
    }

    /// Appends to the journal, which may begin a segment and with it a window.
    fn append(&mut self, batch: &mut ValidBatch, now_ms: i64) -> Result<Appended, AppendError> {
        let appended = self.journal.append_judged(batch, now_ms)?;
        if let (Some(segment), Some(state)) = (appended.end.segment(), &mut self.state) {
            state.roll(segment.base_offset());
        }
        Ok(appended)
    }

    /// When its first entry is due, in epoch milliseconds.
    pub(super) fn next_due_ms(&mut self) -> Option<i64> {
        Some(self.state.as_mut()?.first()?.due_ms)
    }
}
