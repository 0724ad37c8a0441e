//! The start of a life: checkpoint, logs, replay, new checkpoint, in the broker's order.

use super::life::{Life, note_checkpoint};
use super::{
    ByPartition, Ended, LOGS, PARTITIONS, Planted, World, commit_dir, commit_settings, data_dir,
    identity, log_of, log_settings, shared, tp,
};
use crate::log::cache::LogStore;
use crate::log::checkpoint::{PartitionCheckpoint, SyncWork};
use crate::log::checkpoint_file;
use crate::log::commit::{CommitLog, Replay, ReplayedRow};
use crate::log::error::{LogError, ReplayError};
use crate::log::pairs;
use crate::log::partition::{PartitionLog, Replayed};
use crate::log::recover::OpenHint;
use crate::sim::ledger::Broken;
use crate::store::Files;

/// Recovers, and makes everything that is there visible.
pub(super) fn run(world: &mut World) -> Result<Life, Ended> {
    let files = shared(&world.disk);
    files.create_dir(data_dir())?;
    let checkpoint = match checkpoint_file::read(&*files, data_dir()) {
        Ok(checkpoint) => checkpoint,
        Err(checkpoint_file::CheckpointError::Io(error)) => return Err(error.into()),
        Err(error) => return Err(Broken::Recovery(error.to_string()).into()),
    };
    let after = checkpoint.as_ref().map(|known| known.mark);
    let run = world.random.next();
    let (mut commit_log, replay) =
        CommitLog::open(shared(&world.disk), &commit_dir(), commit_settings(), after, run)?;
    let clean = checkpoint.as_ref().is_some_and(|known| known.clean);
    let known: ByPartition<PartitionCheckpoint> =
        checkpoint.into_iter().flat_map(|c| c.partitions).map(|p| (p.tp, p)).collect();
    let store = LogStore::new(shared(&world.disk), 16);
    let known = Known { store: &store, partitions: known, clean };
    let mut logs = Vec::with_capacity(LOGS);
    for log in 0..LOGS {
        logs.push(known.open(world, log, None)?);
    }
    put_back(world, &mut logs, replay)?;
    known.pair(world, &mut logs)?;
    let mut known = ByPartition::new();
    let mut work = SyncWork::default();
    for log in &mut logs {
        let (partition, dirty) = log.checkpoint().expect("no pair is half written");
        known.insert(partition.tp, partition);
        work.merge(dirty);
    }
    work.run(&*files)?;
    checkpoint_file::write(&*files, data_dir(), commit_log.last(), false, known.values())?;
    commit_log.release(commit_log.last().sequence);
    note_checkpoint(&logs, &known);
    for log in &logs {
        log.view().advance(&log.end());
    }
    Ok(Life::new(store, logs, commit_log, known))
}

/// What is known of the logs before they are looked at.
struct Known<'a> {
    store: &'a LogStore,
    partitions: ByPartition<PartitionCheckpoint>,
    clean: bool,
}

