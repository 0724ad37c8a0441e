//! An operator takes a record out of a group's way: a dead letter of it is made, then the group's
//! committed offset moves behind it, as soon as the group has no members.
//!
//! The dead letter's origin is the group's failure on that record, as a nack's would be, so asking
//! twice makes one. A move that has to wait is stored and made by itself, also after a restart; it
//! lapses when the offset is moved by somebody else.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::copy::{CopySet, NewCopy};
use super::failed::{Cause, Failed};
use super::place::Wanted;
use super::reader::Stretch;
use super::steward::Steward;
use crate::base::env::Env;
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::base::role::RoleKind;
use crate::catalog::Topic;
use crate::coord::group::offsets::{Command, Fetch, Move, Moved, Reply};
use crate::coord::group::{self, GROUPS_TOPIC};
use crate::coord::partition::partition_of;
use crate::delay::command::Due;
use crate::delay::copies::{Maker, Origin};
use crate::retry::moves::{self, PendingMove};
use crate::retry::policy::Reason;
use crate::retry::view::{Refusal, Skipped};
use crate::shard::Shards;
use crate::shard::host::Defaults;
use crate::shard::metadata::Metadata;
use crate::shard::registry::Partition;
use crate::store::{Meta, MetaWrite};
use crate::wire::owned::OwnedRecord;

/// How often moves that wait are tried.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// What a skip works with.
pub struct SkipDeps {
    pub env: Env,
    pub shards: Arc<Shards>,
    pub metadata: Arc<Metadata>,
    pub steward: Arc<Steward>,
    pub meta: Arc<dyn Meta>,
    pub defaults: Defaults,
}

/// Takes records out of groups' ways.
pub struct Skips {
    deps: SkipDeps,
    /// Stored, and not made yet.
    waiting: Mutex<BTreeMap<String, PendingMove>>,
    news: watch::Sender<News>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    Nothing,
    Waiting,
    Stopping,
}

/// The record at which a group stands.
struct Found {
    offset: i64,
    record: OwnedRecord,
}

impl Skips {
    /// Loads the moves that wait and goes on with them. Blocks on the metadata store, and needs
    /// the runtime.
    ///
    /// # Errors
    /// The store's own.
    pub fn start(deps: SkipDeps) -> io::Result<Arc<Self>> {
        let mut waiting = BTreeMap::new();
        for (key, stored) in deps.meta.scan(moves::PREFIX)? {
            match PendingMove::decode(&key, &stored.value) {
                Some(pending) => drop(waiting.insert(key, pending)),
                None => tracing::error!("metadata key {key} can't be read; it is left alone"),
            }
        }
        let news = if waiting.is_empty() { News::Nothing } else { News::Waiting };
        let (waiting, news) = (Mutex::new(waiting), watch::Sender::new(news));
        let skips = Arc::new(Self { deps, waiting, news, task: Mutex::default() });
        let at_work = Arc::clone(&skips);
        *skips.task.lock() = Some(tokio::spawn(async move { at_work.work().await }));
        Ok(skips)
    }

    /// No move is made once this has returned.
    pub async fn stop(&self) {
        self.news.send_replace(News::Stopping);
        let task = self.task.lock().take();
        if let Some(task) = task {
            // A panic is told of where it happened.
            let _ = task.await;
        }
    }

    /// Dead-letters the record at which a group stands in a partition, and moves the group on.
    ///
    /// # Errors
    /// If there is no such group, topic, or record, or something fails: then asking again goes on.
    pub async fn skip(&self, group: &str, topic: &str, partition: i32) -> Result<Skipped, Refusal> {
        let found = self.deps.metadata.catalog().topic(topic).cloned();
        let no_topic = || Refusal::NotFound(format!("there is no partition {topic}-{partition}"));
        let topic = found.ok_or_else(no_topic)?;
        let tp = TopicPartition::new(topic.id, partition);
        let served = self.deps.shards.registry().get(tp).ok_or_else(no_topic)?;
        check_fails(&topic, group)?;
        let committed = self.committed(group, &topic.name, partition).await?;
        let found = self.read(served, committed).await?.ok_or_else(|| {
            let name = &topic.name;
            Refusal::Conflict(format!("group '{group}' has read all of {name}-{partition}"))
        })?;
        let offset = found.offset;
        let dead_letter_topic = self.bury(group, &topic, tp, found).await?;
        let pending = PendingMove {
            group: group.to_owned(),
            topic: topic.name.to_string(),
            tp,
            from: committed,
            to: offset + 1,
        };
        let moved = self.move_or_wait(pending).await?;
        let (group, topic) = (group.to_owned(), topic.name.to_string());
        Ok(Skipped { group, topic, partition, offset, dead_letter_topic, moved })
    }

