//! Dead letters over HTTP and by `klamm dlq`, on real sockets before a made-up broker: what is
//! asked of it, how its answers look, and what is refused.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command as Process;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klamm::base::ids::{TopicPartition, Uuid};
use klamm::base::metrics::Text;
use klamm::base::settings::Address;
use klamm::delay::clock::Reading;
use klamm::delay::query::Ask;
use klamm::ops::delays::{Asked, Delays, Place};
use klamm::ops::dlq::{Answered, DeadLetters};
use klamm::ops::http::{HttpServer, Probes};
use klamm::retry::redrive::{Command, Counts, Job, Plan, REDRIVE_LIMIT, Target, TopicRef};
use klamm::retry::view::{DeadTopic, Letter, Page, PageAsk, RedriveAsk, Refusal, Skipped, Stuck};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const ID: Uuid = Uuid::from_u128(7);
const SOURCE: &str = "dlq.billing.orders";

/// Answers alike whatever is asked, and remembers what was.
#[derive(Default)]
struct Book {
    pages: Mutex<Vec<PageAsk>>,
    begun: Mutex<Vec<RedriveAsk>>,
    commands: Mutex<Vec<(Command, String)>>,
}

fn now<T: Send + 'static>(answer: Result<T, Refusal>) -> Answered<T> {
    Box::pin(async { answer })
}

/// A job that has done its first partition of two.
fn job(ask: Option<RedriveAsk>) -> Job {
    let ask = ask.unwrap_or_else(|| serde_json::from_value(json!({ "source": SOURCE })).unwrap());
    let plan = Plan {
        source: TopicRef::new(&ask.source, Uuid::from_u128(1)),
        target: ask.target,
        filter: ask.filter,
        rate: ask.rate,
        dry_run: ask.dry_run,
        redrive_limit: ask.redrive_limit.unwrap_or(REDRIVE_LIMIT),
        again: ask.again,
    };
    let mut job = Job::new(ID, plan, [(0, 0, 10), (1, 5, 8)], "ann", 1_000);
    job.advance(0, 10, Counts { copied: 6, known: 1, filtered: 3, parked: 1, redriven: 2 });
    job
}

impl DeadLetters for Book {
    fn topics(&self) -> Answered<Vec<DeadTopic>> {
        now(Ok(vec![DeadTopic {
            topic: SOURCE.into(),
            group: Some("billing".into()),
            source: Some("orders".into()),
            retry_topic: None,
            partitions: 2,
            records: Some(10),
            waiting: Some(8),
            bytes: 1_000,
            oldest_ms: Some(1_000),
        }]))
    }

    fn page(&self, topic: String, ask: PageAsk) -> Answered<Page> {
        self.pages.lock().unwrap().push(ask);
        if topic != SOURCE {
            return now(Err(Refusal::NotFound(format!("there is no topic {topic}"))));
        }
        let letter = Letter {
            partition: 1,
            offset: 5,
            timestamp_ms: 1_000,
            origin_topic: Some("orders".into()),
            origin_partition: Some(1),
            origin_offset: Some(42),
            group: Some("billing".into()),
            reason: Some("delivery-limit".into()),
            delivery_count: Some(4),
            value: Some("v".into()),
            value_bytes: Some(1),
            headers: vec![("trace".into(), None)],
            ..Letter::default()
        };
        now(Ok(Page { records: vec![letter], next: Some("1:5".into()) }))
    }

    fn begin(&self, ask: RedriveAsk) -> Answered<Job> {
        self.begun.lock().unwrap().push(ask.clone());
        let mut job = job(Some(ask));
        if job.plan.rate == 13 {
            return now(Err(Refusal::Conflict("another job is at it".into())));
        }
        if job.plan.dry_run {
            job.finish(2_000);
        }
        now(Ok(job))
    }

    fn jobs(&self) -> Answered<Vec<Job>> {
        now(Ok(vec![job(None)]))
    }

