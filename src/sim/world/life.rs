//! A life between recovery and end: produce, commit, checkpoint, delete, look.

use std::sync::Arc;

use super::{
    ByPartition, Ended, LOGS, PARTITIONS, Part, Planted, Unacked, World, batch, data_dir, found, tp,
};
use crate::log::cache::LogStore;
use crate::log::checkpoint::{PartitionCheckpoint, Replacements, SyncWork};
use crate::log::checkpoint_file;
use crate::log::commit::{CommitError, CommitLog, Row};
use crate::log::error::{AppendError, ReadError};
use crate::log::partition::{Appended, PartitionLog};
use crate::log::read::Wanted;
use crate::log::validate::ValidBatch;
use crate::log::view::{End, PartitionView};
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

#[derive(Default)]
struct Submitted {
    rows: Vec<Row>,
    ends: Vec<(usize, End)>,
    /// Batches and their base offsets.
    acks: Vec<(u64, i64)>,
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
            8..=9 => self.produce_pair(world),
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
        let partition = world.producers[at].partition;
        if world.producers[at].unacked.len() < 5 {
            let kind = world.random.below(3);
            let sequence = world.producers[at].sequence;
            let next = compose(world, partition, kind, sequence);
            let records = next.delayed.or(next.live).map_or(0, |part| part.records);
            let producer = &mut world.producers[at];
            producer.unacked.push(next);
            producer.sequence += i32::try_from(records).unwrap_or(0);
        }
        // All in flight go again, in order: what the log has is answered as a retry.
        let id = world.producers[at].id;
        for again in world.producers[at].unacked.clone() {
            if !self.append(world, partition, &again, Some(id))? {
                break;
            }
        }
        Ok(())
    }

    /// A producer without idempotence sends a batch, once.
    fn produce_once(&mut self, world: &mut World) -> Result<(), Ended> {
        let partition = usize::try_from(world.random.below(PARTITIONS as u64)).unwrap_or(0);
        let kind = world.random.below(2);
        let sent = compose(world, partition, kind, -1);
        self.append(world, partition, &sent, None).map(drop)
    }

    /// As a release does it: a batch to the log and a note to the journal.
    fn produce_pair(&mut self, world: &mut World) -> Result<(), Ended> {
        let partition = usize::try_from(world.random.below(PARTITIONS as u64)).unwrap_or(0);
        let sent = compose(world, partition, PAIR, -1);
        self.append(world, partition, &sent, None).map(drop)
    }

    /// Appends and submits. False if the disk had no room.
    fn append(
        &mut self,
        world: &mut World,
        partition: usize,
        sent: &Unacked,
        producer: Option<i64>,
    ) -> Result<bool, Ended> {
        let both = [partition, partition + PARTITIONS];
        let signed = producer.map(|id| (id, sent.sequence));
        let part = |part: Option<Part>, log| Some((part?, log, batch(part?, log, signed)));
        let halves = [part(sent.live, both[0]), part(sent.delayed, both[1])];
        let mut halves: Vec<_> = halves.into_iter().flatten().collect();
        let is_pair = halves.len() == 2;
        let whole = *halves.last().expect("one at least").2.header();
        let mut submitted = Submitted::default();
        match self.logs[partition].judge(&whole) {
            Ok(Some(first)) => {
                world.tally.retried += 1;
                let acks = halves.iter().map(|half| (half.0.id, first.base_offset));
                submitted.acks.extend(acks);
                submitted.ends.push((partition, first.end));
                self.queue.push(submitted);
                return Ok(true);
            }
            Ok(None) => {}
            Err(error) => return refused(world, error, halves[0].0.id),
        }
        for (part, log, judged) in &halves {
            if let Err(error) = self.logs[*log].ready(judged) {
                self.logs[partition].note_unwritten(&whole);
                return refused(world, error, part.id);
            }
        }
        for (part, log, judged) in &mut halves {
            judged.set_paired(is_pair);
            let appended = match self.logs[*log].append_judged(judged, world.now_ms) {
                Ok(appended) => appended,
                // The half that is there is what recovery has to cut.
                Err(_) if !submitted.rows.is_empty() => return Err(Ended::Down),
                Err(error) => {
                    self.logs[partition].note_unwritten(&whole);
                    return refused(world, error, part.id);
                }
            };
            self.submit_half(world, &mut submitted, (*log, part.id), judged, appended)?;
        }
        if let (Some(_), Some((_, _, delayed))) = (sent.delayed, halves.last()) {
            self.logs[partition].note_elsewhere(delayed.header(), world.now_ms);
        }
        let [log, journal] = self.logs.get_disjoint_mut(both).expect("they are two");
        log.level(journal);
        self.queue.push(submitted);
        Ok(true)
    }

    fn submit_half(
        &mut self,
        world: &mut World,
        submitted: &mut Submitted,
        (log, id): (usize, u64),
        judged: &ValidBatch,
        appended: Appended,
    ) -> Result<(), Ended> {
        if world.planted == Planted::AckBeforeDurable {
            world.ledger.ack(id, appended.base_offset)?;
        }
        let (header, records) = (*judged.header_bytes(), judged.records().clone());
        let mut row = Row { tp: tp(log), header, records, in_segment: false };
        if world.random.one_in(5)
            && let Some(segment) = self.logs[log].syncable_segment()?
        {
            segment.sync()?;
            row.in_segment = true;
        }
        submitted.rows.push(row);
        submitted.acks.push((id, appended.base_offset));
        submitted.ends.push((log, appended.end));
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
            for (log, end) in submitted.ends {
                self.logs[log].view().advance(&end);
            }
            for (id, base_offset) in submitted.acks {
                world.ledger.ack(id, base_offset)?;
                let has = |part: Option<Part>| part.is_some_and(|part| part.id == id);
                for producer in &mut world.producers {
                    producer.unacked.retain(|sent| !has(sent.live) && !has(sent.delayed));
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
        let partition = usize::try_from(world.random.below(LOGS as u64)).unwrap_or(0);
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

/// The kind of batch that goes to the log and the journal at once.
const PAIR: u64 = 2;

/// A batch for the log (0), for the journal (1) or for both, noted as sent.
fn compose(world: &mut World, partition: usize, kind: u64, sequence: i32) -> Unacked {
    let records = world.random.below(3).cast_signed() + 1;
    let group = (kind == PAIR).then_some(world.next_group);
    world.next_group += 1;
    world.tally.pairs += u64::from(group.is_some());
    let mut part = |log: usize, records: i64| {
        let most = if world.random.one_in(10) { 5_000 } else { 400 };
        let bytes = usize::try_from(world.random.below(most)).unwrap_or(0);
        world.tally.sent += 1;
        Part { id: world.ledger.send(log, records, group), records, bytes }
    };
    // The live part of a mixed batch ends with its last live record.
    let live = (kind != 1).then(|| part(partition, if kind == PAIR { 1 } else { records }));
    let delayed = (kind != 0).then(|| part(partition + PARTITIONS, records));
    Unacked { sequence, live, delayed }
}

/// What a refusal means for the life: false if the disk had no room.
fn refused(world: &World, error: AppendError, id: u64) -> Result<bool, Ended> {
    match error {
        AppendError::Storage(_) if !world.disk.has_crashed() => Ok(false),
        AppendError::Storage(error) | AppendError::Failed(error) => Err(error.into()),
        AppendError::Sequence(error) => {
            Err(Broken::Recovery(format!("batch {id}: {error}")).into())
        }
    }
}

/// All of a log that is visible.
pub(super) fn look(log: &PartitionLog) -> Result<RecoveredLog, ReadError> {
    let view = log.view();
    let found = read_all(view)?;
    Ok(RecoveredLog { log_start: view.log_start(), log_end: log.end().offset, found })
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
