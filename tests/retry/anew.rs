//! Groups that begin anew: their offsets are deleted, or they are.

use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{DeleteGroupsRequest, GroupId, OffsetDeleteRequest, TopicName};

use crate::kit::{Given, Reader, produce};
use crate::nacks::{commit, group, nack, retries};
use crate::support::broker::Broker;
use crate::support::client::Client;
use crate::support::topics::{create, name};

fn delete_offset(client: &mut Client, group: &GroupId, topic: &TopicName) {
    let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(topic.clone())
        .with_partitions(vec![partition]);
    let request =
        OffsetDeleteRequest::default().with_group_id(group.clone()).with_topics(vec![topic]);
    let deleted = client.call(0, &request);
    assert_eq!(deleted.topics[0].partitions[0].error_code, 0, "{deleted:?}");
}

fn delete_group(client: &mut Client, group: &GroupId) {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group.clone()]);
    let deleted = client.call(2, &request);
    assert_eq!(deleted.results[0].error_code, 0, "{deleted:?}");
}

#[test]
fn a_group_without_its_offsets_may_fail_on_a_record_again() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let (topic, group) = (name("anew"), group("g"));
    create(client, &topic, 1);
    produce(client, &topic, 0, &[Given::live("a")]);
    let failed = || nack(&group, 0).with("klamm.nack.delay", 1);
    let mut retried = Reader::new(&retries(&group, &topic), 0);
    let ends: [fn(&mut Client, &GroupId, &TopicName); 3] =
        [delete_offset, |client, group, _| delete_group(client, group), |_, _, _| ()];
    for (retry, forget) in (1..).zip(ends) {
        // The same offset each time, so that the commit itself moves nobody back.
        commit(client, &group, &topic, 0, 1);
        produce(client, &topic, 0, &[failed(), failed()]);
        retried.until(client, retry);
        forget(client, &group, &topic);
    }
    assert_eq!(retried.values(), ["a", "a", "a"]);
}
