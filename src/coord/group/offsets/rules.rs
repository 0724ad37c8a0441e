//! What a group's kind has to say about its offsets: who may commit and fetch, which topics they
//! may not be deleted of, whether the group may go, and from when an offset's age counts.

use std::sync::Arc;

use super::Commit;
use crate::base::fault::Code;
use crate::base::ids::Uuid;
use crate::coord::group::classic::{self, CONSUMER_PROTOCOL_TYPE, Classic, State};
use crate::coord::group::record::{ClassicRecord, OffsetValue, Record};
use crate::coord::group::{Cx, Group, Kind};

/// Whether these offsets may be committed.
pub(super) fn check_commit(
    group: &mut Group,
    cx: &mut Cx<'_>,
    commit: &Commit,
    partitions: &[(Uuid, i32)],
) -> Result<(), Code> {
    if let Kind::Consumer(consumer) = &group.kind {
        let Commit { member_id, generation, knows_epochs, .. } = commit;
        return consumer.check_commit(member_id, *generation, *knows_epochs, partitions);
    }
    let instance_id = commit.instance_id.as_deref();
    classic::check_commit(group, cx, &commit.member_id, instance_id, commit.generation)
}

/// The generation or epoch of a group that has members.
pub(super) fn generation(group: &Group) -> Option<i32> {
    match &group.kind {
        Kind::Classic(classic) if !is_idle(classic) => Some(classic.generation()),
        Kind::Consumer(consumer) if !consumer.is_empty() => Some(consumer.epoch()),
        _ => None,
    }
}

/// Whether a group has no members.
pub(super) fn is_empty(group: &Group) -> bool {
    match &group.kind {
        Kind::Simple => true,
        Kind::Classic(classic) => is_idle(classic),
        Kind::Consumer(consumer) => consumer.is_empty(),
    }
}

/// Whether offsets may be deleted at all. Only consumers say which topics they still read.
pub(super) fn check_delete(group: &Group) -> Result<(), Code> {
    match &group.kind {
        Kind::Classic(classic) if !is_idle(classic) && !has_consumers(classic) => {
            Err(Code::NonEmptyGroup)
        }
        _ => Ok(()),
    }
}

/// Whether the group may be deleted, and if so the records that do it.
pub(super) fn tombstones(group: &Group) -> Result<Vec<Record>, Code> {
    let id = Arc::clone(&group.id);
    match &group.kind {
        Kind::Simple => Ok(Vec::new()),
        Kind::Classic(classic) if is_idle(classic) => {
            Ok(vec![Record::Classic(ClassicRecord { group: id, value: None })])
        }
        Kind::Consumer(consumer) if consumer.is_empty() => {
            Ok(consumer.tombstones(&id).into_iter().map(Record::Consumer).collect())
        }
        Kind::Classic(_) | Kind::Consumer(_) => Err(Code::NonEmptyGroup),
    }
}

/// The topics that a group's members read, as far as it can be told.
pub(super) enum Reads<'a> {
    Nothing,
    Topics(std::collections::BTreeSet<String>),
    /// Consumers in the middle of a rebalance: it may be any topic.
    Anything,
    AsSubscribed(&'a crate::coord::group::consumer::Consumer),
}

impl Reads<'_> {
    pub(super) fn topic(&self, topic: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Topics(topics) => topics.contains(topic),
            Self::Anything => true,
            Self::AsSubscribed(consumer) => consumer.subscribes(topic),
        }
    }
}

pub(super) fn reads(group: &Group) -> Reads<'_> {
    match &group.kind {
        Kind::Simple => Reads::Nothing,
        Kind::Classic(classic) => match classic.subscribed_topics() {
            Some(topics) => Reads::Topics(topics),
            None if has_consumers(classic) => Reads::Anything,
            None => Reads::Nothing,
        },
        Kind::Consumer(consumer) => Reads::AsSubscribed(consumer),
    }
}

/// From when on the age of an offset counts (KIP-211).
#[derive(Clone, Copy)]
pub(super) enum Ages {
    /// Offsets of this group do not expire now.
    Never,
    FromCommit,
    /// Since the group has had no members, wall milliseconds.
    From(i64),
}

impl Ages {
    pub(super) fn of(group: &Group) -> Self {
        let Kind::Classic(classic) = &group.kind else { return Self::FromCommit };
        match (classic.protocol_type(), classic.state()) {
            (None, _) => Self::FromCommit,
            (Some(_), State::Empty) => {
                classic.empty_since_ms().map_or(Self::FromCommit, Self::From)
            }
            (Some(_), State::Stable) if classic.subscribed_topics().is_some() => Self::FromCommit,
            _ => Self::Never,
        }
    }

    pub(super) fn expired(self, offset: &OffsetValue, now_ms: i64, retention_ms: i64) -> bool {
        let since_ms = match self {
            Self::Never => return false,
            Self::FromCommit => offset.committed_ms,
            Self::From(since_ms) => since_ms,
        };
        match offset.expires_ms {
            Some(expires_ms) => now_ms >= expires_ms,
            None => now_ms.saturating_sub(since_ms) >= retention_ms,
        }
    }
}

fn is_idle(classic: &Classic) -> bool {
    classic.state() == State::Empty
}

fn has_consumers(classic: &Classic) -> bool {
    classic.protocol_type() == Some(CONSUMER_PROTOCOL_TYPE)
}
