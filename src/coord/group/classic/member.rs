//! One member of a classic group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::coord::machine::Caller;

/// An assignment strategy that a member offers, with its metadata for it. The broker does not
/// read the metadata, but for the topics in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Bytes,
}

/// What is known of a member, apart from its id.
#[derive(Clone, Debug)]
pub struct Member {
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout: Duration,
    pub session_timeout: Duration,
    /// In the member's order of preference; names differ. A member that was read from the log
    /// has the one that was selected.
    pub protocols: Vec<Protocol>,
    /// As the leader gave it; empty if it gave none.
    pub assignment: Bytes,
    /// Parked callers and marks of a rebalance: gone after a restart.
    pub(in crate::coord::group) wait: Wait,
}

/// What a member waits for, and what is waited for from it.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::coord::group) struct Wait {
    pub(super) join: Option<Caller>,
    pub(super) sync: Option<Caller>,
    /// It has not been through a rebalance: its session may end while it waits in one, since it
    /// cannot send heartbeats without an id.
    pub(super) is_new: bool,
    /// The group waits for its `SyncGroup`.
    pub(super) owes_sync: bool,
}

impl Member {
    /// Its metadata for a protocol; empty for one that it does not offer.
    #[must_use]
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let offered = self.protocols.iter().find(|p| &*p.name == protocol);
        offered.map(|p| p.metadata.clone()).unwrap_or_default()
    }

    /// Whether its session lives on without heartbeats, because it waits for the group.
    pub(super) const fn is_excused(&self) -> bool {
        !self.wait.is_new && (self.wait.join.is_some() || self.wait.sync.is_some())
    }
}
