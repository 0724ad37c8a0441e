//! A life between recovery and end: produce, commit, checkpoint, delete, look.

use std::sync::Arc;

use super::{ByPartition, Ended, PARTITIONS, Planted, Unacked, World, batch, data_dir, found, tp};
use crate::log::cache::LogStore;
use crate::log::checkpoint::{PartitionCheckpoint, Replacements, SyncWork};
use crate::log::checkpoint_file;
use crate::log::commit::{CommitError, CommitLog, Row};
use crate::log::error::{AppendError, ReadError};
use crate::log::partition::{Appended, PartitionLog, Staged};
use crate::log::read::Wanted;
use crate::log::validate::ValidBatch;
use crate::log::view::PartitionView;
use crate::sim::ledger::{Broken, Found, RecoveredLog};
use crate::store::OpenMode;

/// The broker's memory.
pub(super) struct Life {
    pub(super) store: LogStore,
    pub(super) logs: Vec<PartitionLog>,
    commit_log: CommitLog,
    known: ByPartition<PartitionCheckpoint>,
    /// What a full disk has kept from being replaced.
    owed: Replacements,
    /// Where the last round of compaction ended.
    pub(super) cleaned_to: Option<i64>,
    /// Submitted to the committer, in order.
    queue: Vec<Submitted>,
}

struct Submitted {
    rows: Vec<Row>,
    staged: Vec<(usize, Staged)>,
    appended: Vec<(usize, Appended, u64)>,
}

impl Life {
    pub(super) fn new(
        store: LogStore,
        logs: Vec<PartitionLog>,
        commit_log: CommitLog,
        known: ByPartition<PartitionCheckpoint>,
    ) -> Self {
        let (owed, queue) = (Replacements::new(), Vec::new());
        Self { store, logs, commit_log, known, owed, cleaned_to: None, queue }
    }

    /// Does one thing, by chance.
    pub(super) fn step(&mut self, world: &mut World) -> Result<(), Ended> {
        world.now_ms += i64::try_from(world.random.below(50)).unwrap_or(0);
        match world.random.below(22) {
            0..=4 => self.produce(world),
            5..=7 => self.produce_once(world),
            8..=9 => self.produce_to_several(world),
            10..=15 => self.commit(world),
            16..=17 => self.checkpoint(world, false),
            18 => self.delete(world),
            19..=20 => self.compact(world),
            _ => self.look(world),
        }
    }

    /// An idempotent producer sends its next batch, or again what is not acknowledged.
    fn produce(&mut self, world: &mut World) -> Result<(), Ended> {
        let at = usize::try_from(world.random.below(world.producers.len() as u64)).unwrap_or(0);
        let (records, bytes) = sizes(world);
        let producer = &mut world.producers[at];
        let partition = producer.partition;
        if producer.unacked.len() < 5 {
            let id = world.ledger.send(partition, records, None);
            world.tally.sent += 1;
            let unacked = Unacked { id, sequence: producer.sequence, records, bytes };
            producer.unacked.push(unacked);
            producer.sequence += i32::try_from(records).unwrap_or(0);
        }
        // All in flight go again, in order: what the log has is answered as a retry.
        for again in producer.unacked.clone() {
            let signed = Some((world.producers[at].id, again.sequence));
            let judged = batch(again.id, partition, again.records, again.bytes, signed);
            if !self.append(world, partition, again.id, judged)? {
                break;
            }
        }
        Ok(())
    }

    /// A producer without idempotence sends a batch, once.
    fn produce_once(&mut self, world: &mut World) -> Result<(), Ended> {
        let partition = usize::try_from(world.random.below(PARTITIONS as u64)).unwrap_or(0);
        let (records, bytes) = sizes(world);
        let id = world.ledger.send(partition, records, None);
        world.tally.sent += 1;
        self.append(world, partition, id, batch(id, partition, records, bytes, None)).map(drop)
    }

