//! From what is on disk to partitions that can be served: open every log, put back what the
//! commit log knows beyond them, and make the result the new checkpoint.
//!
//! Logs are opened side by side, one thread per shard, each shard its own. A partition that
//! cannot be opened is reported and left out; the others serve. The commit log is replayed in
//! its own order, because a commit of several partitions is there whole or not at all.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::unplaced::{self, Kept};
use crate::base::ids::TopicPartition;
use crate::base::settings::{Durability, Settings};
use crate::catalog::Catalog;
use crate::log::checkpoint::PartitionCheckpoint;
use crate::log::checkpoint_file::{self, Checkpoint};
use crate::log::commit::{CommitLog, CommitSettings, Replay, ReplayedRow};
use crate::log::dir;
use crate::log::error::ReplayError;
use crate::log::recover::OpenHint;
use crate::shard::checkpointer::Collected;
use crate::shard::checkpointer::syncing::Syncing;
use crate::shard::control::Opening;
use crate::shard::host::Defaults;
use crate::shard::hosting::Hints;
use crate::shard::metadata::Store;
use crate::shard::place;
use crate::shard::worker::{Shard, ShardDeps};
use crate::store::Files;

/// Everything that stood on disk, ready to be served.
pub struct Recovered {
    pub shards: Vec<Shard>,
    pub commit_log: CommitLog,
    /// As the checkpoint on disk has them now.
    pub partitions: Vec<PartitionCheckpoint>,
    /// What could not be opened.
    pub unserved: Vec<TopicPartition>,
}

/// Recovers a data directory.
///
/// # Errors
/// What concerns the whole directory; a partition that cannot be opened is only reported.
pub fn run(
    settings: &Settings,
    deps: &ShardDeps,
    store: &Store,
    defaults: &Defaults,
) -> io::Result<Recovered> {
    let files = deps.store.files_shared();
    let data_dir = deps.data_dir.as_path();
    let began = deps.env.monotonic();
    dir::sweep_marked(&*files, data_dir)?;
    let checkpoint = read_checkpoint(&*files, data_dir)?;
    let clean = checkpoint.as_ref().is_some_and(|c| c.clean);
    let commit_settings = CommitSettings {
        file_bytes: settings.commit_log_file_bytes,
        max_bytes: settings.commit_log_max_bytes,
        durable: settings.durability == Durability::Fsync,
    };
    let after = checkpoint.as_ref().map(|c| c.mark);
    let (mut commit_log, mut pending) = CommitLog::open(
        std::sync::Arc::clone(&files),
        &data_dir.join("commit"),
        commit_settings,
        after,
        deps.env.random_u64(),
    )?;
    let count = settings.shards.map_or_else(processors, |n| n as usize).max(1);
    let mut shards: Vec<Shard> = (0..count).map(|i| Shard::new(i, deps.clone())).collect();
    let mut partitions = BTreeMap::new();
    for partition in checkpoint.into_iter().flat_map(|c| c.partitions) {
        partitions.insert(partition.tp, partition);
    }
    let known = Known { partitions: &partitions, store, clean };
    let unserved = open_all(&mut shards, store.catalog(), defaults, &known);
    let aside = Aside { files: &*files, data_dir, catalog: store.catalog() };
    let placed = aside.put_back(&mut shards)?;
    let replayed = replay(&mut shards, &mut pending, &aside)?;
    for shard in &mut shards {
        shard.mend_pairs(&|tp| known.hint(tp)).map_err(io::Error::other)?;
    }
    let mut collected = Collected::default();
    for shard in &mut shards {
        collected.merge(shard.checkpoint());
    }
    let owed = Syncing::new(std::sync::Arc::clone(&files), data_dir).run(collected.dirty)?;
    if !owed.is_empty() {
        return Err(io::ErrorKind::StorageFull.into());
    }
    partitions.retain(|tp, _| store.catalog().topic_by_id(tp.topic_id).is_some());
    partitions.extend(collected.changed.into_iter().map(|p| (p.tp, p)));
    let mark = commit_log.last();
    checkpoint_file::write(&*files, data_dir, mark, false, partitions.values())?;
    commit_log.release(mark.sequence);
    unplaced::forget(&*files, &placed)?;
    show_all(&mut shards);
    let took_ms = deps.env.monotonic().saturating_sub(began).as_millis();
    let served = deps.registry.count();
    tracing::info!(
        clean,
        served,
        unserved = unserved.len(),
        ?replayed,
        took_ms,
        "data directory open"
    );
    let partitions = partitions.into_values().collect();
    Ok(Recovered { shards, commit_log, partitions, unserved })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A checkpoint that is damaged is not believed: everything is looked at instead.
fn read_checkpoint(files: &dyn Files, data_dir: &Path) -> io::Result<Option<Checkpoint>> {
    match checkpoint_file::read(files, data_dir) {
        Ok(checkpoint) => Ok(checkpoint),
        Err(checkpoint_file::CheckpointError::Io(error)) => Err(error),
        Err(error @ checkpoint_file::CheckpointError::Version(_)) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
        }
        Err(error) => {
            tracing::warn!(%error, "the logs are scanned whole");
            Ok(None)
        }
    }
}

/// What is known of partitions before their files are looked at.
struct Known<'a> {
    partitions: &'a BTreeMap<TopicPartition, PartitionCheckpoint>,
    store: &'a Store,
    /// The last run stopped cleanly after its checkpoint.
    clean: bool,
}

