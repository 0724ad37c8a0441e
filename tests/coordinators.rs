//! What a broker shows of its coordinators, keeps for them alone, and does with whoever waits for
//! one when it stops.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, JoinGroupRequest, OffsetCommitRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use klamm::base::fault::Code;
use klamm::wire::compression::Codec;
use support::broker::Broker;
use support::client::Client;
use support::topics::{batch, create, name, produce};

/// How often a question is asked again while a coordinator begins its work.
const ASKS: usize = 10_000;

const GROUP: &str = "readers";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group() -> GroupId {
    GroupId(text(GROUP))
}

fn find_coordinator(client: &mut Client) {
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(GROUP)]);
    let found = client.call(4, &request);
    assert_eq!(found.coordinators[0].error_code, 0, "{found:?}");
}

fn commit(client: &mut Client, topic: &TopicName, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic.clone())
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    client.call(8, &request).topics[0].partitions[0].error_code
}

fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("the endpoint accepts");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn lag_is_what_a_group_has_not_committed() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    let topic = name("read");
    create(&mut client, &topic, 1);
    assert_eq!(produce(&mut client, &topic, 0, batch(Codec::None, &[1, 2, 3, 4, 5])), (0, 0));
    find_coordinator(&mut client);
    let committed = (0..ASKS).any(|_| commit(&mut client, &topic, 2) == 0);
    assert!(committed, "no coordinator is ready");

    let text = metrics(broker.http());
    let topic = &*topic.0;
    for line in [
        &*format!(
            "klamm_group_lag_records{{group=\"{GROUP}\",topic=\"{topic}\",partition=\"0\"}} 3"
        ),
        "klamm_group_lag_left_out 0",
        "klamm_group_count{type=\"classic\",state=\"Empty\"} 1",
        "klamm_group_members 0",
        "klamm_group_commits_total 1",
        "klamm_group_rebalances_total 0",
        "klamm_coordinator_load_seconds_count 50",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

#[test]
fn only_the_coordinator_writes_to_its_topic() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    find_coordinator(&mut client);
    let topic = TopicName(text("__consumer_offsets"));
    let (code, _) = produce(&mut client, &topic, 0, batch(Codec::None, &[1]));
    assert_eq!(code, Code::InvalidTopicException.code());
}

#[test]
fn whoever_waits_for_a_group_is_told_when_the_broker_stops() {
    let scratch = tempfile::tempdir().unwrap();
    let settings = ["group.initial.rebalance.delay.ms=600000"];
    let broker = Broker::start_with(scratch.path(), &settings);
    let mut client = broker.connect();
    find_coordinator(&mut client);
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let join = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(600_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let describe = DescribeGroupsRequest::default().with_groups(vec![group()]);
    let mut other = broker.connect();
    let ready = (0..ASKS).any(|_| other.call(0, &describe).groups[0].error_code == 0);
    assert!(ready, "no coordinator is ready");
    client.send(3, &join);
    let waits = |state: &str| state == "PreparingRebalance";
    let parked = (0..ASKS).any(|_| waits(&other.call(0, &describe).groups[0].group_state));
    assert!(parked, "the member does not wait");

    assert!(broker.stop().success());
    let (_, told) = client.receive::<JoinGroupRequest>(3);
    assert_eq!(told.error_code, Code::NotCoordinator.code());
}
