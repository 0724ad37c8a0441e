//! The real binary as a child process, on a port and a data directory of its own.
//!
//! With `ORACLE=HOST:PORT` the tests that can ask that broker instead, e.g. Apache Kafka.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal};

use super::client::Client;

/// A running broker; killed when dropped, as by `kill -9`.
pub struct Broker {
    process: Child,
    /// Held open: the broker may write to it.
    _stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    http: SocketAddr,
}

impl Broker {
    /// Starts a broker whose data and log are in `scratch`, and waits until it is ready.
    pub fn start(scratch: &Path) -> Self {
        Self::start_with(scratch, &[])
    }

    /// As [`Broker::start`], with settings: `key=value`.
    pub fn start_with(scratch: &Path, settings: &[&str]) -> Self {
        let log = File::options().append(true).create(true).open(scratch.join("broker.log"));
        let mut process = Command::new(env!("CARGO_BIN_EXE_klamm"))
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
            .arg(scratch.join("data"))
            .args(settings.iter().flat_map(|setting| ["--override", setting]))
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(log.expect("the scratch directory can be written"))
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let (address, http) = ready_line(&mut stdout);
        Self { process, _stdout: stdout, address, http }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to stop as an operator would, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        let id = Pid::from_child(&self.process);
        rustix::process::kill_process(id, Signal::TERM).expect("it is our child");
        self.process.wait().expect("it is our child")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.kill().expect("it is our child");
        self.process.wait().expect("it is our child");
    }
}

/// The Kafka and HTTP addresses in the line that a broker prints when it is ready.
fn ready_line(stdout: &mut impl BufRead) -> (SocketAddr, SocketAddr) {
    for line in stdout.lines() {
        let line = line.expect("output is UTF-8");
        if let Some(rest) = line.strip_prefix("klamm ready kafka=") {
            let (kafka, http) = rest.split_once(" http=").expect("both addresses");
            return (kafka.parse().expect("an address"), http.parse().expect("an address"));
        }
    }
    panic!("the broker ended before it was ready; see broker.log in the scratch directory");
}

/// A broker to ask: our own, or the one named by `ORACLE`.
pub enum Asked {
    Own(Broker, #[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir),
    Oracle(SocketAddr),
}

impl Asked {
    pub fn broker() -> Self {
        if let Ok(oracle) = std::env::var("ORACLE") {
            return Self::Oracle(oracle.parse().expect("ORACLE=HOST:PORT"));
        }
        let scratch = tempfile::tempdir().expect("a scratch directory");
        Self::Own(Broker::start(scratch.path()), scratch)
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Own(broker, _) => broker.address(),
            Self::Oracle(address) => *address,
        }
    }
}
