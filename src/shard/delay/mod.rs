//! Delayed delivery at work: a partition's journal and machine beside its log, and what the
//! shards share for it.
//!
//! A partition has none of this until its first delayed record. From then on its log and its
//! journal share one line of offsets: each is told how far the other has come before it is
//! appended to. What has to be in both is written as a pair (`log/pairs.rs`).

mod accept;
mod burial;
mod copied;
mod decide;
pub mod elsewhere;
pub mod flight;
pub mod gauges;
pub mod limits;
mod load;
mod open;
mod payload;
mod plan;
mod query;
mod release;
mod seal;
pub mod sealer;
mod turns;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::env::Env;
use crate::base::ids::TopicPartition;
use crate::base::metrics::Metrics;
use crate::base::settings::DelayStoreSettings;
use crate::delay::clock::{Reading, ReleaseClock};
use crate::delay::key::Key;
use crate::delay::note::Totals;
use crate::delay::state::{State, Tally};
use crate::log::error::AppendError;
use crate::log::journal;
use crate::log::partition::{Appended, PartitionLog};
use crate::log::settings::LogSettings;
use crate::log::validate::ValidBatch;
use crate::shard::mailbox::Mailbox;
use crate::shard::retry::expired::Expired;
use crate::shard::worker::{Message, ShardDeps};
use crate::store::Files;
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashSet;
use tokio::sync::mpsc::{Receiver, Sender, channel};

pub(super) use accept::Delayed;
use burial::Burial;
use flight::Flight;
use limits::Rates;
use seal::Sealed;
use sealer::Sealer;
use turns::Turns;

/// The mailboxes of all shards, by number.
type Mailboxes = Vec<Arc<Mailbox<Message>>>;

/// Partitions whose expired records may wait to be dead letters, of all shards.
const MOST_BURIALS: usize = 16;

/// What all shards share for delayed delivery.
pub struct DelayShared {
    pub settings: DelayStoreSettings,
    env: Env,
    clock: Mutex<ReleaseClock>,
    /// What the clock showed last.
    last_ms: AtomicI64,
    mailboxes: OnceLock<Mailboxes>,
    /// To who makes dead letters of what has expired.
    undertaker: OnceLock<Sender<Expired>>,
    sealer: Sealer,
    rates: Rates,
    /// Memory of the windows that take new entries, of all shards.
    open_window_bytes: AtomicUsize,
    /// Memory of all windows: those that are closed wait for the sealer.
    window_bytes: AtomicUsize,
}

impl DelayShared {
    #[must_use]
    pub fn new(settings: DelayStoreSettings, env: &Env) -> Arc<Self> {
        let max_step_ms = settings.clock_max_step_ms;
        let clock = ReleaseClock::start(env.wall_ms(), env.boottime(), 0, max_step_ms);
        Arc::new(Self {
            settings,
            env: env.clone(),
            last_ms: AtomicI64::new(clock.now_ms()),
            clock: Mutex::new(clock),
            rates: Rates::new(settings.release_max, env.monotonic()),
            mailboxes: OnceLock::new(),
            undertaker: OnceLock::new(),
            sealer: Sealer::default(),
            open_window_bytes: AtomicUsize::new(0),
            window_bytes: AtomicUsize::new(0),
        })
    }

    /// The shards are about to run; their partitions can reach each other.
    pub(super) fn connect(&self, mailboxes: Mailboxes) {
        // A second set would be one of other shards that share this by mistake.
        let connected = self.mailboxes.set(mailboxes);
        debug_assert!(connected.is_ok(), "shards are started once");
    }

    /// Where expired records that are to be dead letters come from, for who makes those.
    ///
    /// # Panics
    /// If it is asked for twice.
    pub fn expired(&self) -> Receiver<Expired> {
        let (sender, receiver) = channel(MOST_BURIALS);
        self.undertaker.set(sender).expect("there is one undertaker");
        receiver
    }

    /// Hands over expired records; `false` if nobody takes them now.
    fn bury(&self, expired: Expired) -> bool {
        let sender = self.undertaker.get();
        sender.is_some_and(|sender| sender.try_send(expired).is_ok())
    }

    /// Sends a message to a shard, unless it has stopped.
    fn send(&self, shard: usize, message: Message) {
        if let Some(mailbox) = self.mailboxes.get().and_then(|all| all.get(shard)) {
            let _ = mailbox.send(message);
        }
    }

