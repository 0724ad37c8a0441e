"""librdkafka's admin client: topics, partitions, records, configs, the cluster."""

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, NewPartitions, NewTopic, OffsetSpec)

import records as corpus
from harness import wait


@pytest.fixture(autouse=True)
def named(record_property):
    record_property("client", "confluent-kafka")


def failure(future):
    with pytest.raises(KafkaException) as raised:
        future.result(30)
    return raised.value.args[0].code()


def topic_resource(topic):
    return ConfigResource(ConfigResource.Type.TOPIC, topic)


def described(admin, resource):
    return admin.describe_configs([resource])[resource].result(30)


def change(admin, topic, *entries):
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[
        ConfigEntry(name, value, incremental_operation=operation) for name, value, operation in entries])
    return admin.incremental_alter_configs([resource])[resource]


def test_create_and_delete_topics(admin):
    admin.create_topics([NewTopic("made-here", 3, 1)])["made-here"].result(30)
    wait.until(lambda: len(admin.list_topics("made-here", 10).topics["made-here"].partitions) == 3, "3 partitions")
    assert failure(admin.create_topics([NewTopic("made-here", 3, 1)])["made-here"]) \
        == KafkaError.TOPIC_ALREADY_EXISTS
    admin.delete_topics(["made-here"])["made-here"].result(30)
    wait.until(lambda: "made-here" not in admin.list_topics(timeout=10).topics, "the topic's end")
    assert failure(admin.delete_topics(["made-here"])["made-here"]) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_topic_made_again_is_empty(admin, all_clients):
    client = all_clients["confluent-kafka"]
    for _ in range(3):
        admin.create_topics([NewTopic("again", 1, 1)])["again"].result(30)
        wait.until(lambda: "again" in admin.list_topics(timeout=10).topics, "the topic")
        assert client.ends("again") == (0, 0)
        client.produce("again", corpus.numbered(10))
        assert client.ends("again") == (0, 10)
        admin.delete_topics(["again"])["again"].result(30)
        wait.until(lambda: "again" not in admin.list_topics(timeout=10).topics, "the topic's end")


@pytest.mark.parametrize("topic, code", [
    (NewTopic("bad/name", 1, 1), KafkaError.TOPIC_EXCEPTION),
    (NewTopic("..", 1, 1), KafkaError.TOPIC_EXCEPTION),
    (NewTopic("too-many-replicas", 1, 3), KafkaError.INVALID_REPLICATION_FACTOR),
    (NewTopic("no-such-config", 1, 1, config={"no.such.config": "1"}), KafkaError.INVALID_CONFIG),
    (NewTopic("bad-value", 1, 1, config={"retention.ms": "soon"}), KafkaError.INVALID_CONFIG),
], ids=lambda value: getattr(value, "topic", ""))
def test_topics_that_are_refused(admin, topic, code):
    assert failure(admin.create_topics([topic])[topic.topic]) == code
    assert topic.topic not in admin.list_topics(timeout=10).topics


def test_validate_only_makes_nothing(admin):
    admin.create_topics([NewTopic("only-asked", 1, 1)], validate_only=True)["only-asked"].result(30)
    assert "only-asked" not in admin.list_topics(timeout=10).topics


def test_create_partitions(admin, make_topic, all_clients):
    topic = make_topic(2)
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(30)
    wait.until(lambda: len(admin.list_topics(topic, 10).topics[topic].partitions) == 5, "5 partitions")
    client = all_clients["confluent-kafka"]
    client.produce(topic, corpus.numbered(5), partition=4)
    assert client.ends(topic, 4) == (0, 5)
    assert failure(admin.create_partitions([NewPartitions(topic, 3)])[topic]) == KafkaError.INVALID_PARTITIONS