    /// Appends and submits. False if the disk had no room.
    fn append(
        &mut self,
        world: &mut World,
        partition: usize,
        id: u64,
        mut judged: ValidBatch,
    ) -> Result<bool, Ended> {
        let log = &mut self.logs[partition];
        let appended = match log.append(&mut judged, world.now_ms) {
            Ok(appended) => appended,
            Err(AppendError::Storage(_)) if !world.disk.has_crashed() => return Ok(false),
            Err(AppendError::Storage(error) | AppendError::Failed(error)) => {
                return Err(error.into());
            }
            Err(error @ AppendError::Sequence(_)) => {
                let why = format!("batch {id} of partition {partition}: {error}");
                return Err(Broken::Recovery(why).into());
            }
        };
        if world.planted == Planted::AckBeforeDurable {
            world.ledger.ack(id, appended.base_offset)?;
        }
        let mut rows = Vec::new();
        if appended.duplicate {
            world.tally.retried += 1;
        } else {
            let mut row = row(partition, judged.header_bytes(), judged.records().clone());
            if world.random.one_in(5)
                && let Some(segment) = log.syncable_segment()?
            {
                segment.sync()?;
                row.in_segment = true;
            }
            rows.push(row);
        }
        let appended = vec![(partition, appended, id)];
        self.queue.push(Submitted { rows, staged: Vec::new(), appended });
        Ok(true)
    }

    /// One append to two or three partitions: commit log first, segments after.
    fn produce_to_several(&mut self, world: &mut World) -> Result<(), Ended> {
        let first = usize::try_from(world.random.below(PARTITIONS as u64)).unwrap_or(0);
        let count = if world.random.coin() { 2 } else { 3 };
        let group = Some(world.next_group);
        let mut batches = Vec::new();
        for partition in (first..first + count).map(|n| n % PARTITIONS) {
            let (records, bytes) = sizes(world);
            let id = world.ledger.send(partition, records, group);
            batches.push((partition, id, batch(id, partition, records, bytes, None)));
        }
        world.next_group += 1;
        world.tally.sent += count as u64;
        world.tally.grouped += 1;
        for (partition, _, judged) in &batches {
            match self.logs[*partition].ready(judged) {
                Err(_) if !world.disk.has_crashed() => return Ok(()),
                Err(_) => return Err(Ended::Down),
                Ok(()) => {}
            }
        }
        let mut submitted =
            Submitted { rows: Vec::new(), staged: Vec::new(), appended: Vec::new() };
        for (partition, id, mut judged) in batches {
            let staged = self.logs[partition].stage(&mut judged, world.now_ms);
            let staged = staged.map_err(|_| Ended::Down)?;
            submitted.rows.push(row(partition, staged.header(), staged.records().clone()));
            submitted.appended.push((partition, staged.appended().clone(), id));
            submitted.staged.push((partition, staged));
        }
        self.queue.push(submitted);
        Ok(())
    }

