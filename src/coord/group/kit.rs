//! For tests of every part: drives one [`Groups`] machine as its host does, with the clock in the
//! test's hand.
//!
//! What is recorded is kept, so that [`Kit::failover`] can build the machine anew from the log.
//! Every caller is answered at most once, the invariants are checked after every step, and what
//! is answered stays until the test takes it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::settings::GroupSettings;
use super::{Command, GroupMap, Groups, Reply};
use crate::base::ids::Uuid;
use crate::base::role::{Role, RoleKind};
use crate::base::settings::{BrokerConfig, GroupSettings as OfOneGroup, Overrides};
use crate::coord::cluster::{Cluster, TopicInfo};
use crate::coord::machine::{Caller, Effects, Ids, LogRecord, Machine, Moment};

/// Wall time when a kit's clock shows zero.
pub(crate) const START_WALL_MS: i64 = 1_700_000_000_000;

/// Topics and group configs that a test makes up.
#[derive(Debug, Default)]
pub(crate) struct FakeCluster {
    revision: u64,
    topics: BTreeMap<String, TopicInfo>,
    configs: BTreeMap<String, Overrides>,
    ends: BTreeMap<(Uuid, i32), i64>,
    broker: BrokerConfig,
}

impl FakeCluster {
    /// Creates a topic, or gives it more partitions; an existing one keeps its id.
    pub(crate) fn set_topic(&mut self, name: &str, partitions: i32) -> Uuid {
        self.revision += 1;
        let fresh = Uuid::from_u128(0x7070 << 64 | u128::from(self.revision));
        let id = self.topics.get(name).map_or(fresh, |topic| topic.id);
        let topic = TopicInfo { id, name: Arc::from(name), partitions, role: None };
        self.topics.insert(name.to_owned(), topic);
        id
    }

    /// Lets a partition have records up to an offset.
    pub(crate) fn set_visible_end(&mut self, topic: Uuid, partition: i32, end: i64) {
        self.ends.insert((topic, partition), end);
    }

    /// Creates the topic of a group's retries.
    pub(crate) fn set_retry_topic(&mut self, name: &str, partitions: i32, group: &str, of: &str) {
        self.set_topic(name, partitions);
        let role = Role::of(RoleKind::Retry, group, of, self.topics[of].id);
        self.topics.get_mut(name).expect("just made").role = Some(Arc::new(role));
    }

    pub(crate) fn delete_topic(&mut self, name: &str) {
        self.revision += 1;
        self.topics.remove(name);
    }

    pub(crate) fn set_group_config(&mut self, group: &str, key: &str, value: &str) {
        self.revision += 1;
        let configs = self.configs.entry(group.to_owned()).or_default();
        configs.insert(key.to_owned(), value.to_owned());
    }

    /// Sets a default or a limit of all groups' configs.
    pub(crate) fn set_broker_config(&mut self, key: &str, value: &str) {
        self.revision += 1;
        self.broker.statics.insert(key.to_owned(), value.to_owned());
    }
}

impl Cluster for FakeCluster {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.topics.get(name).cloned()
    }

    fn topic_by_id(&self, id: Uuid) -> Option<TopicInfo> {
        self.topics.values().find(|topic| topic.id == id).cloned()
    }

    fn each_topic(&self, visit: &mut dyn FnMut(&TopicInfo)) {
        self.topics.values().for_each(visit);
    }

    fn visible_end(&self, topic: Uuid, partition: i32) -> Option<i64> {
        self.ends.get(&(topic, partition)).copied()
    }

    fn has_failed(&self, group: &str, topic: Uuid) -> bool {
        let of_it = |role: &Role| role.source_id == topic && role.group.as_deref() == Some(group);
        self.topics.values().any(|topic| topic.role.as_deref().is_some_and(of_it))
    }

    fn each_retry_topic(&self, group: &str, visit: &mut dyn FnMut(&TopicInfo)) {
        self.topics.values().filter(|topic| topic.retries_for(group)).for_each(visit);
    }

    fn group_settings(&self, group: &str) -> OfOneGroup {
        let none = Overrides::new();
        OfOneGroup::resolve(self.configs.get(group).unwrap_or(&none), &self.broker)
    }
}

/// Ids in the order in which they are drawn.
#[derive(Debug, Default)]
pub(crate) struct Numbered(Cell<u128>);

impl Ids for Numbered {
    fn fresh(&self) -> Uuid {
        self.0.set(self.0.get() + 1);
        Uuid::from_u128(self.0.get())
    }
}

/// A machine, its log, and those who wait for it.
pub(crate) struct Kit {
    pub(crate) cluster: FakeCluster,
    settings: Arc<GroupSettings>,
    groups: Groups,
    log: Vec<LogRecord>,
    now: Duration,
    callers: u64,
    ids: Numbered,
    waiting: BTreeSet<Caller>,
    answers: BTreeMap<Caller, Reply>,
}

