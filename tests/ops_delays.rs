//! What is delayed over HTTP, on real sockets: shapes, pages, cancels, and what is refused.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm::base::ids::{TopicPartition, Uuid};
use klamm::base::metrics::Text;
use klamm::base::settings::Address;
use klamm::delay::clock::Reading;
use klamm::delay::key::Key;
use klamm::delay::note::Totals;
use klamm::delay::query::{Answer, Ask, Histogram, Page, PageAsk, Pending, Summary};
use klamm::delay::state::Outcome;
use klamm::ops::delays::{Asked, Delays, Place};
use klamm::ops::http::{HttpServer, Probes};
use serde_json::{Value, json};
use support::dead_letters::NoDeadLetters;
use tokio::runtime::Runtime;

/// Topic `orders` with partitions 0 and 1, where ticket t of partition p is due at 1000 t + p,
/// and `empty` with one partition, which is gone by the time it is asked.
struct Book;

const ORDERS: Uuid = Uuid::from_u128(1);
const EMPTY: Uuid = Uuid::from_u128(2);

fn pending(partition: i32, ticket: i64) -> Pending {
    Pending {
        key: Key::new(1_000 * ticket + i64::from(partition), ticket),
        asked_due_ms: 1_000 * ticket,
        accepted_ms: 7,
        expires_at_ms: (ticket == 1).then_some(9_000),
        id: Some(Bytes::from(format!("order-{ticket}"))),
        record_key: None,
        bytes: 100,
    }
}

fn page(partition: i32, ask: &PageAsk) -> Page {
    let all = (1..=5).map(|ticket| pending(partition, ticket));
    let mut wanted = all.filter(|entry| {
        entry.key > ask.after && ask.id.as_ref().is_none_or(|id| entry.id.as_ref() == Some(id))
    });
    let entries = wanted.by_ref().take(ask.limit).collect();
    Page { entries, more: wanted.next().is_some() }
}

impl Delays for Book {
    fn places(&self, topic: Option<&str>) -> Vec<Place> {
        let place = |topic: &str, id, partition| Place {
            topic: topic.to_owned(),
            tp: TopicPartition::new(id, partition),
        };
        let all =
            [place("orders", ORDERS, 1), place("empty", EMPTY, 0), place("orders", ORDERS, 0)];
        all.into_iter().filter(|place| topic.is_none_or(|topic| topic == place.topic)).collect()
    }

    fn ask(&self, tp: TopicPartition, ask: Ask) -> Asked {
        let partition = tp.partition;
        let answer = (tp.topic_id == ORDERS).then(|| match ask {
            Ask::Summary => Answer::Summary(Summary {
                pending: Totals { records: 5, bytes: 500 },
                next_due_ms: Some(1_000 + i64::from(partition)),
                memory_bytes: 240,
                run_bytes: 64,
                runs: 1,
            }),
            Ask::Histogram => {
                let mut histogram = Histogram::at(1_000);
                histogram.add(3_000, 5);
                Answer::Histogram(histogram)
            }
            Ask::Pending(ask) => Answer::Pending(page(partition, &ask)),
            Ask::Outcome { offset: 6 } => Answer::Outcome(Some(Outcome::TooLate)),
            Ask::Outcome { .. } => Answer::Outcome(None),
            Ask::Cancel { ticket: 1 } => Answer::Cancel(Outcome::Cancelled),
            Ask::Cancel { ticket: 2 } => Answer::Cancel(Outcome::TooLate),
            Ask::Cancel { ticket: 3 } => Answer::Unavailable("it is being loaded".into()),
            Ask::Cancel { .. } => Answer::Cancel(Outcome::Unknown),
            Ask::Waits(_) => Answer::Waits(false),
        });
        Box::pin(async { answer })
    }

    fn clock(&self) -> Option<Reading> {
        Some(Reading { now_ms: 1_000, offset_ms: -60_000, is_stepped: true })
    }

    fn adopt_clock(&self) -> Option<Reading> {
        Some(Reading { now_ms: 1_001, offset_ms: 0, is_stepped: false })
    }
}

struct Running {
    _runtime: Runtime,
    address: SocketAddr,
}

