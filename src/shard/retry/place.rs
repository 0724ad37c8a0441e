//! Where copies of records that failed go.

use std::sync::Arc;

use super::steward::Steward;
use crate::base::env::Env;
use crate::base::fault::{Code, Fault};
use crate::base::ids::Uuid;
use crate::base::role::{Role, RoleKind};
use crate::base::settings::RetrySettings;
use crate::catalog::{Catalog, Command, NewTopic, Topic, is_internal};
use crate::shard::host::Defaults;
use crate::shard::metadata::Metadata;

/// A topic that copies go to.
pub(super) struct Wanted {
    role: Arc<Role>,
    /// `errors.deadletterqueue.topic.name`, which goes before.
    named: Option<String>,
}

impl Wanted {
    /// A group's retries or dead letters; without a group, a topic's own dead letters.
    pub(super) fn of(
        kind: RoleKind,
        group: Option<&Arc<str>>,
        settings: &RetrySettings,
        topic: &Topic,
    ) -> Self {
        let (source_id, source_name) = source(topic);
        let named = settings.dead_letter_topic.clone();
        let named = named.filter(|name| {
            // What fails must not come back to where it failed.
            kind == RoleKind::Dlq && group.is_some() && **name != *source_name
        });
        let role = Role { source_id, kind, group: group.cloned(), source_name };
        Self { role: role.into(), named }
    }

    /// The name that the group's configs give, if the topic is one for anything: neither the
    /// brokers' own, nor of a role.
    fn named(&self, catalog: &Catalog) -> Option<&str> {
        let name = self.named.as_deref()?;
        let is_ordinary = catalog.topic(name).is_none_or(|topic| topic.role.is_none());
        (is_ordinary && !is_internal(name)).then_some(name)
    }

    /// The topic, if it is there.
    pub(super) fn find<'c>(&self, catalog: &'c Catalog) -> Option<&'c Arc<Topic>> {
        match self.named(catalog) {
            Some(name) => catalog.topic(name),
            None => catalog.of_role(&self.role),
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
        let catalog = Arc::clone(&metadata.catalog());
        if let Some(topic) = self.find(&catalog) {
            return Ok(Arc::clone(topic));
        }
        let Some(name) = self.named(&catalog) else {
            if let Some(name) = &self.named {
                tracing::warn!(
                    name,
                    "not a topic for the {}: they get one of their own",
                    self.role
                );
            }
            return steward.ensure(&self.role).await;
        };
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

/// Whether configs name this topic for any group's dead letters. Nothing of it fails again: there
/// are no dead letters of dead letters.
pub(super) fn is_named(catalog: &Catalog, defaults: &Defaults, topic: &Topic) -> bool {
    let is_it = |name: &str| *name == *topic.name;
    let by_default = defaults.retries(catalog, "").dead_letter_topic;
    let of_group = |group| catalog.group_configs(group)?.get(RetrySettings::DEAD_LETTER_TOPIC);
    by_default.as_deref().is_some_and(is_it)
        || catalog.configured_groups().filter_map(of_group).any(|name| is_it(name))
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