    async fn ask(&self, group: &str, command: Command) -> Result<Reply, Fault> {
        let asked = {
            let catalog = self.deps.metadata.catalog();
            let offsets = catalog.topic(GROUPS_TOPIC).ok_or(Code::CoordinatorNotAvailable)?;
            let tp = TopicPartition::new(offsets.id, partition_of(group, offsets.partitions));
            self.deps.shards.coordinate(tp, command.into())?
        };
        match asked.await.unwrap_or_else(|_| Err(Code::NotCoordinator.into()))? {
            group::Reply::Offsets(reply) => Ok(reply),
            _ => Err(Code::UnknownServerError.into()),
        }
    }

    async fn committed(&self, group: &str, topic: &str, partition: i32) -> Result<i64, Refusal> {
        let topics = Some(vec![(Arc::from(topic), vec![partition])]);
        let fetch = Fetch { group: group.to_owned(), member_id: None, member_epoch: -1, topics };
        let found = match self.ask(group, Command::Fetch(fetch)).await.map_err(|f| later(&f))? {
            Reply::Fetch(found) => found.map_err(|code| later(&code.into()))?,
            _ => return Err(later(&Code::UnknownServerError.into())),
        };
        let mut partitions = found.into_iter().flat_map(|(_, partitions)| partitions);
        let committed = partitions.find_map(|fetched| fetched.committed);
        let committed = committed.ok_or_else(|| {
            Refusal::NotFound(format!("group '{group}' has no offset in {topic}-{partition}"))
        })?;
        Ok(committed.offset)
    }

