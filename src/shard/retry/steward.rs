//! Keeps the topics of retries and dead letters: finds the one with a role, makes it when it is
//! first needed, and says what a name that somebody asks for would be.
//!
//! That a role is held by one topic, and how many partitions it has, is the catalog's decision, so
//! asking twice, from two threads or after a crash, comes to the same topic. Nothing else needs to
//! be done for a new one: that its group begins it at offset 0 is known to the group's coordinator
//! (`coord/group/offsets/retries.rs`).

use std::sync::Arc;

use crate::base::env::Env;
use crate::base::fault::{Code, Fault};
use crate::base::role::{Role, RoleKind};
use crate::catalog::{Catalog, Change, Command, NewTopic, Topic, is_internal};
use crate::coord::group::GROUPS_TOPIC;
use crate::coord::group::roster::{Known, Roster};
use crate::retry::names;
use crate::shard::metadata::Metadata;

/// See the module's head.
pub struct Steward {
    env: Env,
    metadata: Arc<Metadata>,
    roster: Arc<Roster>,
}

impl Steward {
    #[must_use]
    pub fn new(env: Env, metadata: Arc<Metadata>, roster: Arc<Roster>) -> Self {
        Self { env, metadata, roster }
    }

    /// Whether a group is there: it has members or committed offsets.
    #[must_use]
    pub fn knows(&self, group: &str) -> Known {
        match self.metadata.catalog().topic(GROUPS_TOPIC) {
            Some(topic) => self.roster.knows(group, topic.partitions),
            None => Known::No,
        }
    }

    /// The topic with a role, if it is there.
    #[must_use]
    pub fn find(&self, role: &Role) -> Option<Arc<Topic>> {
        self.metadata.catalog().of_role(role).cloned()
    }

    /// The topic with a role, made if it is not there. It is served when this returns.
    ///
    /// # Errors
    /// As for any creation: limits, a full disk. The source has a role itself, or is gone and left
    /// nothing behind.
    pub async fn ensure(&self, role: &Arc<Role>) -> Result<Arc<Topic>, Fault> {
        if let Some(topic) = self.find(role) {
            return Ok(topic);
        }
        let group = role.group.as_deref();
        let mut taken = None;
        for name in names::candidates(role.kind, group, &role.source_name) {
            let new = NewTopic {
                role: Some(Arc::clone(role)),
                ..NewTopic::with_defaults(&name, self.env.random_uuid())
            };
            let outcomes = self.metadata.submit(vec![Command::CreateTopic(new)]).wait().await?;
            let outcome = outcomes.into_iter().next();
            match outcome.unwrap_or_else(|| Err(Code::UnknownServerError.into())) {
                Ok(Change::TopicCreated(topic)) => {
                    tracing::info!(topic = %topic.name, "created for the {role}");
                    return Ok(topic);
                }
                Ok(_) => return Err(Code::UnknownServerError.into()),
                Err(fault) => match fault.kind() {
                    // Of this role, by somebody who was faster, or of another.
                    Code::TopicAlreadyExists | Code::InvalidTopicException => taken = Some(fault),
                    _ => return Err(fault),
                },
            }
            if let Some(topic) = self.find(role) {
                return Ok(topic);
            }
        }
        Err(taken.unwrap_or_else(|| Code::InvalidTopicException.into()))
    }

    /// The role of the topic that a name asks for, if a topic of that name is to be made now.
    ///
    /// The name must have one reading whose topic there is; of several, one whose group there is.
    /// Else it is an ordinary topic's.
    #[must_use]
    pub fn meant(&self, name: &str) -> Option<Arc<Role>> {
        let (kind, splits) = names::splits(name)?;
        let catalog = self.metadata.catalog();
        let mut readings: Vec<Role> =
            splits.filter_map(|split| reading(&catalog, kind, split)).collect();
        if readings.len() > 1 {
            let is_known = |role: &Role| {
                role.group.as_ref().is_some_and(|group| self.knows(group) == Known::Yes)
            };
            readings.retain(is_known);
        }
        let [_] = readings[..] else { return None };
        let role = readings.pop()?;
        catalog.of_role(&role).is_none().then(|| Arc::new(role))
    }
}

fn reading(catalog: &Catalog, kind: RoleKind, split: names::Split<'_>) -> Option<Role> {
    let source = catalog.topic(split.topic)?;
    let fails = source.role.is_none() && !is_internal(&source.name);
    fails.then(|| Role {
        source_id: source.id,
        kind,
        group: split.group.map(Arc::from),
        source_name: Arc::clone(&source.name),
    })
}
