//! DescribeLogDirs: the data directory, what its partitions take, and how much room is left.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    ApiKey, DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName,
};

use super::endpoint::{Begun, Cx, Endpoint};
use super::text;
use crate::base::fault::Code;
use crate::shard::registry::Partition;
use crate::store::local::{Space, space};

/// v2 flexible. v3 error of the whole answer, never set here. v4 room of the volume.
pub struct DescribeLogDirs;

impl Endpoint for DescribeLogDirs {
    const KEY: ApiKey = ApiKey::DescribeLogDirs;
    const VERSIONS: RangeInclusive<i16> = 1..=4;
    type Request = DescribeLogDirsRequest;
    type Response = DescribeLogDirsResponse;

    fn begin(cx: &mut Cx<'_>, request: DescribeLogDirsRequest) -> Begun<DescribeLogDirsResponse> {
        let partitions = cx.services.shards.registry().all();
        let topics = topics(&partitions, request.topics.as_deref());
        let dir = cx.services.settings.data_dir.clone();
        Begun::later(async move {
            // Asks the file system, which may wait for a disk.
            let described = tokio::task::spawn_blocking(move || describe(&dir));
            let result = described.await.unwrap_or_else(|_| failed(Path::new("")));
            DescribeLogDirsResponse::default().with_results(vec![result.with_topics(topics)])
        })
    }
}

fn describe(dir: &PathBuf) -> DescribeLogDirsResult {
    let path = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    match space(&path) {
        Ok(Space { total_bytes, usable_bytes }) => DescribeLogDirsResult::default()
            .with_log_dir(text(&path.to_string_lossy()))
            .with_total_bytes(i64::try_from(total_bytes).unwrap_or(i64::MAX))
            .with_usable_bytes(i64::try_from(usable_bytes).unwrap_or(i64::MAX)),
        Err(_) => failed(&path),
    }
}

fn failed(dir: &Path) -> DescribeLogDirsResult {
    DescribeLogDirsResult::default()
        .with_error_code(Code::KafkaStorageError.code())
        .with_log_dir(text(&dir.to_string_lossy()))
}

/// Sizes by topic and partition, of those asked for; `None` asks for all. What does not exist is
/// left out.
fn topics(
    partitions: &[Arc<Partition>],
    asked: Option<&[DescribableLogDirTopic]>,
) -> Vec<DescribeLogDirsTopic> {
    let asked = asked.map(|topics| {
        let mut by_name = BTreeMap::<&str, BTreeSet<i32>>::new();
        for topic in topics {
            by_name.entry(&topic.topic).or_default().extend(&topic.partitions);
        }
        by_name
    });
    let mut found = BTreeMap::<&str, BTreeMap<i32, u64>>::new();
    for partition in partitions {
        let (name, index) = (&*partition.topic_name, partition.tp.partition);
        let is_asked = |asked: &BTreeMap<&str, BTreeSet<i32>>| {
            asked.get(name).is_some_and(|indexes| indexes.contains(&index))
        };
        if asked.as_ref().is_none_or(is_asked) {
            found.entry(name).or_default().insert(index, partition.view.size_bytes());
        }
    }
    found.into_iter().map(|(name, sizes)| topic(name, &sizes)).collect()
}

fn topic(name: &str, sizes: &BTreeMap<i32, u64>) -> DescribeLogDirsTopic {
    let partition = |(index, bytes): (&i32, &u64)| {
        DescribeLogDirsPartition::default()
            .with_partition_index(*index)
            .with_partition_size(i64::try_from(*bytes).unwrap_or(i64::MAX))
    };
    DescribeLogDirsTopic::default()
        .with_name(TopicName(text(name)))
        .with_partitions(sizes.iter().map(partition).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kit::Kit;

    #[test]
    fn every_version_names_the_directory_and_its_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut kit = Kit::with(&[("log.dirs", dir.path().to_str().unwrap())]);
        for version in DescribeLogDirs::VERSIONS {
            let request = DescribeLogDirsRequest::default().with_topics(None);
            let response = kit.ask::<DescribeLogDirs>(version, &request);
            let [result] = &response.results[..] else { panic!("{response:?}") };
            assert_eq!((result.error_code, &*result.log_dir), (0, dir.path().to_str().unwrap()));
            assert_eq!(result.total_bytes > 0, version >= 4, "v{version}");
            assert!(result.usable_bytes <= result.total_bytes);
        }
    }

    #[test]
    fn a_directory_that_is_gone_is_a_storage_error() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let mut kit = Kit::with(&[("log.dirs", gone.to_str().unwrap())]);
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let response = kit.ask::<DescribeLogDirs>(4, &request);
        assert_eq!(response.results[0].error_code, Code::KafkaStorageError.code());
    }
}