    fn job(&self, id: Uuid, _: Duration) -> Answered<Job> {
        let mut job = job(None);
        job.fail("topic orders is gone", 3_000);
        now(if id == ID { Ok(job) } else { Err(Refusal::NotFound("no such job".into())) })
    }

    fn command(&self, _: Uuid, command: Command, by: String) -> Answered<Job> {
        self.commands.lock().unwrap().push((command, by.clone()));
        let mut job = job(None);
        let done = job.command(command, &by, 2_000);
        now(done.map(|()| job).map_err(|over| Refusal::Conflict(over.to_string())))
    }

    fn stuck(&self) -> Answered<Vec<Stuck>> {
        let (group, topic) = ("billing".to_owned(), "orders".to_owned());
        now(Ok(vec![Stuck { group, topic, partition: 1, offset: 42, generations: 5, since_ms: 0 }]))
    }

    fn skip(&self, group: String, topic: String, partition: i32) -> Answered<Skipped> {
        if topic != "orders" {
            return now(Err(Refusal::NotFound(format!("there is no topic {topic}"))));
        }
        let dead_letter_topic = format!("dlq.{group}.{topic}");
        let moved = partition == 0;
        now(Ok(Skipped { group, topic, partition, offset: 42, dead_letter_topic, moved }))
    }
}

struct NoDelays;

impl Delays for NoDelays {
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
    book: Arc<Book>,
}

fn start() -> Running {
    let book = Arc::<Book>::default();
    let probes = Probes {
        ready: Box::new(|| Ok(())),
        metrics: Box::new(|| Box::pin(async { Text::default() })),
        delays: Arc::new(NoDelays),
        dead_letters: Arc::clone(&book) as Arc<dyn DeadLetters>,
    };
    let runtime = Runtime::new().unwrap();
    let address = Address { host: "127.0.0.1".into(), port: 0 };
    let server = runtime.block_on(HttpServer::start(&address, probes)).unwrap();
    Running { address: server.address(), _runtime: runtime, book }
}

impl Running {
    fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "")
    }

    fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.send("POST", path, body)
    }

    fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        socket.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").expect("a whole response");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).expect("JSON"))
    }

    /// Runs `klamm dlq` against this server: exit code, output, complaint.
    fn dlq(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Process::new(env!("CARGO_BIN_EXE_klamm"));
        command.arg("dlq").args(words).arg("--http").arg(self.address.to_string()).env_clear();
        let done = command.output().expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        (done.status.code().expect("not killed"), text(done.stdout), text(done.stderr))
    }

    fn told(&self, words: &[&str]) -> String {
        let (code, told, complaint) = self.dlq(words);
        assert_eq!((code, &*complaint), (0, ""), "{words:?}");
        told
    }
}

#[test]
fn topics_and_letters_are_listed() {
    let server = start();
    let topic = json!({
        "topic": SOURCE, "group": "billing", "source": "orders", "retry_topic": null,
        "partitions": 2, "records": 10, "waiting": 8, "bytes": 1_000, "oldest_ms": 1_000,
    });
    assert_eq!(server.get("dlq"), (200, json!({ "topics": [topic] })));
    let (status, page) = server.get(&format!("dlq/{SOURCE}/records"));
    assert_eq!((status, &page["next"]), (200, &json!("1:5")));
    assert_eq!(page["records"][0]["origin_offset"], 42);
    assert_eq!(page["records"][0]["headers"], json!([["trace", null]]));
}

#[test]
fn a_page_is_asked_for_by_a_filter() {
    let server = start();
    let query = "limit=7&after=1:5&key=k&group=g&reason=expired&header=tenant%3Da&since_ms=1\
        &until_ms=2&partition=3&from_offset=4&to_offset=5";
    assert_eq!(server.get(&format!("dlq/{SOURCE}/records?{query}")).0, 200);
    assert_eq!(server.get(&format!("dlq/{SOURCE}/records?header=tenant")).0, 200);
    let asked = server.book.pages.lock().unwrap();
    let filter = json!({
        "headers": [{ "name": "tenant", "value": "a" }], "key": "k", "group": "g",
        "reasons": ["expired"], "since_ms": 1, "until_ms": 2, "partition": 3,
        "from_offset": 4, "to_offset": 5,
    });
    let filter = serde_json::from_value(filter).unwrap();
    assert_eq!(asked[0], PageAsk { after: Some((1, 5)), filter, limit: 7 });
    assert_eq!((asked[1].limit, asked[1].after), (100, None));
    assert_eq!(asked[1].filter.headers[0].value, None);
}

