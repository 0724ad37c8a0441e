//! Threads that compact logs, each a round at a time: ask the shards what there is, take the
//! dirtiest, write its segments anew, hand them to the owner.
//!
//! A log that is damaged, or cannot be read or written, is reported once and left alone until the
//! next start; the others go on. A failed sync ends the data directory, as everywhere. Nothing here is waited for by a client. Rejected: compacting on
//! the shards' threads, which would make producers wait for megabytes to be read.

mod pace;
mod progress;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Shards;
use super::control::{Compactable, Control};
use super::failed::Failed;
use super::registry::Partition;
use crate::base::env::Env;
use crate::base::ids::TopicPartition;
use crate::base::metrics::CompactionMetrics;
use crate::base::settings::CleanerSettings;
use crate::log::cache::LogStore;
use crate::log::compact::CompactError;
use crate::log::compact::map::OffsetMap;
use crate::log::compact::round::{self, Done, Surroundings, Task};
use crate::log::compact::select::{self, Eligible, Lags};
use crate::log::compact::swap::Replacement;
use crate::log::producers::ProducerState;
use crate::log::segment::SegmentView;
use pace::Pace;
use progress::Progress;

/// What the threads work with.
pub struct CleanerDeps {
    pub env: Env,
    pub metrics: Arc<CompactionMetrics>,
    pub shards: Arc<Shards>,
    pub store: LogStore,
    pub data_dir: PathBuf,
    pub failed: Failed,
    /// The settings as they are now.
    pub settings: Box<dyn Fn() -> CleanerSettings + Send + Sync>,
}

/// The running threads.
pub struct Cleaner(Arc<Shared>);

impl Cleaner {
    /// Starts as many threads as the settings say, and keeps as many as they will say.
    ///
    /// # Errors
    /// If a thread cannot be started, or the progress file cannot be read.
    pub fn start(deps: CleanerDeps) -> io::Result<Self> {
        let settings = (deps.settings)();
        let state = State { progress: Progress::load(&deps)?, ..State::default() };
        let (stop, threads) = (Stop::default(), Mutex::default());
        let shared = Arc::new(Shared { deps, state: Mutex::new(state), stop, threads });
        if settings.enable {
            shared.keep_threads(settings.threads)?;
        }
        Ok(Self(shared))
    }

    /// Ends all rounds and waits for the threads. The shards must still answer.
    pub fn stop(self) {
        self.0.stop.set();
        let threads = std::mem::take(&mut *self.0.threads.lock());
        for (_, thread) in threads {
            // A panic was reported by its thread; compaction is not needed for a clean stop.
            let _ = thread.join();
        }
    }
}

struct Shared {
    deps: CleanerDeps,
    state: Mutex<State>,
    stop: Stop,
    /// With their numbers; the first keeps the others.
    threads: Mutex<Vec<(u32, JoinHandle<()>)>>,
}

#[derive(Default)]
struct State {
    progress: Progress,
    /// In the hands of a thread.
    busy: FxHashSet<TopicPartition>,
    uncleanable: FxHashSet<TopicPartition>,
    pace: Pace,
}

/// The wish to end, for which every wait here waits too.
#[derive(Default)]
struct Stop {
    wished: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn set(&self) {
        *self.wished.lock() = true;
        self.changed.notify_all();
    }

    /// Waits; true at once when the end is wished for.
    fn wait(&self, timeout: Duration) -> bool {
        let mut wished = self.wished.lock();
        if !*wished && !timeout.is_zero() {
            self.changed.wait_for(&mut wished, timeout);
        }
        *wished
    }
}

/// A log that a round may take up.
struct Candidate {
    found: Compactable,
    segments: Arc<Vec<Arc<SegmentView>>>,
    eligible: Eligible,
    lags: Lags,
}

impl Candidate {
    fn tp(&self) -> TopicPartition {
        self.found.partition.tp
    }
}

impl Shared {
    /// Starts the threads that are missing; those that are too many end by themselves.
    fn keep_threads(self: &Arc<Self>, count: u32) -> io::Result<()> {
        let mut threads = self.threads.lock();
        threads.retain(|(_, thread)| !thread.is_finished());
        for n in 0..count {
            if self.stop.wait(Duration::ZERO) || threads.iter().any(|(running, _)| *running == n) {
                continue;
            }
            let shared = Arc::clone(self);
            let thread = std::thread::Builder::new().name(format!("cleaner-{n}"));
            threads.push((n, thread.spawn(move || shared.run(n))?));
        }
        Ok(())
    }

