//! Classic groups: JoinGroup, SyncGroup, Heartbeat, LeaveGroup, DescribeGroups, ListGroups.
//! Groups have one member, since a conversation waits for each answer.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Cases, Draw, text};
use crate::talk::Talk;

pub const CASES: Cases = &[
    ("groups: nothing there", nothing_there),
    ("groups: joins out of bounds", joins_out_of_bounds),
    ("groups: a lone member in every version", a_lone_member),
    ("groups: a member joins again", joining_again),
    ("groups: static members", static_members),
    ("groups: leaving", leaving),
];

const SESSION_MS: i32 = 30_000;
const NEWEST_JOIN: i16 = 9;
const MEMBER_ID_REQUIRED: i16 = 79;

fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

/// Asks for the group's coordinator until it answers.
fn find(talk: &mut Talk, group: &str) {
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
    talk.ask_until(4, &find, |answer| answer.coordinators[0].error_code == 0);
    let describe = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    talk.ask_until(5, &describe, |answer| answer.groups[0].error_code == 0);
}

/// The metadata of a consumer of one topic.
fn subscription() -> Bytes {
    Bytes::from_static(b"\0\x01\0\0\0\x01\0\x06orders\xff\xff\xff\xff\0\0\0\0")
}

fn joining(group: &str, protocols: &[&str]) -> JoinGroupRequest {
    let protocol = |name: &&str| {
        JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(subscription())
    };
    JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(SESSION_MS)
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols.iter().map(protocol).collect())
}

/// Joins, with a second request where the first only gives an id.
fn join(talk: &mut Talk, version: i16, request: JoinGroupRequest) -> JoinGroupResponse {
    let told = talk.ask(version, &request).expect("an answer");
    if told.error_code != MEMBER_ID_REQUIRED {
        return told;
    }
    talk.ask(version, &request.with_member_id(told.member_id)).expect("an answer")
}

fn syncing(group: &str, of: &JoinGroupResponse) -> SyncGroupRequest {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(of.member_id.clone())
        .with_assignment(Bytes::from_static(b"assigned"));
    SyncGroupRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(of.generation_id)
        .with_member_id(of.member_id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(of.protocol_name.clone().unwrap_or_default()))
        .with_assignments(vec![assignment])
}

fn heartbeat(group: &str, of: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(of.generation_id)
        .with_member_id(of.member_id.clone())
}

fn leaver(member_id: &StrBytes, instance_id: Option<&str>) -> MemberIdentity {
    MemberIdentity::default()
        .with_member_id(member_id.clone())
        .with_group_instance_id(instance_id.map(text))
}

fn describe(talk: &mut Talk, group: &str) {
    for version in 0..=6 {
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![group_id(group)])
            .with_include_authorized_operations(version >= 3);
        talk.ask(version, &request);
    }
}

fn nothing_there(talk: &mut Talk, draw: &mut Draw) {
    find(talk, "g-nothing");
    let nobody = JoinGroupResponse::default().with_member_id(text("nobody"));
    for group in ["g-nothing", ""] {
        talk.ask(draw.pick(&[0, 3, 4]), &heartbeat(group, &nobody));
        talk.ask(draw.pick(&[0, 3, 5]), &syncing(group, &nobody));
        let leave = LeaveGroupRequest::default().with_group_id(group_id(group));
        talk.ask(draw.pick(&[0, 1, 2]), &leave.clone().with_member_id(text("nobody")));
        let members = vec![leaver(&text("nobody"), None), leaver(&text(""), Some("i"))];
        talk.ask(draw.pick(&[3, 4, 5]), &leave.with_members(members));
    }
    describe(talk, "g-nothing");
}

fn joins_out_of_bounds(talk: &mut Talk, _: &mut Draw) {
    find(talk, "g-bounds");
    let good = || joining("g-bounds", &["range"]);
    for version in [0, 1, 4, 5, 7, NEWEST_JOIN] {
        talk.ask(version, &good().with_group_id(group_id("")));
        for session_ms in [-1, 0, 5_999, 1_800_001] {
            talk.ask(version, &good().with_session_timeout_ms(session_ms));
        }
        talk.ask(version, &good().with_member_id(text("never-given")));
        talk.ask(version, &good().with_protocols(Vec::new()));
        talk.ask(version, &good().with_protocol_type(text("")));
    }
}

