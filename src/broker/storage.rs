//! Opens the data directory (lock, metadata, identity, logs, commit log), starts the threads that
//! own it, and stops them so that the next start scans nothing.
//!
//! Nothing is visible to a client before everything that it could see is on stable storage: the
//! start ends with a checkpoint of what recovery put together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::groups::{self, Around};
use super::recovery::{self, Recovered};
use crate::base::env::Env;
use crate::base::metrics::{CompactionMetrics, Metrics};
use crate::base::settings::{
    BrokerConfig, CleanerSettings, DelayStoreSettings, Settings, validate_group_configs,
    validate_topic_configs,
};
use crate::catalog::Policy;
use crate::coord::group::roster::Roster;
use crate::log::cache::LogStore;
use crate::shard::Shards;
use crate::shard::checkpointer::{self, Bell, CheckpointSettings, Checkpointer, Stop};
use crate::shard::cleaner::{Cleaner, CleanerDeps};
use crate::shard::committer::{self, Committer, CommitterHandle, CommitterSettings};
use crate::shard::delay::DelayShared;
use crate::shard::failed::Failed;
use crate::shard::host::{Defaults, Host, ShardSources};
use crate::shard::identity::{self, Identity};
use crate::shard::landing::Landing;
use crate::shard::metadata::{Metadata, Store};
use crate::shard::registry::Registry;
use crate::shard::worker::{Shard, ShardDeps};
use crate::store::local::LocalFiles;
use crate::store::lock::DirLock;
use crate::store::meta::RedbMeta;
use crate::store::{Files, Meta};

/// Descriptors kept for sealed segments.
const MAX_OPEN_FILES: usize = 4096;

/// Why a data directory cannot be served: one line with the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

impl Unusable {
    fn at(path: &Path, error: impl std::fmt::Display) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

/// A data directory at work.
pub struct Storage {
    pub identity: Identity,
    pub metadata: Arc<Metadata>,
    pub meta: Arc<dyn Meta>,
    pub shards: Arc<Shards>,
    pub commits: CommitterHandle<Landing>,
    pub defaults: Defaults,
    pub failed: Failed,
    pub compaction: Arc<CompactionMetrics>,
    /// Which groups there are.
    pub roster: Arc<Roster>,
    threads: Threads,
    _lock: DirLock,
}

struct Threads {
    shards: Vec<JoinHandle<Shard>>,
    metadata: JoinHandle<io::Result<()>>,
    committer: JoinHandle<()>,
    checkpointer: JoinHandle<Result<(), checkpointer::CheckpointFailed>>,
    cleaner: Cleaner,
    sealer: JoinHandle<()>,
    bell: Bell,
    closing: Arc<AtomicBool>,
    /// Every partition was opened.
    all_served: bool,
}

/// What is open before anything runs.
struct Opened {
    data_dir: PathBuf,
    lock: DirLock,
    identity: Identity,
    meta: Arc<dyn Meta>,
    store: Store,
    log_store: LogStore,
    registry: Arc<Registry>,
    defaults: Defaults,
    recovered: Recovered,
    metrics: Arc<Metrics>,
}

impl Storage {
    /// Opens the locked directory.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn open(
        settings: &Settings,
        config: &BrokerConfig,
        env: &Env,
        metrics: Arc<Metrics>,
        lock: DirLock,
        failed: Failed,
    ) -> Result<Self, Unusable> {
        let opened = open(settings, config, env, metrics, lock, &failed)?;
        let dir = opened.data_dir.clone();
        start(opened, settings, config, env, failed).map_err(|e| Unusable::at(&dir, e))
    }

    /// Stops in order: what was appended is committed, logs are closed, the checkpoint says
    /// clean. The server must have stopped. `false` if the stop is not a clean one.
    #[must_use]
    pub fn stop(self) -> bool {
        let Self { metadata, shards, commits, failed, threads, .. } = self;
        if failed.is_set() {
            // Threads may wait for a commit log that nobody frees any more; the process ends.
            return false;
        }
        drop(metadata);
        threads.cleaner.stop();
        shards.delay().close();
        commits.close();
        let committed = threads.committer.join().is_ok() && !failed.is_set();
        threads.closing.store(true, Ordering::Release);
        threads.bell.stop(match (committed, threads.all_served) {
            (true, true) => Stop::Clean,
            (true, false) => Stop::Unsure,
            (false, _) => Stop::Abrupt,
        });
        let checkpointed = matches!(threads.checkpointer.join(), Ok(Ok(())));
        shards.close();
        let joined = threads.shards.into_iter().all(|thread| thread.join().is_ok());
        let joined = threads.sealer.join().is_ok() && joined;
        drop(shards);
        // The worker's host holds the shards; it ends now that the last handle is gone.
        let stored = matches!(threads.metadata.join(), Ok(Ok(())));
        committed && checkpointed && joined && stored && !failed.is_set()
    }
}

