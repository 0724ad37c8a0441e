//! Where copies of records that failed go.

use std::sync::Arc;

use super::steward::Steward;
use crate::base::env::Env;
use crate::base::fault::{Code, Fault};
use crate::base::ids::Uuid;
use crate::base::role::{Role, RoleKind};
use crate::base::settings::RetrySettings;
use crate::catalog::{Catalog, Command, NewTopic, Topic};
use crate::shard::metadata::Metadata;

/// A topic that copies go to.
pub(super) enum Wanted {
    Role(Arc<Role>),
    /// `errors.deadletterqueue.topic.name`
    Named(String),
}

impl Wanted {
    /// A group's retries or dead letters; without a group, a topic's own dead letters.
    pub(super) fn of(
        kind: RoleKind,
        group: Option<&Arc<str>>,
        settings: &RetrySettings,
        topic: &Topic,
    ) -> Self {
        if let (RoleKind::Dlq, Some(_), Some(name)) = (kind, group, &settings.dead_letter_topic) {
            return Self::Named(name.clone());
        }
        let (source_id, source_name) = source(topic);
        Self::Role(Role { source_id, kind, group: group.cloned(), source_name }.into())
    }

    /// The topic, if it is there.
    pub(super) fn find<'c>(&self, catalog: &'c Catalog) -> Option<&'c Arc<Topic>> {
        match self {
            Self::Role(role) => catalog.of_role(role),
            Self::Named(name) => catalog.topic(name),
        }
    }

    /// The topic, made if it is not there: an ordinary one, if it is named.
    ///
    /// # Errors
    /// As for any creation.
    pub(super) async fn ensure(
        &self,
        env: &Env,
        metadata: &Metadata,
        steward: &Steward,
    ) -> Result<Arc<Topic>, Fault> {
        let name = match self {
            Self::Role(role) => return steward.ensure(role).await,
            Self::Named(name) => name,
        };
        if let Some(topic) = metadata.catalog().topic(name) {
            return Ok(Arc::clone(topic));
        }
        let configs = [("retention.ms".to_owned(), Some("-1".to_owned()))];
        let new = NewTopic {
            configs: configs.into(),
            ..NewTopic::with_defaults(name, env.random_uuid())
        };
        let created = metadata.submit(vec![Command::CreateTopic(new)]).wait().await?;
        match metadata.catalog().topic(name) {
            Some(topic) => Ok(Arc::clone(topic)),
            None => Err(created.into_iter().find_map(Result::err).unwrap_or_else(missing)),
        }
    }
}

fn missing() -> Fault {
    Fault::new(Code::UnknownTopicOrPartition)
}

/// The topic whose records fail, by id and name: this one, or the one that it has a role for.
fn source(topic: &Topic) -> (Uuid, Arc<str>) {
    match &topic.role {
        Some(role) => (role.source_id, Arc::clone(&role.source_name)),
        None => (topic.id, Arc::clone(&topic.name)),
    }
}
