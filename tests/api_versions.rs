//! What the broker says it serves, and that it does: on the real binary over a real socket.

mod support;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Request, StrBytes};
use support::broker::{Asked, Broker};
use support::client::encode;

const API_VERSIONS: i16 = 18;
const PRODUCE: i16 = 0;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;

fn request(name: &'static str, version: &'static str) -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str(name))
        .with_client_software_version(StrBytes::from_static_str(version))
}

/// A frame that ends with its header.
fn bare_frame(key: i16, version: i16, flexible: bool) -> Vec<u8> {
    let [key, version] = [key, version].map(i16::to_be_bytes);
    let mut frame = [&key[..], &version, &[0, 0, 0, 7, 0xff, 0xff]].concat();
    if flexible {
        frame.push(0);
    }
    frame
}

/// Key, lowest and highest version, as the broker advertises them.
fn ranges(response: &ApiVersionsResponse) -> Vec<(i16, i16, i16)> {
    response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect()
}

#[test]
fn every_version_of_the_request_gets_the_same_ranges() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    let mut answers = (0..=4).map(|version| {
        let response = client.call(version, &request("tests", "1.0"));
        assert_eq!((response.error_code, response.throttle_time_ms), (0, 0));
        ranges(&response)
    });
    let first = answers.next().expect("version 0");
    assert!(answers.all(|answer| answer == first));
    assert!(first.contains(&(API_VERSIONS, 0, 4)));
    assert!(first.contains(&(PRODUCE, 0, 13)), "old librdkafka wants to see version 0");
}

#[test]
fn a_version_from_the_future_is_told_which_to_use_and_may_go_on() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    for version in [-1, 6, 99, i16::MAX] {
        let mut frame = bare_frame(API_VERSIONS, version, version >= 3);
        frame.extend_from_slice(b"a body that nobody can read");
        client.send_frame(&frame);
        let mut answer = client.receive_frame().expect("an answer, not the connection's end");
        assert_eq!(answer.split_to(4)[..], [0, 0, 0, 7], "header v0");
        let response = ApiVersionsResponse::decode(&mut answer, 0).expect("body v0");
        assert!(answer.is_empty());
        assert_eq!(response.error_code, UNSUPPORTED_VERSION);
        assert_eq!(ranges(&response), [(API_VERSIONS, 0, 4)], "{version}");
    }
    assert_eq!(client.call(0, &ApiVersionsRequest::default()).error_code, 0);
}

#[test]
fn clients_that_misname_themselves_are_refused_from_version_3_on() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    for (name, version) in [("", "1"), ("-x", "1"), ("x", ""), ("x", "1 beta"), ("x_y", "1")] {
        for api_version in 3..=4 {
            let response = client.call(api_version, &request(name, version));
            assert_eq!(response.error_code, INVALID_REQUEST, "{name:?} {version:?}");
            assert!(response.api_keys.is_empty());
        }
    }
    assert_eq!(client.call(3, &request("x", "1")).error_code, 0);
}

#[test]
fn bytes_behind_a_request_are_ignored() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    let mut frame = bare_frame(API_VERSIONS, 0, false);
    frame.extend_from_slice(b"tail");
    client.send_frame(&frame);
    assert!(client.receive_frame().is_some());
}

#[test]
fn what_is_not_served_closes_the_connection_without_an_answer() {
    let broker = Asked::broker();
    for (key, version, flexible) in [
        (PRODUCE, 2, false),
        (PRODUCE, 14, true),
        (1, 3, false),
        (3, -1, false),
        (3, 14, true),
        (4, 1, false),
        (-1, 0, false),
        (9_999, 0, false),
    ] {
        let mut client = broker.connect();
        client.send_frame(&bare_frame(key, version, flexible));
        assert!(client.receive_frame().is_none(), "key {key} v{version}");
    }
}

/// The frame of a request that asks for nothing.
fn idle_frame(key: i16, version: i16) -> Bytes {
    macro_rules! idle {
        ($($request:ident),*) => {
            match key {
                ProduceRequest::KEY => encode(version, 7, &ProduceRequest::default().with_acks(1)),
                $($request::KEY => encode(version, 7, &$request::default()),)*
                _ => panic!("API key {key} is advertised: give this test a request for it"),
            }
        };
    }
    idle!(
        FetchRequest,
        ListOffsetsRequest,
        MetadataRequest,
        ApiVersionsRequest,
        CreateTopicsRequest,
        DeleteTopicsRequest,
        DeleteRecordsRequest,
        InitProducerIdRequest,
        OffsetForLeaderEpochRequest,
        DescribeConfigsRequest,
        AlterConfigsRequest,
        DescribeLogDirsRequest,
        CreatePartitionsRequest,
        IncrementalAlterConfigsRequest,
        DescribeClusterRequest,
        DescribeProducersRequest,
        ListConfigResourcesRequest,
        DescribeTopicPartitionsRequest,
        FindCoordinatorRequest,
        JoinGroupRequest,
        SyncGroupRequest,
        HeartbeatRequest,
        LeaveGroupRequest,
        DescribeGroupsRequest,
        ListGroupsRequest,
        DeleteGroupsRequest,
        OffsetCommitRequest,
        OffsetFetchRequest,
        OffsetDeleteRequest,
        ConsumerGroupHeartbeatRequest,
        ConsumerGroupDescribeRequest
    )
}

#[test]
fn every_version_that_is_advertised_is_answered() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    let advertised = ranges(&client.call(0, &ApiVersionsRequest::default()));
    assert!(advertised.len() > 5, "{advertised:?}");
    for (key, min, max) in advertised {
        let served_since = if key == ProduceRequest::KEY { 3 } else { min };
        for version in served_since..=max {
            client.send_frame(&idle_frame(key, version));
            let what = format!("key {key} v{version}");
            let mut answer = client.receive_frame().expect(&what);
            let key = ApiKey::try_from(key).expect(&what);
            let header_version = key.response_header_version(version);
            let header = ResponseHeader::decode(&mut answer, header_version).expect(&what);
            assert_eq!(header.correlation_id, 7, "{what}");
            ResponseKind::decode(key, &mut answer, version).expect(&what);
            assert!(answer.is_empty(), "{what}: {} bytes left over", answer.len());
        }
    }
}