#[test]
fn a_job_is_begun_with_what_its_body_says() {
    let server = start();
    let body = json!({
        "source": SOURCE, "target": { "topic": "elsewhere" }, "rate": 50, "redrive_limit": 5,
        "again": true, "filter": { "key": "k" }, "by": "ann",
    });
    let (status, begun) = server.post("redrives", &body.to_string());
    assert_eq!(status, 200, "{begun}");
    for (name, value) in [
        ("id", json!(ID.to_string())),
        ("state", json!("running")),
        ("reason", json!(null)),
        ("source", json!(SOURCE)),
        ("target", json!({ "topic": "elsewhere" })),
        ("rate", json!(50)),
        ("redrive_limit", json!(5)),
        ("again", json!(true)),
        ("redriven", json!(2)),
        ("copied", json!(6)),
        ("known", json!(1)),
        ("filtered", json!(3)),
        ("parked", json!(1)),
        ("left_offsets", json!(3)),
        ("events", json!([{ "at_ms": 1_000, "by": "ann", "what": "started" }])),
    ] {
        assert_eq!(begun[name], value, "{name}");
    }
    let partition = json!({
        "partition": 1, "position": 5, "end": 8,
        "copied": 0, "known": 0, "filtered": 0, "parked": 0, "redriven": 0,
    });
    assert_eq!(begun["by_partition"][1], partition);
    assert_eq!(server.book.begun.lock().unwrap()[0].by.as_deref(), Some("ann"));
}

#[test]
fn commands_name_who_gives_them() {
    let server = start();
    let path = |command: &str| format!("redrives/{ID}/{command}");
    let (status, paused) = server.post(&path("pause"), "{\"by\":\"ann\"}");
    assert_eq!((status, &paused["state"]), (200, &json!("paused")));
    assert_eq!(server.post(&path("resume"), "").0, 200);
    assert_eq!(server.post(&path("cancel"), "{}").1["state"], "cancelled");
    let by = |by: &str| by.to_owned();
    let expected =
        [(Command::Pause, by("ann")), (Command::Resume, by("http")), (Command::Cancel, by("http"))];
    assert_eq!(*server.book.commands.lock().unwrap(), expected);
}

