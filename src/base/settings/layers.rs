//! Values by where they were given, strongest first: for this broker at run time, for all
//! brokers at run time, at start (flags, environment, file), and the table's default.
//!
//! A key's synonyms are asked layer by layer, so that `log.retention.hours` in the file yields
//! to nothing weaker than itself, and `log.retention.ms` set at run time wins over both. Values
//! are checked when they are given; one that no longer passes (an older version admitted it) is
//! passed over here instead of stopping the broker.

use std::collections::BTreeMap;

use super::spec::{Spec, Synonym, same};
use super::value::Value;
use super::{broker_key, group_key, topic_key};

/// Text values by key.
pub type Overrides = BTreeMap<String, String>;

/// Where a value comes from, by Kafka's distinction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The topic's own config.
    Topic,
    /// The group's own config.
    Group,
    DynamicBroker,
    DynamicDefaultBroker,
    /// Given when the broker started.
    Static,
    Default,
}

/// One given value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: &'static str,
    pub value: String,
    pub source: Source,
    /// [`Synonym::factor`] towards the key it was looked up for.
    pub(super) factor: i64,
}

impl Entry {
    /// A resource's own value.
    pub(super) fn own(key: &'static str, value: &str, source: Source) -> Self {
        Self { key, value: value.into(), source, factor: 1 }
    }

    /// The value in the unit of the key it was looked up for.
    pub(super) fn converted(&self) -> String {
        match self.value.trim().parse::<i64>() {
            Ok(number) if self.factor != 1 => in_unit(number, self.factor).to_string(),
            _ => self.value.clone(),
        }
    }

    fn checked(&self) -> Option<Value> {
        let spec = match self.source {
            Source::Topic => topic_key(self.key),
            Source::Group => group_key(self.key),
            _ => broker_key(self.key),
        };
        match spec?.check(&self.value).ok()? {
            Value::Integer(number) => Some(Value::Integer(in_unit(number, self.factor))),
            other => Some(other),
        }
    }
}

fn in_unit(number: i64, factor: i64) -> i64 {
    if factor != 1 && number < 0 { -1 } else { number.saturating_mul(factor) }
}

/// What was given for the broker's keys, by layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerConfig {
    /// From flags, environment and file, already merged.
    pub statics: Overrides,
    /// Set at run time for every broker.
    pub dynamic_default: Overrides,
    /// Set at run time for this broker.
    pub dynamic_broker: Overrides,
}

impl BrokerConfig {
    /// Every value given for a broker key, strongest first.
    #[must_use]
    pub fn of_broker_key(&self, spec: &'static Spec) -> Vec<Entry> {
        self.chain(&[same(spec.name)])
    }

    /// Every value given for a topic key: the topic's own, then those of its broker synonyms,
    /// then the table's default for the topic key.
    #[must_use]
    pub fn of_topic_key(&self, spec: &'static Spec, overrides: &Overrides) -> Vec<Entry> {
        self.of_owned_key(spec, overrides, Source::Topic)
    }

    /// The same of a group key.
    #[must_use]
    pub fn of_group_key(&self, spec: &'static Spec, overrides: &Overrides) -> Vec<Entry> {
        self.of_owned_key(spec, overrides, Source::Group)
    }

    fn of_owned_key(
        &self,
        spec: &'static Spec,
        overrides: &Overrides,
        source: Source,
    ) -> Vec<Entry> {
        let own = overrides.get(spec.name).map(|value| Entry::own(spec.name, value, source));
        own.into_iter().chain(self.chain(spec.synonyms)).collect()
    }

    /// `producer.id.expiration.ms` as it is now.
    #[must_use]
    pub fn producer_id_expiration_ms(&self) -> i64 {
        Reader::broker(self).long("producer.id.expiration.ms")
    }

    fn chain(&self, keys: &[Synonym]) -> Vec<Entry> {
        let layers = [
            (Source::DynamicBroker, &self.dynamic_broker),
            (Source::DynamicDefaultBroker, &self.dynamic_default),
            (Source::Static, &self.statics),
        ];
        let mut entries = Vec::new();
        let mut push = |synonym: &Synonym, value: &str, source| {
            let &Synonym { key, factor } = synonym;
            entries.push(Entry { key, value: value.into(), source, factor });
        };
        for (source, layer) in layers {
            for synonym in keys {
                if let Some(value) = layer.get(synonym.key) {
                    push(synonym, value, source);
                }
            }
        }
        for synonym in keys {
            if let Some(default) = broker_key(synonym.key).and_then(|spec| spec.default) {
                push(synonym, default, Source::Default);
            }
        }
        entries
    }
}

/// Typed reading of one set of keys. The names asked for are the table's, which a test holds.
pub(super) struct Reader<'a> {
    config: &'a BrokerConfig,
    of: Keys<'a>,
}

/// Which keys are read, with the resource's own values.
enum Keys<'a> {
    Broker,
    Topic(&'a Overrides),
    Group(&'a Overrides),
}

impl<'a> Reader<'a> {
    pub(super) fn broker(config: &'a BrokerConfig) -> Self {
        Self { config, of: Keys::Broker }
    }

    pub(super) fn topic(config: &'a BrokerConfig, overrides: &'a Overrides) -> Self {
        Self { config, of: Keys::Topic(overrides) }
    }

    pub(super) fn group(config: &'a BrokerConfig, overrides: &'a Overrides) -> Self {
        Self { config, of: Keys::Group(overrides) }
    }

    /// The strongest valid value; `None` if the key is unset.
    fn value(&self, name: &str) -> Option<Value> {
        let spec = match self.of {
            Keys::Broker => broker_key(name),
            Keys::Topic(_) => topic_key(name),
            Keys::Group(_) => group_key(name),
        };
        let spec = spec.expect("typed settings ask for keys of the table");
        let entries = match self.of {
            Keys::Broker => self.config.of_broker_key(spec),
            Keys::Topic(overrides) => self.config.of_topic_key(spec, overrides),
            Keys::Group(overrides) => self.config.of_group_key(spec, overrides),
        };
        let given = entries.iter().find_map(Entry::checked);
        given.or_else(|| spec.check(spec.default?).ok())
    }

    pub(super) fn integer_if_set(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Some(Value::Integer(number)) => Some(number),
            _ => None,
        }
    }

    pub(super) fn double(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Double(number)) => number,
            _ => panic!("{name} is a double with a default"),
        }
    }

    pub(super) fn long(&self, name: &str) -> i64 {
        self.integer_if_set(name).expect("the key is a number with a default")
    }

    pub(super) fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).expect("the key's range fits an int")
    }

    /// A number whose range begins at zero or above.
    pub(super) fn count(&self, name: &str) -> u32 {
        u32::try_from(self.long(name)).expect("the key's range fits and is not negative")
    }

    /// [`Reader::count`] as the length of something in memory.
    pub(super) fn size(&self, name: &str) -> usize {
        self.count(name) as usize
    }

    pub(super) fn boolean(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Boolean(true)))
    }

    /// Empty if unset.
    pub(super) fn text(&self, name: &str) -> String {
        match self.value(name) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        }
    }

    /// Empty if unset.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(entries)) => entries,
            _ => Vec::new(),
        }
    }
}
