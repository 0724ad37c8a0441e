//! What the broker remembers of one connection between requests.

use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::base::ids::TopicPartition;
use crate::base::settings::Listener;
use crate::coord::group::classic::Heartbeat;
use crate::log::read::ReadHint;

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
    /// Where fetches without a session go on reading.
    pub positions: Positions,
    /// The last heartbeat that the coordinator was asked, and no join or leave since: the same
    /// again is answered by its pulse.
    pub heartbeat: Option<Heartbeat>,
}

/// Read positions of one connection's fetches, so that a sequential reader without a session
/// needs no index search. Bounded: a client that reads more partitions pays the search.
#[derive(Default)]
pub struct Positions(FxHashMap<TopicPartition, ReadHint>);

impl Positions {
    const MOST: usize = 256;

    #[must_use]
    pub fn of(&self, tp: TopicPartition) -> Option<ReadHint> {
        self.0.get(&tp).copied()
    }

    pub fn note(&mut self, tp: TopicPartition, next: ReadHint) {
        if self.0.len() < Self::MOST || self.0.contains_key(&tp) {
            self.0.insert(tp, next);
        }
    }
}

impl Connection {
    #[must_use]
    pub fn new(listener: Arc<ListenerInfo>, peer: SocketAddr) -> Self {
        Self {
            listener,
            peer,
            software_name: String::new(),
            software_version: String::new(),
            positions: Positions::default(),
            heartbeat: None,
        }
    }
}
