//! The group coordinator: all groups of one `__consumer_offsets` partition.
//!
//! A group is its committed offsets and, if it has members, one of two protocols: classic (KIP-62
//! and its successors: the clients' leader assigns) or consumer (KIP-848: the broker assigns).
//! This folder has one part for each: `classic/`, `consumer/`, `offsets/`, and `record/` for what
//! is stored. This file holds the map of groups and hands each command to its part.

pub mod classic;
pub mod consumer;
#[cfg(test)]
pub(crate) mod kit;
pub mod offsets;
pub mod pulse;
pub mod record;
pub mod roster;
pub mod settings;
pub mod survey;

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::deadlines::Deadlines;
use super::machine::{Caller, Effects, Machine, Moment};
use classic::Classic;
use consumer::Consumer;
use offsets::Offsets;
use record::Record;
use roster::Pen;
use settings::GroupSettings;
use survey::{Counts, Survey};

/// The topic whose partitions hold what groups store. Kafka's name.
pub const GROUPS_TOPIC: &str = "__consumer_offsets";

/// What is asked of the groups of one partition, by the part that decides it.
#[derive(Clone, Debug)]
pub enum Command {
    Classic(classic::Command),
    Consumer(consumer::Command),
    Offsets(offsets::Command),
    /// Looks at all groups, and names at most so many committed offsets.
    Survey {
        most_offsets: usize,
    },
}

/// The answer to a [`Command`], by the part that gave it.
#[derive(Clone, Debug)]
pub enum Reply {
    Classic(classic::Reply),
    Consumer(consumer::Reply),
    Offsets(offsets::Reply),
    Survey(Survey),
}

/// What a deadline is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    Classic(Arc<str>, classic::Timer),
    Consumer(Arc<str>, consumer::Timer),
    /// All groups are looked through for offsets that have expired.
    ExpireOffsets,
}

/// One group.
#[derive(Debug)]
pub struct Group {
    pub id: Arc<str>,
    pub kind: Kind,
    pub offsets: Offsets,
}

impl Group {
    fn is_nothing(&self) -> bool {
        matches!(self.kind, Kind::Simple) && self.offsets.is_empty()
    }
}

/// How the members of a group share out partitions.
#[derive(Debug, Default)]
pub enum Kind {
    /// It never had members, or nothing is stored of them: committed offsets alone.
    #[default]
    Simple,
    Classic(Box<Classic>),
    Consumer(Box<Consumer>),
}

/// All groups of the partition.
#[derive(Debug, Default)]
pub struct GroupMap {
    groups: FxHashMap<Arc<str>, Group>,
    /// Tells other threads which there are.
    roster: Pen,
    /// What was done since the machine was built.
    counts: Counts,
}

impl GroupMap {
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Group> {
        self.groups.get_mut(id)
    }

    /// The group, made if it is not there.
    pub fn entry(&mut self, id: &str) -> &mut Group {
        if !self.groups.contains_key(id) {
            let id: Arc<str> = Arc::from(id);
            let group =
                Group { id: Arc::clone(&id), kind: Kind::default(), offsets: Offsets::default() };
            self.roster.add(&id);
            self.groups.insert(id, group);
        }
        self.groups.get_mut(id).expect("it was just made")
    }

    /// Forgets a group of which nothing is stored any more.
    pub fn remove(&mut self, id: &str) {
        self.roster.strike(id);
        self.groups.remove(id);
    }

    /// Forgets a group of which nothing is left: no offset, and no protocol's state.
    pub fn prune(&mut self, id: &str) {
        if self.get(id).is_some_and(Group::is_nothing) {
            self.remove(id);
        }
    }