impl Known<'_> {
    fn hints(&self, tp: TopicPartition) -> Hints {
        let journal = tp.journal();
        let is_known = self.partitions.contains_key(&journal);
        Hints { log: self.hint(tp), journal: is_known.then(|| self.hint(journal)) }
    }

    fn hint(&self, tp: TopicPartition) -> OpenHint {
        let deleted_to = self.store.log_starts().get(&tp).copied().unwrap_or(0);
        let Some(known) = self.partitions.get(&tp) else {
            return OpenHint { log_start: deleted_to, ..OpenHint::default() };
        };
        OpenHint {
            recovery_point: known.recovery_point,
            log_start: known.log_start.max(deleted_to),
            producers: known.producers.clone(),
            clean: self.clean,
            limit: None,
        }
    }
}

/// Opens every partition of the catalog in the shard that owns it. Returns those that could not
/// be opened.
fn open_all(
    shards: &mut [Shard],
    catalog: &Catalog,
    defaults: &Defaults,
    known: &Known<'_>,
) -> Vec<TopicPartition> {
    let config = defaults.current(catalog);
    let mut work: Vec<Vec<Opening>> = shards.iter().map(|_| Vec::new()).collect();
    for topic in catalog.topics() {
        let opening = defaults.opening(catalog, topic, &config);
        for partition in 0..topic.partitions {
            let tp = TopicPartition::new(topic.id, partition);
            let shard = place(topic.placed_as(), partition, work.len());
            work[shard].push(opening.of(tp));
        }
    }
    let open = |shard: &mut Shard, work: Vec<Opening>| {
        let mut unserved = Vec::new();
        for opening in work {
            if !open_one(shard, &opening, known.hints(opening.tp)) {
                unserved.push(opening.tp);
            }
        }
        unserved
    };
    std::thread::scope(|scope| {
        let each = shards.iter_mut().zip(work);
        let threads: Vec<_> =
            each.map(|(shard, work)| scope.spawn(move || open(shard, work))).collect();
        threads.into_iter().flat_map(|t| t.join().expect("opening does not panic")).collect()
    })
}

/// Opens one partition, whose log says itself what it had to cut; `false` if it is not served.
fn open_one(shard: &mut Shard, opening: &Opening, hints: Hints) -> bool {
    let (topic, partition) = (&opening.topic_name, opening.tp.partition);
    shard
        .open_existing(opening, hints)
        .inspect_err(
            |error| tracing::error!(topic, partition, %error, "the partition is not served"),
        )
        .is_ok()
}

/// Makes visible what is durable, and builds what is delayed from it, side by side as the logs were
/// opened.
fn show_all(shards: &mut [Shard]) {
    std::thread::scope(|scope| {
        for shard in shards {
            scope.spawn(|| shard.show_all());
        }
    });
}

/// What a replay put back.
#[derive(Debug, Default)]
struct Replayed {
    commits: u64,
    appended: u64,
    /// Rows of topics that are gone.
    skipped: u64,
    /// Rows that were kept aside because their partition could not be opened.
    kept: u64,
}

/// Puts back the commits that the segments may lack.
///
/// # Errors
/// The disk's own. A row that does not fit its log is kept aside and reported.
fn replay(shards: &mut [Shard], replay: &mut Replay, aside: &Aside<'_>) -> io::Result<Replayed> {
    let mut done = Replayed::default();
    for commit in replay {
        let commit = commit?;
        done.commits += 1;
        for row in &commit.rows {
            let placed_as = aside.catalog.placed_as(row.tp.topic_id);
            let shard = place(placed_as, row.tp.partition, shards.len());
            match put_back(&mut shards[shard], row)? {
                Some(true) => done.appended += 1,
                Some(false) => {}
                None if aside.keep(row)? => done.kept += 1,
                None => done.skipped += 1,
            }
        }
    }
    Ok(done)
}

/// Batches that wait for their partition to open.
struct Aside<'a> {
    files: &'a dyn Files,
    data_dir: &'a Path,
    catalog: &'a Catalog,
}

impl Aside<'_> {
    /// Puts back what earlier starts had to keep; returns what its log has now.
    fn put_back(&self, shards: &mut [Shard]) -> io::Result<Vec<Kept>> {
        let mut placed = Vec::new();
        for kept in unplaced::load(self.files, self.data_dir)? {
            let placed_as = self.catalog.placed_as(kept.tp.topic_id);
            let shard = place(placed_as, kept.tp.partition, shards.len());
            let is_gone = self.catalog.topic_by_id(kept.tp.topic_id).is_none();
            let there = shards[shard].put_back(kept.tp, &kept.batch);
            match there {
                Ok(Some(_)) => placed.push(kept),
                Ok(None) if is_gone => placed.push(kept),
                Ok(None) => {}
                Err(ReplayError::Storage(error)) => return Err(error),
                Err(error) => tracing::error!(
                    partition = ?kept.tp, base_offset = kept.base_offset, %error,
                    "a batch that was kept aside cannot be put back"
                ),
            }
        }
        Ok(placed)
    }

    /// Keeps a row whose log did not take it; `false` if its topic is gone, or its segment holds
    /// it.
    fn keep(&self, row: &ReplayedRow) -> io::Result<bool> {
        let Some(batch) = &row.batch else { return Ok(false) };
        if self.catalog.topic_by_id(row.tp.topic_id).is_none() {
            return Ok(false);
        }
        unplaced::keep(self.files, self.data_dir, row.tp, row.base_offset, batch)?;
        Ok(true)
    }
}

fn put_back(shard: &mut Shard, row: &ReplayedRow) -> io::Result<Option<bool>> {
    match shard.replay(row) {
        Ok(outcome) => Ok(outcome),
        Err(ReplayError::Storage(error)) => Err(error),
        Err(error) => {
            tracing::error!(partition = ?row.tp, base_offset = row.base_offset, %error,
                "a committed batch cannot be put back");
            Ok(None)
        }
    }
}
