//! Committed offsets in a group's own retry topic.
//!
//! Such a topic appears while the group's consumers run, and they find it minutes later: without a
//! committed offset `auto.offset.reset=latest` would skip the first retries. So the group has
//! offset 0 in each of its partitions until it commits another, and what it commits there never
//! expires. Rejected: to store the zeros when the topic is created, which is a commit in a second
//! partition that a crash can come before, and which whoever adds partitions must not forget.

use super::{ByTopic, Committed, Fetched};
use crate::coord::cluster::TopicInfo;
use crate::coord::group::Cx;

/// What the group has in one of the topic's partitions without having committed anything.
pub(super) fn given(info: Option<&TopicInfo>, group: &str, partition: i32) -> Option<Committed> {
    let info = info.filter(|info| info.retries_for(group))?;
    let exists = (0..info.partitions).contains(&partition);
    exists.then(|| Committed { offset: 0, leader_epoch: -1, metadata: "".into() })
}

/// Adds what the group has without having committed it.
pub(super) fn complete(found: &mut ByTopic<Fetched>, group: &str, cx: &Cx<'_>) {
    cx.moment.cluster.each_retry_topic(group, &mut |info| {
        let at = found.iter().position(|(topic, _)| *topic == info.name).unwrap_or_else(|| {
            found.push((info.name.clone(), Vec::new()));
            found.len() - 1
        });
        let partitions = &mut found[at].1;
        for partition in 0..info.partitions {
            if partitions.iter().all(|known| known.partition != partition) {
                let committed = given(Some(info), group, partition);
                partitions.push(Fetched { partition, committed });
            }
        }
        partitions.sort_unstable_by_key(|known| known.partition);
    });
}

/// Whether the group's offsets in a topic do not expire: it is for the group's retries, or the
/// group has retries or dead letters of it. Begun anew there, the group would fail on records that
/// are remembered as failed, and get none of them again.
pub(super) fn are_kept(cx: &Cx<'_>, group: &str, topic: &str) -> bool {
    let cluster = cx.moment.cluster;
    let is_kept = |info: TopicInfo| info.retries_for(group) || cluster.has_failed(group, info.id);
    cluster.topic(topic).is_some_and(is_kept)
}
