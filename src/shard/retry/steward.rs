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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::base::env::scripted::{ScriptedClock, env};
    use crate::catalog::{Policy, TopicKey};
    use crate::shard::metadata::{Opening, PartitionHost, Store};
    use crate::store::meta::MemoryMeta;

    /// Has room for everything.
    struct Roomy;

    impl PartitionHost for Roomy {
        fn open(&self, _: &Catalog, openings: &[Opening]) -> Vec<Result<(), Fault>> {
            openings.iter().map(|_| Ok(())).collect()
        }

        fn remove(&self, _: &Topic) -> Result<(), Fault> {
            Ok(())
        }

        fn forget(&self, _: &[Arc<Topic>]) {}

        fn configure(&self, _: &Catalog, _: &Topic) {}

        fn reconfigure(&self, _: &Catalog) {}
    }

    fn steward() -> Steward {
        let store = Store::open(Arc::new(MemoryMeta::new()), 1).expect("an empty store");
        let policy = Policy {
            default_partitions: 1,
            default_replication_factor: 1,
            max_topic_partitions: 100,
            max_partitions: 1000,
            check_topic_configs: Arc::new(|_| Ok(())),
            check_group_configs: Arc::new(|_| Ok(())),
        };
        let (metadata, _) = Metadata::start(store, policy, Roomy, |_| {}).expect("a thread");
        Steward::new(env(ScriptedClock::at(0), 7), metadata, Arc::default())
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(future)
    }

    fn create(steward: &Steward, name: &str, partitions: i32) -> Uuid {
        let id = steward.env.random_uuid();
        let new = NewTopic { partitions, ..NewTopic::with_defaults(name, id) };
        let pending = steward.metadata.submit(vec![Command::CreateTopic(new)]);
        wait(pending.wait()).expect("the worker runs").remove(0).expect("a fresh topic");
        id
    }

    fn retries(group: &str, source: &str, id: Uuid) -> Arc<Role> {
        Arc::new(Role::of(RoleKind::Retry, group, source, id))
    }

    #[test]
    fn a_role_has_one_topic_however_many_ask_for_it_at_once() {
        let steward = steward();
        let role = retries("g", "orders", create(&steward, "orders", 3));
        let ask = || steward.ensure(&role);
        let (one, two, three) = wait(async { tokio::join!(ask(), ask(), ask()) });
        let one = one.expect("made");
        assert_eq!((&*one.name, one.partitions), ("retry.g.orders", 3));
        for other in [two, three, wait(ask())] {
            assert_eq!(other.expect("found").id, one.id);
        }
        assert_eq!(steward.metadata.catalog().topics().len(), 2);
    }

    #[test]
    fn a_name_that_is_taken_is_left_to_who_has_it() {
        let steward = steward();
        let role = retries("g", "orders", create(&steward, "orders", 3));
        create(&steward, "retry.g.orders", 1);
        let made = wait(steward.ensure(&role)).expect("made");
        assert_eq!(
            made.name,
            names::candidates(RoleKind::Retry, Some("g"), "orders")[1].as_str().into()
        );
        // Kafka's own rule: names that differ in dots and underscores alone collide.
        create(&steward, "retry_h.orders", 1);
        let role = retries("h", "orders", role.source_id);
        assert!(wait(steward.ensure(&role)).expect("made").name.starts_with("retry.h.orders-"));
    }

    #[test]
    fn the_retries_of_an_old_topic_are_not_those_of_its_successor() {
        let steward = steward();
        let old = retries("g", "orders", create(&steward, "orders", 3));
        let first = wait(steward.ensure(&old)).expect("made");
        let delete = Command::DeleteTopic(TopicKey::Name("orders".to_owned()));
        wait(steward.metadata.submit(vec![delete]).wait()).expect("the worker runs");
        let new = retries("g", "orders", create(&steward, "orders", 5));
        let second = wait(steward.ensure(&new)).expect("made");
        assert_ne!(second.name, first.name);
        assert_eq!((second.partitions, steward.find(&old).map(|t| t.partitions)), (5, Some(3)));
    }

    #[test]
    fn a_name_asks_for_a_role_if_it_has_one_reading() {
        let steward = steward();
        create(&steward, GROUPS_TOPIC, 1);
        let orders = create(&steward, "orders", 3);
        assert_eq!(steward.meant("retry.g.orders"), Some(retries("g", "orders", orders)));
        let dead = steward.meant("dlq.orders").expect("without a group");
        assert_eq!((dead.kind, &dead.group, dead.source_id), (RoleKind::Dlq, &None, orders));
        for none in ["orders", "retry.orders", "retry.g.payments", "dlq.g.__consumer_offsets"] {
            assert_eq!(steward.meant(none), None, "{none}");
        }
        let eu = create(&steward, "eu.orders", 1);
        assert_eq!(steward.meant("retry.g.eu.orders"), None, "group 'g' or group 'g.eu'");
        let mut pen = steward.roster.pen(0);
        pen.add(&"g".into());
        pen.serve();
        assert_eq!(steward.meant("retry.g.eu.orders"), Some(retries("g", "eu.orders", eu)));
        pen.add(&"g.eu".into());
        assert_eq!(steward.meant("retry.g.eu.orders"), None, "both groups are there");
        let role = steward.meant("retry.g.orders").expect("one reading");
        wait(steward.ensure(&role)).expect("made");
        // No retries of retries: it can only be an oddly named group's.
        let odd = retries("x.retry.g", "orders", orders);
        assert_eq!(steward.meant("retry.x.retry.g.orders"), Some(odd));
    }
}