    fn run(self: &Arc<Self>, n: u32) {
        loop {
            let settings = (self.deps.settings)();
            if n >= settings.threads {
                return;
            }
            if n == 0
                && let Err(error) = self.keep_threads(settings.threads)
            {
                tracing::warn!(%error, "no further thread for compaction");
            }
            let worked = self.take().is_some_and(|next| self.clean(next, &settings));
            if self.stop.wait(if worked { Duration::ZERO } else { settings.backoff }) {
                return;
            }
        }
    }

    /// Takes the log that needs it most, if any does.
    fn take(&self) -> Option<Candidate> {
        let found = self.ask_shards();
        let served = |tp: &TopicPartition| self.deps.shards.registry().get(*tp).is_some();
        {
            let mut state = self.state.lock();
            state.uncleanable.retain(served);
            state.progress.retain(served);
            self.deps.metrics.uncleanable_partitions.set(state.uncleanable.len() as u64);
        }
        let mut candidates: Vec<_> = found.into_iter().filter_map(|one| self.judge(one)).collect();
        let ratios = candidates.iter().map(|candidate| candidate.eligible.dirty_ratio);
        self.deps.metrics.max_dirty_percent.set((ratios.fold(0.0, f64::max) * 100.0) as u64);
        let mut state = self.state.lock();
        candidates.retain(|candidate| !state.busy.contains(&candidate.tp()));
        let judged: Vec<_> = candidates.iter().map(|one| (one.eligible, one.lags)).collect();
        let next = candidates.swap_remove(select::dirtiest(&judged)?);
        state.busy.insert(next.tp());
        Some(next)
    }

    /// Everything that is to be compacted; what a shard that stops does not answer is left out.
    fn ask_shards(&self) -> Vec<Compactable> {
        let shards = &self.deps.shards;
        let asked: Vec<_> =
            (0..shards.count()).map(|n| shards.control(n, Control::Compactable)).collect();
        asked.into_iter().filter_map(|answer| answer.blocking_recv().ok()).flatten().collect()
    }

    fn judge(&self, found: Compactable) -> Option<Candidate> {
        let tp = found.partition.tp;
        let cleaned_to = {
            let state = self.state.lock();
            if state.uncleanable.contains(&tp) {
                return None;
            }
            state.progress.get(tp)
        };
        let lags = Lags {
            min_ms: found.settings.min_compaction_lag_ms,
            max_ms: found.settings.max_compaction_lag_ms,
            min_dirty_ratio: found.settings.min_cleanable_dirty_ratio,
        };
        let view = &found.partition.view;
        let segments = view.segments();
        // Nothing of a transaction that is still open is compacted.
        let stable_end = view.last_stable().min(view.checkpointed());
        let facts = match round::facts(&segments, &lags) {
            Ok(facts) => facts,
            Err(error) => {
                self.give_up(&found, &error.into());
                return None;
            }
        };
        let now_ms = self.deps.env.wall_ms();
        let eligible = select::eligible(&facts, stable_end, cleaned_to, &lags, now_ms);
        Some(Candidate { found, segments, eligible, lags })
    }

    /// Whether there may be more to do right away.
    fn clean(&self, next: Candidate, settings: &CleanerSettings) -> bool {
        let tp = next.tp();
        let Candidate { found, segments, eligible, .. } = next;
        let outcome = self.round(&found, segments, &eligible, settings);
        self.state.lock().busy.remove(&tp);
        match outcome {
            Ok(done) => {
                self.note(&found, &done);
                true
            }
            Err(error) => {
                self.give_up(&found, &error);
                false
            }
        }
    }

