//! What connections cost in memory. Alone in its binary: it measures the process.

#[allow(dead_code, reason = "the server's tests use the rest")]
#[path = "server/service.rs"]
mod service;
#[path = "support/mod.rs"]
mod support;

use klamm::server::Limits;
use service::{Running, echo};

const CONNECTIONS: u64 = 2_000;

/// So that 10,000 idle connections fit into 64 MiB.
const BYTES_PER_CONNECTION: u64 = (64 << 20) / 10_000;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn an_idle_connection_that_has_been_used_holds_no_buffer() {
    let server = Running::start(Limits::default(), echo);
    let use_once = || {
        let mut client = server.connect();
        client.send_frame(&[0; 3_000]);
        assert!(client.receive_frame().is_some());
        // Half a request, as slow clients leave it, costs no more than its bytes.
        client.send_bytes(&[0, 0, 10, 0, 1]);
        client
    };
    // Threads, allocator arenas and the recycled buffer are there before the count begins.
    let _first: Vec<_> = (0..100).map(|_| use_once()).collect();
    let before = resident_bytes();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| use_once()).collect();
    let each = resident_bytes().saturating_sub(before) / CONNECTIONS;
    assert_eq!(server.gauges().open_connections(), clients.len() + 100);
    assert!(each <= BYTES_PER_CONNECTION, "{each} bytes per connection");
}
