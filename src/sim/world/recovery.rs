//! The start of a life: checkpoint, logs, replay, new checkpoint, in the broker's order.

use super::life::{Life, note_checkpoint};
use super::{
    ByPartition, Ended, PARTITIONS, Planted, World, commit_dir, commit_settings, data_dir,
    identity, log_settings, partition_of, shared, tp,
};
use crate::log::cache::LogStore;
use crate::log::checkpoint::{PartitionCheckpoint, SyncWork};
use crate::log::checkpoint_file;
use crate::log::commit::{CommitLog, Replay, ReplayedRow};
use crate::log::error::{LogError, ReplayError};
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
    let mut logs = Vec::with_capacity(PARTITIONS);
    for partition in 0..PARTITIONS {
        logs.push(open(world, &store, partition, known.get(&tp(partition)), clean)?);
    }
    put_back(world, &mut logs, replay)?;
    let mut known = ByPartition::new();
    let mut work = SyncWork::default();
    for log in &mut logs {
        let (partition, dirty) = log.checkpoint().expect("nothing is staged yet");
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

fn open(
    world: &mut World,
    store: &LogStore,
    partition: usize,
    known: Option<&PartitionCheckpoint>,
    clean: bool,
) -> Result<PartitionLog, Ended> {
    let mut hint = OpenHint { log_start: world.log_starts[partition], ..OpenHint::default() };
    if let Some(known) = known {
        hint.recovery_point = known.recovery_point;
        hint.producers = known.producers.clone();
        hint.log_start = hint.log_start.max(known.log_start);
        hint.clean = clean;
    }
    if matches!(world.planted, Planted::ReuseOffset | Planted::CutTooMuch) {
        plant_damage(world, partition, &mut hint)?;
    }
    let (id, settings) = (identity(partition), log_settings(partition));
    match PartitionLog::open(store, id, settings, hint, world.life, world.now_ms) {
        Ok((log, report)) => {
            world.tally.cut_bytes += report.cut.map_or(0, |cut| cut.bytes);
            match report.lost_from {
                Some(from) => {
                    let why = format!("partition {partition}: durable offsets from {from} on");
                    Err(Broken::Recovery(why).into())
                }
                None => Ok(log),
            }
        }
        Err(LogError::Io { source, .. }) => Err(source.into()),
        Err(error) => Err(Broken::Recovery(error.to_string()).into()),
    }
}

/// What a recovery with a bug would do to the files.
fn plant_damage(world: &World, partition: usize, hint: &mut OpenHint) -> Result<(), Ended> {
    let dir = identity(partition).dir;
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
            let log = &mut logs[partition_of(row.tp)];
            put_back_row(world, log, row)?;
        }
    }
    Ok(())
}

fn put_back_row(world: &mut World, log: &mut PartitionLog, row: &ReplayedRow) -> Result<(), Ended> {
    let log_end = log.view().log_end();
    let Some(batch) = &row.batch else {
        if row.base_offset >= log_end {
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
