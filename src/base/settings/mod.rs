//! Settings: one declarative table of broker and topic keys, and everything made from it.
//!
//! `spec` says what a row is; `broker_keys`, `log_keys`, `group_keys`, `delay_keys`, `retry_keys`
//! and `topic_keys` are the table. `load` reads flags, overrides, environment and file into a [`BrokerConfig`], the layered text values
//! that `DescribeConfigs` shows; [`Settings`] and [`TopicSettings`] are the typed values that the
//! broker works with. All of it is plain data handed down by value: nothing here is global state.

mod broker;
mod broker_keys;
mod cleaner;
mod connections;
mod delay;
mod delay_keys;
mod describe;
mod foreign;
mod group;
mod group_keys;
mod layers;
mod listeners;
mod load;
mod log_keys;
mod properties;
mod retry;
mod retry_keys;
mod role_keys;
mod spec;
mod suggest;
mod topic;
mod topic_keys;
mod value;

#[cfg(test)]
mod tests;

pub use broker::{Durability, LogFormat, Settings, validate_dynamic_config};
pub use cleaner::CleanerSettings;
pub use connections::ConnectionSettings;
pub use delay::{DelaySettings, DelayStoreSettings, ReleaseRate};
pub use describe::{
    Described, describe_broker, describe_dynamic_default, describe_group, describe_role,
    describe_topic_defaults,
};
pub use group::{
    Assignor, ClassicGroupSettings, ConsumerGroupSettings, GroupCoordinatorSettings, GroupSettings,
    MigrationPolicy, OffsetsSettings, validate_group_configs,
};
pub use layers::{BrokerConfig, Entry, Overrides, Source};
pub use listeners::{Address, Listener};
pub use load::{Given, Loaded, load};
pub use retry::RetrySettings;
pub use spec::{Importance, Kind, Range, Spec, Synonym, Update};
pub use suggest::closest;
pub use topic::{CompressionType, TopicSettings, validate_topic_config, validate_topic_configs};
pub use value::{BadValue, Value};

/// Why settings are refused. Displays as one line for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("unknown {what} '{name}' (value '{value}'); the closest known one is '{closest}'")]
    Unknown { what: &'static str, name: String, value: String, closest: String },
    #[error(transparent)]
    Bad(#[from] BadValue),
    /// Each value is fine by itself, but not here or not beside the others.
    #[error("{0}")]
    Refused(String),
    /// Where the offending text stands: a file and line, a flag, a variable.
    #[error("{place}: {error}")]
    At { place: String, error: Box<SettingsError> },
}

impl SettingsError {
    fn unknown_broker_key(name: &str, value: &str) -> Self {
        Self::Unknown {
            what: "key",
            name: shown(name),
            value: shown(value),
            closest: closest(name, all_broker_keys().map(|spec| spec.name)).into(),
        }
    }

    fn at(self, place: impl Into<String>) -> Self {
        Self::At { place: place.into(), error: Box::new(self) }
    }
}

/// Every broker key, in alphabetical order.
#[must_use]
pub fn broker_keys() -> Vec<&'static Spec> {
    let mut keys: Vec<_> = all_broker_keys().collect();
    keys.sort_by_key(|spec| spec.name);
    keys
}

/// Every topic key, in alphabetical order.
#[must_use]
pub fn topic_keys() -> &'static [Spec] {
    topic_keys::TOPIC_KEYS
}

/// Every topic config that only the broker sets, in alphabetical order.
#[must_use]
pub fn role_keys() -> &'static [Spec] {
    role_keys::ROLE_KEYS
}

/// Every key of a group's own configs, in alphabetical order.
#[must_use]
pub fn group_keys() -> &'static [Spec] {
    group_keys::GROUP_KEYS
}

#[must_use]
pub fn broker_key(name: &str) -> Option<&'static Spec> {
    all_broker_keys().find(|spec| spec.name == name)
}

#[must_use]
pub fn topic_key(name: &str) -> Option<&'static Spec> {
    topic_keys().iter().find(|spec| spec.name == name)
}

#[must_use]
pub fn group_key(name: &str) -> Option<&'static Spec> {
    group_keys().iter().find(|spec| spec.name == name)
}

/// Foreign text as it may stand in a line for people: nothing that breaks the line, and not longer
/// than helps.
fn shown(text: &str) -> String {
    const MOST_CHARS: usize = 200;
    let mut shown: String = text.chars().take(MOST_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST_CHARS).is_some() {
        shown.push_str("...");
    }
    shown
}

fn all_broker_keys() -> impl Iterator<Item = &'static Spec> {
    let tables = [
        broker_keys::BROKER_KEYS,
        log_keys::LOG_KEYS,
        group_keys::COORDINATOR_KEYS,
        delay_keys::DELAY_KEYS,
        retry_keys::RETRY_KEYS,
    ];
    tables.into_iter().flatten()
}