    /// The first visible record from an offset on.
    async fn read(&self, from: Arc<Partition>, offset: i64) -> Result<Option<Found>, Refusal> {
        let most_bytes = self.deps.defaults.max_decompressed_bytes;
        let read = tokio::task::spawn_blocking(move || {
            let mut found = None;
            let stretch = Stretch::read(&from.view, offset, None, 1, most_bytes)?;
            stretch.for_each(|placed| {
                found.get_or_insert_with(|| Found {
                    offset: placed.offset,
                    record: OwnedRecord::of(placed.record, placed.timestamp_ms),
                });
            })?;
            Ok::<_, super::reader::Unreadable>(found)
        });
        match read.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(Refusal::Unavailable(error.to_string())),
            Err(panic) => Err(Refusal::Unavailable(panic.to_string())),
        }
    }

    /// Makes the dead letter, and gives its topic's name when it is durable.
    async fn bury(
        &self,
        group: &str,
        topic: &Topic,
        tp: TopicPartition,
        found: Found,
    ) -> Result<String, Refusal> {
        let maker: Arc<str> = group.into();
        let (dead, retry, settings) = {
            let catalog = self.deps.metadata.catalog();
            let settings = self.deps.defaults.retries(&catalog, group);
            let of = |kind| Wanted::of(kind, Some(&maker), &settings, topic);
            let retry = of(RoleKind::Retry).find(&catalog).cloned();
            (of(RoleKind::Dlq), retry, settings)
        };
        let SkipDeps { env, metadata, steward, .. } = &self.deps;
        let dead = dead.ensure(env, metadata, steward).await.map_err(|fault| later(&fault))?;
        let Found { offset, record } = found;
        let cause = Cause {
            reason: Reason::Admin,
            group: Some(group),
            message: None,
            exception_class: None,
            deliveries: 1,
            now_ms: self.deps.env.wall_ms(),
        };
        let failed = Failed::at(topic, tp.partition, offset, Some(record));
        let record = failed.into_letter(&cause, settings.dead_letter_has_record);
        let place = |topic: &Topic| TopicPartition::new(topic.id, tp.partition % topic.partitions);
        let origin = Origin { maker: Maker::Nack(maker), tp, offset };
        let set = CopySet {
            dest: place(&dead),
            also: retry.as_deref().map(place),
            copies: vec![NewCopy { origin, due: Due::After(0), plain: true, record }],
        };
        let made = self.deps.shards.copy(set).await;
        let made = made.unwrap_or_else(|_| Err(Code::KafkaStorageError.into()));
        made.map_err(|fault| later(&fault))?;
        Ok(dead.name.to_string())
    }

    /// Moves at once, or stores the move for later: true if it is made.
    async fn move_or_wait(&self, pending: PendingMove) -> Result<bool, Refusal> {
        match self.make(&pending).await {
            Ok(Moved::Done) => return Ok(true),
            // Somebody was faster; whether the record is behind the group is another question.
            Ok(Moved::Elsewhere) => {
                let PendingMove { group, topic, tp, to, .. } = &pending;
                return Ok(self.committed(group, topic, tp.partition).await? >= *to);
            }
            Ok(Moved::NotYet) => {}
            Err(fault) => return Err(later(&fault)),
        }
        let put = MetaWrite::Put(pending.key(), pending.encode());
        self.write(put).await.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        self.waiting.lock().insert(pending.key(), pending);
        self.news.send_if_modified(|news| {
            let is_new = *news == News::Nothing;
            if is_new {
                *news = News::Waiting;
            }
            is_new
        });
        Ok(false)
    }

    async fn make(&self, pending: &PendingMove) -> Result<Moved, Fault> {
        let PendingMove { group, topic, tp, from, to } = pending;
        let lives = self.deps.metadata.catalog().topic(topic).is_some_and(|t| t.id == tp.topic_id);
        if !lives {
            return Ok(Moved::Elsewhere);
        }
        let (topic, partition) = (Arc::from(&**topic), tp.partition);
        let asked = Move { group: group.clone(), topic, partition, from: *from, to: *to };
        match self.ask(group, Command::Move(asked)).await? {
            // The group was deleted meanwhile.
            Reply::Move(Err(Code::GroupIdNotFound)) => Ok(Moved::Elsewhere),
            Reply::Move(moved) => moved.map_err(Fault::from),
            _ => Err(Code::UnknownServerError.into()),
        }
    }

    async fn write(&self, write: MetaWrite) -> io::Result<()> {
        let meta = Arc::clone(&self.deps.meta);
        let written = tokio::task::spawn_blocking(move || meta.transact(&[], &[write])).await;
        written.unwrap_or_else(|panic| Err(io::Error::other(panic))).map(drop)
    }

    /// Makes moves that wait, until the broker stops.
    async fn work(&self) {
        let mut news = self.news.subscribe();
        loop {
            let now = *news.borrow_and_update();
            match now {
                News::Stopping => return,
                News::Nothing => drop(news.changed().await),
                News::Waiting => {
                    self.try_all().await;
                    let _ = tokio::time::timeout(TRY_EVERY, news.changed()).await;
                }
            }
        }
    }

    async fn try_all(&self) {
        let waiting: Vec<PendingMove> = self.waiting.lock().values().cloned().collect();
        for pending in waiting {
            let is_over = matches!(self.make(&pending).await, Ok(Moved::Done | Moved::Elsewhere));
            // What stays in the store is found to be made already after a restart.
            if is_over && self.write(MetaWrite::Delete(pending.key())).await.is_ok() {
                self.waiting.lock().remove(&pending.key());
            }
        }
        let waiting = self.waiting.lock();
        if waiting.is_empty() {
            self.news.send_if_modified(|news| {
                if *news == News::Waiting {
                    *news = News::Nothing;
                }
                false
            });
        }
    }
}

/// Whether the group's failures on a topic's records become dead letters.
fn check_fails(topic: &Topic, group: &str) -> Result<(), Refusal> {
    let Some(role) = &topic.role else { return Ok(()) };
    if role.retries_of().is_some_and(|of| **of == *group) {
        return Ok(());
    }
    Err(Refusal::Bad(format!("records of {} do not become dead letters", topic.name)))
}

fn later(fault: &Fault) -> Refusal {
    Refusal::Unavailable(fault.to_string())
}
