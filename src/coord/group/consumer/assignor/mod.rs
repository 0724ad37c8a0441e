//! Assignors that run in the broker: who shall have which partitions.
//!
//! Pure functions of members, their subscriptions and what they have now; the same input gives the
//! same answer, so a coordinator that moved decides as the one before. `uniform` keeps what members
//! have and evens out the counts; `range` gives each a stretch of every topic, so that topics of
//! one size are split alike. Racks play no part: one broker is in one place.

mod even;
mod range;
#[cfg(test)]
mod tests;
mod uneven;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::ids::Uuid;
pub use crate::base::settings::Assignor;

/// Partitions by topic. No topic stands here without a partition.
pub type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// A member as an assignor sees it.
#[derive(Clone, Debug)]
pub struct Subscriber<'a> {
    pub id: &'a str,
    pub instance_id: Option<&'a str>,
    /// Existing topics that it wants.
    pub topics: Arc<BTreeSet<Uuid>>,
    /// What it was assigned last.
    pub current: &'a Partitions,
}

/// What is to be shared out.
#[derive(Clone, Debug, Default)]
pub struct Subscribers<'a> {
    /// By id.
    pub members: Vec<Subscriber<'a>>,
    /// How many partitions each topic has; every topic that a member wants stands here.
    pub partitions: BTreeMap<Uuid, i32>,
}

impl Subscribers<'_> {
    fn alike(&self) -> bool {
        self.members.windows(2).all(|pair| pair[0].topics == pair[1].topics)
    }

    /// Every partition of the topics that anyone wants, in order.
    fn all(&self) -> impl Iterator<Item = (Uuid, i32)> + '_ {
        let wanted: BTreeSet<Uuid> = match self.members.first() {
            Some(first) if self.alike() => first.topics.iter().copied().collect(),
            _ => self.members.iter().flat_map(|member| member.topics.iter().copied()).collect(),
        };
        wanted.into_iter().flat_map(|topic| (0..self.count(topic)).map(move |n| (topic, n)))
    }

    fn count(&self, topic: Uuid) -> i32 {
        self.partitions.get(&topic).copied().unwrap_or(0)
    }

    /// What the member has, as far as it wants it and it exists, in order.
    fn kept<'a>(&'a self, member: &'a Subscriber<'_>) -> impl Iterator<Item = (Uuid, i32)> + 'a {
        let wanted = member.current.iter().filter(|(topic, _)| member.topics.contains(topic));
        wanted.flat_map(|(topic, partitions)| {
            let exist = partitions.range(..self.count(*topic));
            exist.map(|partition| (*topic, *partition))
        })
    }
}

/// Shares out all partitions that a member wants, each to one that wants its topic. The answer has
/// one entry per member, in their order.
#[must_use]
pub fn assign(assignor: Assignor, subscribers: &Subscribers<'_>) -> Vec<Partitions> {
    match assignor {
        Assignor::Range => range::assign(subscribers),
        Assignor::Uniform if subscribers.alike() => even::assign(subscribers),
        Assignor::Uniform => uneven::assign(subscribers),
    }
}

fn give(to: &mut Partitions, (topic, partition): (Uuid, i32)) {
    to.entry(topic).or_default().insert(partition);
}
