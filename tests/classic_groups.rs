//! Classic groups over the wire: they form, rebalance, outlive restarts of members and of the
//! broker, and lose who falls silent.

mod support;

use std::path::Path;

use bytes::Bytes;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use klamm::base::fault::Code;
use support::broker::Broker;
use support::client::Client;

const JOIN: i16 = 9;
const SYNC: i16 = 5;
const HEARTBEAT: i16 = 4;
const LEAVE: i16 = 5;
const DESCRIBE: i16 = 6;

/// Groups do not gather, so that the first member is alone in the first generation.
const AT_ONCE: &str = "group.initial.rebalance.delay.ms=0";
const SHORT_SESSIONS: &str = "group.min.session.timeout.ms=100";
const LONG_MS: i32 = 60_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group() -> GroupId {
    GroupId(text("orders"))
}

fn start(scratch: &Path) -> Broker {
    let broker = Broker::start_with(scratch, &[AT_ONCE, SHORT_SESSIONS]);
    await_coordinator(&mut broker.connect());
    broker
}

/// Asks until the group's coordinator has loaded its groups.
fn await_coordinator(client: &mut Client) {
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![group().0]);
    assert_eq!(client.call(4, &find).coordinators[0].error_code, 0);
    let absent =
        [Code::CoordinatorLoadInProgress, Code::CoordinatorNotAvailable, Code::NotCoordinator];
    while absent.iter().any(|code| describe(client, DESCRIBE).error_code == code.code()) {}
}

fn describe(client: &mut Client, version: i16) -> DescribedGroup {
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    client.call(version, &request).groups.remove(0)
}

/// A client in the group.
struct Member {
    client: Client,
    instance_id: Option<StrBytes>,
    session_ms: i32,
    id: StrBytes,
    generation: i32,
    leads: bool,
    others: Vec<StrBytes>,
}

impl Member {
    fn connect(broker: &Broker) -> Self {
        Self {
            client: broker.connect(),
            instance_id: None,
            session_ms: LONG_MS,
            id: text(""),
            generation: -1,
            leads: false,
            others: Vec::new(),
        }
    }

    fn instance(broker: &Broker, instance_id: &str) -> Self {
        Self { instance_id: Some(text(instance_id)), ..Self::connect(broker) }
    }

    /// Sends a join; a member without an id gets one first.
    fn send_join(&mut self) {
        let request = |id: &StrBytes| {
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(text("range"))
                .with_metadata(Bytes::from_static(b"metadata"));
            JoinGroupRequest::default()
                .with_group_id(group())
                .with_session_timeout_ms(self.session_ms)
                .with_rebalance_timeout_ms(LONG_MS)
                .with_member_id(id.clone())
                .with_group_instance_id(self.instance_id.clone())
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol])
        };
        if self.id.is_empty() && self.instance_id.is_none() {
            let response = self.client.call(JOIN, &request(&self.id));
            assert_eq!(response.error_code, Code::MemberIdRequired.code());
            self.id = response.member_id;
        }
        self.client.send(JOIN, &request(&self.id));
    }

    fn receive_join(&mut self) -> JoinGroupResponse {
        let (_, response) = self.client.receive::<JoinGroupRequest>(JOIN);
        assert_eq!(response.error_code, 0);
        self.id = response.member_id.clone();
        self.generation = response.generation_id;
        self.leads = response.leader == response.member_id;
        self.others = response.members.iter().map(|m| m.member_id.clone()).collect();
        response
    }

    /// Sends a sync; the leader assigns each member its own id.
    fn send_sync(&mut self) {
        let assignment = |id: &StrBytes| {
            SyncGroupRequestAssignment::default()
                .with_member_id(id.clone())
                .with_assignment(Bytes::copy_from_slice(id.as_bytes()))
        };
        let request = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance_id.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(self.others.iter().map(assignment).collect());
        self.client.send(SYNC, &request);
    }

    /// The assignment, which is its own id unless the leader knew it by another.
    fn receive_sync(&mut self) -> Bytes {
        let (_, response) = self.client.receive::<SyncGroupRequest>(SYNC);
        assert_eq!(response.error_code, 0);
        response.assignment
    }

    fn heartbeat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_group_instance_id(self.instance_id.clone());
        self.client.call(HEARTBEAT, &request).error_code
    }

    fn leave(&mut self) -> i16 {
        let member = MemberIdentity::default().with_member_id(self.id.clone());
        let request =
            LeaveGroupRequest::default().with_group_id(group()).with_members(vec![member]);
        self.client.call(LEAVE, &request).members[0].error_code
    }
}

/// All of them join and sync; those that are in the group already hear of it by heartbeat.
fn rebalance(members: &mut [&mut Member]) {
    for member in &mut *members {
        if member.generation >= 0 {
            while member.heartbeat() != Code::RebalanceInProgress.code() {}
        }
        member.send_join();
    }
    members.iter_mut().for_each(|member| drop(member.receive_join()));
    let newest = members[0].generation;
    assert!(members.iter().all(|member| member.generation == newest));
    assert_eq!(members.iter().filter(|member| member.leads).count(), 1);
    members.iter_mut().for_each(|member| member.send_sync());
    for member in members {
        assert_eq!(&member.receive_sync()[..], member.id.as_bytes());
    }
}

/// A first member, alone in a stable group.
fn found(mut member: Member) -> Member {
    rebalance(&mut [&mut member]);
    assert_eq!(member.heartbeat(), 0);
    member
}