fn a_lone_member(talk: &mut Talk, _: &mut Draw) {
    for version in 0..=NEWEST_JOIN {
        let group = format!("g-lone-{version}");
        find(talk, &group);
        let joined = join(talk, version, joining(&group, &["roundrobin", "range"]));
        let sync_version = version.min(5);
        let heartbeat_version = version.min(4);
        describe(talk, &group);
        let sync = syncing(&group, &joined);
        talk.ask(sync_version, &sync.clone().with_generation_id(9));
        talk.ask(sync_version, &sync.clone().with_member_id(text("other")));
        talk.ask(5, &sync.clone().with_protocol_type(None));
        talk.ask(5, &sync.clone().with_protocol_type(Some(text("connect"))));
        talk.ask(5, &sync.clone().with_protocol_name(Some(text("sticky"))));
        talk.ask(sync_version, &sync);
        talk.ask(sync_version, &sync);
        describe(talk, &group);
        let beat = heartbeat(&group, &joined);
        talk.ask(heartbeat_version, &beat);
        talk.ask(heartbeat_version, &beat.clone().with_generation_id(0));
        talk.ask(heartbeat_version, &beat.clone().with_member_id(text("other")));
        talk.ask(version, &joining(&group, &["range"]).with_protocol_type(text("connect")));
        talk.ask(version, &joining(&group, &["sticky"]));
    }
    talk.ask(0, &ListGroupsRequest::default());
    talk.ask(4, &ListGroupsRequest::default().with_states_filter(vec![text("sTABLE")]));
    let filtered = |name| ListGroupsRequest::default().with_types_filter(vec![text(name)]);
    for name in ["classic", "Consumer", "nonsense"] {
        talk.ask(5, &filtered(name));
    }
}

fn joining_again(talk: &mut Talk, draw: &mut Draw) {
    let version = draw.pick(&[2, 4, 6, 8]);
    find(talk, "g-again");
    let joined = join(talk, version, joining("g-again", &["range"]));
    let again = |names: &[&str]| joining("g-again", names).with_member_id(joined.member_id.clone());
    // Before the sync: as before, then with other metadata; after it: a leader.
    talk.ask(version, &again(&["range"]));
    talk.ask(version, &again(&["range", "sticky"]));
    let renewed = talk.ask(version, &again(&["range", "sticky"])).expect("an answer");
    talk.ask(4, &heartbeat("g-again", &joined));
    talk.ask(5, &syncing("g-again", &renewed));
    talk.ask(version, &again(&["sticky"]));
    talk.ask(version, &again(&["sticky", "range"]));
    describe(talk, "g-again");
}

fn static_members(talk: &mut Talk, draw: &mut Draw) {
    for (group, version) in [("g-static-5", 5), ("g-static-9", NEWEST_JOIN)] {
        find(talk, group);
        let instance = || joining(group, &["range"]).with_group_instance_id(Some(text("i1")));
        let old = join(talk, version, instance());
        let sync = syncing(group, &old).with_group_instance_id(Some(text("i1")));
        talk.ask(draw.pick(&[3, 4, 5]), &sync);
        let new = join(talk, version, instance());
        talk.ask(4, &heartbeat(group, &old));
        talk.ask(4, &heartbeat(group, &old).with_group_instance_id(Some(text("i1"))));
        talk.ask(4, &heartbeat(group, &new).with_group_instance_id(Some(text("i2"))));
        talk.ask(4, &heartbeat(group, &new).with_group_instance_id(Some(text("i1"))));
        talk.ask(5, &sync);
        talk.ask(5, &syncing(group, &new).with_group_instance_id(Some(text("i1"))));
        talk.ask(version, &instance().with_member_id(old.member_id.clone()));
        talk.ask(version, &instance().with_member_id(text("never-given")));
        let unknown = joining(group, &["range"]).with_group_instance_id(Some(text("i2")));
        talk.ask(version, &unknown.with_member_id(new.member_id.clone()));
        describe(talk, group);
        let batch = vec![
            leaver(&old.member_id, Some("i1")),
            leaver(&text(""), Some("i2")),
            leaver(&text(""), Some("i1")),
        ];
        let leave = LeaveGroupRequest::default().with_group_id(group_id(group));
        talk.ask(draw.pick(&[3, 4, 5]), &leave.with_members(batch));
        describe(talk, group);
    }
}

fn leaving(talk: &mut Talk, _: &mut Draw) {
    for version in 0..=5 {
        let group = format!("g-leave-{version}");
        find(talk, &group);
        let joined = join(talk, 7, joining(&group, &["range"]));
        let leave = |id: &StrBytes| {
            let leave = LeaveGroupRequest::default().with_group_id(group_id(&group));
            match version < 3 {
                true => leave.with_member_id(id.clone()),
                false => leave.with_members(vec![leaver(id, None)]),
            }
        };
        talk.ask(version, &leave(&text("other")));
        talk.ask(version, &leave(&joined.member_id));
        talk.ask(version, &leave(&joined.member_id));
        talk.ask(4, &heartbeat(&group, &joined));
        describe(talk, &group);
        // An id that was given out can leave before it joins.
        let given = talk.ask(7, &joining(&group, &["range"])).expect("an answer");
        talk.ask(version, &leave(&given.member_id));
        talk.ask(7, &joining(&group, &["range"]).with_member_id(given.member_id));
    }
}
