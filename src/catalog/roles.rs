//! Topics with a role: they follow their source topic. Each has its partitions, number by number,
//! so that a record's copies keep its partition, and gets more when the source does.
//!
//! They outlive the source: what it owes to a group is not lost by its deletion. Deleting them is
//! an operator's own step.

use std::sync::Arc;

use super::decide::NewTopic;
use super::{Catalog, Configs, Grown, Topic};
use crate::base::fault::{Code, Fault};
use crate::base::role::Role;

/// Partitions that a topic with this role has, whoever asks for it.
pub(super) fn partitions(catalog: &Catalog, role: &Role) -> Result<i32, Fault> {
    if let Some(other) = catalog.of_role(role) {
        let message = format!("Topic '{}' has the {role} already.", other.name);
        return Err(Fault::with(Code::TopicAlreadyExists, message));
    }
    let Some(source) = catalog.topic_by_id(role.source_id) else {
        let sibling = catalog.followers(role.source_id).next();
        let gone = || {
            let message = format!("Topic '{}' is no more.", role.source_name);
            Fault::with(Code::UnknownTopicOrPartition, message)
        };
        return sibling.map(|topic| topic.partitions).ok_or_else(gone);
    };
    if source.role.is_some() || source.is_internal() {
        let message = format!("Records of '{}' are not retried.", source.name);
        return Err(Fault::with(Code::InvalidRequest, message));
    }
    Ok(source.partitions)
}

/// That a request's own number of partitions, if it has one, is the one that must be.
pub(super) fn check_count(role: &Role, needed: i32, asked: i32) -> Result<(), Fault> {
    if needed == asked {
        return Ok(());
    }
    let source = &role.source_name;
    let message = format!("It has the {needed} partition(s) of '{source}': ask for -1.");
    Err(Fault::with(Code::InvalidPartitions, message))
}

/// What the creator of such a topic leaves open.
pub(super) fn complete(new: &NewTopic, configs: &mut Configs) {
    if new.role.is_some() {
        for (key, value) in Role::TOPIC_CONFIGS {
            configs.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
}

/// That a topic may be given partitions directly.
pub(super) fn check_grows_alone(topic: &Topic) -> Result<(), Fault> {
    let Some(role) = &topic.role else { return Ok(()) };
    let source = &role.source_name;
    let message = format!("It has as many partitions as '{source}': add them there.");
    Err(Fault::with(Code::InvalidPartitions, message))
}

/// The topics that grow with their source.
pub(super) fn grown(catalog: &Catalog, source: &Topic, count: i32) -> Vec<Grown> {
    let smaller = catalog.followers(source.id).filter(|topic| topic.partitions < count);
    let grow = |topic: &Arc<Topic>| Grown {
        first_new: topic.partitions,
        topic: Arc::new(Topic { partitions: count, ..(**topic).clone() }),
    };
    smaller.map(grow).collect()
}
