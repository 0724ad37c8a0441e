//! Hosts coordinators: pure machines over the internal partitions that a shard owns.
//!
//! A command is decided at once. What the decisions of a round record becomes one batch (group
//! commit), and every reply waits until all that was recorded before it in its partition is
//! durable, so that no reply tells of what a crash can undo. A machine whose records could not be
//! appended is ahead of its log: it is dropped, its callers are told, and a new one is built from
//! the log. A failed commit is final for the data directory: no later reply leaves either,
//! because it waits for the same committer.
//!
//! Building a machine goes in slices between the shard's rounds. Deadlines of all machines are
//! one ordered structure. Rejected: a task per coordinator, with a lock around each machine and a
//! commit of its own.

pub mod cluster;
mod gather;
mod load;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::base::env::Env;
use crate::base::fault::{Code, Fault};
use crate::base::ids::{TopicPartition, Uuid};
use crate::base::metrics::Metrics;
use crate::coord::deadlines::Deadlines;
use crate::coord::machine::{Caller, Effects, Ids, Machine, Moment};
use crate::log::validate::ValidBatch;
use crate::log::view::PartitionView;
use crate::shard::landing::Held;
use crate::wire::compression::Codec;
use cluster::Snapshot;
pub use gather::Answer;
use gather::Gathered;
use load::{Load, Progress};

/// A command for the coordinator of one partition.
pub struct Ask<M: Machine> {
    pub tp: TopicPartition,
    pub command: M::Command,
    pub answer: Answer<M::Reply>,
}

/// The logs of a shard, as its coordinators need them.
pub trait Logs {
    fn view(&self, tp: TopicPartition) -> Option<Arc<PartitionView>>;
    /// Appends a batch of the broker's own and tells `held` when it is durable.
    ///
    /// # Errors
    /// The log is as before; `held` was told.
    fn append(&mut self, tp: TopicPartition, batch: ValidBatch, held: Held) -> Result<(), Fault>;
    /// Tells `held` when all that was appended to the partition so far is durable.
    fn when_durable(&mut self, tp: TopicPartition, held: Held);
}

/// What a host works with.
pub struct Hosting<M> {
    pub env: Env,
    pub metrics: Arc<Metrics>,
    pub cluster: Snapshot,
    /// Of the batches that are appended.
    pub codec: Codec,
    /// Makes a machine of a partition that knows nothing yet.
    pub make: Box<dyn Fn(TopicPartition) -> M + Send>,
}

/// Callers that may wait in one shard.
const MOST_CALLERS: usize = 1 << 17;
/// How long a shard builds machines before it looks at its mailbox again.
const LOAD_SLICE: Duration = Duration::from_millis(2);
/// How soon a machine is built again whose log refused an append.
const RETRY: Duration = Duration::from_secs(1);
/// How soon a log is read again that could not be read.
const READ_RETRY: Duration = Duration::from_secs(30);
/// How soon a log is looked at again whose tail is not durable yet.
const TAIL_WAIT: Duration = Duration::from_millis(1);

/// The coordinators of one shard.
pub struct Host<M: Machine> {
    hosting: Hosting<M>,
    machines: FxHashMap<TopicPartition, Hosted<M>>,
    /// When a machine wants to be woken, and when one is to be built again.
    due: Deadlines<TopicPartition>,
    /// Being built, in turns.
    loading: VecDeque<TopicPartition>,
    /// Have gathered something in this round.
    touched: Vec<TopicPartition>,
    last_caller: u64,
    waiting: usize,
    buffer: Vec<u8>,
}

struct Hosted<M: Machine> {
    state: State<M>,
    /// Asked and not answered by the machine yet.
    waiting: FxHashMap<Caller, Answer<M::Reply>>,
    gathered: Gathered<M::Reply>,
}

enum State<M> {
    /// To be built when it is due.
    Down,
    Loading(Load<M>),
    Active(M),
}

