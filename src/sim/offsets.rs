//! Committed offsets over the simulated disk: one partition of the offsets topic, its coordinator
//! hosted as a shard does it, and clients that commit and ask.
//!
//! The promise: nothing that a client was told about an offset is undone. Each client commits
//! rising offsets, so it is enough to remember the highest one told per partition: no later
//! answer, before or after a crash at any step, may be lower. [`Planted`] breaks it on purpose.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::disk::{Faults, SimDisk};
use super::random::Random;
use crate::base::env::scripted::{ScriptedClock, env};
use crate::base::fault::Fault;
use crate::base::ids::{TopicPartition, Uuid};
use crate::base::settings::BrokerConfig;
use crate::catalog::{Catalog, Change, Configs, Topic};
use crate::coord::group::offsets::{Command, Commit, CommitPartition, Fetch, Reply};
use crate::coord::group::{GROUPS_TOPIC, Groups, Reply as GroupReply};
use crate::shard::coordinator::cluster::Snapshot;
use crate::shard::coordinator::{Ask, Host, Hosting};
use crate::wire::compression::Codec;
use log::{Ended, OneLog};

mod log;

/// A bug put in on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    #[default]
    None,
    /// Replies leave when their records are written, not when they are durable.
    TellAtOnce,
    /// Syncs and direct writes leave everything in the cache.
    SkipSync,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("key {key} was told to be at {told} and then at {found}")]
    WentBack { key: usize, told: i64, found: i64 },
    #[error("key {key} is at {found}, beyond anything that was committed")]
    Invented { key: usize, found: i64 },
    #[error("a caller of key {key} was forgotten")]
    Forgotten { key: usize },
    #[error("an invariant of the coordinator: {0}")]
    Invariant(String),
    #[error("recovery: {0}")]
    Recovery(String),
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub committed: u64,
    pub fetched: u64,
    /// Answers that told the client to try again.
    pub refused: u64,
    pub recoveries: u64,
    pub disk_steps: u64,
    /// All that was told, folded into one number.
    pub digest: u64,
}

const LIVES: u64 = 5;
const GROUPS: usize = 4;
const PARTITIONS: usize = 3;
/// One offset each: a group's of a partition.
const KEYS: usize = GROUPS * PARTITIONS;
const NOW_MS: i64 = 1_800_000_000_000;
const TOPIC: &str = "read";

/// What outlives the broker's lives.
struct World {
    disk: SimDisk,
    random: Random,
    planted: Planted,
    clock: Arc<ScriptedClock>,
    catalog: Arc<ArcSwap<Catalog>>,
    /// The last offset that a client has asked to commit, by key.
    asked: [i64; KEYS],
    /// The highest offset told, by key; -1 for none.
    told: [i64; KEYS],
    life: i32,
    tally: Tally,
}

/// Runs one seed to its end.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, planted: Planted) -> Result<Tally, Broken> {
    let mut world = World::new(seed, planted);
    for life in 0..LIVES {
        world.life = i32::try_from(life).unwrap_or(i32::MAX);
        world.live()?;
    }
    world.judge_all()?;
    world.tally.disk_steps = world.disk.steps();
    Ok(world.tally)
}

impl World {
    fn new(seed: u64, planted: Planted) -> Self {
        let mut random = Random::new(seed);
        let mut catalog = Catalog::empty(1, 1);
        catalog.apply(&Change::TopicCreated(Arc::new(Topic {
            name: TOPIC.into(),
            id: Uuid::from_u128(0x7E),
            partitions: i32::try_from(PARTITIONS).unwrap_or(1),
            created_at_start: 1,
            configs: Configs::new(),
            role: None,
        })));
        Self {
            disk: SimDisk::new(random.next()),
            random,
            planted,
            clock: ScriptedClock::at(NOW_MS),
            catalog: Arc::new(ArcSwap::from_pointee(catalog)),
            asked: [-1; KEYS],
            told: [-1; KEYS],
            life: 0,
            tally: Tally::default(),
        }
    }

    /// One life: recovery, work, an end. The crash may come in any of it.
    fn live(&mut self) -> Result<(), Broken> {
        let fuse = self.random.below(400) + 1;
        self.disk.crash_in(fuse);
        self.disk.set_faults(Faults {
            full_one_in: if self.random.one_in(4) { 30 } else { 0 },
            sync_fails_one_in: if self.random.one_in(6) { 40 } else { 0 },
            syncs_lie: self.planted == Planted::SkipSync,
        });
        if let Some(mut life) = Life::recover(self)? {
            for _ in 0..self.random.below(200) {
                match life.step(self) {
                    Ok(()) => {}
                    Err(Ended::Down) => break,
                    Err(Ended::Broken(broken)) => return Err(broken),
                }
            }
        }
        self.disk =
            if self.random.coin() { self.disk.power_cut() } else { self.disk.process_end() };
        Ok(())
    }

    /// Recovers on a disk that works, and asks for every offset.
    fn judge_all(&mut self) -> Result<(), Broken> {
        let failed = || Broken::Recovery("it failed on a disk that works".to_owned());
        let mut life = Life::recover(self)?.ok_or_else(failed)?;
        life.host.round(&mut life.log);
        for key in 0..KEYS {
            life.fetch(self, key);
        }
        life.host.round(&mut life.log);
        match life.collect(self) {
            Ok(()) if life.waiting.is_empty() => Ok(()),
            Ok(()) | Err(Ended::Down) => Err(failed()),
            Err(Ended::Broken(broken)) => Err(broken),
        }
    }

