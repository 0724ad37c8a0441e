//! A member of a classic group, and what tells when all groups are whole.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval, interval_at};

use crate::Form;
use crate::link::Link;

const FIND_VERSION: i16 = 3;
const JOIN_VERSION: i16 = 9;
const SYNC_VERSION: i16 = 5;
const HEARTBEAT_VERSION: i16 = 4;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
const RETRY: Duration = Duration::from_millis(50);
/// A subscription to topic `t`, as a consumer's range assignor writes it (version 1).
const SUBSCRIPTION: &[u8] = &[0, 1, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// Partition 0 of topic `t`, as its leader assigns it (version 1).
const ASSIGNMENT: &[u8] =
    &[0, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];

/// How many members of each group have been given their share of one generation.
pub struct Formation {
    members: usize,
    /// By group: members of each generation; `None` once the group was whole.
    groups: Mutex<Vec<Option<HashMap<i32, usize>>>>,
    /// One permit for each group that is whole.
    whole: Semaphore,
}

impl Formation {
    pub fn new(groups: usize, members: usize) -> Self {
        let counts = vec![Some(HashMap::new()); groups];
        Self { members, groups: Mutex::new(counts), whole: Semaphore::new(0) }
    }

    fn synced(&self, group: usize, generation: i32) {
        let slot = &mut self.groups.lock()[group];
        let Some(generations) = slot else { return };
        let count = generations.entry(generation).or_default();
        *count += 1;
        if *count == self.members {
            *slot = None;
            self.whole.add_permits(1);
        }
    }

    /// Completes when every group has been whole.
    pub async fn whole(&self) {
        let all = u32::try_from(self.groups.lock().len()).expect("groups are counted in u32");
        let permits = self.whole.acquire_many(all).await;
        drop(permits);
    }
}

impl fmt::Display for Formation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.groups.lock();
        let whole = groups.iter().filter(|group| group.is_none()).count();
        let open = groups.iter().flatten().next();
        write!(f, "{whole} of {} groups are whole, one of the others has {open:?}", groups.len())
    }
}

/// Waits until every group's coordinator serves it, as clients do before they join.
pub async fn find_coordinators(target: &str, groups: usize) -> io::Result<()> {
    let mut link = Link::connect(target).await?;
    let mut retries = interval(RETRY);
    for group in 0..groups {
        let request = FindCoordinatorRequest::default().with_key(group_id(group).0);
        let probe = HeartbeatRequest::default().with_group_id(group_id(group));
        loop {
            let found = link.call(FIND_VERSION, &request).await?;
            // A coordinator that is found may still be loading; it says so to any request.
            let answer = link.call(HEARTBEAT_VERSION, &probe).await?;
            match ResponseError::try_from_code(answer.error_code) {
                Some(ResponseError::UnknownMemberId) if found.error_code == 0 => break,
                _ => retries.tick().await,
            };
        }
    }
    Ok(())
}

fn group_id(group: usize) -> GroupId {
    GroupId(StrBytes::from_string(format!("group-{group}")))
}

pub struct Member {
    link: Link,
    group: usize,
    group_id: GroupId,
    member_id: StrBytes,
    session_timeout_ms: i32,
    heartbeat: Duration,
    formation: Arc<Formation>,
}

impl Member {
    pub fn new(link: Link, group: usize, form: &Form, formation: Arc<Formation>) -> Self {
        Self {
            link,
            group,
            group_id: group_id(group),
            member_id: StrBytes::default(),
            session_timeout_ms: form.session_timeout_ms,
            heartbeat: Duration::from_millis(form.heartbeat_ms),
            formation,
        }
    }

    /// Joins, and joins again whenever the group rebalances. Ends with an error only.
    pub async fn live(mut self) -> io::Result<()> {
        loop {
            let joined = self.join().await?;
            let generation = joined.generation_id;
            if self.sync(joined).await? {
                self.formation.synced(self.group, generation);
                self.stay(generation).await?;
            }
        }
    }

    async fn join(&mut self) -> io::Result<JoinGroupResponse> {
        loop {
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str("range"))
                .with_metadata(Bytes::from_static(SUBSCRIPTION));
            let request = JoinGroupRequest::default()
                .with_group_id(self.group_id.clone())
                .with_session_timeout_ms(self.session_timeout_ms)
                .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
                .with_member_id(self.member_id.clone())
                .with_protocol_type(StrBytes::from_static_str("consumer"))
                .with_protocols(vec![protocol]);
            let joined = self.link.call(JOIN_VERSION, &request).await?;
            self.member_id = joined.member_id.clone();
            match ResponseError::try_from_code(joined.error_code) {
                None => return Ok(joined),
                Some(ResponseError::MemberIdRequired | ResponseError::RebalanceInProgress) => {}
                Some(error) => return Err(io::Error::other(format!("JoinGroup: {error:?}"))),
            }
        }
    }

    /// Whether this member has its share; if not, the group rebalances again.
    async fn sync(&mut self, joined: JoinGroupResponse) -> io::Result<bool> {
        let assign = |member_id| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member_id)
                .with_assignment(Bytes::from_static(ASSIGNMENT))
        };
        // Only the leader is told the members.
        let assignments = joined.members.into_iter().map(|member| assign(member.member_id));
        let request = SyncGroupRequest::default()
            .with_group_id(self.group_id.clone())
            .with_generation_id(joined.generation_id)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(joined.protocol_type)
            .with_protocol_name(joined.protocol_name)
            .with_assignments(assignments.collect());
        let synced = self.link.call(SYNC_VERSION, &request).await?;
        match ResponseError::try_from_code(synced.error_code) {
            None if synced.assignment == ASSIGNMENT => Ok(true),
            None => Err(io::Error::other("SyncGroup: not the assignment that the leader gave")),
            Some(ResponseError::RebalanceInProgress) => Ok(false),
            Some(error) => Err(io::Error::other(format!("SyncGroup: {error:?}"))),
        }
    }

    /// Heartbeats until the group rebalances.
    async fn stay(&mut self, generation: i32) -> io::Result<()> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id.clone())
            .with_generation_id(generation)
            .with_member_id(self.member_id.clone());
        let mut beats = interval_at(Instant::now() + self.heartbeat, self.heartbeat);
        loop {
            beats.tick().await;
            let answer = self.link.call(HEARTBEAT_VERSION, &request).await?;
            match ResponseError::try_from_code(answer.error_code) {
                None => {}
                Some(ResponseError::RebalanceInProgress) => return Ok(()),
                Some(error) => return Err(io::Error::other(format!("Heartbeat: {error:?}"))),
            }
        }
    }
}
