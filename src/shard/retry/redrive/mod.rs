//! Redrive jobs at work: begun, commanded and looked at by operators, gone on with by themselves
//! after a restart.
//!
//! A running job is one task ([`run`]). Its state in memory is the newest; it is stored about once
//! a second, and before anybody is told of a command's success. What a crash takes back is a
//! position at most, and the destinations know which copies they have. A job whose end is durable
//! is forgotten by its destinations, and only then counts as over and done with.
//!
//! Bounded: jobs that are not over, tasks at work at a time, ended jobs that are kept.

mod gather;
mod route;
mod run;
mod store;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use super::steward::Steward;
use crate::base::env::Env;
use crate::base::ids::{TopicPartition, Uuid};
use crate::base::metrics::Metrics;
use crate::catalog::Catalog;
use crate::retry::redrive::{Command, Counts, Job, Plan, REDRIVE_LIMIT, State, Target, TopicRef};
use crate::retry::redriven::Redriven;
use crate::retry::view::{RedriveAsk, Refusal};
use crate::shard::Shards;
use crate::shard::failed::Failed;
use crate::shard::metadata::Metadata;
use crate::store::Meta;
use store::JobStore;

/// Jobs that copy at the same time; others that run wait for one of them.
const MOST_AT_WORK: usize = 4;
/// How long a cancel waits for the step that is under way.
const MOST_SETTLING: Duration = Duration::from_secs(10);
/// Jobs that are not over.
const MOST_OPEN: usize = 100;
/// Jobs that are over and still shown.
const MOST_ENDED: usize = 100;

/// What jobs work with.
pub struct RedriveDeps {
    pub env: Env,
    pub metrics: Arc<Metrics>,
    pub shards: Arc<Shards>,
    pub metadata: Arc<Metadata>,
    pub steward: Arc<Steward>,
    pub meta: Arc<dyn Meta>,
    pub failed: Failed,
    /// What a compressed batch may become when it is read.
    pub most_inflated_bytes: usize,
}

/// All redrive jobs of this broker.
pub struct Redrives {
    env: Env,
    metrics: Arc<Metrics>,
    shards: Arc<Shards>,
    metadata: Arc<Metadata>,
    steward: Arc<Steward>,
    most_inflated_bytes: usize,
    store: Arc<JobStore>,
    jobs: Mutex<BTreeMap<Uuid, Entry>>,
    /// Changed and stored together with jobs, and so under their lock.
    redriven: Arc<RwLock<Redriven>>,
    /// Held while jobs are stored: what is stored last is the newest.
    storing: tokio::sync::Mutex<()>,
    at_work: Semaphore,
    stopping: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

struct Entry {
    job: Job,
    /// Copies may have been made that are not noted: of a step that has not ended well, or behind
    /// the stored position. Until they are, the job is not forgotten.
    owes: bool,
    /// A task looks after it.
    has_task: bool,
    /// Told of every change of its state.
    changed: Arc<Notify>,
}

impl Entry {
    fn new(job: Job) -> Self {
        Self { job, owes: false, has_task: false, changed: Arc::default() }
    }

    /// Of a job that was stored.
    fn stored(job: Job) -> Self {
        let owes = !job.state.is_over() && !job.plan.dry_run;
        Self { owes, ..Self::new(job) }
    }

    /// Whether copies of this topic's letters may still be made or be unnoted: another job would
    /// make them again.
    fn may_copy(&self, source: Uuid) -> bool {
        let is_settled = self.job.state.is_over() && self.job.forgotten;
        self.job.plan.source.id == source && !self.job.plan.dry_run && !is_settled
    }