impl Default for Kit {
    fn default() -> Self {
        Self::new(GroupSettings::default())
    }
}

impl Kit {
    pub(crate) fn new(settings: GroupSettings) -> Self {
        let settings = Arc::new(settings);
        Self {
            cluster: FakeCluster::default(),
            groups: Groups::new(Arc::clone(&settings)),
            settings,
            log: Vec::new(),
            now: Duration::from_secs(1000),
            callers: 0,
            ids: Numbered::default(),
            waiting: BTreeSet::new(),
            answers: BTreeMap::new(),
        }
    }

    /// Sends a command; its answer may come at once or by a later step.
    pub(crate) fn send(&mut self, command: impl Into<Command>) -> Caller {
        self.callers += 1;
        let caller = Caller(self.callers);
        self.waiting.insert(caller);
        let command = command.into();
        self.step(|groups, moment, effects| groups.handle(moment, caller, command, effects));
        caller
    }

    /// Takes the answer to a caller, if it is there.
    pub(crate) fn answer(&mut self, caller: Caller) -> Option<Reply> {
        self.answers.remove(&caller)
    }

    /// Sends a command that is answered at once.
    pub(crate) fn ask(&mut self, command: impl Into<Command>) -> Reply {
        let caller = self.send(command);
        self.answer(caller).expect("an immediate answer")
    }

    /// Callers without an answer so far.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Lets time pass; whatever falls due on the way happens at its moment.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.groups.wake_at().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.step(|groups, moment, effects| groups.wake(moment, effects));
            let next = self.groups.wake_at();
            assert!(next.is_none_or(|next| next > self.now), "woken at {due:?}, due is {next:?}");
        }
        self.now = end;
    }

    /// The broker stops and starts: the machine comes from the log alone. Whoever waited is told
    /// by the host, not by the machine.
    pub(crate) fn failover(&mut self) {
        self.waiting.clear();
        self.groups = self.rebuilt();
        self.step(|groups, moment, effects| groups.resume(moment, effects));
    }

    /// All that was recorded so far, oldest first.
    pub(crate) fn log(&self) -> &[LogRecord] {
        &self.log
    }

    /// Replaces the log, for records that another broker wrote; takes effect with the next
    /// [`Kit::failover`].
    pub(crate) fn set_log(&mut self, log: Vec<LogRecord>) {
        self.log = log;
    }

    pub(crate) fn groups(&self) -> &GroupMap {
        &self.groups.groups
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Wall time now, milliseconds since the Unix epoch.
    pub(crate) fn wall_ms(&self) -> i64 {
        START_WALL_MS + i64::try_from(self.now.as_millis()).expect("a short test")
    }

    /// What a projection to durable state shows of the living machine, it shows of one built from
    /// the log.
    pub(crate) fn assert_durable<T: PartialEq + Debug>(&self, durable: impl Fn(&GroupMap) -> T) {
        let mut rebuilt = self.rebuilt();
        // Which a machine does when it resumes: a deleted group leaves its tombstones in the log.
        rebuilt.groups.prune_all();
        assert_eq!(durable(&self.groups.groups), durable(&rebuilt.groups), "after replay");
    }

    fn rebuilt(&self) -> Groups {
        let mut groups = Groups::new(Arc::clone(&self.settings));
        for record in &self.log {
            groups.replay(&record.key, record.value.as_deref()).expect("a readable record");
        }
        groups
    }

    fn step(&mut self, act: impl FnOnce(&mut Groups, &Moment<'_>, &mut Effects<Reply>)) {
        let moment = Moment {
            now: self.now,
            wall_ms: self.wall_ms(),
            ids: &self.ids,
            cluster: &self.cluster,
        };
        let mut effects = Effects::default();
        act(&mut self.groups, &moment, &mut effects);
        self.log.append(&mut effects.records);
        for (caller, reply) in effects.replies {
            assert!(self.waiting.remove(&caller), "{caller:?} is answered twice: {reply:?}");
            self.answers.insert(caller, reply);
        }
        self.groups.check().expect("invariants hold");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failover_keeps_the_clock_and_the_cluster() {
        let mut kit = Kit::default();
        let id = kit.cluster.set_topic("orders", 3);
        assert_eq!(kit.cluster.set_topic("orders", 5), id);
        kit.pass(Duration::from_secs(5));
        let before = kit.wall_ms();
        kit.failover();
        assert_eq!((kit.wall_ms(), kit.log().len(), kit.waiting()), (before, 0, 0));
        kit.assert_durable(|groups| groups.iter().count());
        let orders = kit.cluster.topic("orders").expect("a topic");
        assert_eq!((orders.id, orders.partitions), (id, 5));
    }
}
