//! The server's settings, as plain data. Defaults are Kafka's where the key is Kafka's, except
//! the caps, which Kafka leaves open.

use std::time::Duration;

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerAddress {
    /// The listener's name, `PLAINTEXT` for instance.
    pub name: String,
    /// Host name or address; empty for all interfaces.
    pub host: String,
    /// 0 lets the system choose.
    pub port: u16,
}

/// Bounds of the server and of each of its connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `socket.listen.backlog.size`, at least 1,024: below that a burst of connections meets
    /// second-long retries of the client's kernel.
    pub backlog: u32,
    /// `max.connections`; past it connections wait in the backlog.
    pub max_connections: usize,
    /// `max.connections.per.ip`; past it connections are closed at once.
    pub max_connections_per_ip: usize,
    /// `socket.request.max.bytes`
    pub request_max_bytes: usize,
    /// `queued.max.request.bytes`: received and unanswered, of the whole broker.
    pub queued_max_bytes: usize,
    /// Read buffers kept for the next large requests.
    pub recycled_max_bytes: usize,
    /// `connections.max.idle.ms`
    pub idle: Duration,
    /// From connecting to the first request.
    pub handshake: Duration,
    /// For the first 64 KiB of a request; each further 32 KiB buy a second.
    pub frame: Duration,
    /// How long a client may leave its replies unread.
    pub send_stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            backlog: 4096,
            max_connections: 10_000,
            max_connections_per_ip: 10_000,
            request_max_bytes: 100 << 20,
            queued_max_bytes: 256 << 20,
            recycled_max_bytes: 64 << 20,
            idle: Duration::from_secs(600),
            handshake: Duration::from_secs(15),
            frame: Duration::from_secs(30),
            send_stall: Duration::from_secs(60),
        }
    }
}