def test_delete_records(admin, make_topic, all_clients):
    topic, client = make_topic(), all_clients["confluent-kafka"]
    client.produce(topic, corpus.numbered(100))

    def delete(offset):
        place = TopicPartition(topic, 0, offset)
        return admin.delete_records([place])[place]
    assert delete(40).result(30).low_watermark == 40
    assert client.ends(topic) == (40, 100)
    assert delete(10).result(30).low_watermark == 40
    assert [r.offset for r in client.consume(topic, 40, 60)] == list(range(40, 100))
    assert failure(delete(101)) == KafkaError.OFFSET_OUT_OF_RANGE
    assert delete(-1).result(30).low_watermark == 100
    assert client.ends(topic) == (100, 100)
    client.produce(topic, corpus.numbered(1))
    assert client.ends(topic) == (100, 101)


def test_describe_and_alter_topic_configs(admin, make_topic):
    topic = make_topic(retention_ms=3_600_000)
    configs = described(admin, topic_resource(topic))
    assert configs["retention.ms"].value == "3600000"
    assert configs["retention.ms"].source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    assert configs["cleanup.policy"].value == "delete" and configs["cleanup.policy"].is_default
    change(admin, topic, ("retention.ms", None, AlterConfigOpType.DELETE),
           ("cleanup.policy", "compact", AlterConfigOpType.APPEND),
           ("max.message.bytes", "2000", AlterConfigOpType.SET)).result(30)
    configs = described(admin, topic_resource(topic))
    assert configs["retention.ms"].value == "604800000" and configs["retention.ms"].is_default
    assert configs["cleanup.policy"].value == "delete,compact"
    assert configs["max.message.bytes"].value == "2000"
    assert failure(change(admin, topic, ("retention.ms", "x", AlterConfigOpType.SET))) == KafkaError.INVALID_CONFIG


def test_a_changed_limit_is_in_force(admin, make_topic, all_clients):
    topic, client = make_topic(), all_clients["confluent-kafka"]
    change(admin, topic, ("max.message.bytes", "1000", AlterConfigOpType.SET)).result(30)
    with pytest.raises(Exception, match="(?i)size too large"):
        client.produce(topic, [corpus.Record(b"k", b"v" * 2000)])
    change(admin, topic, ("max.message.bytes", "5000", AlterConfigOpType.SET)).result(30)
    client.produce(topic, [corpus.Record(b"k", b"v" * 2000)])


def test_broker_configs(admin):
    node = next(iter(admin.list_topics(timeout=10).brokers))
    configs = described(admin, ConfigResource(ConfigResource.Type.BROKER, str(node)))
    assert configs["num.partitions"].value == "4"
    assert configs["log.dirs"].is_read_only
    assert len(configs) > 50


def test_describe_cluster(admin, broker):
    cluster = admin.describe_cluster().result(30)
    assert [f"{node.host}:{node.port}" for node in cluster.nodes] == [broker.bootstrap]
    assert cluster.controller.id == cluster.nodes[0].id
    assert len(cluster.cluster_id) == 22
    assert cluster.cluster_id == admin.list_topics(timeout=10).cluster_id


def test_describe_topics(admin, make_topic):
    topic = make_topic(2)
    found = admin.describe_topics(TopicCollection([topic]))[topic].result(30)
    assert [p.id for p in found.partitions] == [0, 1]
    assert str(found.topic_id) not in ("", "AAAAAAAAAAAAAAAAAAAAAA")


def test_list_offsets(admin, make_topic, all_clients):
    topic = make_topic()
    records = corpus.numbered(10)
    records[3] = corpus.replace(records[3], timestamp=corpus.BASE_TIME_MS + 1_000_000)
    all_clients["confluent-kafka"].produce(topic, records)

    def listed(spec):
        place = TopicPartition(topic, 0)
        return admin.list_offsets({place: spec})[place].result(30).offset
    assert listed(OffsetSpec.earliest()) == 0
    assert listed(OffsetSpec.latest()) == 10
    assert listed(OffsetSpec.max_timestamp()) == 3
    assert listed(OffsetSpec.for_timestamp(records[5].timestamp)) == 3
