use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, FindCoordinatorResponse, ListConfigResourcesRequest,
    MetadataRequest,
};
use kafka_protocol::protocol::{Decodable, Request};

use super::*;
use crate::wire::encode::response;

/// What a broker of one connection answers: API, version and correlation id to a frame.
type Script = fn(ApiKey, i16, i32, &[u8]) -> Bytes;

/// A broker that serves this many connections, one after the other.
struct FakeBroker {
    address: String,
    thread: JoinHandle<()>,
}

impl FakeBroker {
    fn start(connections: usize, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serve = move || {
            for stream in listener.incoming().take(connections) {
                answer_all(stream.unwrap(), script);
            }
        };
        Self { address, thread: thread::spawn(serve) }
    }

    fn client(&self) -> Client {
        Client::new(vec![self.address.clone()], Duration::from_secs(20), Env::system())
    }
}

fn answer_all(mut stream: TcpStream, script: Script) {
    let mut size = [0; 4];
    while stream.read_exact(&mut size).is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut frame).unwrap();
        let word = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let id = i32::from_be_bytes(frame[4..8].try_into().unwrap());
        let reply = script(ApiKey::try_from(word(0)).unwrap(), word(2), id, &frame[8..]);
        if stream.write_all(&reply).is_err() {
            return;
        }
    }
}

fn serves(id: i32, apis: &[(i16, i16, i16)]) -> Bytes {
    let api = |(key, min, max): &(i16, i16, i16)| {
        ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max)
    };
    let apis = apis.iter().map(api).collect();
    response(id, 0, &ApiVersionsResponse::default().with_api_keys(apis)).unwrap()
}

#[test]
fn the_highest_version_of_both_sides_is_spoken() {
    let broker = FakeBroker::start(1, |api, version, id, _| match api {
        ApiKey::ApiVersions => serves(id, &[(MetadataRequest::KEY, 0, 9)]),
        _ => {
            let topic = MetadataResponseTopic::default().with_name(Some(TopicName(text("t"))));
            let topics = vec![topic.with_error_code(version)];
            response(id, version, &MetadataResponse::default().with_topics(topics)).unwrap()
        }
    });
    let answer = broker.client().metadata(None).unwrap();
    assert_eq!(answer.topics[0].error_code, 9);
    broker.thread.join().unwrap();
}

#[test]
fn an_api_that_the_broker_lacks_is_a_clear_line() {
    let broker = FakeBroker::start(1, |_, _, id, _| {
        serves(id, &[(MetadataRequest::KEY, 0, 4), (ListConfigResourcesRequest::KEY, 2, 3)])
    });
    let mut client = broker.client();
    let line = |error: ClientError| error.to_string();
    let told = |api: &str, why: &str| {
        let address = &broker.address;
        format!("{address} does not serve {api} in a version that klamm speaks ({why})")
    };
    let too_old = client.metadata(None).map_err(line).unwrap_err();
    assert_eq!(too_old, told("Metadata", "it serves 0 to 4, klamm speaks 5 to 12"));
    let too_new = client.ask(&ListConfigResourcesRequest::default()).map_err(line).unwrap_err();
    assert_eq!(too_new, told("ListConfigResources", "it serves 2 to 3, klamm speaks 1 to 1"));
    let absent = client.coordinator("g").map_err(line).unwrap_err();
    assert_eq!(absent, told("FindCoordinator", "it has no such API"));
}

#[test]
fn what_is_refused_for_now_is_asked_again() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let broker = FakeBroker::start(1, |api, version, id, body| {
        if api == ApiKey::ApiVersions {
            return serves(id, &[(FindCoordinatorRequest::KEY, 0, 4)]);
        }
        // The client id "klamm" with its length, and the header's empty tags.
        let mut body = Bytes::copy_from_slice(&body[8..]);
        let asked = FindCoordinatorRequest::decode(&mut body, version).unwrap();
        let code = match ASKED.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Code::CoordinatorNotAvailable.code(),
            _ => 0,
        };
        let found = Coordinator::default()
            .with_key(asked.coordinator_keys[0].clone())
            .with_error_code(code)
            .with_node_id(BrokerId(7))
            .with_host(text("::1"))
            .with_port(9092);
        response(id, version, &FindCoordinatorResponse::default().with_coordinators(vec![found]))
            .unwrap()
    });
    let node = broker.client().coordinator("payments").unwrap();
    assert_eq!(node, Node { id: 7, address: "[::1]:9092".to_owned() });
    assert_eq!(ASKED.load(Ordering::SeqCst), 3);
}

#[test]
fn what_does_not_answer_as_a_broker_is_not_believed() {
    let scripts: [Script; 3] = [
        |_, _, _, _| Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        |_, _, id, _| serves(id + 1, &[]),
        |_, _, _, _| Bytes::from_static(&[0, 0, 0, 2, 1, 2]),
    ];
    for script in scripts {
        let broker = FakeBroker::start(1, script);
        let error = broker.client().metadata(None).unwrap_err();
        assert!(matches!(error, ClientError::NotKafka { .. }), "{error}");
    }
}

#[test]
fn a_connection_that_ends_early_is_not_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Takes the request, so that the end is no reset, and hangs up.
    let hang_up = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    let mut client = Client::new(vec![address], Duration::from_secs(20), Env::system());
    let error = client.retrying(|client| client.metadata(None)).unwrap_err();
    assert!(matches!(error, ClientError::Dropped { .. }), "{error}");
    hang_up.join().unwrap();
}
