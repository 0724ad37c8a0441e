//! The operator's HTTP endpoint over real sockets.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use klamm::base::ids::TopicPartition;
use klamm::base::metrics::{Metrics, Text};
use klamm::base::settings::Address;
use klamm::delay::clock::Reading;
use klamm::delay::query::Ask;
use klamm::ops::delays::{Asked, Delays, Place};
use klamm::ops::http::{HttpServer, Probes, Scrape};
use support::dead_letters::NoDeadLetters;
use tokio::runtime::Runtime;

fn loopback(port: u16) -> Address {
    Address { host: "127.0.0.1".into(), port }
}

/// A broker without partitions.
struct Nothing;

impl Delays for Nothing {
    fn places(&self, _: Option<&str>) -> Vec<Place> {
        Vec::new()
    }

    fn ask(&self, _: TopicPartition, _: Ask) -> Asked {
        Box::pin(async { None })
    }

    fn clock(&self) -> Option<Reading> {
        None
    }

    fn adopt_clock(&self) -> Option<Reading> {
        None
    }
}

struct Running {
    _runtime: Runtime,
    address: SocketAddr,
    ready: Arc<AtomicBool>,
}

fn start() -> Running {
    let ready = Arc::new(AtomicBool::new(false));
    let metrics = Arc::new(Metrics::default());
    metrics.produce_records.add(7);
    let is_ready = Arc::clone(&ready);
    let probes = Probes {
        ready: Box::new(move || match is_ready.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err("recovering".into()),
        }),
        metrics: Box::new(move || {
            let mut text = Text::default();
            metrics.render(&mut text);
            Box::pin(async { text })
        }),
        delays: Arc::new(Nothing),
        dead_letters: Arc::new(NoDeadLetters),
    };
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(HttpServer::start(&loopback(0), probes)).unwrap();
    Running { address: server.address(), _runtime: runtime, ready }
}

impl Running {
    fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.address), "")
    }

    /// Sends a head (without its end) and a body; status and body of the response.
    fn send(&self, head: &str, body: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let length = body.len();
        let request = format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        socket.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        socket.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").expect("a whole response");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.into())
    }
}

#[test]
fn readiness_follows_the_broker_and_liveness_does_not() {
    let server = start();
    assert_eq!(server.get("/health/live").0, 200);
    let (status, body) = server.get("/health/ready");
    assert_eq!((status, body.as_str()), (503, r#"{"code":"not-ready","message":"recovering"}"#));
    server.ready.store(true, Ordering::SeqCst);
    assert_eq!(server.get("/health/ready").0, 200);
}

#[test]
fn metrics_are_prometheus_text() {
    let (status, body) = start().get("/metrics");
    assert_eq!(status, 200);
    assert!(
        body.contains(
            "# TYPE klamm_produce_records_total counter\nklamm_produce_records_total 7\n"
        ),
        "{body}"
    );
}

#[test]
fn errors_are_json() {
    let server = start();
    let (status, body) = server.get("/health/unknown");
    assert_eq!(status, 404);
    assert!(body.contains(r#""code":"not-found""#), "{body}");
    let head = format!(
        "DELETE /metrics HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n",
        server.address
    );
    let (status, body) = server.send(&head, "{}");
    assert_eq!(status, 405);
    assert!(body.contains(r#""code":"method-not-allowed""#), "{body}");
}

#[test]
fn a_page_in_a_browser_cannot_command_the_broker() {
    let server = start();
    let port = server.address.port();
    let post = |host: &str, media: &str| {
        server
            .send(
                &format!("POST /metrics HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media}\r\n"),
                "{}",
            )
            .0
    };
    assert_eq!(post("evil.example:80", "application/json"), 403, "a rebound name");
    assert_eq!(post(&format!("localhost:{port}"), "text/plain"), 415, "a form of another page");
    assert_eq!(post(&format!("localhost:{port}"), "application/json; charset=utf-8"), 405);
    assert_eq!(post(&server.address.to_string(), "application/json"), 405);
}

#[test]
fn a_taken_port_is_told_with_a_remedy() {
    let server = start();
    let metrics = Box::new(|| Box::pin(async { Text::default() }) as Scrape);
    let probes = Probes {
        ready: Box::new(|| Ok(())),
        metrics,
        delays: Arc::new(Nothing),
        dead_letters: Arc::new(NoDeadLetters),
    };
    let runtime = Runtime::new().unwrap();
    let address = loopback(server.address.port());
    let error = runtime.block_on(HttpServer::start(&address, probes)).err().expect("taken");
    assert!(error.contains(&address.to_string()) && error.contains("--http"), "{error}");
}
