//! The existing topics that members want, by id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::member::Member;
use super::state::Consumer;
use crate::base::ids::Uuid;
use crate::coord::cluster::{Cluster, TopicInfo};

/// Names and pattern of a subscription.
type Subscription<'a> = (&'a [Arc<str>], Option<&'a Arc<str>>);

/// Turns subscriptions into topic ids, each different one once.
pub(super) struct Resolver<'a> {
    group: &'a Consumer,
    topics: BTreeMap<&'a str, TopicInfo>,
    known: FxHashMap<Subscription<'a>, Arc<BTreeSet<Uuid>>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(group: &'a Consumer, cluster: &dyn Cluster) -> Self {
        let topics = group.topics().filter_map(|name| Some((&**name, cluster.topic(name)?)));
        Self { group, topics: topics.collect(), known: FxHashMap::default() }
    }

    pub(super) fn of(&mut self, member: &'a Member) -> Arc<BTreeSet<Uuid>> {
        let names = &member.asked.subscribed_topics[..];
        let pattern = member.pattern();
        let Self { group, topics, known } = self;
        let ids = known.entry((names, pattern)).or_insert_with(|| {
            let matched = pattern.and_then(|pattern| group.resolved.get(pattern));
            let matched = matched.into_iter().flat_map(|resolved| &resolved.topics);
            let names = names.iter().chain(matched);
            Arc::new(names.filter_map(|name| Some(topics.get(&**name)?.id)).collect())
        });
        Arc::clone(ids)
    }

    /// The number of partitions of each topic that anyone wants.
    pub(super) fn partitions(&self) -> BTreeMap<Uuid, i32> {
        self.topics.values().map(|topic| (topic.id, topic.partitions)).collect()
    }
}
