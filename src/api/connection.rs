//! What the broker remembers of one connection between requests.

use std::net::SocketAddr;
use std::sync::Arc;

/// The listener that a connection came in by, as clients are told to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Kafka's listener name, e.g. `PLAINTEXT`.
    pub name: String,
    pub advertised_host: String,
    pub advertised_port: u16,
}

/// State of one connection; owned by its task.
pub struct Connection {
    pub listener: Arc<ListenerInfo>,
    pub peer: SocketAddr,
    /// From ApiVersions v3 on; empty until then.
    pub software_name: String,
    pub software_version: String,
}

impl Connection {
    #[must_use]
    pub fn new(listener: Arc<ListenerInfo>, peer: SocketAddr) -> Self {
        Self { listener, peer, software_name: String::new(), software_version: String::new() }
    }
}