fn open(
    settings: &Settings,
    config: &BrokerConfig,
    env: &Env,
    metrics: Arc<Metrics>,
    lock: DirLock,
    failed: &Failed,
) -> Result<Opened, Unusable> {
    let data_dir = settings.data_dir.clone();
    let at_dir = |error: io::Error| Unusable::at(&settings.data_dir, error);
    let files: Arc<dyn Files> = Arc::new(LocalFiles);
    let meta_path = data_dir.join("meta.redb");
    let meta = RedbMeta::open(&meta_path).map_err(|e| Unusable::at(&meta_path, e))?;
    let meta: Arc<dyn Meta> = Arc::new(meta);
    let identity = identity::claim(&*files, &*meta, &data_dir, settings.node_id, env)
        .map_err(|e| Unusable(e.to_string()))?;
    let store = Store::open(Arc::clone(&meta), settings.node_id)
        .map_err(|e| Unusable::at(&meta_path, e))?;
    let log_store = LogStore::new(Arc::clone(&files), MAX_OPEN_FILES);
    let registry = Arc::new(Registry::default());
    registry.follow(store.snapshots());
    let defaults = Defaults {
        config: config.clone(),
        max_decompressed_bytes: usize::try_from(settings.max_decompressed_message_bytes)
            .unwrap_or(usize::MAX),
    };
    let deps = ShardDeps {
        env: env.clone(),
        metrics: Arc::clone(&metrics),
        store: log_store.clone(),
        data_dir: data_dir.clone(),
        registry: Arc::clone(&registry),
        durability: settings.durability,
        retention_check_interval: millis(settings.retention_check_interval_ms),
        bulk_bytes: CommitterSettings::default().bulk_bytes,
        failed: failed.clone(),
        delay: DelayShared::new(DelayStoreSettings::resolve(config), env),
    };
    let recovered = recovery::run(settings, &deps, &store, &defaults).map_err(at_dir)?;
    Ok(Opened {
        data_dir,
        lock,
        identity,
        meta,
        store,
        log_store,
        registry,
        defaults,
        recovered,
        metrics,
    })
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

fn start(
    opened: Opened,
    settings: &Settings,
    config: &BrokerConfig,
    env: &Env,
    failed: Failed,
) -> io::Result<Storage> {
    let Opened {
        data_dir,
        lock,
        identity,
        meta,
        store,
        log_store,
        registry,
        defaults,
        recovered,
        metrics,
    } = opened;
    let bell = Bell::default();
    let ring = bell.clone();
    let sizes = CommitterSettings::default();
    let (committer, commits) =
        Committer::new(recovered.commit_log, sizes, env.clone(), move || ring.ring());
    let mut shards = recovered.shards;
    let all_served = recovered.unserved.is_empty();
    let store = store.with_offline(recovered.unserved);
    let roster = Arc::<Roster>::default();
    let around = Around {
        metrics,
        catalog: store.snapshots(),
        registry: Arc::clone(&registry),
        roster: Arc::clone(&roster),
    };
    for shard in &mut shards {
        shard.commit_through(commits.clone());
        shard.coordinate_groups(groups::hosting(settings, config, env, &around));
    }
    let (shards, shard_threads) = Shards::start(shards, registry);
    let sealer = shards.delay().start(Arc::new(LocalFiles))?;
    let dying = failed.clone();
    let committer = committer::spawn(committer, move |reason| dying.set(reason))?;
    let closing = Arc::new(AtomicBool::new(false));
    let sources = ShardSources { shards: Arc::clone(&shards), closing: Arc::clone(&closing) };
    let interval = millis(settings.checkpoint_interval_ms);
    let checkpointer = Checkpointer::new(
        Arc::new(LocalFiles),
        data_dir.clone(),
        CheckpointSettings { interval },
        sources,
        commits.clone(),
        recovered.partitions,
    );
    let dying = failed.clone();
    let checkpointer =
        checkpointer::spawn(checkpointer, bell.clone(), move |reason| dying.set(reason))?;
    let host = Host {
        shards: Arc::clone(&shards),
        store: log_store.clone(),
        data_dir: data_dir.clone(),
        defaults: defaults.clone(),
    };
    let dying = failed.clone();
    let (metadata, metadata_thread) =
        Metadata::start(store, policy(settings, config), host, move |why| dying.set(why))?;
    let compaction = Arc::<CompactionMetrics>::default();
    let cleaner = Cleaner::start(CleanerDeps {
        env: env.clone(),
        metrics: Arc::clone(&compaction),
        shards: Arc::clone(&shards),
        store: log_store,
        data_dir,
        failed: failed.clone(),
        settings: cleaner_settings(&defaults, &metadata),
    })?;
    let threads = Threads {
        cleaner,
        sealer,
        shards: shard_threads,
        metadata: metadata_thread,
        committer,
        checkpointer,
        bell,
        closing,
        all_served,
    };
    Ok(Storage {
        identity,
        metadata,
        meta,
        shards,
        commits,
        defaults,
        failed,
        compaction,
        roster,
        threads,
        _lock: lock,
    })
}

/// As they are at the time.
fn cleaner_settings(
    defaults: &Defaults,
    metadata: &Metadata,
) -> Box<dyn Fn() -> CleanerSettings + Send + Sync> {
    let (defaults, snapshots) = (defaults.clone(), metadata.snapshots());
    Box::new(move || CleanerSettings::resolve(&defaults.current(&snapshots.load())))
}

/// What topics may be created, and what configs topics and groups may have.
fn policy(settings: &Settings, config: &BrokerConfig) -> Policy {
    let (of_topics, of_groups) = (config.clone(), config.clone());
    Policy {
        default_partitions: settings.num_partitions,
        default_replication_factor: i16::try_from(settings.default_replication_factor).unwrap_or(1),
        max_topic_partitions: settings.max_partitions_per_topic,
        max_partitions: u64::from(settings.max_partitions),
        check_topic_configs: Arc::new(move |configs| {
            validate_topic_configs(configs, &of_topics).map_err(|error| error.to_string())
        }),
        check_group_configs: Arc::new(move |configs| {
            validate_group_configs(configs, &of_groups).map_err(|error| error.to_string())
        }),
    }
}