    /// Whether something is left that a task has to do.
    const fn needs_task(&self) -> bool {
        match self.job.state {
            State::Running => true,
            State::Paused => false,
            State::Cancelled | State::Done | State::Failed(_) => !self.job.forgotten,
        }
    }
}

impl Redrives {
    /// Loads all jobs and goes on with those that run. Blocks on the metadata store, and needs
    /// the runtime.
    ///
    /// # Errors
    /// The store's own.
    pub fn start(deps: RedriveDeps) -> io::Result<Arc<Self>> {
        let store = JobStore::new(deps.meta, deps.failed);
        let jobs = store.load()?;
        let catalog = deps.metadata.catalog().clone();
        let redriven = store.load_redriven(|topic| catalog.topic_by_id(topic).is_some())?;
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
        let redrives = Arc::new(Self {
            env: deps.env,
            metrics: deps.metrics,
            shards: deps.shards,
            metadata: deps.metadata,
            steward: deps.steward,
            most_inflated_bytes: deps.most_inflated_bytes,
            store: Arc::new(store),
            jobs: Mutex::new(jobs.into_iter().map(|job| (job.id, Entry::stored(job))).collect()),
            redriven: Arc::new(RwLock::new(redriven)),
            storing: tokio::sync::Mutex::default(),
            at_work: Semaphore::new(MOST_AT_WORK),
            stopping: watch::Sender::new(false),
            tasks: Mutex::default(),
        });
        ids.into_iter().for_each(|id| redrives.look_after(id));
        Ok(redrives)
    }

    /// Lets every task end where it is. Nothing is copied once this has returned.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// What was put back so far.
    #[must_use]
    pub fn redriven(&self) -> Arc<RwLock<Redriven>> {
        Arc::clone(&self.redriven)
    }

    /// All jobs, the newest first.
    #[must_use]
    pub fn all(&self) -> Vec<Job> {
        let mut jobs: Vec<Job> = self.jobs.lock().values().map(|entry| entry.job.clone()).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse((job.started_ms(), job.id)));
        jobs
    }

    /// One job, at once if it is over or else after so long, or when its state changes.
    pub async fn job(&self, id: Uuid, patience: Duration) -> Result<Job, Refusal> {
        let changed = {
            let jobs = self.jobs.lock();
            let entry = jobs.get(&id).ok_or_else(|| no_job(id))?;
            if entry.job.state.is_over() || patience.is_zero() {
                return Ok(entry.job.clone());
            }
            Arc::clone(&entry.changed).notified_owned()
        };
        let _ = tokio::time::timeout(patience, changed).await;
        self.now(id)
    }

    fn now(&self, id: Uuid) -> Result<Job, Refusal> {
        self.jobs.lock().get(&id).map(|entry| entry.job.clone()).ok_or_else(|| no_job(id))
    }

    /// Begins a job; it is durable when this returns.
    ///
    /// # Errors
    /// If it can't be meant, or there are too many.
    pub async fn begin(self: &Arc<Self>, ask: RedriveAsk) -> Result<Job, Refusal> {
        let by = ask.by.clone().unwrap_or_else(|| "http".to_owned());
        let plan = self.plan(ask)?;
        if !plan.dry_run {
            self.cleared(plan.source.id).await;
        }
        let ends = self.ends(&plan.source)?;
        let job = Job::new(self.env.random_uuid(), plan, ends, &by, self.env.wall_ms());
        let id = job.id;
        {
            let mut jobs = self.jobs.lock();
            let open = || jobs.values().filter(|entry| !entry.job.state.is_over());
            if open().count() >= MOST_OPEN {
                let message = format!("{MOST_OPEN} jobs are not over yet; cancel some");
                return Err(Refusal::Conflict(message));
            }
            let mut rivals = jobs.values().filter(|entry| entry.may_copy(job.plan.source.id));
            if let Some(rival) = rivals.next().filter(|_| !job.plan.dry_run) {
                let (name, rival) = (&job.plan.source.name, rival.job.id);
                let message = format!("job {rival} redrives {name}; wait for it or cancel it");
                return Err(Refusal::Conflict(message));
            }
            jobs.insert(id, Entry::new(job));
        }
        if let Err(error) = self.save(id).await {
            self.jobs.lock().remove(&id);
            return Err(not_stored(&error));
        }
        self.look_after(id);
        self.forget_old().await;
        self.now(id)
    }

