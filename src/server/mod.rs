//! Rank 6: sockets that speak Kafka's framing.
//!
//! ```text
//! listener    bind, accept, caps            registry   who is connected, stop
//! connection  one task per client           deadline   time-outs
//! reader      bytes -> frames               pool       recycled buffers
//! writer      replies -> bytes, sendfile    budget     request bytes in memory, broker-wide
//! service     what the layer below answers
//! ```
//! The server knows frames, not requests; [`Service`] is the seam. Whatever a client sends or
//! leaves unsent, the cost is bounded by [`Limits`] and borne by that client alone.

mod budget;
mod connection;
mod deadline;
mod end;
mod listener;
mod pool;
mod reader;
mod registry;
mod service;
mod settings;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::api::connection::ListenerInfo;
use crate::base::metrics::{Metrics, Text, sampled};
use connection::Shared;
use registry::{Phase, Registry};

pub use listener::{ListenError, Listener};
pub use service::Service;
pub use settings::{Caps, CapsNow, Limits};

/// A running server. Dropping it stops nothing; see [`Server::stop`].
pub struct Server {
    addresses: Vec<SocketAddr>,
    accepting: Vec<JoinHandle<()>>,
    registry: Arc<Registry>,
    budget: Arc<budget::Budget>,
}

/// What a server holds at the moment of asking.
#[derive(Clone)]
pub struct Gauges {
    registry: Arc<Registry>,
    budget: Arc<budget::Budget>,
}

impl Gauges {
    /// Request bytes received and not yet answered.
    #[must_use]
    pub fn inflight_bytes(&self) -> usize {
        self.budget.used_bytes()
    }

    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.registry.open_count()
    }

    pub fn render(&self, text: &mut Text) {
        text.single(&sampled::CONNECTIONS_OPEN, &[], self.open_connections());
        text.single(&sampled::INFLIGHT_BYTES, &[], self.inflight_bytes());
    }
}

impl Server {
    /// Begins to accept on all listeners.
    pub fn start<S: Service>(
        listeners: Vec<(Listener, Arc<ListenerInfo>)>,
        limits: Limits,
        service: S,
        metrics: Arc<Metrics>,
    ) -> Self {
        let registry = Registry::new(Arc::clone(&limits.caps));
        let budget = budget::Budget::new(limits.queued_max_bytes);
        let pool = pool::Pool::new(limits.recycled_max_bytes);
        let shared =
            Arc::new(Shared { service, limits, pool, budget: Arc::clone(&budget), metrics });
        let addresses = listeners.iter().map(|(listener, _)| listener.address()).collect();
        let accepting = listeners
            .into_iter()
            .map(|(listener, info)| {
                let (shared, registry) = (Arc::clone(&shared), Arc::clone(&registry));
                tokio::spawn(listener.serve(info, shared, registry))
            })
            .collect();
        Self { addresses, accepting, registry, budget }
    }

    /// Where it listens, in the order of the listeners.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it holds now; lives on after the server.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges { registry: Arc::clone(&self.registry), budget: Arc::clone(&self.budget) }
    }

    /// Stops accepting and reading, lets begun requests be answered for at most `grace`, then
    /// closes what is left. Returns when no connection is open, with the number that had to be
    /// cut off.
    pub async fn stop(self, grace: Duration) -> usize {
        for accepting in self.accepting {
            accepting.abort();
            // Waited for, so that the port is free when this returns.
            let _ = accepting.await;
        }
        self.registry.advance(Phase::Draining);
        if tokio::time::timeout(grace, self.registry.empty()).await.is_ok() {
            return 0;
        }
        let cut = self.registry.open_count();
        self.registry.advance(Phase::Ended);
        self.registry.empty().await;
        cut
    }
}
