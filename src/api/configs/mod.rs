//! Configs over Kafka's protocol: describe, alter, list. Values and their checks are the settings
//! table's; what may be altered is decided by the catalog.
//!
//! Topics, this broker and groups have configs. Broker loggers and client metrics are resource
//! types of Kafka that have nothing here yet: asking for one is an error of that resource alone.

pub mod alter;
pub mod describe;
mod edit;
pub mod list;
#[cfg(test)]
mod tests;

use crate::base::fault::{Code, Fault};
use crate::catalog::{BrokerScope, check_topic_name};

/// Kafka's numbers of resource types. Source: `ConfigResource.Type`.
mod kind {
    pub(super) const TOPIC: i8 = 2;
    pub(super) const BROKER: i8 = 4;
    pub(super) const BROKER_LOGGER: i8 = 8;
    pub(super) const CLIENT_METRICS: i8 = 16;
    pub(super) const GROUP: i8 = 32;
}

/// What a client names by type and name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    Topic(String),
    /// The empty name is the whole cluster's defaults.
    Broker(BrokerScope),
    /// A group id, never empty; the group need not exist.
    Group(String),
}

impl Resource {
    fn of(kind: i8, name: &str, node_id: i32) -> Result<Self, Fault> {
        let invalid = |message: String| Err(Fault::with(Code::InvalidRequest, message));
        match kind {
            kind::TOPIC => {
                check_topic_name(name)?;
                Ok(Self::Topic(name.to_owned()))
            }
            kind::BROKER if name.is_empty() => Ok(Self::Broker(BrokerScope::Cluster)),
            kind::BROKER => match name.parse::<i32>() {
                Ok(id) if id == node_id => Ok(Self::Broker(BrokerScope::Node(id))),
                Ok(id) => invalid(format!(
                    "Unexpected broker id, expected {node_id} or empty string, but received {id}"
                )),
                Err(_) => invalid(format!("Broker id must be an integer, but it is: {name}")),
            },
            kind::BROKER_LOGGER => invalid("Levels of broker loggers are not served".into()),
            kind::CLIENT_METRICS => invalid("Configs of client metrics are not served".into()),
            kind::GROUP if name.is_empty() => invalid("A group's name must not be empty".into()),
            kind::GROUP => Ok(Self::Group(name.to_owned())),
            unknown => invalid(format!("Unknown resource type {unknown}")),
        }
    }
}

fn named_twice() -> Fault {
    Fault::with(Code::InvalidRequest, "Each resource must appear at most once.")
}
