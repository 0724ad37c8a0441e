//! What `DescribeConfigs` tells: effective value, its source and its synonyms, as plain data.

use super::layers::{BrokerConfig, Entry, Overrides, Source};
use super::spec::{Spec, Update};
use super::{broker_key, broker_keys, group_keys, role_keys, topic_keys};
use crate::base::role::Role;

/// One key with what is in force for it.
#[derive(Clone, Debug)]
pub struct Described {
    pub spec: &'static Spec,
    /// `None` if unset, or if the key is sensitive.
    pub value: Option<String>,
    pub source: Source,
    pub read_only: bool,
    /// Every value that was given for the key or a synonym of it, the one in force first, each
    /// under its own key and in its own unit.
    pub synonyms: Vec<Entry>,
}

/// Every topic key of a topic that has no configs of its own.
#[must_use]
pub fn describe_topic_defaults(broker: &BrokerConfig) -> Vec<Described> {
    let describe = |spec| owned(spec, broker.of_topic_key(spec, &Overrides::new()));
    topic_keys().iter().map(describe).collect()
}

/// What a topic's role shows of itself.
#[must_use]
pub fn describe_role(role: &Role) -> Vec<Described> {
    let describe = |spec: &'static Spec| {
        let value = role.config(spec.name)?;
        Some(Described {
            synonyms: vec![Entry::own(spec.name, &value, Source::Topic)],
            value: Some(value),
            source: Source::Topic,
            read_only: true,
            spec,
        })
    };
    role_keys().iter().filter_map(describe).collect()
}

/// Every group key of a group with these configs.
#[must_use]
pub fn describe_group(broker: &BrokerConfig, overrides: &Overrides) -> Vec<Described> {
    let describe = |spec| owned(spec, broker.of_group_key(spec, overrides));
    group_keys().iter().map(describe).collect()
}

fn owned(spec: &'static Spec, synonyms: Vec<Entry>) -> Described {
    let strongest = synonyms.first();
    let value = strongest.map(Entry::converted);
    Described {
        value: visible(spec, value.or_else(|| spec.default.map(str::to_owned))),
        source: strongest.map_or(Source::Default, |entry| entry.source),
        read_only: false,
        synonyms: told(spec, synonyms),
        spec,
    }
}

impl Described {
    /// The same key of a topic with these configs.
    #[must_use]
    pub fn of_topic(&self, overrides: &Overrides) -> Self {
        let mut described = self.clone();
        if let Some(own) = overrides.get(self.spec.name) {
            described.value = visible(self.spec, Some(own.clone()));
            described.source = Source::Topic;
            let own = vec![Entry::own(self.spec.name, own, Source::Topic)];
            described.synonyms.splice(..0, told(self.spec, own));
        }
        described
    }
}

/// Every broker key of this broker.
#[must_use]
pub fn describe_broker(broker: &BrokerConfig) -> Vec<Described> {
    let describe = |spec: &'static Spec| {
        let synonyms = broker.of_broker_key(spec);
        let own = synonyms.first();
        Described {
            value: visible(spec, own.map(|entry| entry.value.clone())),
            source: own.map_or(Source::Default, |entry| entry.source),
            read_only: spec.update == Update::ReadOnly,
            synonyms: told(spec, synonyms),
            spec,
        }
    };
    broker_keys().into_iter().map(describe).collect()
}

/// The keys that were set at run time for all brokers, and only those.
#[must_use]
pub fn describe_dynamic_default(broker: &BrokerConfig) -> Vec<Described> {
    let describe = |name: &String| {
        let spec = broker_key(name)?;
        let mut synonyms = broker.of_broker_key(spec);
        synonyms.retain(|entry| entry.source == Source::DynamicDefaultBroker);
        let own = synonyms.first()?;
        Some(Described {
            value: visible(spec, Some(own.value.clone())),
            source: Source::DynamicDefaultBroker,
            read_only: spec.update == Update::ReadOnly,
            synonyms: told(spec, synonyms),
            spec,
        })
    };
    broker.dynamic_default.keys().filter_map(describe).collect()
}

fn visible(spec: &Spec, value: Option<String>) -> Option<String> {
    value.filter(|_| !spec.sensitive)
}

/// As Kafka tells of them: a key in another unit only where somebody has set it.
fn told(spec: &Spec, mut synonyms: Vec<Entry>) -> Vec<Entry> {
    synonyms.retain(|e| !spec.sensitive && (e.source != Source::Default || e.factor == 1));
    synonyms
}