    /// Carries a command out; its effect is durable when this returns.
    ///
    /// # Errors
    /// If there is no such job, or it is over.
    pub async fn command(
        self: &Arc<Self>,
        id: Uuid,
        command: Command,
        by: &str,
    ) -> Result<Job, Refusal> {
        {
            let mut jobs = self.jobs.lock();
            let entry = jobs.get_mut(&id).ok_or_else(|| no_job(id))?;
            let done = entry.job.command(command, by, self.env.wall_ms());
            done.map_err(|over| Refusal::Conflict(over.to_string()))?;
            entry.changed.notify_waiters();
        }
        let saved = self.save(id).await;
        self.look_after(id);
        saved.map_err(|error| not_stored(&error))?;
        if command == Command::Cancel {
            self.settled(id).await?;
        }
        self.now(id)
    }

    /// Waits until nothing speaks against storing that a job is cancelled, and stores it.
    async fn settled(&self, id: Uuid) -> Result<(), Refusal> {
        let settled = async {
            while let Some(changed) = self.owing(id) {
                changed.await;
            }
        };
        if tokio::time::timeout(MOST_SETTLING, settled).await.is_err() {
            let message = "it is cancelled as soon as its last step has ended".to_owned();
            return Err(Refusal::Unavailable(message));
        }
        self.save(id).await.map_err(|error| not_stored(&error))
    }

    /// Waits for jobs of a topic that are over, and that only have to be forgotten.
    async fn cleared(&self, source: Uuid) {
        let next = || {
            let jobs = self.jobs.lock();
            let ending = |entry: &&Entry| entry.job.state.is_over() && entry.may_copy(source);
            let entry = jobs.values().find(ending)?;
            Some(Arc::clone(&entry.changed).notified_owned())
        };
        let cleared = async {
            while let Some(changed) = next() {
                changed.await;
            }
        };
        // Who is too slow is a rival.
        let _ = tokio::time::timeout(MOST_SETTLING, cleared).await;
    }

    /// What tells of a job's next change, if it owes something.
    fn owing(&self, id: Uuid) -> Option<tokio::sync::futures::OwnedNotified> {
        let jobs = self.jobs.lock();
        let entry = jobs.get(&id).filter(|entry| entry.owes)?;
        Some(Arc::clone(&entry.changed).notified_owned())
    }

    fn plan(&self, ask: RedriveAsk) -> Result<Plan, Refusal> {
        let catalog = self.metadata.catalog();
        let source = route::topic(&catalog, &ask.source)?;
        if let Target::Topic(name) = &ask.target {
            let target = route::topic(&catalog, name)?;
            if target.id == source.id {
                return Err(Refusal::Bad(format!("{name} can't be redriven into itself")));
            }
            route::check_target(&catalog, &target)?;
        }
        Ok(Plan {
            source,
            target: ask.target,
            filter: ask.filter,
            rate: ask.rate,
            dry_run: ask.dry_run,
            redrive_limit: ask.redrive_limit.unwrap_or(REDRIVE_LIMIT),
            again: ask.again,
        })
    }

    /// Partitions of a topic, each with log start and visible end.
    fn ends(&self, topic: &TopicRef) -> Result<Vec<(i32, i64, i64)>, Refusal> {
        let count = partitions(&self.metadata.catalog(), topic);
        let one = |partition| {
            let served = self.shards.registry().get(TopicPartition::new(topic.id, partition));
            let view = &served
                .ok_or_else(|| {
                    Refusal::Unavailable(format!("{}-{partition} is not served now", topic.name))
                })?
                .view;
            Ok((partition, view.log_start(), view.high_watermark()))
        };
        (0..count).map(one).collect()
    }

    /// Stores a job as it is now, and what was put back.
    async fn save(&self, id: Uuid) -> io::Result<()> {
        let _turn = self.storing.lock().await;
        let (job, chunks) = {
            let jobs = self.jobs.lock();
            let Some(entry) = jobs.get(&id) else { return Ok(()) };
            let job = entry.job.clone();
            let job = if entry.owes { job.not_cancelled_yet() } else { job };
            (job, self.redriven.write().take_changes())
        };
        let store = Arc::clone(&self.store);
        let write = move || (store.put(&job, &chunks), chunks);
        let (written, chunks) = match tokio::task::spawn_blocking(write).await {
            Ok(done) => done,
            Err(panic) => return Err(io::Error::other(panic)),
        };
        if written.is_err() {
            self.redriven.write().put_back(chunks.into_iter().map(|(chunk, _)| chunk));
        }
        written
    }

