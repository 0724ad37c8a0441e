//! Who leads a partition, as Metadata and DescribeTopicPartitions tell it.

use kafka_protocol::messages::BrokerId;

use crate::base::fault::Code;
use crate::base::ids::TopicPartition;
use crate::catalog::{Catalog, NO_LEADER, Topic};

/// One partition's leader and replicas. Each partition has one replica, in sync by definition.
pub struct Leadership {
    /// LEADER_NOT_AVAILABLE without a leader, else 0.
    pub error_code: i16,
    pub leader: BrokerId,
    pub replicas: Vec<BrokerId>,
    /// Replicas whose log cannot be opened.
    pub offline: Vec<BrokerId>,
}

/// The leadership of a partition that exists.
#[must_use]
pub fn leadership(catalog: &Catalog, topic: &Topic, partition: i32) -> Leadership {
    match catalog.leader(TopicPartition::new(topic.id, partition)) {
        NO_LEADER => {
            let here = vec![BrokerId(catalog.node_id())];
            Leadership {
                error_code: Code::LeaderNotAvailable.code(),
                leader: BrokerId(NO_LEADER),
                replicas: here.clone(),
                offline: here,
            }
        }
        node => Leadership {
            error_code: 0,
            leader: BrokerId(node),
            replicas: vec![BrokerId(node)],
            offline: Vec::new(),
        },
    }
}