    /// One commit of what was submitted; then it is visible and acknowledged.
    fn commit(&mut self, world: &mut World) -> Result<(), Ended> {
        let rows = self.queue.iter().flat_map(|submitted| &submitted.rows);
        if rows.clone().next().is_some() {
            match self.commit_log.write(rows) {
                Ok(_) => {}
                Err(CommitError::Full) => return self.checkpoint(world, false),
                Err(CommitError::Failed(_)) => return Err(Ended::Down),
            }
        }
        for submitted in std::mem::take(&mut self.queue) {
            for (partition, staged) in submitted.staged {
                self.logs[partition].write_staged(staged)?;
            }
            for (partition, appended, id) in submitted.appended {
                self.logs[partition].view().advance(&appended.end);
                world.ledger.ack(id, appended.base_offset)?;
                for producer in &mut world.producers {
                    producer.unacked.retain(|unacked| unacked.id != id);
                }
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, world: &mut World, clean: bool) -> Result<(), Ended> {
        let mark = self.commit_log.last();
        let mut work = SyncWork::owing(std::mem::take(&mut self.owed));
        for log in &mut self.logs {
            match log.checkpoint() {
                Some((partition, dirty)) => {
                    self.known.insert(partition.tp, partition);
                    work.merge(dirty);
                }
                None => work.merge(log.take_sync_work()),
            }
        }
        let files = self.store.files();
        let whole =
            if world.random.coin() { files.open(data_dir(), OpenMode::Read).ok() } else { None };
        self.owed = work.run_by(files, |targets| match &whole {
            Some(volume) => volume.sync_volume(),
            None => targets.iter().try_for_each(|target| target.sync(files)),
        })?;
        if !self.owed.is_empty() {
            return Ok(());
        }
        match checkpoint_file::write(files, data_dir(), mark, clean, self.known.values()) {
            Ok(()) => {
                self.commit_log.release(mark.sequence);
                note_checkpoint(&self.logs, &self.known);
            }
            Err(error) if world.disk.has_crashed() => return Err(error.into()),
            Err(_) => return Ok(()),
        }
        world.tally.checkpoints += 1;
        Ok(())
    }

    /// Retention, or deletion by request; log starts are durable before anything is gone.
    fn delete(&mut self, world: &mut World) -> Result<(), Ended> {
        let partition = usize::try_from(world.random.below(PARTITIONS as u64)).unwrap_or(0);
        let log = &mut self.logs[partition];
        if world.random.coin() {
            let (from, to) = (log.view().log_start(), log.view().high_watermark());
            let ahead = world.random.below((to - from).unsigned_abs() + 1).cast_signed();
            let asked = if world.random.one_in(10) { -1 } else { from + ahead / 2 };
            world.log_starts[partition] = log.delete_records(asked).unwrap_or(from);
        }
        match log.retain(world.now_ms) {
            Ok(deleted) => world.tally.deleted_segments += deleted.len() as u64,
            Err(error) if world.disk.has_crashed() => return Err(error.into()),
            Err(_) => {}
        }
        world.log_starts[partition] = world.log_starts[partition].max(log.view().log_start());
        log.producers().check();
        Ok(())
    }

    /// A consumer reads everything it may see.
    fn look(&mut self, world: &mut World) -> Result<(), Ended> {
        for (partition, log) in self.logs.iter().enumerate() {
            let seen = match read_all(log.view()) {
                Ok(seen) => seen,
                Err(_) if world.disk.has_crashed() => return Err(Ended::Down),
                Err(error) => return Err(Broken::Unreadable(error.to_string()).into()),
            };
            world.ledger.judge_visible(partition, &seen)?;
        }
        Ok(())
    }

    /// A clean stop.
    pub(super) fn stop(mut self, world: &mut World) -> Result<(), Ended> {
        self.commit(world)?;
        if !self.queue.is_empty() {
            return Err(Ended::Down);
        }
        let mark = self.commit_log.last();
        let mut work = SyncWork::default();
        let mut known = Vec::new();
        for log in self.logs {
            let (partition, dirty) = log.close()?;
            known.push(partition);
            work.merge(dirty);
        }
        work.run(self.store.files())?;
        checkpoint_file::write(self.store.files(), data_dir(), mark, true, known.iter())?;
        Ok(())
    }
}

/// The checkpoint with these partitions is on disk.
pub(super) fn note_checkpoint(logs: &[PartitionLog], known: &ByPartition<PartitionCheckpoint>) {
    for log in logs {
        let recovery_point = known.get(&log.identity().tp).map_or(0, |known| known.recovery_point);
        log.view().note_checkpoint(recovery_point);
    }
}

fn sizes(world: &mut World) -> (i64, usize) {
    let records = world.random.below(3).cast_signed() + 1;
    let bytes = if world.random.one_in(10) { 5_000 } else { 400 };
    (records, usize::try_from(world.random.below(bytes)).unwrap_or(0))
}

fn row(partition: usize, header: &[u8; 61], records: bytes::Bytes) -> Row {
    Row { tp: tp(partition), header: *header, records, in_segment: false }
}

/// All of a log that is visible.
pub(super) fn look(log: &PartitionLog) -> Result<RecoveredLog, ReadError> {
    let view = log.view();
    let found = read_all(view)?;
    Ok(RecoveredLog { log_start: view.log_start(), log_end: view.log_end(), found })
}

fn read_all(view: &Arc<PartitionView>) -> Result<Vec<Found>, ReadError> {
    let mut all: Vec<Found> = Vec::new();
    let mut wanted =
        Wanted { offset: view.log_start(), max_bytes: 2_000, whole_first_batch: true, hint: None };
    loop {
        let slice = view.read(wanted)?;
        let Some(file) = &slice.file else { return Ok(all) };
        let mut bytes = vec![0; usize::try_from(slice.len).unwrap_or(0)];
        file.read_at(&mut bytes, slice.position)?;
        let (batches, end) = found(&bytes);
        all.extend(batches);
        let Some(end) = end else { return Ok(all) };
        wanted.offset = end;
        wanted.hint = slice.next_hint;
    }
}
