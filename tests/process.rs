//! The broker as a process: its ports, its lock, its health, its end.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use kafka_protocol::messages::MetadataRequest;
use support::broker::Broker;
use support::client::PATIENCE;

/// Starts a broker that is expected to give up by itself.
fn refused(data_dir: &Path, listen: &str, http: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_klamm"))
        .args(["serve", "--listen", listen, "--http", http, "--data-dir"])
        .arg(data_dir)
        .env_clear()
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn a_data_directory_has_one_broker() {
    let scratch = tempfile::tempdir().unwrap();
    let first = Broker::start(scratch.path());
    let data = scratch.path().join("data");
    // Even if it wants the same ports: the directory is what stands in its way.
    let kafka = first.address().to_string();
    let output = refused(&data, &kafka, &first.http().to_string());
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let text = stderr(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(&format!("process {}", first.process_id())), "{text}");
    assert!(text.contains(data.to_str().unwrap()), "{text}");
    // The first one does not mind.
    first.connect().call(12, &MetadataRequest::default());
    drop(first);
    Broker::start(scratch.path());
}

#[test]
fn a_taken_port_is_one_line_with_a_remedy() {
    let scratch = tempfile::tempdir().unwrap();
    let first = Broker::start(scratch.path());
    let other = tempfile::tempdir().unwrap();
    let kafka = first.address().to_string();
    let cases = [
        (kafka.as_str(), "127.0.0.1:0", &kafka, "--listen"),
        ("127.0.0.1:0", &first.http().to_string(), &first.http().to_string(), "--http"),
    ];
    for (listen, http, taken, remedy) in cases {
        let output = refused(other.path(), listen, http);
        let text = stderr(&output);
        let last = text.lines().last().unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(last.contains(taken.as_str()) && last.contains(remedy), "{text}");
    }
}

#[test]
fn operators_see_health_and_numbers_and_can_stop_it() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    client.call(12, &MetadataRequest::default());
    let ready = get(broker.http(), "/health/ready");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let metrics = get(broker.http(), "/metrics");
    for line in [
        "klamm_api_requests_total{api=\"Metadata\"} 1",
        "klamm_server_connections_open 1",
        "klamm_build_info{version=",
        "klamm_commit_write_seconds_count",
        "klamm_process_resident_bytes",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert_eq!(broker.stop().code(), Some(0));
    assert!(client.receive_frame().is_none(), "its clients see the end");
}

#[test]
fn a_signal_ends_it_while_the_data_directory_is_being_opened() {
    let scratch = tempfile::tempdir().unwrap();
    assert_eq!(Broker::start(scratch.path()).stop().code(), Some(0));
    // A pipe that nobody writes to: reading the checkpoint takes for ever.
    let data = scratch.path().join("data");
    let checkpoint = data.join("checkpoint");
    std::fs::remove_file(&checkpoint).unwrap();
    let (pipe, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &checkpoint, pipe, mode, 0).unwrap();

    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_klamm"))
        .args(["serve", "--listen", "127.0.0.1:0", "--http", &http.to_string(), "--data-dir"])
        .arg(&data)
        .env_clear()
        .spawn()
        .unwrap();
    while TcpStream::connect(http).is_err() {
        assert!(process.try_wait().unwrap().is_none(), "it gave up by itself");
        std::thread::yield_now();
    }
    let response = get(http, "/health/ready");
    assert!(!response.starts_with("HTTP/1.1 200"), "{response}");
    let id = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
}
