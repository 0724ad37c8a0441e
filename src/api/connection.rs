//! What the broker remembers of one connection between requests.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::settings::Listener;

/// The listener that a connection came in by, as clients are told to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Kafka's listener name, e.g. `PLAINTEXT`.
    pub name: String,
    pub advertised_host: String,
    pub advertised_port: u16,
}

impl ListenerInfo {
    /// What clients of a listener are told. What is not advertised is where it is bound, and a
    /// bound port stands in for port 0.
    #[must_use]
    pub fn of(listener: &Listener, bound: SocketAddr) -> Self {
        let told = listener.advertised.as_ref().unwrap_or(&listener.bind);
        // Clients cannot connect to "all interfaces"; a broker that is not told its name offers
        // the one that works on its own machine.
        let everywhere = ["", "0.0.0.0", "::"].contains(&told.host.as_str());
        let port = if told.port == 0 { bound.port() } else { told.port };
        Self {
            name: listener.name.clone(),
            advertised_host: if everywhere { "localhost".into() } else { told.host.clone() },
            advertised_port: port,
        }
    }
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
