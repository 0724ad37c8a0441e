//! Clients that send nonsense, too slowly, or don't read: closed, and harmless to the others.

use std::time::{Duration, Instant};

use klamm::api::reply::Outcome;
use klamm::server::Limits;

use crate::service::{Running, echo, reply};
use crate::support::client::Client;

/// Time-outs that a test can wait for; nothing depends on how long they really take.
fn impatient() -> Limits {
    let short = Duration::from_millis(150);
    Limits { frame: short, send_stall: short, handshake: short, idle: short, ..Limits::default() }
}

fn serves(server: &Running) -> bool {
    let mut client = server.connect();
    client.send_frame(b"\0\0\0\0ordinary");
    client.receive_frame().is_some_and(|frame| &frame[..] == b"\0\0\0\0ordinary")
}

#[test]
fn impossible_sizes_close_the_connection_and_no_other() {
    let server = Running::start(Limits::default(), echo);
    let mut bystander = server.connect();
    for size in [-1, i32::MIN, i32::MAX, (100 << 20) + 1] {
        let mut client = server.connect();
        client.send_bytes(&i32::to_be_bytes(size));
        assert!(client.receive_frame().is_none(), "{size}");
    }
    assert_eq!(server.metrics.connections_faulty.get(), 4);
    bystander.send_frame(b"\0\0\0\0still here");
    assert_eq!(&bystander.receive_frame().unwrap()[4..], b"still here");
}

#[test]
fn a_stranger_s_protocol_is_closed() {
    let server = Running::start(Limits::default(), echo);
    for greeting in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01"]
    {
        let mut client = server.connect();
        client.send_bytes(greeting);
        client.finish_sending();
        assert!(client.receive_frame().is_none());
    }
    assert!(serves(&server));
}

#[test]
fn a_defect_that_one_request_meets_ends_one_connection() {
    let server = Running::start(Limits::default(), |frame| match &frame[4..] {
        b"poison" => panic!("as a defect would"),
        _ => echo(frame),
    });
    let mut bystander = server.connect();
    let mut client = server.connect();
    client.send_frame(b"\0\0\0\0poison");
    assert!(client.receive_frame().is_none());
    bystander.send_frame(b"\0\0\0\0hello");
    assert!(bystander.receive_frame().is_some());
    server.wait_for_an_end();
    assert!(serves(&server));
}

#[test]
fn a_frame_that_makes_no_progress_is_given_up() {
    let server = Running::start(impatient(), echo);
    let mut stuck: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut stuck {
        client.send_bytes(&(90_i32 << 20).to_be_bytes());
        client.send_bytes(&[0; 100]);
    }
    assert!(serves(&server));
    for client in &mut stuck {
        assert!(client.receive_frame().is_none());
    }
    assert!(server.metrics.connections_faulty.get() >= 5);
}

#[test]
fn single_bytes_do_not_keep_a_frame_alive() {
    let server = Running::start(impatient(), echo);
    let mut client = server.connect();
    client.send_bytes(&1000_i32.to_be_bytes());
    // A byte at a time, each after the one before has arrived, until the server gives up.
    let mut arrived = 4;
    while server.metrics.connections_faulty.get() == 0 {
        if server.metrics.received_bytes.get() >= arrived && arrived < 900 {
            arrived += u64::from(client.try_send_bytes(&[0]).is_ok());
        }
        std::thread::yield_now();
    }
    assert!(client.receive_frame().is_none());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "that a time-out does not come early is measured")]
fn a_silent_connection_is_closed_and_an_idle_one_later() {
    let limits = Limits { idle: Duration::from_millis(400), ..impatient() };
    let idle = limits.idle;
    let server = Running::start(limits, echo);
    let mut silent = server.connect();
    let mut greeted = server.connect();
    greeted.send_frame(b"\0\0\0\0hello");
    let since = Instant::now();
    assert!(greeted.receive_frame().is_some());
    assert!(silent.receive_frame().is_none());
    assert_eq!(server.metrics.connections_faulty.get(), 1, "silence is a fault, idleness is not");
    assert!(greeted.receive_frame().is_none());
    assert!(since.elapsed() >= idle, "not before its time");
    assert_eq!(server.metrics.connections_faulty.get(), 1);
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let server = Running::start(impatient(), |_| Outcome::reply(reply(&[7; 512 << 10])));
    let mut client = server.connect();
    for _ in 0..64 {
        client.send_frame(b"\0\0\0\0more");
    }
    server.wait_for_an_end();
    assert_eq!(server.metrics.connections_faulty.get(), 1);
    assert!(server.metrics.sent_bytes.get() < 64 << 19, "it was cut off before everything was out");
    drop(client);
}
