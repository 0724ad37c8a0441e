//! The partitions that a shard owns: opened, put back, trimmed, checkpointed, closed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;

use super::checkpointer::Collected;
use super::control::{Compactable, Opening};
use super::delay::Delay;
use super::registry::Partition;
use super::worker::{Hosted, Shard, ShardDeps, report};
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::coord::group::GROUPS_TOPIC;
use crate::log::commit::ReplayedRow;
use crate::log::compact::swap::Replacement;
use crate::log::dir::{self, Identity};
use crate::log::error::{LogError, ReplayError};
use crate::log::partition::{PartitionLog, Replayed};
use crate::log::recover::{OpenHint, RecoveryReport};

/// What the last checkpoint knows of a partition.
#[derive(Default)]
pub struct Hints {
    pub log: OpenHint,
    /// Of its delay journal, if it has one.
    pub journal: Option<OpenHint>,
}

impl Hosted {
    fn log_of(&self, tp: TopicPartition) -> Option<&PartitionLog> {
        match tp.is_journal() {
            true => self.delay.as_ref().map(|delay| &delay.journal),
            false => Some(&self.log),
        }
    }

    /// Puts a batch of the commit log back in its log, or its journal.
    fn put_back(
        &mut self,
        deps: &ShardDeps,
        tp: TopicPartition,
        batch: &Bytes,
    ) -> Result<Replayed, ReplayError> {
        let now_ms = deps.env.wall_ms();
        self.changed = true;
        if tp.is_journal() {
            self.begin_delay(deps).map_err(io::Error::other)?;
        }
        let Some(delay) = &mut self.delay else { return self.log.append_replayed(batch, now_ms) };
        delay.align(&mut self.log);
        match tp.is_journal() {
            true => delay.journal.append_replayed(batch, now_ms),
            false => self.log.append_replayed(batch, now_ms),
        }
    }
}

impl Shard {
    /// Opens a partition's log, or begins an empty one, and serves it: readers and producers find
    /// it from now on.
    ///
    /// # Errors
    /// The partition is not served; no other is affected.
    pub fn open_existing(
        &mut self,
        opening: &Opening,
        hints: Hints,
    ) -> Result<RecoveryReport, LogError> {
        if self.hosted.contains_key(&opening.tp) {
            return Ok(RecoveryReport::default());
        }
        let (mut log, report) = PartitionLog::open(
            &self.deps.store,
            Identity::below(&self.deps.data_dir, &opening.topic_name, opening.tp),
            opening.settings.clone(),
            hints.log,
            opening.leader_epoch,
            self.deps.env.wall_ms(),
        )?;
        let delay = Delay::open(&self.deps, &mut log, hints.journal)?;
        let partition = Arc::new(Partition {
            tp: opening.tp,
            topic_name: opening.topic_name.clone(),
            role: opening.role.clone(),
            shard: self.index,
            view: Arc::clone(log.view()),
            journal: ArcSwapOption::new(delay.as_ref().map(|d| Arc::clone(d.journal.view()))),
            rules: ArcSwap::from_pointee(opening.rules.clone()),
        });
        self.deps.registry.insert(Arc::clone(&partition));
        self.hosted.insert(opening.tp, Hosted { log, partition, changed: true, delay });
        if opening.topic_name == GROUPS_TOPIC {
            self.with_groups(|groups, _| groups.add(opening.tp));
        }
        Ok(report)
    }