    /// Notes what a client was told.
    fn tell(&mut self, key: usize, floor: i64, found: i64) -> Result<(), Broken> {
        if found < floor {
            return Err(Broken::WentBack { key, told: floor, found });
        }
        if found > self.asked[key] {
            return Err(Broken::Invented { key, found });
        }
        self.told[key] = self.told[key].max(found);
        self.tally.digest =
            Random::new(self.tally.digest ^ found.unsigned_abs() << 8 ^ key as u64).next();
        Ok(())
    }
}

type Answered = Result<GroupReply, Fault>;

/// A client that waits for its answer.
struct Waiting {
    key: usize,
    /// The offset that it commits, or the lowest that it may be told.
    about: About,
    reply: oneshot::Receiver<Answered>,
}

#[derive(Clone, Copy)]
enum About {
    Commit(i64),
    Fetch { floor: i64 },
}

/// The broker's memory.
struct Life {
    host: Host<Groups>,
    log: OneLog,
    waiting: Vec<Waiting>,
}

impl Life {
    /// `None` if the disk failed on the way.
    fn recover(world: &mut World) -> Result<Option<Self>, Broken> {
        let opened = OneLog::recover(
            &world.disk,
            world.life,
            world.random.next(),
            world.planted == Planted::TellAtOnce,
        );
        let log = match opened {
            Ok(log) => log,
            Err(Ended::Down) => return Ok(None),
            Err(Ended::Broken(broken)) => return Err(broken),
        };
        world.tally.recoveries += 1;
        let mut host = Host::new(Hosting {
            env: env(Arc::clone(&world.clock), world.random.next()),
            metrics: Arc::default(),
            cluster: Snapshot::of(
                Arc::clone(&world.catalog),
                Arc::default(),
                BrokerConfig::default(),
            ),
            codec: Codec::None,
            make: Box::new(|_| Groups::new(Arc::default())),
        });
        host.add(tp());
        Ok(Some(Self { host, log, waiting: Vec::new() }))
    }

    /// Does one thing, by chance.
    fn step(&mut self, world: &mut World) -> Result<(), Ended> {
        let key = usize::try_from(world.random.below(KEYS as u64)).unwrap_or(0);
        match world.random.below(20) {
            0..=6 => self.commit(world, key),
            7..=9 => self.fetch(world, key),
            10..=13 => self.host.round(&mut self.log),
            14..=17 => self.log.commit()?,
            18 => self.log.checkpoint()?,
            _ => world.clock.advance_ms(1_000),
        }
        self.host.check().map_err(Broken::Invariant)?;
        self.collect(world)
    }

    fn commit(&mut self, world: &mut World, key: usize) {
        world.asked[key] += 1;
        let offset = world.asked[key];
        let (group, partition) = names(key);
        let asked = CommitPartition { partition, offset, leader_epoch: -1, metadata: "".into() };
        let command = Command::Commit(Commit {
            group,
            member_id: String::new(),
            instance_id: None,
            generation: -1,
            knows_epochs: true,
            may_move_back: true,
            retention_ms: None,
            topics: vec![(TOPIC.into(), vec![asked])],
        });
        self.ask(key, About::Commit(offset), command);
    }

    fn fetch(&mut self, world: &mut World, key: usize) {
        let (group, partition) = names(key);
        let command = Command::Fetch(Fetch {
            group,
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![(TOPIC.into(), vec![partition])]),
        });
        self.ask(key, About::Fetch { floor: world.told[key] }, command);
    }

    fn ask(&mut self, key: usize, about: About, command: Command) {
        let (answer, reply) = oneshot::channel();
        self.host.handle(Ask { tp: tp(), command: command.into(), answer }, &mut self.log);
        self.waiting.push(Waiting { key, about, reply });
    }

    /// Hears what clients were told.
    fn collect(&mut self, world: &mut World) -> Result<(), Ended> {
        for mut waiting in std::mem::take(&mut self.waiting) {
            let key = waiting.key;
            match waiting.reply.try_recv() {
                Ok(Ok(GroupReply::Offsets(reply))) => {
                    heard(world, key, waiting.about, &reply)?;
                }
                Ok(_) => world.tally.refused += 1,
                Err(TryRecvError::Empty) => self.waiting.push(waiting),
                Err(TryRecvError::Closed) => return Err(Broken::Forgotten { key }.into()),
            }
        }
        Ok(())
    }
}

fn heard(world: &mut World, key: usize, about: About, reply: &Reply) -> Result<(), Broken> {
    match (about, reply) {
        (About::Commit(offset), Reply::Commit(topics)) => {
            let stored = topics.iter().flat_map(|(_, done)| done).all(|(_, done)| done.is_ok());
            if !stored {
                return Err(Broken::Invariant(format!("a commit was refused: {topics:?}")));
            }
            world.tally.committed += 1;
            // Of two commits under way at once the later is the higher one.
            world.tell(key, offset, offset)
        }
        (About::Fetch { floor }, Reply::Fetch(Ok(topics))) => {
            let all = topics.iter().flat_map(|(_, fetched)| fetched);
            let mut found = all.filter_map(|fetched| fetched.committed.as_ref()).map(|c| c.offset);
            world.tally.fetched += 1;
            world.tell(key, floor, found.next_back().unwrap_or(-1))
        }
        (_, reply) => Err(Broken::Invariant(format!("an answer to something else: {reply:?}"))),
    }
}

/// The group of a key, and the partition that it reads.
fn names(key: usize) -> (String, i32) {
    (format!("g{}", key / PARTITIONS), i32::try_from(key % PARTITIONS).unwrap_or(0))
}

fn tp() -> TopicPartition {
    TopicPartition::new(Uuid::from_u128(0xC0), 0)
}

fn data_dir() -> &'static Path {
    Path::new("/data")
}

const LOG_NAME: &str = GROUPS_TOPIC;
