//! From what a client asks to change to a command for the catalog. Codes and their order are
//! those of a running Kafka 4.3.1, except that a broker key that nobody knows is refused where
//! Kafka keeps it.

use std::collections::BTreeSet;

use super::Resource;
use crate::base::fault::{Code, Fault};
use crate::base::settings::{
    BrokerConfig, Overrides, Spec, broker_key, group_key, role_keys, topic_key,
    validate_dynamic_config,
};
use crate::catalog::{BrokerScope, Command, ConfigEdit, KeyEdit, ListEdit};

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
pub(super) struct Editor {
    pub(super) broker: BrokerConfig,
}

impl Editor {
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
            check_settable(&resource, wish.key)?;
            let edit = self.key_edit(&resource, wish)?;
            if edit != KeyEdit::Unset {
                check_broker_key(&resource, wish.key, wish.value.unwrap_or_default())?;
            }
            edits.push((wish.key.to_owned(), edit));
        }
        Ok(command(resource, ConfigEdit::Merge(edits)))
    }

    fn key_edit(&self, resource: &Resource, wish: &Wish<'_>) -> Result<KeyEdit, Fault> {
        let given = wish.value.unwrap_or_default().trim().to_owned();
        let spec = match resource {
            Resource::Topic(_) => topic_key(wish.key),
            Resource::Broker(_) => broker_key(wish.key),
            Resource::Group(_) => group_key(wish.key),
        };
        match (wish.operation, spec) {
            (Operation::Delete, _) => Ok(KeyEdit::Unset),
            // That nobody knows the key is found when its value is checked.
            (Operation::Set, _) | (_, None) => Ok(KeyEdit::Set(given)),
            (operation, Some(spec)) if spec.is_list() => {
                let inherited = self.inherited(resource, spec);
                let edit = ListEdit { entries: given, inherited };
                match operation {
                    Operation::Append => Ok(KeyEdit::Append(edit)),
                    _ => Ok(KeyEdit::Subtract(edit)),
                }
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

    /// What a resource has of a key that is not set for itself.
    fn inherited(&self, resource: &Resource, spec: &'static Spec) -> String {
        let mut broker = self.broker.clone();
        let entries = match resource {
            Resource::Topic(_) => broker.of_topic_key(spec, &Overrides::new()),
            Resource::Group(_) => broker.of_group_key(spec, &Overrides::new()),
            Resource::Broker(scope) => {
                broker.dynamic_broker.clear();
                if *scope == BrokerScope::Cluster {
                    broker.dynamic_default.clear();
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
        Resource::Group(group) => Command::AlterGroupConfigs { group, edit },
    }
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

/// What the broker sets alone, nobody unsets either.
fn check_settable(resource: &Resource, key: &str) -> Result<(), Fault> {
    let told = matches!(resource, Resource::Topic(_)) && role_keys().iter().any(|s| s.name == key);
    if !told {
        return Ok(());
    }
    Err(Fault::with(Code::InvalidConfig, format!("{key} is set by the broker alone")))
}

/// A broker's values are checked here, a topic's and a group's by the catalog.
fn check_broker_key(resource: &Resource, key: &str, value: &str) -> Result<(), Fault> {
    if !matches!(resource, Resource::Broker(_)) {
        return Ok(());
    }
    let code = if broker_key(key).is_some() { Code::InvalidRequest } else { Code::InvalidConfig };
    validate_dynamic_config(key, value).map_err(|error| Fault::with(code, error.to_string()))
}