impl Known<'_> {
    fn open(
        &self,
        world: &mut World,
        log: usize,
        limit: Option<i64>,
    ) -> Result<PartitionLog, Ended> {
        let log_start = world.log_starts[log];
        let mut hint = OpenHint { log_start, limit, ..OpenHint::default() };
        if let Some(known) = self.partitions.get(&tp(log)) {
            hint.recovery_point = known.recovery_point;
            hint.producers = known.producers.clone();
            hint.log_start = hint.log_start.max(known.log_start);
            hint.clean = self.clean;
        }
        if matches!(world.planted, Planted::ReuseOffset | Planted::CutTooMuch) {
            plant_damage(world, log, &mut hint)?;
        }
        let (id, settings) = (identity(log), log_settings(log));
        match PartitionLog::open(self.store, id, settings, hint, world.life, world.now_ms) {
            Ok((opened, report)) => {
                world.tally.cut_bytes += report.cut.map_or(0, |cut| cut.bytes);
                match report.lost_from {
                    Some(from) => {
                        let why = format!("log {log}: durable offsets from {from} on");
                        Err(Broken::Recovery(why).into())
                    }
                    None => Ok(opened),
                }
            }
            Err(LogError::Io { source, .. }) => Err(source.into()),
            Err(error) => Err(Broken::Recovery(error.to_string()).into()),
        }
    }

    /// Once the commit log is replayed: what only one log of a partition has is cut, and each
    /// learns what it has to know of the other.
    fn pair(&self, world: &mut World, logs: &mut [PartitionLog]) -> Result<(), Ended> {
        for partition in 0..PARTITIONS {
            let both = [partition, partition + PARTITIONS];
            let limit = pairs::cut(logs[both[0]].tail(), logs[both[1]].tail());
            if limit.is_some() && world.planted != Planted::KeepHalves {
                world.tally.halves += 1;
                for log in both {
                    logs[log] = self.open(world, log, limit)?;
                }
            }
            let [log, journal] = logs.get_disjoint_mut(both).expect("they are two");
            if world.planted != Planted::ForgetFloor {
                log.level(journal);
            }
            if world.planted != Planted::ForgetProducers {
                log.merge_producers(journal);
            }
        }
        Ok(())
    }
}

/// What a recovery with a bug would do to the files.
fn plant_damage(world: &World, log: usize, hint: &mut OpenHint) -> Result<(), Ended> {
    let dir = identity(log).dir;
    let entries = world.disk.list(&dir)?;
    let Some(last) = entries.iter().rev().find(|entry| entry.name.ends_with(".log")) else {
        return Ok(());
    };
    let path = dir.join(&last.name);
    hint.recovery_point = 0;
    hint.clean = false;
    if world.planted == Planted::ReuseOffset {
        return Ok(world.disk.damage(&path, Vec::clear)?);
    }
    let mut keep = 0;
    world.disk.damage(&path, |bytes| {
        let mut rest = &bytes[..];
        while let Ok(header) = crate::wire::batch::BatchHeader::parse(rest)
            && header.total_bytes() < rest.len()
        {
            keep += header.total_bytes();
            rest = &rest[header.total_bytes()..];
        }
        bytes.truncate(keep);
    })?;
    Ok(())
}

fn put_back(world: &mut World, logs: &mut [PartitionLog], replay: Replay) -> Result<(), Ended> {
    for commit in replay {
        let rows = commit?.rows;
        let count = match world.planted {
            Planted::LoseRow => rows.len() - 1,
            _ => rows.len(),
        };
        for row in &rows[..count] {
            let at = log_of(row.tp);
            let other = logs[(at + PARTITIONS) % LOGS].end().offset;
            logs[at].set_floor(other);
            put_back_row(world, &mut logs[at], row)?;
        }
    }
    Ok(())
}

fn put_back_row(world: &mut World, log: &mut PartitionLog, row: &ReplayedRow) -> Result<(), Ended> {
    let Some(batch) = &row.batch else {
        if row.base_offset >= log.end().offset {
            let why = format!("a batch at {} is not in its segment", row.base_offset);
            return Err(Broken::Recovery(why).into());
        }
        return Ok(());
    };
    let outcome = match log.append_replayed(batch, world.now_ms) {
        Ok(outcome) => outcome,
        Err(ReplayError::Storage(error)) => return Err(error.into()),
        Err(error) => return Err(Broken::Recovery(error.to_string()).into()),
    };
    if outcome == Replayed::Appended {
        world.tally.replayed += 1;
    } else if world.planted == Planted::DoubleRow {
        let mut again = batch.to_vec();
        again[..8].copy_from_slice(&log.view().log_end().to_be_bytes());
        // The base offset is not under the checksum.
        let _ = log.append_replayed(&again.into(), world.now_ms);
    }
    Ok(())
}
