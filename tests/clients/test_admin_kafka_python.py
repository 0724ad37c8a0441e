"""kafka-python's admin client."""

import pytest
from kafka import KafkaAdminClient, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic

import records as corpus
from harness import wait


@pytest.fixture(autouse=True)
def named(record_property):
    record_property("client", "kafka-python")


@pytest.fixture(scope="module")
def cluster_admin(broker):
    opened = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    yield opened
    opened.close()


def configs_of(cluster_admin, topic):
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    return cluster_admin.describe_configs([resource], config_filter="all")


def test_create_and_delete_topics(cluster_admin):
    cluster_admin.create_topics([NewTopic("kp-made", 3, 1)])
    wait.until(lambda: "kp-made" in cluster_admin.list_topics(), "the topic")
    with pytest.raises(errors.TopicAlreadyExistsError):
        cluster_admin.create_topics([NewTopic("kp-made", 3, 1)])
    cluster_admin.delete_topics(["kp-made"])
    wait.until(lambda: "kp-made" not in cluster_admin.list_topics(), "the topic's end")
    with pytest.raises(errors.UnknownTopicOrPartitionError):
        cluster_admin.delete_topics(["kp-made"])


def test_create_partitions(cluster_admin, make_topic, all_clients):
    topic = make_topic(2)
    cluster_admin.create_partitions({topic: NewPartitions(4)})
    wait.until(lambda: len(cluster_admin.describe_topics([topic])[0]["partitions"]) == 4, "4 partitions")


def test_delete_records(cluster_admin, make_topic, all_clients):
    topic = make_topic()
    all_clients["kafka-python"].produce(topic, corpus.numbered(50))
    cluster_admin.delete_records({TopicPartition(topic, 0): 20})
    assert all_clients["kafka-python"].ends(topic) == (20, 50)


def test_describe_and_alter_configs(cluster_admin, make_topic):
    topic = make_topic()
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "123456"})
    cluster_admin.alter_configs([resource])
    assert "123456" in repr(configs_of(cluster_admin, topic))


def test_describe_cluster(cluster_admin, broker):
    cluster = cluster_admin.describe_cluster()
    assert [f"{node['host']}:{node['port']}" for node in cluster["brokers"]] == [broker.bootstrap]


def test_describe_log_dirs(cluster_admin, make_topic, all_clients):
    topic = make_topic()
    all_clients["kafka-python"].produce(topic, corpus.numbered(50))
    described = repr(cluster_admin.describe_log_dirs())
    assert topic in described


def test_describe_producers(cluster_admin, make_topic, all_clients):
    topic = make_topic()
    all_clients["kafka-python"].produce(topic, corpus.numbered(10), idempotent=True)
    described = repr(cluster_admin.describe_producers([TopicPartition(topic, 0)]))
    assert "producer_id" in described and "last_sequence" in described
