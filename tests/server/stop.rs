//! A stop answers what was begun, then ends every connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use klamm::api::reply::{Ending, Outcome};
use klamm::server::Limits;

use crate::service::{Running, echo, reply};
use crate::support::client::{Client, PATIENCE};

#[test]
fn every_begun_request_is_answered_under_load() {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let server = Running::start(Limits::default(), move |frame: Bytes| {
        count.fetch_add(1, Ordering::SeqCst);
        Outcome::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            Ending::Reply(reply(&frame))
        }))
    });
    let address = server.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut answered = 0;
                loop {
                    let open =
                        (0..4).all(|_| client.try_send_bytes(b"\0\0\0\x08\0\0\0\0load").is_ok());
                    for _ in 0..4 {
                        match client.receive_frame() {
                            Some(_) => answered += 1,
                            None => return answered,
                        }
                    }
                    assert!(open || answered > 0);
                }
            })
        })
        .collect();
    while begun.load(Ordering::SeqCst) < 1_000 {
        std::thread::yield_now();
    }
    assert_eq!(server.stop(PATIENCE), 0, "nothing had to be cut off");
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(answered, begun.load(Ordering::SeqCst));
}

#[test]
fn idle_connections_and_the_port_are_closed() {
    let server = Running::start(Limits::default(), echo);
    let mut client = server.connect();
    client.send_frame(b"\0\0\0\0hello");
    assert!(client.receive_frame().is_some());
    let address = server.address();
    assert_eq!(server.stop(PATIENCE), 0);
    assert!(client.receive_frame().is_none());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn what_never_finishes_is_cut_off_after_the_grace() {
    let (begun, seen) = std::sync::mpsc::sync_channel(1);
    let server = Running::start(Limits::default(), move |_| {
        begun.send(()).unwrap();
        Outcome::Later(Box::pin(std::future::pending()))
    });
    let mut client = server.connect();
    client.send_frame(b"\0\0\0\0never");
    seen.recv().unwrap();
    assert_eq!(server.stop(Duration::from_millis(50)), 1);
    assert!(client.receive_frame().is_none());
}
