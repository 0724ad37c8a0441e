//! A service made of one closure, and a server around it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use klamm::api::connection::ListenerInfo;
use klamm::api::reply::{Chunk, Ending, Outcome, Reply};
use klamm::base::metrics::Metrics;
use klamm::base::settings;
use klamm::server::{Gauges, Limits, Listener, Server, Service};
use tokio::runtime::Runtime;

use crate::support::client::{Client, on_wire};

/// Answers each frame by a function of it.
struct Scripted<F> {
    begin: F,
    ended: mpsc::Sender<()>,
}

/// Reports the connection's end when dropped.
struct Connected(mpsc::Sender<()>);

impl Drop for Connected {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl<F: Fn(Bytes) -> Outcome + Send + Sync + 'static> Service for Scripted<F> {
    type Connection = Connected;

    fn connect(&self, _: &Arc<ListenerInfo>, _: SocketAddr) -> Connected {
        Connected(self.ended.clone())
    }

    fn begin(&self, _: &mut Connected, frame: Bytes) -> Outcome {
        (self.begin)(frame)
    }
}

/// A server on a port of its own.
pub struct Running {
    runtime: Runtime,
    server: Server,
    pub metrics: Arc<Metrics>,
    ended: mpsc::Receiver<()>,
}

impl Running {
    pub fn start(limits: Limits, begin: impl Fn(Bytes) -> Outcome + Send + Sync + 'static) -> Self {
        let runtime = Runtime::new().unwrap();
        let metrics = Arc::new(Metrics::default());
        let (sender, ended) = mpsc::channel();
        let service = Scripted { begin, ended: sender };
        let _context = runtime.enter();
        let listener = runtime.block_on(Listener::bind(&loopback(0), &limits)).unwrap();
        let listeners = vec![(listener, advertised())];
        let server = Server::start(listeners, limits, service, Arc::clone(&metrics));
        Self { runtime, server, metrics, ended }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    pub fn gauges(&self) -> Gauges {
        self.server.gauges()
    }

    /// Waits until some connection has ended on the server's side.
    pub fn wait_for_an_end(&self) {
        self.ended.recv_timeout(crate::support::client::PATIENCE).expect("a connection ends");
    }

    pub fn stop(self, grace: Duration) -> usize {
        self.runtime.block_on(self.server.stop(grace))
    }
}

pub fn loopback(port: u16) -> settings::Listener {
    let bind = settings::Address { host: "127.0.0.1".into(), port };
    settings::Listener { name: "PLAINTEXT".into(), bind, advertised: None }
}

fn advertised() -> Arc<ListenerInfo> {
    let name = "PLAINTEXT".into();
    Arc::new(ListenerInfo { name, advertised_host: "127.0.0.1".into(), advertised_port: 9092 })
}

/// Sends the frame back.
pub fn echo(frame: Bytes) -> Outcome {
    Outcome::Now(Ending::Reply(reply(&frame)))
}

/// A reply of these bytes.
pub fn reply(frame: &[u8]) -> Reply {
    Reply::whole(on_wire(frame).into())
}

/// A reply in two pieces: the size, and a range of a file.
pub fn file_reply(chunk: Chunk) -> Reply {
    let size = u32::try_from(chunk.len_bytes()).unwrap();
    let size = Bytes::copy_from_slice(&size.to_be_bytes());
    Reply { chunks: [Chunk::Bytes(size), chunk].into_iter().collect(), ..Reply::default() }
}
