//! Running out of file descriptors. Alone in its binary: it lowers the process's limit.

#[path = "server/service.rs"]
#[allow(dead_code, reason = "the server's tests use the rest")]
mod service;
#[path = "support/mod.rs"]
mod support;

use std::os::fd::AsRawFd;

use klamm::server::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service::{Running, echo};

/// The lowest number that is free: what the next descriptor gets.
fn next_descriptor() -> u64 {
    let file = std::fs::File::open("/dev/null").unwrap();
    u64::try_from(file.as_raw_fd()).unwrap()
}

#[test]
fn connections_wait_while_descriptors_have_run_out() {
    let server = Running::start(Limits::default(), echo);
    let mut first = server.connect();
    first.send_frame(b"\0\0\0\0hello");
    assert!(first.receive_frame().is_some());
    // One more on the client's side, none on the server's.
    let limit = Rlimit { current: Some(next_descriptor() + 1), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut second = server.connect();
    second.send_frame(b"\0\0\0\0waits");
    while server.metrics.accepts_failed.get() == 0 {
        std::thread::yield_now();
    }
    // Its place frees two descriptors: the loop is still there to take the second.
    drop(first);
    assert_eq!(&second.receive_frame().unwrap()[4..], b"waits");
}
