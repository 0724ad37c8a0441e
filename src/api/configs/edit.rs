//! From what a client asks to change to a command for the catalog. Codes and their order are
//! those of a running Kafka 4.3.1, except that a broker key that nobody knows is refused where
//! Kafka keeps it.

use std::collections::BTreeSet;

use super::Resource;
use crate::base::fault::{Code, Fault};
use crate::base::settings::{
    BrokerConfig, Overrides, Spec, broker_key, topic_key, validate_dynamic_config,
};
use crate::catalog::{BrokerScope, Catalog, Command, ConfigEdit};

/// One wish about one key, as sent.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    key: &'a str,
    operation: Operation,
    value: Option<&'a str>,
}

impl<'a> Wish<'a> {
    pub(super) fn new(key: &'a str, operation: Operation, value: Option<&'a str>) -> Self {
        Self { key, operation, value }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Set,
    /// Back to the default.
    Delete,
    /// Adds entries to a list.
    Append,
    /// Takes entries from a list.
    Subtract,
}

impl Operation {
    /// Source: `AlterConfigOp.OpType`.
    pub(super) fn from_number(number: i8) -> Result<Self, Fault> {
        match number {
            0 => Ok(Self::Set),
            1 => Ok(Self::Delete),
            2 => Ok(Self::Append),
            3 => Ok(Self::Subtract),
            _ => {
                let message = format!("Unknown operation {number}, known are 0 to 3");
                Err(Fault::with(Code::InvalidRequest, message))
            }
        }
    }
}

/// The state that wishes are measured against.
pub(super) struct Editor<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) broker: BrokerConfig,
}

impl Editor<'_> {
    /// AlterConfigs: these configs and no others.
    pub(super) fn replace(
        &self,
        resource: Resource,
        wishes: &[Wish<'_>],
    ) -> Result<Command, Fault> {
        check_wishes(wishes)?;
        let mut configs = Overrides::new();
        for wish in wishes {
            let value = wish.value.unwrap_or_default().trim();
            check_broker_key(&resource, wish.key, value)?;
            configs.insert(wish.key.to_owned(), value.to_owned());
        }
        Ok(command(resource, ConfigEdit::Replace(configs)))
    }

    /// IncrementalAlterConfigs: only what is named changes.
    pub(super) fn merge(&self, resource: Resource, wishes: &[Wish<'_>]) -> Result<Command, Fault> {
        check_wishes(wishes)?;
        let mut edits = Vec::with_capacity(wishes.len());
        for wish in wishes {
            let value = self.merged(&resource, wish)?;
            if let Some(value) = &value {
                check_broker_key(&resource, wish.key, value)?;
            }
            edits.push((wish.key.to_owned(), value));
        }
        Ok(command(resource, ConfigEdit::Merge(edits)))
    }

    /// The key's new value; `None` is the default.
    fn merged(&self, resource: &Resource, wish: &Wish<'_>) -> Result<Option<String>, Fault> {
        let given = wish.value.unwrap_or_default().trim();
        let spec = match resource {
            Resource::Topic(_) => topic_key(wish.key),
            Resource::Broker(_) => broker_key(wish.key),
        };
        match (wish.operation, spec) {
            (Operation::Delete, _) => Ok(None),
            // That nobody knows the key is found when its value is checked.
            (Operation::Set, _) | (_, None) => Ok(Some(given.to_owned())),
            (operation, Some(spec)) if spec.is_list() => {
                let list = entries(&self.current(resource, spec));
                Ok(Some(edited(operation, list, &entries(given)).join(",")))
            }
            (operation, Some(spec)) => {
                let verb =
                    if operation == Operation::Append { "APPEND to" } else { "SUBTRACT from" };
                let key = spec.name;
                let message = format!("Can't {verb} key {key} because its type is not LIST.");
                Err(Fault::with(Code::InvalidConfig, message))
            }
        }
    }

    /// The value in force, which a list is added to or taken from.
    fn current(&self, resource: &Resource, spec: &'static Spec) -> String {
        let own = Overrides::new();
        let entries = match resource {
            Resource::Topic(name) => {
                let topic = self.catalog.topic(name);
                self.broker.of_topic_key(spec, topic.map_or(&own, |topic| &topic.configs))
            }
            Resource::Broker(scope) => {
                let mut broker = self.broker.clone();
                if *scope == BrokerScope::Cluster {
                    broker.dynamic_broker.clear();
                }
                broker.of_broker_key(spec)
            }
        };
        let strongest = entries.into_iter().next().map(|entry| entry.value);
        strongest.unwrap_or_else(|| spec.default.unwrap_or_default().to_owned())
    }
}

fn command(resource: Resource, edit: ConfigEdit) -> Command {
    match resource {
        Resource::Topic(topic) => Command::AlterTopicConfigs { topic, edit },
        Resource::Broker(scope) => Command::AlterBrokerConfigs { scope, edit },
    }
}

/// A list after entries were added to its end, each once, or taken out.
fn edited(operation: Operation, mut list: Vec<String>, given: &[String]) -> Vec<String> {
    if operation == Operation::Subtract {
        list.retain(|entry| !given.contains(entry));
        return list;
    }
    for entry in given {
        if !list.contains(entry) {
            list.push(entry.clone());
        }
    }
    list
}

fn entries(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

/// What is wrong with the wishes whatever they are about.
fn check_wishes(wishes: &[Wish<'_>]) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    for wish in wishes {
        if wish.value.is_none() && wish.operation != Operation::Delete {
            let message = format!("Null value not supported for : {}", wish.key);
            return Err(Fault::with(Code::InvalidRequest, message));
        }
        if !seen.insert(wish.key) {
            let message = format!("Config key {} is given more than once", wish.key);
            return Err(Fault::with(Code::InvalidRequest, message));
        }
    }
    Ok(())
}

/// A broker's values are checked here, a topic's by the catalog.
fn check_broker_key(resource: &Resource, key: &str, value: &str) -> Result<(), Fault> {
    if matches!(resource, Resource::Topic(_)) {
        return Ok(());
    }
    let code = if broker_key(key).is_some() { Code::InvalidRequest } else { Code::InvalidConfig };
    validate_dynamic_config(key, value).map_err(|error| Fault::with(code, error.to_string()))
}