    /// Starts the thread that writes runs. It ends after [`DelayShared::close`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, files: Arc<dyn Files>) -> io::Result<JoinHandle<()>> {
        self.sealer.spawn(files)
    }

    /// No more runs are begun.
    pub fn close(&self) {
        self.sealer.close();
    }

    /// What the release clock shows, and how far wall time is off.
    #[must_use]
    pub fn clock(&self) -> Reading {
        let mut clock = self.clock.lock();
        self.read(&mut clock);
        clock.reading()
    }

    /// Follows wall time at once, by an operator's command. The shards sleep by the clock as it was.
    pub fn adopt_clock(&self) -> Reading {
        let reading = {
            let mut clock = self.clock.lock();
            let before = clock.reading();
            clock.adopt(self.env.wall_ms(), self.env.boottime());
            self.read(&mut clock);
            tracing::warn!(wall_ahead_ms = before.offset_ms, "the release clock adopts wall time");
            clock.reading()
        };
        self.mailboxes.get().into_iter().flatten().for_each(|mailbox| mailbox.ring());
        reading
    }

    /// The release clock, epoch ms.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.read(&mut self.clock.lock())
    }

    /// The time of a record that is accepted now: rounded up, or what is to be delayed by a time
    /// would come up to a millisecond early.
    pub(super) fn accept_ms(&self) -> i64 {
        self.now_ms().saturating_add(1)
    }

    /// As [`DelayShared::now_ms`], without a wait for whoever reads it now: then it is what that
    /// one read last. For the threads of connections.
    #[must_use]
    pub fn glance_ms(&self) -> i64 {
        let read = |mut clock: MutexGuard<'_, ReleaseClock>| self.read(&mut clock);
        self.clock.try_lock().map_or_else(|| self.last_ms.load(Ordering::Relaxed), read)
    }

    fn read(&self, clock: &mut ReleaseClock) -> i64 {
        let now_ms = clock.read(self.env.wall_ms(), self.env.boottime());
        self.last_ms.store(now_ms, Ordering::Relaxed);
        now_ms
    }

    /// How long it takes at least until the release clock shows this time.
    #[must_use]
    pub fn until(&self, due_ms: i64) -> Duration {
        let left_ms = due_ms.saturating_sub(self.now_ms());
        Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
    }

    /// How long producers pause because too much waits in memory to be sealed.
    fn pause(&self) -> Duration {
        let bytes = self.window_bytes.load(Ordering::Relaxed) as u64;
        limits::pause_at(bytes, self.settings.journal_window_bytes)
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
    /// Landings that have been seen.
    landings: u64,
    /// Partitions whose files may have something to be done.
    unsealed: FxHashSet<TopicPartition>,
    /// When the first of them is to be looked at again, by the release clock.
    retry_ms: Option<i64>,
    /// Scratch space for records that are read back.
    buffer: Vec<u8>,
}

impl DelayHost {
    /// The partition is gone.
    pub(super) fn forget(&mut self, tp: TopicPartition) {
        self.turns.arm(tp, None);
        self.unsealed.remove(&tp);
    }

    /// The moment at which something is to be done, by the release clock.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        self.turns.next_due_ms().into_iter().chain(self.retry_ms).min()
    }

    pub(super) fn new(mailbox: &Arc<Mailbox<Message>>) -> Self {
        let flight = Flight::new(Arc::clone(mailbox));
        Self {
            turns: Turns::default(),
            flight,
            grounded: Vec::new(),
            landings: 0,
            unsealed: FxHashSet::default(),
            retry_ms: None,
            buffer: Vec::new(),
        }
    }
}

/// What a partition has delayed.
pub(super) struct Delay {
    pub(super) journal: PartitionLog,
    /// The `delay` directory.
    dir: PathBuf,
    /// Nothing while the journal can't be read: nothing is accepted or released then.
    state: Option<State>,
    sealed: Option<Sealed>,
    /// The release position that no crash can undo.
    durable_w: Key,
    /// Later ones, oldest first: what the journal ends with when each is durable.
    marks: VecDeque<(i64, Key)>,
    burial: Burial,
    /// What it has added to [`DelayShared::open_window_bytes`].
    counted_bytes: usize,
    /// What it has added to [`DelayShared::window_bytes`].
    counted_window_bytes: usize,
    /// What the metrics have of the machine's tally.
    counted: Tally,
}

