//! How many clients may be connected, as typed data. Both may change at run time and are read anew
//! for every connection.

use super::layers::{BrokerConfig, Reader};

/// What is in force for connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// `max.connections`
    pub max: u32,
    /// `max.connections.per.ip`
    pub max_per_ip: u32,
}

impl ConnectionSettings {
    #[must_use]
    pub fn resolve(config: &BrokerConfig) -> Self {
        let read = Reader::broker(config);
        Self {
            max: read.count("max.connections"),
            max_per_ip: read.count("max.connections.per.ip"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_limit_by_default_and_one_that_is_set_at_run_time_wins() {
        let mut config = BrokerConfig::default();
        // As in Kafka; what bounds connections is the limit of open files (`server::Caps`).
        let unlimited = i32::MAX.unsigned_abs();
        let settings = ConnectionSettings::resolve(&config);
        assert_eq!((settings.max, settings.max_per_ip), (unlimited, unlimited));
        config.statics.insert("max.connections".into(), "9".into());
        config.dynamic_default.insert("max.connections".into(), "7".into());
        config.dynamic_broker.insert("max.connections.per.ip".into(), "3".into());
        let settings = ConnectionSettings::resolve(&config);
        assert_eq!((settings.max, settings.max_per_ip), (7, 3));
    }
}
