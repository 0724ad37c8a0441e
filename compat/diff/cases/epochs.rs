//! OffsetForLeaderEpoch.

use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use klamm::wire::compression::Codec;

use super::{Cases, Draw, batch, create, id_of, produce, topic_name};
use crate::talk::Talk;

pub const CASES: Cases = &[("epochs: their ends", ends)];

fn ends(talk: &mut Talk, _: &mut Draw) {
    create(talk, "epochs", 2, &[]);
    let id = id_of(talk, "epochs");
    talk.ask(9, &produce(9, ("epochs", id), 0, batch(Codec::None, 4, 10)));
    for version in 2..=4 {
        for name in ["epochs", "epochs-none", ""] {
            for current in [-1, 0, 1] {
                for asked in [-1, 0, 1, i32::MAX] {
                    let partition = |index| {
                        OffsetForLeaderPartition::default()
                            .with_partition(index)
                            .with_current_leader_epoch(current)
                            .with_leader_epoch(asked)
                    };
                    let topic = OffsetForLeaderTopic::default()
                        .with_topic(topic_name(name))
                        .with_partitions(vec![partition(0), partition(1), partition(2)]);
                    let mut request =
                        OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
                    if version >= 3 {
                        request = request.with_replica_id(BrokerId(-1));
                    }
                    talk.ask(version, &request);
                }
            }
        }
    }
}