impl Delay {
    fn new(journal: PartitionLog, log: &PartitionLog) -> Self {
        let dir = log.identity().dir.join(journal::DELAY_DIR);
        Self {
            journal,
            dir,
            state: None,
            sealed: None,
            burial: Burial::default(),
            durable_w: Key::MIN,
            marks: VecDeque::new(),
            counted_bytes: 0,
            counted_window_bytes: 0,
            counted: Tally::default(),
        }
    }

    pub(super) fn configure(&mut self, deps: &ShardDeps, partition: &LogSettings) {
        let segment_bytes = deps.delay.settings.journal_segment_bytes;
        self.journal.apply_settings(journal::settings(partition, segment_bytes));
    }

    /// Counts what has become of records since it was called last.
    fn count(&mut self, metrics: &Metrics) {
        let Some(state) = &self.state else { return };
        let Tally { accepted, cancelled, replaced, repeated, too_late, unknown, nacked, .. } =
            *state.tally();
        let before = std::mem::replace(&mut self.counted, *state.tally());
        metrics.delay_accepted_records.add(accepted - before.accepted);
        metrics.delay_cancelled_records.add(cancelled - before.cancelled);
        metrics.delay_replaced_records.add(replaced - before.replaced);
        metrics.delay_repeated_records.add(repeated - before.repeated);
        metrics.delay_cancels_too_late.add(too_late - before.too_late);
        metrics.delay_cancels_unknown.add(unknown - before.unknown);
        metrics.retry_nacks.add(nacked - before.nacked);
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
        let sealed = self.sealed.as_ref().and_then(|sealed| sealed.next.bound());
        let first = self.state.as_mut()?.first();
        Some(sealed.into_iter().chain(first).min()?.due_ms)
    }

    /// Deletes segments of the journal that runs stand for.
    pub(super) fn journal_retain(&mut self, now_ms: i64) {
        if let Err(error) = self.journal.retain(now_ms) {
            tracing::warn!(journal = ?self.journal.identity().tp, %error, "to be tried again");
        }
    }

    /// Ends the partition's job and gives its journal to be closed.
    pub(super) fn into_journal(self) -> PartitionLog {
        if let Some(sealed) = &self.sealed {
            sealed.hold.end();
        }
        self.journal
    }

    /// The partition is deleted, and with it what waits in it.
    pub(super) fn drop_pending(self, shared: &DelayShared, topic: &str, partition: i32) {
        shared.open_window_bytes.fetch_sub(self.counted_bytes, Ordering::Relaxed);
        shared.window_bytes.fetch_sub(self.counted_window_bytes, Ordering::Relaxed);
        let pending = self.state.as_ref().map_or_else(Totals::default, State::pending);
        if pending.records > 0 {
            let Totals { records, bytes } = pending;
            tracing::warn!(
                topic,
                partition,
                records,
                bytes,
                "pending delayed records are dropped with their topic"
            );
        }
        drop(self.into_journal());
    }

    /// Counts the memory of the windows; returns whether the open ones of all partitions together
    /// are so large that some have to be closed.
    fn count_window(&mut self, shared: &DelayShared) -> bool {
        let state = self.state.as_ref();
        let (open, all) = state.map_or((0, 0), |s| (s.open_window_bytes(), s.memory_bytes()));
        recount(&shared.window_bytes, &mut self.counted_window_bytes, all);
        let sum = recount(&shared.open_window_bytes, &mut self.counted_bytes, open);
        sum as u64 > shared.settings.journal_window_bytes / 2
    }

    /// Closes the journal's segment, and with it the window.
    fn close_window(&mut self) -> io::Result<()> {
        if self.journal.seal()?
            && let (Some(segment), Some(state)) = (self.journal.end().segment(), &mut self.state)
        {
            state.roll(segment.base_offset());
        }
        Ok(())
    }
}

/// Puts a new number in the place of what was added to a sum before; returns the sum.
fn recount(sum: &AtomicUsize, counted: &mut usize, now: usize) -> usize {
    let before = std::mem::replace(counted, now);
    match now.checked_sub(before) {
        Some(more) => sum.fetch_add(more, Ordering::Relaxed) + more,
        None => sum.fetch_sub(before - now, Ordering::Relaxed) - (before - now),
    }
}
