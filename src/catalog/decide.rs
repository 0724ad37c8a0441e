//! The judge of metadata commands. Codes and the order of checks are Kafka 4.3's, as a running
//! broker answered them; the limits on partitions are ours.

use std::sync::Arc;

use super::edit::ConfigEdit;
use super::names::check_new_topic_name;
use super::{BrokerScope, Catalog, Change, Configs, Grown, Topic, roles};
use crate::base::fault::{Code, Fault};
use crate::base::ids::Uuid;
use crate::base::role::Role;

/// Let the broker choose: number of partitions and replication factor in requests.
const UNSET: i32 = -1;

/// What decisions are measured against.
#[derive(Clone)]
pub struct Policy {
    /// `num.partitions`
    pub default_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// Partitions that one topic may have.
    pub max_topic_partitions: i32,
    /// Partitions that all topics together may have.
    pub max_partitions: u64,
    pub check_topic_configs: CheckConfigs,
    pub check_group_configs: CheckConfigs,
}

/// Judges all of a resource's configs; the error says what is wrong with them.
pub type CheckConfigs = Arc<dyn Fn(&Configs) -> Result<(), String> + Send + Sync>;

/// A topic as clients name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicKey {
    Name(String),
    Id(Uuid),
}

/// A topic that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// Random, made by the caller: decisions draw no entropy.
    pub id: Uuid,
    /// -1: the broker's default.
    pub partitions: i32,
    /// -1: the broker's default.
    pub replication_factor: i16,
    /// Replicas by partition; empty: the broker places them.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// As sent: a key may come twice, a value may be missing.
    pub configs: Vec<(String, Option<String>)>,
    /// Of a topic that the broker needs, or that its name asks for.
    pub role: Option<Arc<Role>>,
}

impl NewTopic {
    /// A topic of which nothing but the name is asked for.
    #[must_use]
    pub fn with_defaults(name: &str, id: Uuid) -> Self {
        Self {
            name: name.to_owned(),
            id,
            partitions: UNSET,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
            role: None,
        }
    }
}

/// More partitions for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    pub topic: String,
    /// How many there shall be in all.
    pub count: i32,
    /// Replicas of each new partition; `None`: the broker places them.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// What can be asked of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    CreateTopic(NewTopic),
    DeleteTopic(TopicKey),
    /// The files of a deleted topic are gone. Only the metadata worker says so.
    SweepTopic(Uuid),
    AddPartitions(NewPartitions),
    AlterTopicConfigs {
        topic: String,
        edit: ConfigEdit,
    },
    /// The caller has checked the values: which broker configs may change is its knowledge.
    AlterBrokerConfigs {
        scope: BrokerScope,
        edit: ConfigEdit,
    },
    AlterGroupConfigs {
        group: String,
        edit: ConfigEdit,
    },
}

/// Judges a command. The change is not applied.
///
/// # Errors
/// Kafka's code with a message for the client.
pub fn decide(catalog: &Catalog, policy: &Policy, command: &Command) -> Result<Change, Fault> {
    match command {
        Command::CreateTopic(new) => create_topic(catalog, policy, new),
        Command::DeleteTopic(key) => Ok(Change::TopicDeleted(find(catalog, key)?)),
        Command::SweepTopic(id) => Ok(Change::TopicSwept(*id)),
        Command::AddPartitions(new) => add_partitions(catalog, policy, new),
        Command::AlterTopicConfigs { topic, edit } => {
            // Kafka judges the values first: a bad one is told of even where there is no topic.
            let topic = find_named(catalog, topic);
            let configs = edit.over(topic.as_ref().ok().map(|topic| &topic.configs));
            check_configs(&policy.check_topic_configs, &configs)?;
            let topic = topic?;
            Ok(Change::TopicConfigured(Arc::new(Topic { configs, ..(*topic).clone() })))
        }
        Command::AlterBrokerConfigs { scope, edit } => {
            let configs = edit.over(catalog.broker_configs(*scope));
            Ok(Change::BrokerConfigured { scope: *scope, configs })
        }
        Command::AlterGroupConfigs { group, edit } => {
            let configs = edit.over(catalog.group_configs(group));
            check_configs(&policy.check_group_configs, &configs)?;
            Ok(Change::GroupConfigured { group: group.clone(), configs })
        }
    }
}

