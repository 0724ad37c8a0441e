//! The storage half of a broker: logs, commit log, checkpoints; opened and recovered as a broker
//! does it.

use std::path::Path;
use std::sync::Arc;

use klamm::base::env::Env;
use klamm::base::ids::{TopicPartition, Uuid};
use klamm::log::cache::LogStore;
use klamm::log::checkpoint::PartitionCheckpoint;
use klamm::log::checkpoint_file;
use klamm::log::commit::{CommitLog, CommitSettings};
use klamm::log::dir::Identity;
use klamm::log::partition::PartitionLog;
use klamm::log::recover::OpenHint;
use klamm::log::settings::LogSettings;
use klamm::log::{journal, pairs};
use klamm::store::Files;
use klamm::store::local::LocalFiles;

/// Each has a log and a journal.
pub const PARTITIONS: usize = 3;
const TOPIC: Uuid = Uuid::from_u128(0x6b6c_616d_6d00_0000_0000_0000_0000_0007);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Fsync,
    PageCache,
}

impl Durability {
    pub fn parse(text: &str) -> Self {
        match text {
            "fsync" => Self::Fsync,
            "page-cache" => Self::PageCache,
            other => panic!("no durability {other}"),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::PageCache => "page-cache",
        }
    }
}

/// What recovery made of a directory, ready for work.
pub struct Recovered {
    pub files: Arc<dyn Files>,
    pub logs: Vec<PartitionLog>,
    pub commit_log: CommitLog,
    pub partitions: Vec<PartitionCheckpoint>,
    pub commits_replayed: u64,
}

/// Opens and recovers; ends with a checkpoint. The logs are those of the partitions, and then
/// their journals.
pub fn recover(dir: &Path, durability: Durability, env: &Env) -> Recovered {
    let files: Arc<dyn Files> = Arc::new(LocalFiles);
    files.create_dir(dir).expect("the directory");
    let known = checkpoint_file::read(&*files, dir).expect("the checkpoint is whole");
    let mark = known.as_ref().map(|known| known.mark);
    let opening = Opening {
        store: LogStore::new(Arc::clone(&files), 64),
        dir,
        known: known.map_or_else(Vec::new, |known| known.partitions),
        env,
    };
    let mut logs: Vec<_> = (0..2 * PARTITIONS).map(|log| opening.open(log, None)).collect();
    let settings = CommitSettings {
        file_bytes: 64 << 10,
        max_bytes: 256 << 10,
        durable: durability == Durability::Fsync,
    };
    let run = env.random_u64();
    let (mut commit_log, mut replay) =
        CommitLog::open(Arc::clone(&files), &dir.join("commit"), settings, mark, run)
            .expect("the commit log opens");
    let mut commits_replayed = 0;
    for commit in replay.by_ref() {
        commits_replayed += 1;
        for row in commit.expect("the commit log is readable").rows {
            let [log, journal] = both(&mut logs, row.tp.source());
            log.level(journal);
            let log = if row.tp.is_journal() { journal } else { log };
            match &row.batch {
                Some(batch) => {
                    log.append_replayed(batch, env.wall_ms()).expect("the row fits its log");
                }
                None => assert!(row.base_offset < log.end().offset, "it is in its segment"),
            }
        }
    }
    let end = replay.end().expect("the replay is over");
    assert_eq!(end.later_frames, 0, "no commit is lost: {end:?}");
    opening.pair(&mut logs);
    let mut partitions = Vec::new();
    for log in &mut logs {
        let (partition, work) = log.checkpoint().expect("no pair is half written");
        work.run(&*files).expect("the disk works");
        partitions.push(partition);
        log.view().advance(&log.end());
    }
    let last = commit_log.last();
    checkpoint_file::write(&*files, dir, last, false, partitions.iter()).expect("the disk works");
    commit_log.release(last.sequence);
    Recovered { files, logs, commit_log, partitions, commits_replayed }
}

/// The log and the journal of a partition.
pub fn both(logs: &mut [PartitionLog], partition: TopicPartition) -> [&mut PartitionLog; 2] {
    let at = usize::try_from(partition.partition).expect("not negative");
    logs.get_disjoint_mut([at, at + PARTITIONS]).expect("they are two")
}

struct Opening<'a> {
    store: LogStore,
    dir: &'a Path,
    known: Vec<PartitionCheckpoint>,
    env: &'a Env,
}

impl Opening<'_> {
    fn open(&self, log: usize, limit: Option<i64>) -> PartitionLog {
        let partition = i32::try_from(log % PARTITIONS).expect("small");
        let partition = TopicPartition::new(TOPIC, partition);
        let mut identity = Identity::below(self.dir, "crash", partition);
        if log >= PARTITIONS {
            identity = journal::identity(&identity);
        }
        let known = self.known.iter().find(|known| known.tp == identity.tp).cloned();
        let hint = OpenHint { limit, ..known.map_or_else(OpenHint::default, hint) };
        let settings = LogSettings {
            segment_bytes: 128 << 10,
            reserve_bytes: 64 << 10,
            retention_ms: -1,
            ..LogSettings::default()
        };
        let opened =
            PartitionLog::open(&self.store, identity, settings, hint, 0, self.env.wall_ms());
        let (log, report) = opened.expect("the log opens");
        assert_eq!(report.lost_from, None, "nothing below the recovery point is lost");
        log
    }

    /// Cuts what only one of two logs has, once the commit log is replayed.
    fn pair(&self, logs: &mut [PartitionLog]) {
        for at in 0..PARTITIONS {
            let limit = pairs::cut(logs[at].tail(), logs[at + PARTITIONS].tail());
            if limit.is_some() {
                for at in [at, at + PARTITIONS] {
                    logs[at] = self.open(at, limit);
                }
            }
            let partition = logs[at].identity().tp;
            let [log, journal] = both(logs, partition);
            log.level(journal);
            log.merge_producers(journal);
        }
    }
}

fn hint(known: PartitionCheckpoint) -> OpenHint {
    OpenHint {
        recovery_point: known.recovery_point,
        log_start: known.log_start,
        producers: known.producers,
        clean: false,
        limit: None,
    }
}
