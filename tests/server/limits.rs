//! Caps on connections and on request bytes in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use klamm::api::reply::{Ending, Outcome};
use klamm::server::{Caps, Limits, ListenError, Listener};

use crate::service::{Running, echo, loopback, reply};
use crate::support::client::Client;

#[test]
fn an_address_gets_its_share_of_connections_and_a_place_again_when_one_leaves() {
    let limits = Limits { caps: Caps { total: 9, per_ip: 3 }.always(), ..Limits::default() };
    let server = Running::start(limits, echo);
    let greet = |client: &mut Client| {
        let _ = client.try_send_bytes(b"\0\0\0\x09\0\0\0\0hello");
        client.receive_frame().is_some()
    };
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    assert!(clients.iter_mut().all(greet));
    assert!(!greet(&mut server.connect()));
    assert_eq!(server.metrics.connections_refused.get(), 1);
    clients.pop();
    server.wait_for_an_end();
    // The place is free a moment after the connection's state is gone.
    while !greet(&mut server.connect()) {
        std::thread::yield_now();
    }
}

#[test]
fn past_the_total_connections_wait_for_a_place() {
    let limits = Limits { caps: Caps { total: 2, per_ip: 9 }.always(), ..Limits::default() };
    let server = Running::start(limits, echo);
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send_frame(b"\0\0\0\0hello");
    }
    assert!(clients[0].receive_frame().is_some());
    assert!(clients[1].receive_frame().is_some());
    assert_eq!(server.gauges().open_connections(), 2);
    clients.remove(0);
    assert!(clients[1].receive_frame().is_some(), "served as soon as a place is free");
}

#[test]
fn caps_may_change_while_the_server_runs() {
    let total = Arc::new(AtomicUsize::new(1));
    let now = Arc::clone(&total);
    let caps = Arc::new(move || Caps { total: now.load(Ordering::SeqCst), per_ip: 2 });
    let server = Running::start(Limits { caps, ..Limits::default() }, echo);
    let mut clients: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send_frame(b"\0\0\0\0hello");
    }
    assert!(clients[0].receive_frame().is_some());
    assert_eq!(server.gauges().open_connections(), 1);
    total.store(2, Ordering::SeqCst);
    assert!(clients[1].receive_frame().is_some(), "nobody has left, but there is room now");
    // A lower cap keeps newcomers out and leaves those who are in.
    total.store(1, Ordering::SeqCst);
    clients[0].send_frame(b"\0\0\0\0again");
    assert!(clients[0].receive_frame().is_some());
}

#[test]
fn half_read_frames_past_the_budget_slow_down_but_all_get_through() {
    const FRAME: usize = 1 << 20;
    const CLIENTS: usize = 8;
    let limits = Limits { queued_max_bytes: FRAME, ..Limits::default() };
    let bound = limits.queued_max_bytes;
    let server = Running::start(limits, |frame: Bytes| {
        Outcome::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            Ending::Reply(reply(&frame[..8]))
        }))
    });
    let address = server.address();
    let half_sent = std::sync::Barrier::new(CLIENTS + 1);
    let answered = std::sync::atomic::AtomicUsize::new(0);
    let done = &std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                client.send_bytes(&i32::try_from(FRAME).unwrap().to_be_bytes());
                client.send_bytes(&vec![1; FRAME / 4]);
                half_sent.wait();
                client.send_bytes(&vec![1; FRAME - FRAME / 4]);
                assert_eq!(client.receive_frame().unwrap().len(), 8);
                answered.fetch_add(1, *done);
            });
        }
        half_sent.wait();
        // The budget, one read of each worker thread beyond it, and one frame overdrawn.
        let most = bound + FRAME + 64 * (256 << 10);
        while answered.load(*done) < CLIENTS {
            assert!(server.gauges().inflight_bytes() <= most);
            std::thread::yield_now();
        }
    });
    assert_eq!(server.gauges().inflight_bytes(), 0);
}

#[test]
fn a_request_over_the_whole_budget_still_gets_through() {
    let limits = Limits { queued_max_bytes: 64 << 10, ..Limits::default() };
    let server = Running::start(limits, |frame: Bytes| Outcome::reply(reply(&frame[..8])));
    let mut client = server.connect();
    for _ in 0..3 {
        client.send_frame(&vec![2; 5 << 20]);
        assert_eq!(client.receive_frame().unwrap().len(), 8);
    }
}

#[test]
fn a_taken_port_is_told_with_a_remedy() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let limits = Limits::default();
        let first = Listener::bind(&loopback(0), &limits).await.unwrap();
        let port = first.address().port();
        assert_ne!(port, 0);
        let error = Listener::bind(&loopback(port), &limits).await.err().expect("taken");
        assert!(matches!(error, ListenError::Taken { .. }));
        let text = error.to_string();
        assert!(text.contains(&port.to_string()) && text.contains("--listen"), "{text}");
        assert!(!text.contains('\n'));
    });
}

#[test]
fn a_burst_of_connections_is_taken_at_once() {
    let server = Running::start(Limits::default(), echo);
    let mut clients: Vec<_> = (0..1000).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send_frame(b"\0\0\0\0hello");
        assert!(client.receive_frame().is_some());
    }
}
