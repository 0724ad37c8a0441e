//! What a topic is for another one: where a group's retries or dead letters of it go.
//!
//! A role is given at creation and never changes. It names its source by id, so that a topic
//! created again under an old name has no part in the old one's retries; the name is kept for
//! people, and for after the source's end. It is shown as read-only topic configs.

use std::fmt;
use std::sync::Arc;

use super::ids::{Uuid, base64_id};

/// Which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoleKind {
    /// Records that a group failed on, to be delivered to it again.
    Retry,
    /// Records that are not delivered again.
    Dlq,
}

impl RoleKind {
    /// As `klamm.role` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Dlq => "dlq",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Retry, Self::Dlq].into_iter().find(|kind| kind.name() == name)
    }
}

/// A topic's role. At most one topic has each. Ordered by source first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Role {
    /// The topic whose records fail; never one that has a role itself.
    pub source_id: Uuid,
    pub kind: RoleKind,
    /// `None`, for dead letters alone: records that expired before any group saw them.
    pub group: Option<Arc<str>>,
    pub source_name: Arc<str>,
}

impl Role {
    pub const KIND_CONFIG: &'static str = "klamm.role";
    pub const SOURCE_CONFIG: &'static str = "klamm.source.topic";
    pub const GROUP_CONFIG: &'static str = "klamm.group";

    /// What such a topic has from its creation, unless its creator says otherwise: a retry leaves
    /// by being processed and a dead letter by an operator's hand, not by age, size or key; and
    /// nacks of retries are looked for, whatever other topics inherit.
    pub const TOPIC_CONFIGS: [(&'static str, &'static str); 4] = [
        ("cleanup.policy", "delete"),
        ("delay.enable", "true"),
        ("retention.bytes", "-1"),
        ("retention.ms", "-1"),
    ];

    /// A group's retries or dead letters of a topic.
    #[must_use]
    pub fn of(kind: RoleKind, group: &str, source_name: &str, source_id: Uuid) -> Self {
        Self { source_id, kind, group: Some(group.into()), source_name: source_name.into() }
    }

    /// What sorts before every role for a source, or is the first of them.
    #[must_use]
    pub fn least(source_id: Uuid) -> Self {
        Self { source_id, kind: RoleKind::Retry, group: None, source_name: "".into() }
    }

    /// The group, if this is for its retries.
    #[must_use]
    pub fn retries_of(&self) -> Option<&Arc<str>> {
        self.group.as_ref().filter(|_| self.kind == RoleKind::Retry)
    }

    /// The value of one of the read-only configs.
    #[must_use]
    pub fn config(&self, key: &str) -> Option<String> {
        match key {
            Self::KIND_CONFIG => Some(self.kind.name().to_owned()),
            Self::SOURCE_CONFIG => {
                Some(format!("{}:{}", self.source_name, base64_id(self.source_id)))
            }
            Self::GROUP_CONFIG => self.group.as_deref().map(str::to_owned),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            RoleKind::Retry => "retries",
            RoleKind::Dlq => "dead letters",
        };
        match &self.group {
            Some(group) => write!(f, "{what} of '{}' for group '{group}'", self.source_name),
            None => write!(f, "{what} of '{}'", self.source_name),
        }
    }
}