fn find(catalog: &Catalog, key: &TopicKey) -> Result<Arc<Topic>, Fault> {
    match key {
        TopicKey::Name(name) => find_named(catalog, name),
        TopicKey::Id(id) => {
            let unknown =
                || Fault::with(Code::UnknownTopicId, format!("No topic has the id {id}."));
            catalog.topic_by_id(*id).cloned().ok_or_else(unknown)
        }
    }
}

fn find_named(catalog: &Catalog, name: &str) -> Result<Arc<Topic>, Fault> {
    let unknown =
        || Fault::with(Code::UnknownTopicOrPartition, format!("No topic is called '{name}'."));
    catalog.topic(name).cloned().ok_or_else(unknown)
}

fn create_topic(catalog: &Catalog, policy: &Policy, new: &NewTopic) -> Result<Change, Fault> {
    check_new_topic_name(&new.name)?;
    if catalog.topic(&new.name).is_some() {
        let message = format!("Topic '{}' already exists.", new.name);
        return Err(Fault::with(Code::TopicAlreadyExists, message));
    }
    if let Some(other) = catalog.colliding(&new.name) {
        let message = format!("Topic '{}' collides with existing topic: {other}", new.name);
        return Err(Fault::with(Code::InvalidTopicException, message));
    }
    let mut configs = Configs::new();
    for (key, value) in &new.configs {
        let Some(value) = value else {
            let message = format!("Topic config {key} has no value.");
            return Err(Fault::with(Code::InvalidConfig, message));
        };
        configs.insert(key.clone(), value.clone());
    }
    roles::complete(new, &mut configs);
    check_configs(&policy.check_topic_configs, &configs)?;
    let partitions = partitions(catalog, policy, new)?;
    check_limits(catalog, policy, partitions, u64::from(partitions.unsigned_abs()))?;
    Ok(Change::TopicCreated(Arc::new(Topic {
        name: new.name.as_str().into(),
        id: new.id,
        partitions,
        created_at_start: catalog.start,
        configs,
        role: new.role.clone(),
    })))
}

fn partitions(catalog: &Catalog, policy: &Policy, new: &NewTopic) -> Result<i32, Fault> {
    let followed = new.role.as_ref().map(|role| roles::partitions(catalog, role)).transpose()?;
    let asked = if new.assignments.is_empty() {
        placed_partitions(policy, new, followed)?
    } else {
        assigned_partitions(catalog, new)?
    };
    if let (Some(role), Some(followed)) = (&new.role, followed) {
        roles::check_count(role, followed, asked)?;
    }
    Ok(asked)
}

/// How many partitions a topic gets whose replicas the broker places, if it says nothing itself
/// those of the topic that it follows.
fn placed_partitions(policy: &Policy, new: &NewTopic, followed: Option<i32>) -> Result<i32, Fault> {
    let factor = match new.replication_factor {
        -1 => policy.default_replication_factor,
        n if n > 0 => n,
        n => {
            let message = format!("Replication factor {n} must be larger than 0, or -1.");
            return Err(Fault::with(Code::InvalidReplicationFactor, message));
        }
    };
    if factor != 1 {
        let message =
            format!("Replication factor {factor} cannot be reached: there is one broker.");
        return Err(Fault::with(Code::InvalidReplicationFactor, message));
    }
    match new.partitions {
        UNSET => Ok(followed.unwrap_or(policy.default_partitions)),
        n if n > 0 => Ok(n),
        n => {
            let message = format!("Number of partitions {n} must be larger than 0, or -1.");
            Err(Fault::with(Code::InvalidPartitions, message))
        }
    }
}

