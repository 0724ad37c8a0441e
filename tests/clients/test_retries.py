"""Retries and dead letters with every client, unmodified: a nack is one record that any of them can
send, and what comes of it is read like any other record."""

import itertools
import time

import confluent_kafka
import pytest

import peers
from records import Record

GROUPS = itertools.count(1)


@pytest.fixture
def known_group(broker):
    """Makes a group known by a committed offset."""
    def make(topic):
        group = f"failing-{next(GROUPS)}"
        consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "log_level": 0})
        try:
            consumer.commit(offsets=[confluent_kafka.TopicPartition(topic, 0, 0)], asynchronous=False)
        finally:
            consumer.close()
        return group
    return make


def nack(client, topic, group, offset, delay_ms=1):
    """Says that the group has failed on that offset."""
    headers = (("klamm.nack.group", group.encode()), ("klamm.nack.offset", b"%d" % offset),
               ("klamm.nack.delay", b"%d" % delay_ms))
    if client.name != "kcat":
        # Any key will do; kafka-python sends no record without one and a value.
        client.produce(topic, [Record(b"nack", None, headers)])
        return
    # It has one set of headers per process, and sends empty values as null if told so.
    words = [word for name, value in headers for word in ("-H", f"{name}={value.decode()}")]
    client.produce(topic, [Record(b"nack", b"")], words=["-Z", *words])


def test_a_nack_becomes_a_retry_and_then_a_dead_letter(client, all_clients, known_group, make_topic):
    topic = make_topic()
    order = Record(b"order", b"7", (("trace", b"1"), ("klamm.retry.max", b"1")))
    all_clients["confluent-kafka"].produce(topic, [order])
    group = known_group(topic)
    nack(client, topic, group, 0)
    retry = client.consume(f"retry.{group}.{topic}", 0, 1)[0]
    headers = dict(retry.headers)
    assert (retry.key, retry.value, headers["trace"]) == (b"order", b"7", b"1")
    assert headers["klamm.retry.attempt"] == b"1"
    assert headers["klamm.retry.origin"] == f"{topic}:0:0".encode()

    nack(client, f"retry.{group}.{topic}", group, retry.offset)
    for reader in all_clients.values():
        letter = reader.consume(f"dlq.{group}.{topic}", 0, 1)[0]
        headers = dict(letter.headers)
        assert (letter.key, letter.value, headers["trace"]) == (b"order", b"7", b"1"), reader.name
        assert headers["__dlq.errors.reason"] == b"delivery-limit", reader.name
        assert headers["__dlq.errors.topic"] == topic.encode()
        assert headers["__dlq.errors.group"] == group.encode()
        assert headers["__dlq.errors.delivery.count"] == b"2"


def test_a_nack_of_a_group_that_is_not_there_is_refused(client, all_clients, make_topic):
    topic = make_topic()
    all_clients["confluent-kafka"].produce(topic, [Record(b"order", b"7")])
    with pytest.raises(peers.Refused):
        nack(client, topic, "nobody", 0)
    assert client.ends(topic) == (0, 1)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_member_that_reads_from_the_latest_on_gets_its_first_retry(broker, all_clients, make_topic, protocol):
    """It finds the retry topic only after the retry is in it."""
    topic = make_topic()
    group = f"latest-{protocol}-{next(GROUPS)}"
    sender = all_clients["confluent-kafka"]
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.bootstrap, "group.id": group, "auto.offset.reset": "latest",
        "group.protocol": protocol, "topic.metadata.refresh.interval.ms": 300, "metadata.max.age.ms": 600,
        "log_level": 0})

    def next_record():
        end = time.monotonic() + peers.DEADLINE_S
        while time.monotonic() < end:
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                return message.topic(), message.value()
        raise TimeoutError("no record")

    try:
        assigned = []
        consumer.subscribe([f"^{topic}$", f"^retry[.]{group}[.].*"], on_assign=lambda _, all: assigned.extend(all))
        while not assigned:
            consumer.poll(0.2)
        # Where it begins is not said: records are sent until it has seen one.
        offset, end = -1, time.monotonic() + peers.DEADLINE_S
        message = None
        while message is None and time.monotonic() < end:
            offset = sender.produce(topic, [Record(b"order", b"%d" % (offset + 1))])[0]
            message = consumer.poll(1)
        assert message is not None and message.error() is None
        nack(sender, topic, group, message.offset())
        while True:
            source, value = next_record()
            if source != topic:
                break
        assert (source, value) == (f"retry.{group}.{topic}", message.value())
    finally:
        consumer.close()