    /// Puts a row of the commit log back. `None` if its partition is not served, `false` if the
    /// row is there already.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn replay(&mut self, row: &ReplayedRow) -> Result<Option<bool>, ReplayError> {
        if let Some(batch) = &row.batch {
            return self.put_back(row.tp, batch);
        }
        // The batch was synced in its segment before its row was written.
        let hosted = self.hosted.get(&row.tp.source());
        let Some(log) = hosted.and_then(|hosted| hosted.log_of(row.tp)) else { return Ok(None) };
        let (log_end, base_offset) = (log.end().offset, row.base_offset);
        match base_offset < log_end {
            true => Ok(Some(false)),
            false => Err(ReplayError::Gap { log_end, base_offset }),
        }
    }

    /// As [`Shard::replay`], of a batch alone.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn put_back(
        &mut self,
        tp: TopicPartition,
        batch: &Bytes,
    ) -> Result<Option<bool>, ReplayError> {
        let Some(hosted) = self.hosted.get_mut(&tp.source()) else { return Ok(None) };
        let replayed = hosted.put_back(&self.deps, tp, batch)?;
        Ok(Some(replayed == Replayed::Appended))
    }

    /// Once the commit log is replayed: cuts what a crash left of half a pair. `hint` is what a log
    /// or a journal was opened with.
    ///
    /// # Errors
    /// A log that could be read before can't be read now.
    pub fn mend_pairs(
        &mut self,
        hint: &impl Fn(TopicPartition) -> OpenHint,
    ) -> Result<(), LogError> {
        self.hosted.values_mut().try_for_each(|hosted| hosted.mend_pairs(&self.deps, hint))
    }

    /// Makes everything that recovery found visible, once it is durable, and builds what is
    /// delayed from it.
    pub fn show_all(&mut self) {
        for hosted in self.hosted.values_mut() {
            hosted.partition.view.advance(&hosted.log.end());
            if let Some(delay) = &mut hosted.delay {
                delay.journal.view().advance(&delay.journal.end());
            }
        }
        self.load_delayed();
    }

    pub(super) fn remove(&mut self, opening: &Opening) -> io::Result<Option<PathBuf>> {
        if let Some(partition) = self.deps.registry.remove(opening.tp) {
            partition.view.close();
        }
        if let Some(hosted) = self.hosted.remove(&opening.tp) {
            if let Some(delay) = hosted.delay {
                delay.drop_pending(&self.deps.delay, &opening.topic_name, opening.tp.partition);
            }
            self.delays.forget(opening.tp);
            self.removed.extend([opening.tp, opening.tp.journal()]);
            self.with_groups(|groups, _| groups.remove(opening.tp));
        }
        let identity = Identity::below(&self.deps.data_dir, &opening.topic_name, opening.tp);
        dir::mark_deleted(self.deps.store.files(), &identity, self.deps.env.random_uuid())
    }

    pub(super) fn configure(&mut self, opening: Opening) {
        let Some(hosted) = self.hosted.get_mut(&opening.tp) else { return };
        if let Some(delay) = &mut hosted.delay {
            delay.configure(&self.deps, &opening.settings);
        }
        hosted.log.apply_settings(opening.settings);
        hosted.partition.rules.store(Arc::new(opening.rules));
    }

    pub(super) fn delete_records(
        &mut self,
        tp: TopicPartition,
        before_offset: i64,
    ) -> Result<i64, Fault> {
        let hosted = self.hosted.get_mut(&tp).ok_or(Code::NotLeaderOrFollower)?;
        hosted.changed = true;
        hosted
            .log
            .delete_records(before_offset)
            .map_err(|error| Fault::with(Code::OffsetOutOfRange, error.to_string()))
    }

    pub(super) fn compactable(&mut self) -> Vec<Compactable> {
        let now_ms = self.deps.env.wall_ms();
        let mut found = Vec::new();
        for hosted in self.hosted.values_mut().filter(|h| h.log.settings().cleanup_compact) {
            match hosted.log.roll_for_compaction(now_ms) {
                Ok(rolled) => hosted.changed |= rolled,
                Err(error) => report(&hosted.partition, &error, "compaction has to wait"),
            }
            found.push(Compactable {
                partition: Arc::clone(&hosted.partition),
                settings: hosted.log.settings().clone(),
            });
        }
        found
    }

    pub(super) fn replace(
        &mut self,
        tp: TopicPartition,
        replacement: &Replacement,
    ) -> io::Result<bool> {
        let now_ms = self.deps.env.wall_ms();
        let Some(hosted) = self.hosted.get_mut(&tp) else { return Ok(false) };
        hosted.changed = true;
        hosted.log.replace(replacement, now_ms)
    }

    /// What changed since the last checkpoint.
    pub fn checkpoint(&mut self) -> Collected {
        let mut collected = Collected::default();
        collected.removed.append(&mut self.removed);
        for hosted in self.hosted.values_mut().filter(|hosted| hosted.changed) {
            let logs = [Some(&mut hosted.log), hosted.delay.as_mut().map(|d| &mut d.journal)];
            hosted.changed = false;
            for log in logs.into_iter().flatten() {
                match log.checkpoint() {
                    Some((checkpoint, work)) => {
                        collected.changed.push(checkpoint);
                        collected.dirty.merge(work);
                    }
                    // It has half a pair; what lies before that is synced all the same.
                    None => {
                        hosted.changed = true;
                        collected.dirty.merge(log.take_sync_work());
                    }
                }
            }
        }
        collected
    }

    /// Ends writing to all logs and gives their last checkpoint.
    pub(super) fn close(&mut self) -> Collected {
        let mut collected = Collected::default();
        collected.removed.append(&mut self.removed);
        for (_, hosted) in self.hosted.drain() {
            let journal = hosted.delay.map(|delay| delay.into_journal());
            for log in std::iter::once(hosted.log).chain(journal) {
                match log.close() {
                    Ok((checkpoint, work)) => {
                        collected.changed.push(checkpoint);
                        collected.dirty.merge(work);
                    }
                    Err(error) => {
                        report(&hosted.partition, &error, "the log is not closed cleanly");
                    }
                }
            }
        }
        collected
    }
}
