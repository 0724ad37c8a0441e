//! How members go, by themselves or because their time is up, and how a group is deleted.

use std::sync::Arc;

use super::state::Consumer;
use super::turn::Turn;
use crate::coord::group::record::{ConsumerEntry, ConsumerRecord};

impl Turn<'_, '_> {
    /// Takes members out of the group: what they had is free at once, for a new target. If only
    /// classic members stay, the turn ends with a classic group.
    pub(super) fn fence(mut self, members: &[Arc<str>]) {
        if self.may_downgrade_without(members) {
            return self.downgrade_without(members);
        }
        let patterns: Vec<Arc<str>> = members
            .iter()
            .filter_map(|id| self.group().members.get(id)?.pattern().cloned())
            .collect();
        for id in members {
            self.remove_member(id);
        }
        for pattern in &patterns {
            self.forget_unused_pattern(pattern);
        }
        self.note_cluster(true);
    }

    /// In this order, so that a reader of the log never sees a member without its assignment.
    pub(super) fn remove_member(&mut self, id: &Arc<str>) {
        self.store(ConsumerEntry::MemberCurrent(Arc::clone(id), None));
        self.store(ConsumerEntry::MemberTarget(Arc::clone(id), None));
        self.store(ConsumerEntry::Member(Arc::clone(id), None));
        self.cancel_timers(id);
    }
}

impl Consumer {
    /// The records that delete all that is stored of the group.
    #[must_use]
    pub fn tombstones(&self, group: &Arc<str>) -> Vec<ConsumerRecord> {
        let members = || self.members.keys().cloned();
        let entries = members()
            .map(|id| ConsumerEntry::MemberCurrent(id, None))
            .chain(members().map(|id| ConsumerEntry::MemberTarget(id, None)))
            .chain([ConsumerEntry::Target(None)])
            .chain(members().map(|id| ConsumerEntry::Member(id, None)))
            .chain(self.resolved.keys().map(|pattern| ConsumerEntry::Regex(pattern.clone(), None)))
            .chain([ConsumerEntry::SubscriptionMetadata(false), ConsumerEntry::Group(None)]);
        entries.map(|entry| ConsumerRecord { group: Arc::clone(group), entry }).collect()
    }
}
