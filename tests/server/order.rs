//! Requests begin in order, replies leave in order.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use klamm::api::reply::{Ending, Outcome};
use klamm::server::Limits;
use tokio::sync::oneshot;

use crate::service::{Running, echo, reply};
use crate::support::client::on_wire;

fn numbered(number: u32) -> Vec<u8> {
    [[0; 4], number.to_be_bytes()].concat()
}

#[test]
fn replies_leave_in_request_order_whatever_finishes_first() {
    let (hand_over, waiting) = std::sync::mpsc::channel();
    let hand_over = Mutex::new(hand_over);
    let server = Running::start(Limits::default(), move |frame: Bytes| {
        let (finish, finished) = oneshot::channel::<()>();
        hand_over.lock().unwrap().send((frame.clone(), finish)).unwrap();
        Outcome::Later(Box::pin(async move {
            finished.await.unwrap();
            Ending::Reply(reply(&frame))
        }))
    });
    let mut client = server.connect();
    let frames: Vec<_> = (0..10).map(numbered).collect();
    client.send_bytes(&frames.iter().flat_map(|frame| on_wire(frame)).collect::<Vec<_>>());
    let mut begun: Vec<_> = (0..10).map(|_| waiting.recv().unwrap()).collect();
    let order: Vec<_> = begun.iter().map(|(frame, _)| frame.to_vec()).collect();
    assert_eq!(order, frames, "all begin, in order, before any is finished");
    while let Some((_, finish)) = begun.pop() {
        finish.send(()).unwrap();
    }
    for frame in frames {
        assert_eq!(client.receive_frame().unwrap(), frame);
    }
}

#[test]
fn finished_answers_wait_for_an_older_one() {
    let gate = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&gate);
    let server = Running::start(Limits::default(), move |frame: Bytes| {
        if frame[7] > 0 {
            return echo(frame);
        }
        let (open, opened) = oneshot::channel::<()>();
        *keep.lock().unwrap() = Some(open);
        Outcome::Later(Box::pin(async move {
            opened.await.unwrap();
            Ending::Reply(reply(&frame))
        }))
    });
    let mut client = server.connect();
    for number in 0..3 {
        client.send_frame(&numbered(number));
    }
    // Another connection is not held up by it.
    let mut other = server.connect();
    other.send_frame(&numbered(9));
    assert_eq!(other.receive_frame().unwrap(), numbered(9));
    // That the first has begun is known once its gate is there.
    let open = loop {
        if let Some(open) = gate.lock().unwrap().take() {
            break open;
        }
        std::thread::yield_now();
    };
    open.send(()).unwrap();
    for number in 0..3 {
        assert_eq!(client.receive_frame().unwrap(), numbered(number));
    }
}

#[test]
fn silent_requests_leave_no_trace_among_the_replies() {
    let server = Running::start(Limits::default(), |frame: Bytes| match frame[7] % 3 {
        0 => Outcome::Now(Ending::Silent),
        1 => Outcome::Later(Box::pin(async { Ending::Silent })),
        _ => echo(frame),
    });
    let mut client = server.connect();
    for number in 0..30 {
        client.send_frame(&numbered(number));
    }
    for number in (0..30).filter(|number| number % 3 == 2) {
        assert_eq!(client.receive_frame().unwrap(), numbered(number));
    }
}

#[test]
fn thousands_of_small_requests_in_one_go_are_answered_in_order() {
    let server = Running::start(Limits::default(), |frame: Bytes| {
        if frame[7].is_multiple_of(2) {
            return echo(frame);
        }
        Outcome::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            Ending::Reply(reply(&frame))
        }))
    });
    let mut client = server.connect();
    let bytes: Vec<_> = (0..5_000).flat_map(|number| on_wire(&numbered(number))).collect();
    client.send_bytes(&bytes);
    for number in 0..5_000 {
        assert_eq!(client.receive_frame().unwrap(), numbered(number));
    }
}

#[test]
fn a_client_that_stops_sending_still_gets_its_replies() {
    let server = Running::start(Limits::default(), |frame: Bytes| {
        Outcome::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            Ending::Reply(reply(&frame))
        }))
    });
    let mut client = server.connect();
    for number in 0..5 {
        client.send_frame(&numbered(number));
    }
    client.finish_sending();
    for number in 0..5 {
        assert_eq!(client.receive_frame().unwrap(), numbered(number));
    }
    assert!(client.receive_frame().is_none());
}

#[test]
fn a_refused_request_closes_after_the_replies_before_it() {
    let server = Running::start(Limits::default(), |frame: Bytes| match frame[7] {
        3 => Outcome::close("number three"),
        _ => echo(frame),
    });
    let mut client = server.connect();
    let bytes: Vec<_> = (1..6).flat_map(|number| on_wire(&numbered(number))).collect();
    client.send_bytes(&bytes);
    assert_eq!(client.receive_frame().unwrap(), numbered(1));
    assert_eq!(client.receive_frame().unwrap(), numbered(2));
    assert!(client.receive_frame().is_none(), "nothing after the refused one is answered");
}