#[test]
fn members_come_and_go_and_the_rest_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = start(scratch.path());
    let mut first = found(Member::connect(&broker));
    let mut second = Member::connect(&broker);
    rebalance(&mut [&mut second, &mut first]);
    assert_eq!((first.generation, first.leads), (2, true));

    assert_eq!(first.leave(), 0);
    assert_eq!(first.heartbeat(), Code::UnknownMemberId.code());
    rebalance(&mut [&mut second]);
    assert_eq!((second.generation, second.leads), (3, true));

    let told = describe(&mut second.client, DESCRIBE);
    assert_eq!((&*told.group_state, &*told.protocol_data), ("Stable", "range"));
    assert_eq!(told.members.len(), 1);
    assert_eq!(&told.members[0].member_metadata[..], b"metadata");
    assert_eq!(&told.members[0].member_assignment[..], second.id.as_bytes());
    assert_eq!(
        (&*told.members[0].client_id, &*told.members[0].client_host),
        ("test", "/127.0.0.1")
    );

    assert_eq!(second.leave(), 0);
    assert_eq!(&*describe(&mut second.client, DESCRIBE).group_state, "Empty");
}

#[test]
fn a_static_member_restarts_without_a_rebalance() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = start(scratch.path());
    let mut leader = found(Member::instance(&broker, "one"));
    let mut follower = Member::instance(&broker, "two");
    rebalance(&mut [&mut follower, &mut leader]);

    let mut reborn = Member::instance(&broker, "two");
    reborn.send_join();
    reborn.receive_join();
    assert_eq!((reborn.generation, reborn.leads), (2, false));
    reborn.send_sync();
    assert_eq!(&reborn.receive_sync()[..], follower.id.as_bytes(), "the old one's assignment");
    assert_eq!(follower.heartbeat(), Code::FencedInstanceId.code());

    let mut reborn = Member::instance(&broker, "one");
    reborn.send_join();
    assert!(reborn.receive_join().skip_assignment);
    assert_eq!((reborn.generation, reborn.leads, reborn.heartbeat()), (2, true, 0));
}

#[test]
fn a_group_outlives_a_broker_that_is_killed_in_a_rebalance() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = start(scratch.path());
    let mut first = found(Member::connect(&broker));
    let mut second = Member::connect(&broker);
    second.send_join();
    while first.heartbeat() != Code::RebalanceInProgress.code() {}
    drop(broker);

    let broker = start(scratch.path());
    first.client = broker.connect();
    assert_eq!(first.heartbeat(), 0, "its generation was stored");
    first.send_sync();
    assert_eq!(&first.receive_sync()[..], first.id.as_bytes());
    let mut second = Member::connect(&broker);
    rebalance(&mut [&mut second, &mut first]);
    assert_eq!(first.generation, 2);
}

#[test]
fn who_falls_silent_is_out_when_its_session_ends() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = start(scratch.path());
    let mut silent = found(Member { session_ms: 100, ..Member::connect(&broker) });
    let mut other = broker.connect();
    while &*describe(&mut other, DESCRIBE).group_state != "Empty" {}
    assert_eq!(silent.heartbeat(), Code::UnknownMemberId.code());
}

#[test]
fn every_version_is_served() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = start(scratch.path());
    let mut client = broker.connect();
    for version in 0..=9_i16 {
        let id = joined_alone(&mut client, version);
        let described = describe(&mut client, version.min(6));
        assert_eq!((&*described.group_state, &*described.protocol_type), ("Stable", "consumer"));
        let listed = client.call(version.min(5), &ListGroupsRequest::default());
        assert_eq!((listed.groups.len(), &listed.groups[0].group_id), (1, &group()));
        let request = LeaveGroupRequest::default().with_group_id(group());
        let request = if version < 3 {
            request.with_member_id(id)
        } else {
            request.with_members(vec![MemberIdentity::default().with_member_id(id)])
        };
        assert_eq!(client.call(version.min(5), &request).error_code, 0);
    }
    let unknown = DescribeGroupsRequest::default().with_groups(vec![GroupId(text("unknown"))]);
    let old = client.call(5, &unknown).groups.remove(0);
    assert_eq!((old.error_code, &*old.group_state), (0, "Dead"));
    let new = client.call(6, &unknown).groups.remove(0);
    assert_eq!((new.error_code, &*new.group_state), (Code::GroupIdNotFound.code(), "Dead"));
}

/// Joins, syncs and sends a heartbeat, all at this version; gives the member's id.
fn joined_alone(client: &mut Client, version: i16) -> StrBytes {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let join = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(LONG_MS)
        .with_rebalance_timeout_ms(LONG_MS)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let mut told = client.call(version, &join);
    if told.error_code == Code::MemberIdRequired.code() {
        assert!(version >= 4, "v{version}");
        told = client.call(version, &join.with_member_id(told.member_id));
    }
    assert_eq!((told.error_code, told.members.len()), (0, 1), "v{version}");
    assert_eq!(told.protocol_name.as_deref(), Some("range"));
    assert_eq!(told.protocol_type.is_some(), version >= 7);
    let id = told.member_id;
    let sync = SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(told.generation_id)
        .with_member_id(id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")));
    assert_eq!(client.call(version.min(5), &sync).error_code, 0, "v{version}");
    let heartbeat = HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(told.generation_id)
        .with_member_id(id.clone());
    assert_eq!(client.call(version.min(4), &heartbeat).error_code, 0, "v{version}");
    id
}