    /// Forgets all groups of which nothing is left.
    pub fn prune_all(&mut self) {
        let Self { groups, roster, .. } = self;
        groups.retain(|id, group| {
            let is_nothing = group.is_nothing();
            if is_nothing {
                roster.strike(id);
            }
            !is_nothing
        });
    }

    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Takes in what is stored, on the live path as at start.
    pub fn replay(&mut self, record: Record) {
        match record {
            Record::Offset(record) => offsets::replay(self, record),
            Record::Classic(record) => classic::replay(self, record),
            Record::Consumer(record) => consumer::replay(self, record),
        }
    }
}

/// What every part works with while it decides.
pub struct Cx<'a> {
    pub moment: &'a Moment<'a>,
    pub settings: &'a GroupSettings,
    pub timers: &'a mut Deadlines<Timer>,
    pub effects: &'a mut Effects<Reply>,
}

impl Cx<'_> {
    /// Stores a record: the only way in which durable state changes.
    pub fn store(&mut self, groups: &mut GroupMap, record: Record) {
        groups.counts.note(&record);
        self.effects.records.push(record.encode());
        groups.replay(record);
    }
}

/// The machine of one partition.
#[derive(Debug)]
pub struct Groups {
    settings: Arc<GroupSettings>,
    groups: GroupMap,
    timers: Deadlines<Timer>,
}

impl Groups {
    #[must_use]
    pub fn new(settings: Arc<GroupSettings>) -> Self {
        Self { settings, groups: GroupMap::default(), timers: Deadlines::default() }
    }

    /// The same with its groups in a roster.
    #[must_use]
    pub fn listed(settings: Arc<GroupSettings>, roster: Pen) -> Self {
        let groups = GroupMap { roster, ..GroupMap::default() };
        Self { settings, groups, timers: Deadlines::default() }
    }

    fn with<T>(
        &mut self,
        moment: &Moment<'_>,
        effects: &mut Effects<Reply>,
        decide: impl FnOnce(&mut GroupMap, &mut Cx<'_>) -> T,
    ) -> T {
        let Self { settings, groups, timers } = self;
        decide(groups, &mut Cx { moment, settings, timers, effects })
    }
}

impl Machine for Groups {
    type Command = Command;
    type Reply = Reply;

    fn handle(
        &mut self,
        moment: &Moment<'_>,
        caller: Caller,
        command: Command,
        effects: &mut Effects<Reply>,
    ) {
        self.with(moment, effects, |groups, cx| match command {
            Command::Classic(command) => classic::handle(groups, cx, caller, command),
            Command::Consumer(command) => consumer::handle(groups, cx, caller, command),
            Command::Offsets(command) => offsets::handle(groups, cx, caller, command),
            Command::Survey { most_offsets } => {
                cx.effects.reply(caller, Reply::Survey(survey::survey(groups, most_offsets)));
            }
        });
    }

    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        if let Some(record) = Record::decode(key, value).map_err(|error| error.to_string())? {
            self.groups.replay(record);
        }
        Ok(())
    }

    fn resume(&mut self, moment: &Moment<'_>, effects: &mut Effects<Reply>) {
        self.with(moment, effects, |groups, cx| {
            classic::resume(groups, cx);
            consumer::resume(groups, cx);
            offsets::resume(groups, cx);
            groups.roster.serve();
        });
    }

    fn wake_at(&self) -> Option<Duration> {
        self.timers.next()
    }

    fn wake(&mut self, moment: &Moment<'_>, effects: &mut Effects<Reply>) {
        self.with(moment, effects, |groups, cx| {
            while let Some(timer) = cx.timers.pop_due(moment.now) {
                match timer {
                    Timer::Classic(group, timer) => classic::wake(groups, cx, &group, timer),
                    Timer::Consumer(group, timer) => consumer::wake(groups, cx, &group, timer),
                    Timer::ExpireOffsets => offsets::expire(groups, cx),
                }
            }
        });
    }

    fn check(&self) -> Result<(), String> {
        classic::check(&self.groups)?;
        consumer::check(&self.groups)?;
        offsets::check(&self.groups)
    }
}
