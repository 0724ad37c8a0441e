//! `range`: each topic is cut into stretches, one for each member that wants it, in one order of
//! members for all topics; the first stretches are one longer where the count does not divide.
//!
//! Static members come first, by instance id: they keep their place when they restart.

use rustc_hash::FxHashMap;

use super::{Partitions, Subscriber, Subscribers};
use crate::base::ids::Uuid;

/// A topic while it is being cut.
#[derive(Default)]
struct Topic {
    subscribers: i32,
    served: i32,
    next: i32,
}

pub(super) fn assign(subscribers: &Subscribers<'_>) -> Vec<Partitions> {
    let members = &subscribers.members;
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|n| rank(&members[*n]));

    let mut topics: FxHashMap<Uuid, Topic> = FxHashMap::default();
    for topic in members.iter().flat_map(|member| member.topics.iter()) {
        topics.entry(*topic).or_default().subscribers += 1;
    }

    let mut assigned = vec![Partitions::new(); members.len()];
    for n in order {
        for id in members[n].topics.iter() {
            let count = subscribers.count(*id);
            let topic = topics.entry(*id).or_default();
            let longer = i32::from(topic.served < count % topic.subscribers);
            let end = topic.next + count / topic.subscribers + longer;
            if topic.next < end {
                assigned[n].insert(*id, (topic.next..end).collect());
            }
            topic.next = end;
            topic.served += 1;
        }
    }
    assigned
}

fn rank<'a>(member: &Subscriber<'a>) -> (bool, &'a str) {
    (member.instance_id.is_none(), member.instance_id.unwrap_or(member.id))
}
