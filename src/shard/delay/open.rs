//! A partition's journal: opened with its log, begun with its first delayed record, put back from
//! the commit log.

use std::io;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::Delay;
use super::seal::Sealed;
use crate::base::ids::TopicPartition;
use crate::delay::state::State;
use crate::log::dir::{self, Identity};
use crate::log::error::LogError;
use crate::log::journal;
use crate::log::pairs;
use crate::log::partition::PartitionLog;
use crate::log::recover::OpenHint;
use crate::log::runs::{Manifest, Runs};
use crate::shard::registry::Partition;
use crate::shard::worker::{Hosted, ShardDeps};

impl Delay {
    /// Opens the journal of a partition; `None` if it has none.
    ///
    /// # Errors
    /// See [`LogError`].
    pub(in crate::shard) fn open(
        deps: &ShardDeps,
        log: &mut PartitionLog,
        hint: Option<OpenHint>,
    ) -> Result<Option<Box<Self>>, LogError> {
        let identity = journal::identity(log.identity());
        if hint.is_none() {
            let listed = deps.store.files().list(&identity.dir);
            let failed = |source| LogError::Io { path: identity.dir.clone(), source };
            if listed.map_err(failed)?.is_empty() {
                return Ok(None);
            }
        }
        let journal = open_journal(deps, log, identity, hint.unwrap_or_default())?;
        let mut delay = Box::new(Self::new(journal, log));
        delay.align(log);
        Ok(Some(delay))
    }

    /// Begins the journal of a partition that had none. Its directories are durable then: what
    /// the commit log brings back after a crash finds its place.
    ///
    /// # Errors
    /// See [`LogError`].
    pub(in crate::shard) fn begin(
        deps: &ShardDeps,
        log: &mut PartitionLog,
    ) -> Result<Box<Self>, LogError> {
        let partition = log.identity().clone();
        make_dirs(deps, &partition)
            .map_err(|source| LogError::Io { path: partition.dir.clone(), source })?;
        let identity = journal::identity(&partition);
        let journal = open_journal(deps, log, identity, OpenHint::default())?;
        let mut delay = Box::new(Self::new(journal, log));
        delay.align(log);
        // Leftovers of a job that outlived another topic of this name are not this one's.
        let manifest = Manifest::default();
        let runs = Runs::open(deps.store.files_shared(), &delay.dir, &manifest)
            .map_err(|source| LogError::Io { path: delay.dir.clone(), source })?;
        let state = State::empty(delay.journal.next_offset());
        let next = runs.after(state.w());
        delay.sealed = Some(Sealed::new(manifest, runs, next));
        delay.state = Some(state);
        Ok(delay)
    }

    /// Tells log and journal how far the other has come.
    pub(in crate::shard) fn align(&mut self, log: &mut PartitionLog) {
        log.set_floor(self.journal.end().offset);
        self.journal.set_floor(log.end().offset);
    }
}

impl Hosted {
    /// What the partition has delayed: begun if there was nothing.
    ///
    /// # Errors
    /// See [`LogError`].
    pub(in crate::shard) fn begin_delay(
        &mut self,
        deps: &ShardDeps,
    ) -> Result<&mut Delay, LogError> {
        if self.delay.is_none() {
            let delay = Delay::begin(deps, &mut self.log)?;
            self.partition.journal.store(Some(Arc::clone(delay.journal.view())));
            self.delay = Some(delay);
        }
        Ok(self.delay.as_mut().expect("it was just made"))
    }

    /// Once the commit log is replayed: cuts what a crash left of half a pair, and brings together
    /// what log and journal know of producers. `hint` is what they were opened with.
    ///
    /// # Errors
    /// See [`LogError`].
    pub(in crate::shard) fn mend_pairs(
        &mut self,
        deps: &ShardDeps,
        hint: &impl Fn(TopicPartition) -> OpenHint,
    ) -> Result<(), LogError> {
        let Some(delay) = &mut self.delay else { return Ok(()) };
        if let Some(limit) = pairs::cut(self.log.tail(), delay.journal.tail()) {
            for log in [&mut self.log, &mut delay.journal] {
                let identity = log.identity().clone();
                let hint = OpenHint { limit: Some(limit), ..hint(identity.tp) };
                let (settings, epoch) = (log.settings().clone(), log.view().leader_epoch());
                let now_ms = deps.env.wall_ms();
                *log = PartitionLog::open(&deps.store, identity, settings, hint, epoch, now_ms)?.0;
            }
            let before = &self.partition;
            self.partition = Arc::new(Partition {
                tp: before.tp,
                topic_name: before.topic_name.clone(),
                role: before.role.clone(),
                shard: before.shard,
                view: Arc::clone(self.log.view()),
                journal: ArcSwapOption::new(Some(Arc::clone(delay.journal.view()))),
                rules: ArcSwap::new(before.rules.load_full()),
            });
            deps.registry.insert(Arc::clone(&self.partition));
        }
        delay.align(&mut self.log);
        self.log.merge_producers(&delay.journal);
        Ok(())
    }
}

fn open_journal(
    deps: &ShardDeps,
    log: &PartitionLog,
    identity: Identity,
    hint: OpenHint,
) -> Result<PartitionLog, LogError> {
    let settings = journal::settings(log.settings(), deps.delay.settings.journal_segment_bytes);
    let epoch = log.view().leader_epoch();
    let now_ms = deps.env.wall_ms();
    Ok(PartitionLog::open(&deps.store, identity, settings, hint, epoch, now_ms)?.0)
}

/// The partition's directory and the one for delayed records, durably.
fn make_dirs(deps: &ShardDeps, partition: &Identity) -> io::Result<()> {
    let files = deps.store.files();
    let delay = partition.dir.join(journal::DELAY_DIR);
    if files.list(&partition.dir)?.is_empty() {
        dir::create(files, partition)?;
    }
    files.create_dir(&delay)?;
    files.sync_dir(&deps.data_dir)?;
    files.sync_dir(&partition.dir)?;
    files.sync_dir(&delay)
}