    fn round(
        &self,
        found: &Compactable,
        segments: Arc<Vec<Arc<SegmentView>>>,
        eligible: &Eligible,
        settings: &CleanerSettings,
    ) -> Result<Done, CompactError> {
        let budget_bytes = settings.dedupe_buffer_bytes / settings.threads.max(1) as usize;
        let task = Task {
            store: &self.deps.store,
            end: segments[eligible.segments].base_offset(),
            first_dirty: eligible.first_dirty,
            last_offsets: self.last_offsets(&found.partition).ok_or(CompactError::Interrupted)?,
            settings: &found.settings,
            now_ms: self.deps.env.wall_ms(),
        };
        let taking_part = segments[..eligible.segments].to_vec();
        drop(segments);
        let map = OffsetMap::new(budget_bytes, settings.io_buffer_load_factor);
        let mut owned = Owned {
            shared: self,
            tp: found.partition.tp,
            shard: found.partition.shard,
            per_second: settings.io_max_bytes_per_second,
            moved_bytes: 0,
        };
        round::run(&task, taking_part, map, &mut owned)
    }

    /// The last offset of every producer that the log remembers.
    fn last_offsets(&self, partition: &Partition) -> Option<FxHashMap<i64, i64>> {
        let ask = |done| Control::Producers(partition.tp, done);
        let answer = self.deps.shards.control(partition.shard, ask);
        let last =
            |state: ProducerState| Some((state.producer_id, state.batches.last()?.last_offset));
        Some(answer.blocking_recv().ok()??.into_iter().filter_map(last).collect())
    }

    fn note(&self, found: &Compactable, done: &Done) {
        let partition = &found.partition;
        let metrics = &self.deps.metrics;
        metrics.rounds.add(1);
        metrics.read_bytes.add(done.read_bytes);
        metrics.written_bytes.add(done.written_bytes);
        metrics.removed_records.add(done.removed_records);
        let now_s = self.deps.env.wall_ms().div_euclid(1_000);
        metrics.last_round_seconds.set(u64::try_from(now_s).unwrap_or(0));
        tracing::debug!(
            topic = partition.topic_name,
            partition = partition.tp.partition,
            ?done,
            "compacted"
        );
        let text = {
            let mut state = self.state.lock();
            state.progress.set(partition.tp, done.cleaned_to);
            state.progress.text(self.deps.shards.registry())
        };
        if let Err(error) = progress::write(&self.deps, text) {
            tracing::warn!(%error, "the progress of compaction is not on disk");
        }
    }

    /// Leaves a log alone, for now or until the next start. A failed sync ends the data directory.
    fn give_up(&self, found: &Compactable, error: &CompactError) {
        let partition = &found.partition;
        let (topic, index) = (&partition.topic_name, partition.tp.partition);
        if let CompactError::Sync(error) = error {
            let reason = format!("syncing a compacted segment of {topic}-{index}: {error}");
            return self.deps.failed.set(&reason);
        }
        let is_passing = match error {
            CompactError::Interrupted => true,
            CompactError::Storage(error) => error.kind() == io::ErrorKind::StorageFull,
            CompactError::Damaged { .. } | CompactError::Sync(_) => false,
        };
        // A topic that was deleted meanwhile has lost its files by right.
        if is_passing || partition.view.is_closed() {
            tracing::debug!(topic, partition = index, %error, "compaction has to wait");
            return;
        }
        tracing::error!(topic, partition = index, %error,
            "the partition is not compacted until the next start");
        let mut state = self.state.lock();
        state.uncleanable.insert(partition.tp);
        self.deps.metrics.uncleanable_partitions.set(state.uncleanable.len() as u64);
    }
}

/// Bytes moved between two looks at the pace that is asked for.
const PACE_LOOK_BYTES: usize = 4 << 20;

/// What a round asks for, on behalf of one partition.
struct Owned<'a> {
    shared: &'a Shared,
    tp: TopicPartition,
    shard: usize,
    per_second: f64,
    /// Moved since the pace was looked up.
    moved_bytes: usize,
}

impl Surroundings for Owned<'_> {
    fn pace(&mut self, bytes: usize) -> bool {
        let deps = &self.shared.deps;
        self.moved_bytes += bytes;
        if self.moved_bytes >= PACE_LOOK_BYTES {
            self.moved_bytes = 0;
            self.per_second = (deps.settings)().io_max_bytes_per_second;
        }
        let now = deps.env.monotonic();
        let wait = self.shared.state.lock().pace.after(bytes, self.per_second, now);
        !self.shared.stop.wait(wait)
    }

    fn swap(&mut self, replacement: Replacement) -> io::Result<bool> {
        let replace = |done| Control::Replace(self.tp, replacement, done);
        let answer = self.shared.deps.shards.control(self.shard, replace);
        answer.blocking_recv().unwrap_or(Ok(false))
    }
}