impl<M> Host<M>
where
    M: Machine,
    M::Reply: Send + 'static,
{
    #[must_use]
    pub fn new(hosting: Hosting<M>) -> Self {
        Self {
            hosting,
            machines: FxHashMap::default(),
            due: Deadlines::default(),
            loading: VecDeque::new(),
            touched: Vec::new(),
            last_caller: 0,
            waiting: 0,
            buffer: Vec::new(),
        }
    }

    /// Takes on a partition; its machine is built from now on.
    pub fn add(&mut self, tp: TopicPartition) {
        let hosted = Hosted {
            state: State::Down,
            waiting: FxHashMap::default(),
            gathered: Gathered::default(),
        };
        self.machines.entry(tp).or_insert(hosted);
        self.begin_loading(tp);
    }

    /// Gives a partition up, and answers whoever waits.
    pub fn remove(&mut self, tp: TopicPartition) {
        self.take_down(tp, &Fault::new(Code::NotCoordinator));
        self.machines.remove(&tp);
        self.due.cancel(&tp);
    }

    /// Gives all partitions up: the shard stops.
    pub fn close(&mut self) {
        let all: Vec<_> = self.machines.keys().copied().collect();
        all.into_iter().for_each(|tp| self.remove(tp));
    }

    /// Decides one command.
    pub fn handle(&mut self, ask: Ask<M>, logs: &mut impl Logs) {
        let Ask { tp, command, answer } = ask;
        // What was due before the command comes first, however late the shard is.
        self.wake(logs);
        if let Err(code) = self.may_ask(tp) {
            return drop(answer.send(Err(code.into())));
        }
        self.last_caller += 1;
        let caller = Caller(self.last_caller);
        let hosted = self.machines.get_mut(&tp).expect("it may be asked");
        hosted.waiting.insert(caller, answer);
        self.waiting += 1;
        self.decide(tp, logs, |machine, moment, effects| {
            machine.handle(moment, caller, command, effects);
        });
    }

    fn may_ask(&self, tp: TopicPartition) -> Result<(), Code> {
        let hosted = self.machines.get(&tp).ok_or(Code::NotCoordinator)?;
        match hosted.state {
            State::Down => Err(Code::CoordinatorNotAvailable),
            State::Loading(_) => Err(Code::CoordinatorLoadInProgress),
            State::Active(_) if self.waiting >= MOST_CALLERS => Err(Code::CoordinatorNotAvailable),
            State::Active(_) => Ok(()),
        }
    }

    /// Invariants of all machines that serve, for tests and the simulator.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self) -> Result<(), String> {
        self.machines.values().try_for_each(|hosted| match &hosted.state {
            State::Active(machine) => machine.check(),
            State::Down | State::Loading(_) => Ok(()),
        })
    }

    /// When [`Host::round`] has something to do of its own.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        if self.loading.is_empty() { self.due.next() } else { Some(Duration::ZERO) }
    }

    /// Ends a round: wakes what is due, builds on, and appends what was gathered.
    pub fn round(&mut self, logs: &mut impl Logs) {
        self.wake(logs);
        self.build(logs);
        self.flush(logs);
    }

    fn wake(&mut self, logs: &mut impl Logs) {
        let now = self.hosting.env.monotonic();
        let mut due = Vec::new();
        while let Some(tp) = self.due.pop_due(now) {
            due.push(tp);
        }
        for tp in due {
            match self.machines.get(&tp).map(|hosted| &hosted.state) {
                Some(State::Down) => self.begin_loading(tp),
                Some(State::Active(_)) => self.decide(tp, logs, M::wake),
                Some(State::Loading(_)) => self.loading.push_back(tp),
                None => {}
            }
        }
    }

    /// Lets a machine decide something, and gathers what comes of it.
    fn decide(
        &mut self,
        tp: TopicPartition,
        logs: &mut impl Logs,
        act: impl FnOnce(&mut M, &Moment<'_>, &mut Effects<M::Reply>),
    ) {
        let Self { hosting, machines, due, .. } = self;
        let Some(hosted) = machines.get_mut(&tp) else { return };
        let State::Active(machine) = &mut hosted.state else { return };
        hosting.cluster.refresh();
        let mut effects = Effects::default();
        act(machine, &hosting.moment(), &mut effects);
        match machine.wake_at() {
            Some(at) => due.set(tp, at),
            None => due.cancel(&tp),
        }
        if hosted.gathered.is_full_for(&effects.records) {
            self.flush_one(tp, logs);
        }
        self.gather(tp, effects);
    }

    fn gather(&mut self, tp: TopicPartition, effects: Effects<M::Reply>) {
        let Some(hosted) = self.machines.get_mut(&tp) else { return };
        if !matches!(hosted.state, State::Active(_)) {
            // It was taken down on the way: its callers have been told.
            return;
        }
        let was_empty = hosted.gathered.is_empty();
        hosted.gathered.record(effects.records);
        for (caller, reply) in effects.replies {
            if let Some(answer) = hosted.waiting.remove(&caller) {
                self.waiting -= 1;
                hosted.gathered.reply(answer, reply);
            }
        }
        if was_empty && !hosted.gathered.is_empty() {
            self.touched.push(tp);
        }
    }

    /// Appends what was gathered. To be called before the shard looks at anything else.
    pub fn flush(&mut self, logs: &mut impl Logs) {
        for tp in std::mem::take(&mut self.touched) {
            self.flush_one(tp, logs);
        }
    }

    fn flush_one(&mut self, tp: TopicPartition, logs: &mut impl Logs) {
        let Some(hosted) = self.machines.get_mut(&tp) else { return };
        let gathered = std::mem::take(&mut hosted.gathered);
        if !gathered.has_records() {
            return logs.when_durable(tp, gathered.held());
        }
        let appended = match gathered.batch(self.hosting.codec, self.hosting.env.wall_ms()) {
            Ok(batch) => logs.append(tp, batch, gathered.held()),
            Err(error) => {
                let fault = Fault::with(Code::UnknownServerError, error.to_string());
                gathered.held()(Err(fault.clone()));
                Err(fault)
            }
        };
        if let Err(fault) = appended {
            tracing::warn!(partition = ?tp, %fault, "a coordinator's records are not stored");
            self.take_down(tp, &Fault::new(Code::CoordinatorNotAvailable));
            self.due.set(tp, self.hosting.env.monotonic() + RETRY);
        }
    }

    /// Drops a machine and tells its callers.
    fn take_down(&mut self, tp: TopicPartition, fault: &Fault) {
        let Some(hosted) = self.machines.get_mut(&tp) else { return };
        hosted.state = State::Down;
        std::mem::take(&mut hosted.gathered).held()(Err(fault.clone()));
        self.waiting -= hosted.waiting.len();
        for (_, answer) in hosted.waiting.drain() {
            drop(answer.send(Err(fault.clone())));
        }
    }

    fn begin_loading(&mut self, tp: TopicPartition) {
        let Some(hosted) = self.machines.get_mut(&tp) else { return };
        if let State::Down = hosted.state {
            let load = Load::begin((self.hosting.make)(tp), self.hosting.env.monotonic());
            hosted.state = State::Loading(load);
            self.due.cancel(&tp);
            self.loading.push_back(tp);
        }
    }

    /// Builds machines for a while.
    fn build(&mut self, logs: &mut impl Logs) {
        let began = self.hosting.env.monotonic();
        while let Some(tp) = self.loading.pop_front() {
            self.build_one(tp, logs);
            if self.hosting.env.monotonic() - began > LOAD_SLICE {
                break;
            }
        }
        if self.loading.is_empty() {
            self.buffer = Vec::new();
        }
    }

    fn build_one(&mut self, tp: TopicPartition, logs: &mut impl Logs) {
        let Some(hosted) = self.machines.get_mut(&tp) else { return };
        let State::Loading(load) = &mut hosted.state else { return };
        let Some(view) = logs.view(tp) else { return };
        let now = self.hosting.env.monotonic();
        match load.step(&view, &mut self.buffer) {
            Ok(Progress::More) => self.loading.push_back(tp),
            Ok(Progress::Waits) => self.due.set(tp, now + TAIL_WAIT),
            Ok(Progress::Done) => self.start(tp, logs),
            Err(error) => {
                tracing::error!(partition = ?tp, %error, "a coordinator cannot be built");
                hosted.state = State::Down;
                self.due.set(tp, now + READ_RETRY);
            }
        }
    }

    /// The log has been replayed: the machine serves.
    fn start(&mut self, tp: TopicPartition, logs: &mut impl Logs) {
        let Some(hosted) = self.machines.get_mut(&tp) else { return };
        let State::Loading(load) = std::mem::replace(&mut hosted.state, State::Down) else {
            return;
        };
        let took = self.hosting.env.monotonic() - load.began;
        self.hosting.metrics.coordinator_load_seconds.record_time(took);
        tracing::debug!(partition = ?tp, records = load.replayed, ?took, "a coordinator is ready");
        hosted.state = State::Active(load.machine);
        self.decide(tp, logs, M::resume);
    }
}

impl Ids for Env {
    fn fresh(&self) -> Uuid {
        self.random_uuid()
    }
}

impl<M> Hosting<M> {
    fn moment(&self) -> Moment<'_> {
        Moment {
            now: self.env.monotonic(),
            wall_ms: self.env.wall_ms(),
            ids: &self.env,
            cluster: &self.cluster,
        }
    }
}