fn start() -> Running {
    let probes = Probes {
        ready: Box::new(|| Ok(())),
        metrics: Box::new(|| Box::pin(async { Text::default() })),
        delays: Arc::new(Book),
        dead_letters: Arc::new(NoDeadLetters),
    };
    let runtime = Runtime::new().unwrap();
    let address = Address { host: "127.0.0.1".into(), port: 0 };
    let server = runtime.block_on(HttpServer::start(&address, probes)).unwrap();
    Running { address: server.address(), _runtime: runtime }
}

impl Running {
    fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "")
    }

    fn found(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn delete(&self, path: &str) -> (u16, Value) {
        self.send("DELETE", path, "Content-Type: application/json\r\n")
    }

    fn send(&self, method: &str, path: &str, headers: &str) -> (u16, Value) {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let path = match path {
            "" => "delays".to_owned(),
            path if path.starts_with("clock") => path.to_owned(),
            path => format!("delays/{path}"),
        };
        let request = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.address
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        socket.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").expect("a whole response");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).expect("JSON"))
    }
}

#[test]
fn the_clock_is_shown_and_set_by_a_post_alone() {
    let server = start();
    let shown = json!({ "clock_ms": 1_000, "wall_ahead_ms": -60_000, "stepped": true });
    assert_eq!(server.found("clock"), shown);
    assert_eq!(server.get("clock/adopt").0, 405);
    assert_eq!(server.send("POST", "clock/adopt", "").0, 415, "no page in a browser sets it");
    let (status, adopted) =
        server.send("POST", "clock/adopt", "Content-Type: application/json\r\n");
    let expected = json!({ "clock_ms": 1_001, "wall_ahead_ms": 0, "stepped": false });
    assert_eq!((status, adopted), (200, expected));
}

#[test]
fn topics_sum_their_partitions_and_those_that_are_gone_count_nothing() {
    let orders = json!({
        "topic": "orders", "partitions": 2,
        "pending_records": 10, "pending_bytes": 1_000, "next_due_ms": 1_000,
    });
    let server = start();
    assert_eq!(server.found(""), json!({ "topics": [orders] }));
    let partition = |partition: i64| {
        json!({
            "partition": partition, "pending_records": 5, "pending_bytes": 500,
            "next_due_ms": 1_000 + partition, "memory_bytes": 240, "runs": 1, "run_bytes": 64,
        })
    };
    let mut shown = orders;
    shown["by_partition"] = json!([partition(0), partition(1)]);
    assert_eq!(server.found("orders"), shown);
    assert_eq!(server.found("orders/1"), partition(1));
}

#[test]
fn a_histogram_counts_by_time_until_due() {
    let server = start();
    for (path, records) in [("orders/histogram", 10), ("orders/0/histogram", 5)] {
        let histogram = server.found(path);
        assert_eq!(histogram["clock_ms"], 1_000);
        let buckets = histogram["buckets"].as_array().unwrap();
        assert_eq!(buckets[1], json!({ "within_ms": 10_000, "records": records }));
        assert_eq!(buckets.last().unwrap(), &json!({ "within_ms": null, "records": 0 }));
    }
}

#[test]
fn pages_go_on_where_the_one_before_ended() {
    let server = start();
    let first = server.found("orders/pending?limit=3");
    let at = |page: &Value| -> Vec<(i64, i64)> {
        let listed = page["pending"].as_array().unwrap().iter();
        listed.map(|e| (e["partition"].as_i64().unwrap(), e["ticket"].as_i64().unwrap())).collect()
    };
    assert_eq!(at(&first), [(0, 1), (1, 1), (0, 2)]);
    let entry = json!({
        "partition": 0, "ticket": 1, "due_ms": 1_000, "asked_due_ms": 1_000, "accepted_ms": 7,
        "expires_at_ms": 9_000, "id": "order-1", "key": null, "bytes": 100,
    });
    assert_eq!(first["pending"][0], entry);
    let next = first["next"].as_str().unwrap();
    let second = server.found(&format!("orders/pending?limit=7&after={next}"));
    assert_eq!(at(&second), [(1, 2), (0, 3), (1, 3), (0, 4), (1, 4), (0, 5), (1, 5)]);
    assert_eq!(second["next"], Value::Null);
    let one = server.found("orders/1/pending?id=order-4");
    assert_eq!(at(&one), [(1, 4)]);
}