/// How many partitions a topic gets whose replicas the client names.
fn assigned_partitions(catalog: &Catalog, new: &NewTopic) -> Result<i32, Fault> {
    for (what, unset) in [
        ("the replication factor", new.replication_factor == -1),
        ("the number of partitions", new.partitions == UNSET),
    ] {
        if !unset {
            let message = format!("Replicas are assigned by hand, but {what} is not -1.");
            return Err(Fault::with(Code::InvalidRequest, message));
        }
    }
    let mut indexes: Vec<i32> = new.assignments.iter().map(|(index, _)| *index).collect();
    indexes.sort_unstable();
    if let Some(twice) = indexes.windows(2).find(|pair| pair[0] == pair[1]) {
        let message = format!("Partition {} is assigned more than once.", twice[0]);
        return Err(Fault::with(Code::InvalidReplicaAssignment, message));
    }
    for (_, replicas) in &new.assignments {
        check_replicas(catalog, replicas)?;
    }
    let mut expected = 0..;
    if indexes.iter().any(|index| expected.next() != Some(*index)) {
        let message = "Assigned partitions must be 0, 1, 2 and so on without a gap.";
        return Err(Fault::with(Code::InvalidReplicaAssignment, message));
    }
    i32::try_from(indexes.len()).map_err(|_| Code::InvalidPartitions.into())
}

fn check_replicas(catalog: &Catalog, replicas: &[i32]) -> Result<(), Fault> {
    let message = match replicas {
        [] => "A partition is assigned an empty replica list.".to_owned(),
        [first, rest @ ..] if rest.contains(first) => {
            format!("A partition is assigned broker {first} more than once.")
        }
        _ => match replicas.iter().find(|replica| **replica != catalog.node_id) {
            Some(unknown) => format!("A partition is assigned broker {unknown}: unknown."),
            None => return Ok(()),
        },
    };
    Err(Fault::with(Code::InvalidReplicaAssignment, message))
}

fn add_partitions(
    catalog: &Catalog,
    policy: &Policy,
    new: &NewPartitions,
) -> Result<Change, Fault> {
    let topic = find_named(catalog, &new.topic)?;
    roles::check_grows_alone(&topic)?;
    let old = topic.partitions;
    if new.count <= old {
        let message =
            format!("Topic {} has {old} partition(s), {} is no increase.", new.topic, new.count);
        return Err(Fault::with(Code::InvalidPartitions, message));
    }
    let added = new.count - old;
    if let Some(assignments) = &new.assignments {
        if usize::try_from(added) != Ok(assignments.len()) {
            let message =
                format!("{added} partition(s) are to be added, {} assigned.", assignments.len());
            return Err(Fault::with(Code::InvalidReplicaAssignment, message));
        }
        for replicas in assignments {
            check_replicas(catalog, replicas)?;
        }
    }
    let mut grown = roles::grown(catalog, &topic, new.count);
    let topic = Arc::new(Topic { partitions: new.count, ..(*topic).clone() });
    grown.insert(0, Grown { topic, first_new: old });
    let added = grown.iter().map(|one| u64::from((new.count - one.first_new).unsigned_abs()));
    check_limits(catalog, policy, new.count, added.sum())?;
    Ok(Change::PartitionsAdded(grown))
}

/// Kafka's own cap is on one request alone (POLICY_VIOLATION), and it dies of what passes there.
fn check_limits(catalog: &Catalog, policy: &Policy, of: i32, added: u64) -> Result<(), Fault> {
    let message = if of > policy.max_topic_partitions {
        format!("{of} partitions exceed a topic's limit of {}.", policy.max_topic_partitions)
    } else {
        let total = catalog.partition_count.saturating_add(added);
        if total <= policy.max_partitions {
            return Ok(());
        }
        format!("{total} partitions in all exceed the broker's limit of {}.", policy.max_partitions)
    };
    Err(Fault::with(Code::PolicyViolation, message))
}

fn check_configs(check: &CheckConfigs, configs: &Configs) -> Result<(), Fault> {
    check(configs).map_err(|message| Fault::with(Code::InvalidConfig, message))
}
