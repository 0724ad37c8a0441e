//! `uniform` where members want different topics: everything stays where it is that may, what is
//! free goes to the least loaded, and then single partitions move until no move would even out
//! two members.
//!
//! Each move takes a partition from a member to one with at least two less, so the sum of squared
//! counts falls and the search ends. An optimum over chains of moves is not sought: it would cost
//! a matching problem on the coordinator's thread and more moved partitions.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use super::{Partitions, Subscribers, give};
use crate::base::ids::Uuid;

struct Balance {
    /// Members that want a topic.
    wanting: FxHashMap<Uuid, Vec<usize>>,
    owner: FxHashMap<(Uuid, i32), usize>,
    counts: Vec<usize>,
}

pub(super) fn assign(subscribers: &Subscribers<'_>) -> Vec<Partitions> {
    let members = &subscribers.members;
    let mut balance = Balance {
        wanting: FxHashMap::default(),
        owner: FxHashMap::default(),
        counts: vec![0; members.len()],
    };
    for (n, member) in members.iter().enumerate() {
        for topic in member.topics.iter() {
            balance.wanting.entry(*topic).or_default().push(n);
        }
        for partition in subscribers.kept(member) {
            if let Entry::Vacant(free) = balance.owner.entry(partition) {
                free.insert(n);
                balance.counts[n] += 1;
            }
        }
    }

    // Topics with the fewest takers first: the others can still even out what those leave uneven.
    let mut topics: Vec<Uuid> = balance.wanting.keys().copied().collect();
    topics.sort_by_key(|topic| (balance.wanting[topic].len(), *topic));
    for topic in &topics {
        balance.share_out(*topic, subscribers.count(*topic));
    }
    let mut moved = true;
    while moved {
        moved = false;
        for topic in &topics {
            moved |= balance.even_out(*topic, subscribers.count(*topic));
        }
    }

    let mut assigned = vec![Partitions::new(); members.len()];
    for (partition, n) in balance.owner {
        give(&mut assigned[n], partition);
    }
    assigned
}

impl Balance {
    /// Gives the free partitions of a topic to whoever has least.
    fn share_out(&mut self, topic: Uuid, partitions: i32) {
        let wanting = &self.wanting[&topic];
        let mut by_load: BTreeSet<(usize, usize)> =
            wanting.iter().map(|n| (self.counts[*n], *n)).collect();
        for partition in 0..partitions {
            if self.owner.contains_key(&(topic, partition)) {
                continue;
            }
            let Some((count, n)) = by_load.pop_first() else { return };
            self.owner.insert((topic, partition), n);
            self.counts[n] = count + 1;
            by_load.insert((count + 1, n));
        }
    }

    /// Moves partitions of a topic to members with at least two less than their owner; whether any
    /// moved.
    fn even_out(&mut self, topic: Uuid, partitions: i32) -> bool {
        let wanting = &self.wanting[&topic];
        let mut by_load: BTreeSet<(usize, usize)> =
            wanting.iter().map(|n| (self.counts[*n], *n)).collect();
        let mut moved = false;
        for partition in 0..partitions {
            let Some(owner) = self.owner.get_mut(&(topic, partition)) else { continue };
            let Some(&(least, to)) = by_load.first() else { continue };
            let from = *owner;
            if self.counts[from] < least + 2 {
                continue;
            }
            *owner = to;
            moved = true;
            by_load.remove(&(least, to));
            by_load.remove(&(self.counts[from], from));
            self.counts[from] -= 1;
            self.counts[to] += 1;
            by_load.insert((self.counts[from], from));
            by_load.insert((self.counts[to], to));
        }
        moved
    }
}
