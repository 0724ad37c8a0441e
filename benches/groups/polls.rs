//! Long polls on a partition that stays empty.

use std::io;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinSet;

use crate::link::Link;

const TOPIC: &str = "polled";
const CREATE_VERSION: i16 = 5;
/// The last version that names topics by name.
const FETCH_VERSION: i16 = 12;

/// Makes the topic and starts `connections` that fetch from it for ever.
pub async fn start(
    target: &str,
    connections: usize,
    max_wait_ms: i32,
    work: &mut JoinSet<io::Result<()>>,
) -> io::Result<()> {
    let name = TopicName(StrBytes::from_static_str(TOPIC));
    let topic = CreatableTopic::default()
        .with_name(name.clone())
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    // A second run finds the topic there, which is as good.
    Link::connect(target).await?.call(CREATE_VERSION, &request).await?;
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(name).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    for _ in 0..connections {
        let mut link = Link::connect(target).await?;
        let request = request.clone();
        work.spawn(async move {
            loop {
                let answer = link.call(FETCH_VERSION, &request).await?;
                let partition = answer.responses.first().and_then(|topic| topic.partitions.first());
                if partition.is_none_or(|partition| partition.error_code != 0) {
                    return Err(io::Error::other(format!("Fetch: {answer:?}")));
                }
            }
        });
    }
    Ok(())
}
