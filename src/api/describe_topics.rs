//! DescribeTopicPartitions: topics in name order, in pages of bounded size (KIP-966).

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::endpoint::{Begun, Cx, Endpoint};
use super::metadata::{ALL_TOPIC_OPERATIONS, Leadership, leadership};
use super::text;
use crate::base::fault::Code;
use crate::catalog::{Catalog, Topic, check_topic_name};

/// v0 only. Operations are always told, as Kafka does.
pub struct DescribeTopicPartitions;

impl Endpoint for DescribeTopicPartitions {
    const KEY: ApiKey = ApiKey::DescribeTopicPartitions;
    const VERSIONS: RangeInclusive<i16> = 0..=0;
    type Request = DescribeTopicPartitionsRequest;
    type Response = DescribeTopicPartitionsResponse;

    fn begin(
        cx: &mut Cx<'_>,
        request: DescribeTopicPartitionsRequest,
    ) -> Begun<DescribeTopicPartitionsResponse> {
        let most = cx.services.settings.max_request_partition_size_limit;
        let limit = request.response_partition_limit.min(most).max(1);
        let catalog = cx.services.metadata.catalog();
        Begun::Done(describe(&catalog, &request, limit))
    }
}

fn describe(
    catalog: &Catalog,
    request: &DescribeTopicPartitionsRequest,
    limit: i32,
) -> DescribeTopicPartitionsResponse {
    let names: BTreeSet<&StrBytes> = request.topics.iter().map(|topic| &topic.name.0).collect();
    let (from, partition) = match &request.cursor {
        None => ("", 0),
        Some(cursor) => (&cursor.topic_name.0[..], cursor.partition_index),
    };
    // A cursor comes from an earlier page of the same request.
    let foreign =
        !from.is_empty() && !names.is_empty() && !names.iter().any(|name| ***name == *from);
    if foreign || partition < 0 {
        return refuse(&names);
    }
    let mut page = Page { catalog, room: limit, topics: Vec::new(), next: None };
    // What an earlier page has told of the first topic is skipped.
    let first_partition = |name: &str| if name == from { partition } else { 0 };
    if names.is_empty() {
        for topic in catalog.topics_from(from) {
            if !page.add(topic, first_partition(&topic.name)) {
                break;
            }
        }
    } else {
        for name in names.into_iter().filter(|name| ***name >= *from) {
            let fits = match catalog.topic(name) {
                Some(topic) => page.add(topic, first_partition(name)),
                None => page.add_missing(name),
            };
            if !fits {
                break;
            }
        }
    }
    DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(page.next)
}

/// One answer in the making.
struct Page<'a> {
    catalog: &'a Catalog,
    /// Partitions that may still be told.
    room: i32,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
}

impl Page<'_> {
    /// Adds a topic's partitions from `first` on; false when the page is full and the next one
    /// begins in or with this topic.
    fn add(&mut self, topic: &Arc<Topic>, first: i32) -> bool {
        let first = first.min(topic.partitions);
        let end = first.saturating_add(self.room).min(topic.partitions);
        let whole = end == topic.partitions;
        if self.room > 0 {
            self.topics.push(known(self.catalog, topic, first..end));
            self.room -= end - first;
        }
        if !whole {
            let cursor = Cursor::default()
                .with_topic_name(TopicName(text(&topic.name)))
                .with_partition_index(end);
            self.next = Some(cursor);
        }
        whole
    }

    fn add_missing(&mut self, name: &StrBytes) -> bool {
        if self.room > 0 {
            let code = check_topic_name(name)
                .map_or_else(|fault| fault.kind(), |()| Code::UnknownTopicOrPartition);
            self.topics
                .push(failed(name, code).with_topic_authorized_operations(ALL_TOPIC_OPERATIONS));
            return true;
        }
        self.next = Some(Cursor::default().with_topic_name(TopicName(name.clone())));
        false
    }
}

fn known(
    catalog: &Catalog,
    topic: &Topic,
    partitions: Range<i32>,
) -> DescribeTopicPartitionsResponseTopic {
    let epoch = catalog.leader_epoch(topic);
    let partition = |index| {
        let Leadership { error_code, leader, replicas, offline } =
            leadership(catalog, topic, index);
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(error_code)
            .with_partition_index(index)
            .with_leader_id(leader)
            .with_leader_epoch(epoch)
            .with_isr_nodes(replicas.clone())
            .with_replica_nodes(replicas)
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
            .with_offline_replicas(offline)
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.map(partition).collect())
        .with_topic_authorized_operations(ALL_TOPIC_OPERATIONS)
}

fn failed(name: &StrBytes, code: Code) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(TopicName(name.clone())))
}

