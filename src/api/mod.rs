//! Rank 5: Kafka requests to commands and back. One row per API; versions stop here.
//!
//! A request walks down once: [`Api::begin`] reads the header, bounds the body, finds the row
//! and lets the endpoint start its work in connection order. Adding an API is one row in
//! [`table`] and one handler.

pub mod connection;
pub mod endpoint;
#[cfg(test)]
mod kit;
pub mod metadata;
pub mod reply;

use std::sync::Arc;

use bytes::{Buf, Bytes};

use kafka_protocol::protocol::StrBytes;

use crate::base::env::Env;
use crate::base::settings::{BrokerConfig, Settings};
use crate::shard::metadata::Metadata;
use connection::Connection;
use endpoint::{Cx, Row};
use reply::Outcome;

/// Who this broker is in the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    pub node_id: i32,
    /// 22 characters of URL-safe base64, as Kafka prints it.
    pub cluster_id: String,
}

/// What endpoints work with. Each field is one narrow handle.
pub struct Services {
    pub env: Env,
    pub node: Node,
    pub settings: Settings,
    /// What was given for the broker's keys when it started.
    pub config: BrokerConfig,
    pub metadata: Arc<Metadata>,
}

/// Text in the form that responses hold it.
fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Every API that is served, in key order.
#[must_use]
pub fn table() -> Vec<Row> {
    vec![Row::of::<metadata::Metadata>()]
}

/// The API table and what it works with: the whole of what a connection needs to know.
pub struct Api {
    services: Arc<Services>,
    /// Indexed by API key; a key without a row is not served.
    rows: Vec<Option<Row>>,
}

impl Api {
    #[must_use]
    pub fn new(services: Arc<Services>) -> Self {
        let mut rows: Vec<Option<Row>> = Vec::new();
        for row in table() {
            let key = usize::try_from(row.key as i16).expect("API keys are not negative");
            if rows.len() <= key {
                rows.resize_with(key + 1, || None);
            }
            rows[key] = Some(row);
        }
        Self { services, rows }
    }

    /// Begins one request. `frame` is what follows the 4-byte size.
    pub fn begin(&self, connection: &mut Connection, mut frame: Bytes) -> Outcome {
        if frame.len() < 8 {
            return Outcome::close(format!("a request of {} bytes has no header", frame.len()));
        }
        let key = frame.get_i16();
        let version = frame.get_i16();
        let correlation_id = frame.get_i32();
        let row = usize::try_from(key).ok().and_then(|k| self.rows.get(k)).and_then(Option::as_ref);
        let Some(row) = row else {
            return Outcome::close(format!("API key {key} is not served"));
        };
        if !row.served.contains(&version) {
            return Outcome::close(format!("{:?} v{version} is not served", row.key));
        }
        let mut cx = Cx { services: &self.services, connection, version, client_id: "" };
        (row.begin)(&mut cx, correlation_id, frame)
    }
}