    /// A job is about to make copies; gives whether it owed something before.
    fn owe(&self, id: Uuid) -> bool {
        let mut jobs = self.jobs.lock();
        jobs.get_mut(&id).is_some_and(|entry| std::mem::replace(&mut entry.owes, true))
    }

    /// Nothing is left that could be owed.
    fn quit(&self, id: Uuid) {
        if let Some(entry) = self.jobs.lock().get_mut(&id) {
            entry.owes = false;
            entry.changed.notify_waiters();
        }
    }

    /// A job has dealt with everything in a partition below a position, and put these back.
    fn advance(&self, id: Uuid, partition: i32, position: i64, counts: Counts, redriven: Vec<i64>) {
        let mut jobs = self.jobs.lock();
        let Some(entry) = jobs.get_mut(&id) else { return };
        entry.job.advance(partition, position, counts);
        let source = TopicPartition::new(entry.job.plan.source.id, partition);
        if !redriven.is_empty() {
            self.redriven.write().note(source, redriven);
        }
    }

    /// Forgets the oldest of too many ended jobs. One that could not be deleted is shown again
    /// after a restart.
    async fn forget_old(&self) {
        let _turn = self.storing.lock().await;
        let old: Vec<Uuid> = {
            let mut jobs = self.jobs.lock();
            let ended = jobs.values().filter(|entry| entry.job.forgotten);
            let mut ended: Vec<_> = ended.map(|e| (e.job.started_ms(), e.job.id)).collect();
            ended.sort_unstable();
            let most = ended.len().saturating_sub(MOST_ENDED);
            let old: Vec<Uuid> = ended[..most].iter().map(|(_, id)| *id).collect();
            jobs.retain(|id, _| !old.contains(id));
            old
        };
        if old.is_empty() {
            return;
        }
        let store = Arc::clone(&self.store);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.delete(&old)).await {
            tracing::warn!("old redrive jobs are not deleted yet: {error}");
        }
    }

    /// Starts a task for a job, if it needs one and has none.
    fn look_after(self: &Arc<Self>, id: Uuid) {
        let mut tasks = self.tasks.lock();
        let mut jobs = self.jobs.lock();
        let Some(entry) = jobs.get_mut(&id) else { return };
        if entry.has_task || !entry.needs_task() || *self.stopping.borrow() {
            return;
        }
        entry.has_task = true;
        while tasks.try_join_next().is_some() {}
        tasks.spawn(run::look_after(Arc::clone(self), id));
    }

    /// The task may end: nothing is left for it. Decided together with
    /// [`Redrives::look_after`], so that no job is left alone.
    fn leave(&self, id: Uuid) -> bool {
        let mut jobs = self.jobs.lock();
        let Some(entry) = jobs.get_mut(&id) else { return true };
        entry.has_task = entry.needs_task() && !*self.stopping.borrow();
        !entry.has_task
    }

    /// Changes a job in memory.
    fn change<T>(&self, id: Uuid, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        let mut jobs = self.jobs.lock();
        let entry = jobs.get_mut(&id)?;
        let before = (entry.job.state.clone(), entry.job.forgotten);
        let result = change(&mut entry.job);
        if (&entry.job.state, entry.job.forgotten) != (&before.0, before.1) {
            entry.changed.notify_waiters();
        }
        Some(result)
    }
}

fn partitions(catalog: &Catalog, topic: &TopicRef) -> i32 {
    catalog.topic_by_id(topic.id).map_or(0, |topic| topic.partitions)
}

fn no_job(id: Uuid) -> Refusal {
    Refusal::NotFound(format!("there is no redrive job {id}"))
}

fn not_stored(error: &io::Error) -> Refusal {
    Refusal::Unavailable(format!("it could not be stored: {error}"))
}