#[test]
fn a_cancel_tells_what_it_achieved() {
    let server = start();
    let (status, done) = server.delete("orders/0/pending/1");
    assert_eq!((status, done), (200, json!({ "outcome": "cancelled" })));
    for (ticket, status, code) in
        [(2, 409, "too-late"), (3, 503, "unavailable"), (4, 404, "unknown")]
    {
        let (answered, body) = server.delete(&format!("orders/0/pending/{ticket}"));
        assert_eq!((answered, &body["code"]), (status, &json!(code)));
    }
    let (status, body) = server.send("DELETE", "orders/0/pending/1", "");
    assert_eq!((status, &body["code"]), (415, &json!("not-json")));
}

#[test]
fn a_produced_cancel_tells_its_outcome_by_its_offset() {
    let server = start();
    assert_eq!(server.found("orders/0/outcomes/6"), json!({ "outcome": "too-late" }));
    let (status, body) = server.get("orders/0/outcomes/7");
    assert_eq!((status, &body["code"]), (404, &json!("unknown")));
}

#[test]
fn what_is_not_there_and_what_can_not_be_meant() {
    let server = start();
    for (path, status, code) in [
        ("payments", 404, "unknown-topic"),
        ("payments/0", 404, "unknown-topic"),
        ("orders/2", 404, "unknown-partition"),
        ("empty/0", 404, "unknown-partition"),
        ("orders/x", 400, "bad-request"),
        ("orders/pending?limit=0", 400, "bad-request"),
        ("orders/pending?limit=1001", 400, "bad-request"),
        ("orders/pending?after=yesterday", 400, "bad-request"),
        ("orders/0/elsewhere", 404, "not-found"),
    ] {
        let (answered, body) = server.get(path);
        assert_eq!((answered, &body["code"]), (status, &json!(code)), "{path}: {body}");
        assert!(!body["message"].as_str().unwrap().is_empty());
    }
}

impl Running {
    /// Runs `klamm delay` against this server: exit code, output, complaint.
    fn delay(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
        command.arg("delay").args(words).arg("--http").arg(self.address.to_string()).env_clear();
        let done = command.output().expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        (done.status.code().expect("not killed"), text(done.stdout), text(done.stderr))
    }

    fn told(&self, words: &[&str]) -> String {
        let (code, told, complaint) = self.delay(words);
        assert_eq!((code, &*complaint), (0, ""), "{words:?}");
        told
    }
}

#[test]
fn the_command_shows_tables_and_json() {
    let server = start();
    let list = "\
TOPIC   PARTITIONS  RECORDS  BYTES  NEXT-DUE
orders           2       10   1000  1970-01-01T00:00:01.000Z
";
    assert_eq!(server.told(&["list"]), list);
    let show = server.told(&["show", "orders"]);
    assert!(show.lines().nth(2).unwrap().starts_with("        1        5    500"), "{show}");
    let histogram = server.told(&["histogram", "orders", "--partition", "0"]);
    assert!(histogram.contains("\n10s               5\n"), "{histogram}");
    let page = server.told(&["pending", "orders", "--limit", "1"]);
    let lines: Vec<&str> = page.lines().collect();
    assert!(
        lines[1].starts_with("1970-01-01T00:00:01.000Z  0:1     order-1  -      100"),
        "{page}"
    );
    assert_eq!(lines[2], "more: --after 1000:0:1");
    let json = server.told(&["pending", "orders", "--id", "order-4", "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pending"].as_array().unwrap().len(), 2);
}

#[test]
fn the_command_cancels_and_its_exit_code_says_how_it_went() {
    let server = start();
    let told = server.told(&["cancel", "orders", "--ticket", "0:1", "--id", "order-1"]);
    assert_eq!(told, "cancelled 0:1, 0:1, 1:1 of 'orders'\n");
    for (words, code) in [
        (&["cancel", "orders", "--ticket", "0:2"][..], 1),
        (&["cancel", "orders", "--ticket", "0:4"], 3),
        (&["cancel", "orders", "--id", "nobody"], 3),
        (&["show", "payments"], 3),
        (&["pending", "orders", "--after", "x"], 2),
        (&["cancel", "orders"], 2),
        (&["cancel", "orders", "--ticket", "7"], 2),
    ] {
        let (exit, told, complaint) = server.delay(words);
        assert_eq!((exit, &*told), (code, ""), "{words:?}: {complaint}");
        assert!(!complaint.is_empty());
    }
    drop(server);
    let (exit, ..) =
        Running { address: free(), _runtime: Runtime::new().unwrap() }.delay(&["list"]);
    assert_eq!(exit, 1);
}

/// An address that nobody listens on.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