/// The response has no error of its own: a bad cursor is told on every topic.
fn refuse(names: &BTreeSet<&StrBytes>) -> DescribeTopicPartitionsResponse {
    let topics = names.iter().map(|name| failed(name, Code::InvalidRequest));
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_topic_partitions_request as request;

    use super::*;
    use crate::api::kit::{Kit, topic_name};

    /// What a page tells: topic, error, partitions; and where the next one begins.
    type Told = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

    fn ask(kit: &mut Kit, names: &[&str], limit: i32, from: Option<(&str, i32)>) -> Told {
        let topic = |name: &&str| request::TopicRequest::default().with_name(topic_name(name));
        let cursor = from.map(|(name, index)| {
            request::Cursor::default().with_topic_name(topic_name(name)).with_partition_index(index)
        });
        let asked = DescribeTopicPartitionsRequest::default()
            .with_topics(names.iter().map(topic).collect())
            .with_response_partition_limit(limit)
            .with_cursor(cursor);
        let response = kit.ask::<DescribeTopicPartitions>(0, &asked);
        let told = |topic: DescribeTopicPartitionsResponseTopic| {
            let indexes = topic.partitions.iter().map(|p| p.partition_index).collect();
            (topic.name.unwrap_or_default().to_string(), topic.error_code, indexes)
        };
        let next = response.next_cursor.map(|c| (c.topic_name.to_string(), c.partition_index));
        (response.topics.into_iter().map(told).collect(), next)
    }

    fn topic(name: &str, partitions: Range<i32>) -> (String, i16, Vec<i32>) {
        (name.to_owned(), 0, partitions.collect())
    }

    fn bad(name: &str, code: Code) -> (String, i16, Vec<i32>) {
        (name.to_owned(), code.code(), Vec::new())
    }

    fn next(name: &str, partition: i32) -> Option<(String, i32)> {
        Some((name.to_owned(), partition))
    }

    fn kit() -> Kit {
        Kit::with_topics(&[("t1", 2), ("t2", 3), ("t3", 1)])
    }

    #[test]
    fn topics_come_once_in_name_order() {
        let told = ask(&mut kit(), &["t2", "nope", "t1", "a b", "t2"], 2000, None);
        let topics = vec![
            bad("a b", Code::InvalidTopicException),
            bad("nope", Code::UnknownTopicOrPartition),
            topic("t1", 0..2),
            topic("t2", 0..3),
        ];
        assert_eq!(told, (topics, None));
    }

    #[test]
    fn no_topics_named_means_all() {
        let told = ask(&mut kit(), &[], 2000, None);
        assert_eq!(told, (vec![topic("t1", 0..2), topic("t2", 0..3), topic("t3", 0..1)], None));
        let told = ask(&mut kit(), &[], 2, Some(("t11", 0)));
        assert_eq!(told, (vec![topic("t2", 0..2)], next("t2", 2)));
    }

    #[test]
    fn pages_end_where_the_limit_is_reached() {
        let all = ["t1", "t2", "t3"];
        for limit in [1, 0, -5] {
            let told = ask(&mut kit(), &all, limit, None);
            assert_eq!(told, (vec![topic("t1", 0..1)], next("t1", 1)), "{limit}");
        }
        let told = ask(&mut kit(), &all, 2, None);
        assert_eq!(told, (vec![topic("t1", 0..2)], next("t2", 0)));
        let told = ask(&mut kit(), &all, 2, Some(("t1", 1)));
        assert_eq!(told, (vec![topic("t1", 1..2), topic("t2", 0..1)], next("t2", 1)));
        let told = ask(&mut kit(), &all, 2000, Some(("t2", 1)));
        assert_eq!(told, (vec![topic("t2", 1..3), topic("t3", 0..1)], None));
        let told = ask(&mut kit(), &["t1"], 2000, Some(("t1", 9)));
        assert_eq!(told, (vec![topic("t1", 2..2)], None));
    }

    #[test]
    fn following_the_cursor_tells_every_partition_once() {
        let mut kit = kit();
        let mut told = Vec::new();
        let mut from = None;
        loop {
            let cursor = from.as_ref().map(|(name, index): &(String, i32)| (name.as_str(), *index));
            let (topics, next) = ask(&mut kit, &[], 1, cursor);
            for (name, _, partitions) in topics {
                told.extend(partitions.into_iter().map(|p| format!("{name}-{p}")));
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(told, ["t1-0", "t1-1", "t2-0", "t2-1", "t2-2", "t3-0"]);
    }

    #[test]
    fn a_cursor_that_is_not_of_this_request_is_refused() {
        let refused = (vec![bad("t1", Code::InvalidRequest)], None);
        assert_eq!(ask(&mut kit(), &["t1"], 2000, Some(("t12", 0))), refused);
        assert_eq!(ask(&mut kit(), &["t1"], 2000, Some(("t1", -1))), refused);
    }
}
