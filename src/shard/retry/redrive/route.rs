//! Where dead letters go: from what a job's target and a letter's provenance say to partitions
//! that are there.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Redrives;
use super::gather::Where;
use crate::base::ids::TopicPartition;
use crate::base::role::{Role, RoleKind};
use crate::catalog::{Catalog, is_internal};
use crate::retry::redrive::{Plan, Target, TopicRef};
use crate::retry::view::Refusal;

/// A topic by its name.
pub(super) fn topic(catalog: &Catalog, name: &str) -> Result<TopicRef, Refusal> {
    let found = catalog.topic(name).filter(|_| !is_internal(name));
    let found = found.ok_or_else(|| Refusal::NotFound(format!("there is no topic {name}")))?;
    Ok(TopicRef::new(name, found.id))
}

/// Whether dead letters may be put there: not into dead letters.
pub(super) fn check_target(catalog: &Catalog, target: &TopicRef) -> Result<(), Refusal> {
    let role = catalog.topic_by_id(target.id).and_then(|topic| topic.role.as_ref());
    if role.is_some_and(|role| role.kind == RoleKind::Dlq) {
        return Err(Refusal::Bad(format!("{} is a dead-letter topic", target.name)));
    }
    Ok(())
}

/// The ways that a job has found, each looked for once.
#[derive(Default)]
pub(super) struct Routes {
    topics: FxHashMap<(Option<String>, String), TopicRef>,
}

/// Why a letter can't be sent on.
pub(super) enum NoWay {
    /// Never: in a sentence.
    Never(String),
    /// Not now.
    NotNow(String),
}

impl Routes {
    /// The topic and partition for a letter from partition `own` of the plan's source.
    pub(super) async fn of(
        &mut self,
        redrives: &Redrives,
        plan: &Plan,
        from: &Where,
        own: i32,
    ) -> Result<(TopicRef, TopicPartition), NoWay> {
        let (group, name) = self.meant(redrives, plan, from)?;
        let key = (group, name);
        let found = match self.topics.get(&key) {
            Some(found) => found.clone(),
            None => {
                let found = find(redrives, key.0.as_deref(), &key.1).await?;
                self.topics.insert(key, found.clone());
                found
            }
        };
        let partitions = super::partitions(&redrives.metadata.catalog(), &found);
        if partitions < 1 {
            return Err(NoWay::Never(format!("topic {} is gone", found.name)));
        }
        let wanted = match plan.target {
            Target::Topic(_) => own,
            Target::Retry | Target::Origin => from.partition.unwrap_or(own),
        };
        let tp = TopicPartition::new(found.id, wanted.rem_euclid(partitions));
        Ok((found, tp))
    }

    /// The group whose retry topic is meant, if any, and a topic's name.
    fn meant(
        &self,
        redrives: &Redrives,
        plan: &Plan,
        from: &Where,
    ) -> Result<(Option<String>, String), NoWay> {
        if let Target::Topic(name) = &plan.target {
            return Ok((None, name.clone()));
        }
        let catalog = redrives.metadata.catalog();
        let source = catalog.topic_by_id(plan.source.id);
        let role = source.and_then(|source| source.role.as_ref());
        let by_role = || role.map(|role| role.source_name.to_string());
        let Some(topic) = from.topic.clone().or_else(by_role) else {
            let why = "a dead letter does not say which topic it is from; name one to redrive to";
            return Err(NoWay::Never(why.to_owned()));
        };
        let group = from.group.clone().filter(|_| plan.target == Target::Retry);
        Ok((group, topic))
    }
}

/// The topic itself, or a group's retry topic for it, which is made if need be.
async fn find(redrives: &Redrives, group: Option<&str>, name: &str) -> Result<TopicRef, NoWay> {
    let topic = {
        let catalog = redrives.metadata.catalog();
        topic(&catalog, name).map_err(|_| NoWay::Never(format!("topic {name} is gone")))?
    };
    let Some(group) = group else { return Ok(topic) };
    let role = Arc::new(Role::of(RoleKind::Retry, group, &topic.name, topic.id));
    let retry = redrives.steward.ensure(&role).await;
    let retry = retry.map_err(|fault| NoWay::NotNow(fault.to_string()))?;
    Ok(TopicRef::new(&retry.name, retry.id))
}