#[test]
fn what_is_not_there_and_what_can_not_be_meant() {
    let server = start();
    let job = |command: &str| format!("redrives/{ID}/{command}");
    let body = |field: &str| format!("{{\"source\":\"{SOURCE}\",{field}}}");
    let get = |path: &str| ("GET", path.to_owned(), String::new());
    for ((method, path, body), status, code) in [
        (get("dlq/payments/records"), 404, "not-found"),
        (get("dlq/payments/records?limit=0"), 400, "bad-request"),
        (get("dlq/payments/records?after=1"), 400, "bad-request"),
        (get("dlq/payments/records?reasons=x"), 400, "bad-request"),
        (get("redrives/7"), 400, "bad-request"),
        (get(&format!("redrives/{}", Uuid::from_u128(8))), 404, "not-found"),
        (("POST", "redrives".to_owned(), String::new()), 400, "bad-request"),
        (("POST", "redrives".to_owned(), body("\"target\":\"x\"")), 400, "bad-request"),
        (("POST", "redrives".to_owned(), body("\"rates\":1")), 400, "bad-request"),
        (("POST", "redrives".to_owned(), body("\"filter\":{\"keys\":1}")), 400, "bad-request"),
        (("POST", "redrives".to_owned(), body("\"rate\":13")), 409, "conflict"),
        (("POST", job("stop"), String::new()), 404, "not-found"),
        (("POST", job("pause"), "[".to_owned()), 400, "bad-request"),
        (("POST", "poison/g/orders/x/deadletter".to_owned(), "{}".to_owned()), 400, "bad-request"),
        (("POST", "poison/g/t/0/deadletter".to_owned(), "{}".to_owned()), 404, "not-found"),
    ] {
        let (answered, told) = server.send(method, &path, &body);
        assert_eq!((answered, &told["code"]), (status, &json!(code)), "{path} {body}: {told}");
        assert!(!told["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn poison_is_listed_and_skipped() {
    let server = start();
    let (_, told) = server.get("poison");
    assert_eq!(told["stuck"][0]["generations"], 5);
    let (status, skipped) = server.post("poison/billing%2F1/orders/0/deadletter", "");
    assert_eq!((status, &skipped["group"]), (200, &json!("billing/1")));
    assert_eq!((&skipped["moved"], &skipped["offset"]), (&json!(true), &json!(42)));
}

#[test]
fn the_commands_show_tables_and_json() {
    let server = start();
    let list = "\
TOPIC               GROUP    SOURCE  WAITING  RECORDS  BYTES  OLDEST
dlq.billing.orders  billing  orders        8       10   1000  1970-01-01T00:00:01.000Z
";
    assert_eq!(server.told(&["list"]), list);
    let show = server.told(&["show", SOURCE, "--header", "tenant=a", "--since", "2026-01-31"]);
    assert!(show.contains("  1:5     orders:1:42  billing  delivery-limit"), "{show}");
    assert!(show.ends_with("more: --after 1:5\n"), "{show}");
    let asked = server.book.pages.lock().unwrap().pop().unwrap();
    assert_eq!(asked.filter.since_ms, Some(1_769_817_600_000));
    assert_eq!(asked.filter.headers[0].value.as_deref(), Some("a"));
    let jobs = server.told(&["jobs"]);
    assert!(jobs.contains("running  dlq.billing.orders  retry"), "{jobs}");
    let one = server.told(&["jobs", &ID.to_string()]);
    assert!(one.contains("topic orders is gone") && one.contains("started by ann"), "{one}");
    let json: Value = serde_json::from_str(&server.told(&["jobs", "--output", "json"])).unwrap();
    assert_eq!(json[0]["id"], ID.to_string());
    assert!(server.told(&["poison"]).contains("billing  orders"));
}

#[test]
fn the_commands_redrive_and_their_exit_code_says_how_it_went() {
    let server = start();
    let dry = server.told(&["redrive", SOURCE, "--dry-run", "--to-origin", "--rate", "5"]);
    assert!(
        dry.contains(
            "done (dry run); would put back 6, 3 filtered out, 2 put back before, 1 parked"
        ),
        "{dry}"
    );
    let ask = server.book.begun.lock().unwrap().pop().unwrap();
    assert_eq!((ask.rate, ask.by.as_deref()), (5, Some("klamm dlq")));
    assert_eq!(ask.target, Target::Origin);
    assert!(server.told(&["redrive", SOURCE, "--to", "x"]).contains("running; put back 6"));
    let id = ID.to_string();
    assert!(server.told(&["pause", &id, "--by", "ann"]).contains("paused"));
    assert!(server.told(&["cancel", &id]).contains("cancelled"));
    let skipped = server.told(&["skip", "billing", "orders", "1"]);
    assert!(skipped.contains("moves on once it has no members"), "{skipped}");
    for (words, code) in [
        (&["redrive", SOURCE, "--wait"][..], 1),
        (&["redrive", SOURCE, "--rate", "13"], 1),
        (&["redrive", SOURCE, "--to", "x", "--to-origin"], 2),
        (&["show", "payments"], 3),
        (&["show", SOURCE, "--since", "yesterday"], 2),
        (&["jobs", "7"], 2),
        (&["skip", "billing", "payments", "1"], 3),
        (&["pause"], 2),
    ] {
        let (exit, told, complaint) = server.dlq(words);
        assert_eq!((exit, &*told), (code, ""), "{words:?}: {complaint}");
        assert!(!complaint.is_empty());
    }
}
