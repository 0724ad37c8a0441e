//! What the server asks of the layer that understands requests.
//!
//! The server moves frames and knows nothing of Kafka's APIs. Requests of one connection begin in
//! the order of their arrival, several may be unfinished at a time, and their answers leave in
//! request order whatever finishes first. A trait rather than [`Api`] itself, so that the server
//! is tested and measured with services that misbehave or do nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::Api;
use crate::api::connection::{Connection, ListenerInfo};
use crate::api::reply::Outcome;

/// The requests' side of the server.
pub trait Service: Send + Sync + 'static {
    /// What is remembered of one connection between requests.
    type Connection: Send + 'static;

    fn connect(&self, listener: &Arc<ListenerInfo>, peer: SocketAddr) -> Self::Connection;

    /// Begins a request. `frame` is what follows the 4-byte size. Must not block; what has to
    /// happen at once is done before it returns, because a later answer is polled only when it
    /// is the connection's oldest, and is dropped with the connection.
    fn begin(&self, connection: &mut Self::Connection, frame: Bytes) -> Outcome;
}

impl Service for Api {
    type Connection = Connection;

    fn connect(&self, listener: &Arc<ListenerInfo>, peer: SocketAddr) -> Connection {
        Connection::new(Arc::clone(listener), peer)
    }

    fn begin(&self, connection: &mut Connection, frame: Bytes) -> Outcome {
        Api::begin(self, connection, frame)
    }
}
