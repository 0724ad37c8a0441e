//! A group that goes back: what it fails on again makes new copies, so what is remembered of the
//! old ones is forgotten from its new committed offset on.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::copy::{Copied, Task};
use super::place::Wanted;
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::base::role::RoleKind;
use crate::catalog::Catalog;
use crate::coord::group::offsets::MovedBack;
use crate::delay::copies::Maker;
use crate::shard::Shards;
use crate::shard::host::Defaults;
use crate::shard::metadata::Metadata;

/// The answer to a task.
type Asked = oneshot::Receiver<Result<Copied, Fault>>;

/// Forgets the copies of what a group is going to read again. Done when that is durable.
///
/// # Errors
/// COORDINATOR_LOAD_IN_PROGRESS: the commit is to be sent again, or nacks of what the group reads
/// again would pass for known.
pub async fn forget(
    shards: &Shards,
    metadata: &Metadata,
    defaults: &Defaults,
    group: &str,
    moved: Vec<MovedBack>,
) -> Result<(), Fault> {
    let catalog = Arc::clone(&metadata.catalog());
    let maker = Maker::Nack(group.into());
    let clear = |(dest, moved): (TopicPartition, MovedBack)| {
        let (maker, source, from) = (maker.clone(), moved.tp, moved.offset);
        shards.ask_copies(Task::Clear { dest, maker, source, from })
    };
    let dests = moved.into_iter().flat_map(|moved| {
        let dests = destinations(&catalog, defaults, group, moved.tp);
        dests.into_iter().map(move |dest| (dest, moved))
    });
    done(dests.map(clear).collect()).await
}

/// Forgets all copies of a group that is to be deleted. Done when that is durable.
///
/// # Errors
/// As [`forget`].
pub async fn forget_group(
    shards: &Shards,
    metadata: &Metadata,
    defaults: &Defaults,
    group: &str,
) -> Result<(), Fault> {
    let catalog = Arc::clone(&metadata.catalog());
    let named = defaults.retries(&catalog, group).dead_letter_topic;
    let named = named.and_then(|name| catalog.topic(&name));
    let own = catalog.with_roles().filter(|topic| topic.belongs_to(group)).chain(named);
    let dests =
        own.flat_map(|topic| (0..topic.partitions).map(|n| TopicPartition::new(topic.id, n)));
    let maker = Maker::Nack(group.into());
    let forget = |dest| shards.ask_copies(Task::Forget { dest, maker: maker.clone() });
    done(dests.map(forget).collect()).await
}

async fn done(asked: Vec<Asked>) -> Result<(), Fault> {
    for answer in asked {
        let again = |why: String| Fault::with(Code::CoordinatorLoadInProgress, why);
        let cleared = answer.await.map_err(|_| again("the broker is stopping".to_owned()))?;
        match cleared {
            // A topic that is being deleted remembers nothing.
            Err(fault) if fault.kind() == Code::NotLeaderOrFollower => {}
            Err(fault) => return Err(again(fault.to_string())),
            Ok(Copied { .. }) => {}
        }
    }
    Ok(())
}

/// Where there may be copies for a group of a partition's records.
fn destinations(
    catalog: &Catalog,
    defaults: &Defaults,
    group: &str,
    tp: TopicPartition,
) -> Vec<TopicPartition> {
    let Some(topic) = catalog.topic_by_id(tp.topic_id) else { return Vec::new() };
    let settings = defaults.retries(catalog, group);
    let group = Some(Arc::from(group));
    let kinds = [RoleKind::Retry, RoleKind::Dlq].into_iter();
    let dest = |kind| {
        let dest = Wanted::of(kind, group.as_ref(), &settings, topic).find(catalog)?.clone();
        Some(TopicPartition::new(dest.id, tp.partition % dest.partitions))
    };
    kinds.filter_map(dest).collect()
}
