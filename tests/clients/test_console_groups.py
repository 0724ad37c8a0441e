"""kafka-console-consumer in groups, and with the formatter that reads what groups have stored."""

import json
import os
import re
import signal
import subprocess

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

import records as corpus
from conftest import STARTER
from harness import wait


@pytest.fixture(autouse=True)
def named(record_property):
    record_property("client", "java")


class Console:
    """kafka-console-consumer in a group; what it printed is read when it has ended."""

    def __init__(self, broker, topic, group, scratch, *words):
        self.output = scratch.open("w+")
        self.process = subprocess.Popen(
            [STARTER, "tool", "consumer.ConsoleConsumer", "--bootstrap-server", broker.bootstrap, "--topic", topic,
             "--group", group, "--from-beginning", "--formatter-property", "print.partition=true",
             "--formatter-property", "print.offset=true", "--formatter-property", "print.value=false", *words],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.DEVNULL, start_new_session=True)

    def seen(self):
        self.output.seek(0)
        found = re.findall(r"^Partition:(\d+)\tOffset:(\d+)$", self.output.read(), re.MULTILINE)
        return [(int(partition), int(offset)) for partition, offset in found]

    def close(self):
        """As with Ctrl-C: it leaves the group and commits."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)


def test_console_consumers_share_a_group(broker, admin, make_topic, all_clients, tmp_path):
    topic, group = make_topic(2), "consoles"
    write = all_clients["confluent-kafka"].produce
    first = Console(broker, topic, group, tmp_path / "first")
    second = Console(broker, topic, group, tmp_path / "second")
    try:
        def shared():
            members = admin.describe_consumer_groups([group])[group].result(10).members
            return len(members) == 2 and all(member.assignment.topic_partitions for member in members)
        wait.until(shared, "both consumers own a partition")
        for partition in range(2):
            write(topic, corpus.numbered(50), partition=partition)
        everything = {(partition, offset) for partition in range(2) for offset in range(50)}
        wait.until(lambda: set(first.seen() + second.seen()) == everything, "every record")
    finally:
        first.close()
        second.close()
    assert len(first.seen()) == len(second.seen()) == 50
    write(topic, corpus.numbered(5), partition=1)
    returned = Console(broker, topic, group, tmp_path / "returned", "--max-messages", "5", "--timeout-ms", "20000")
    returned.process.wait(30)
    assert returned.seen() == [(1, offset) for offset in range(50, 55)]


def partition_of(group):
    """Where Kafka keeps what it knows of a group: Java's hash of its name over 50 partitions."""
    number = 0
    for character in group.encode():
        number = (31 * number + character) & 0xFFFFFFFF
    return (number & 0x7FFFFFFF) % 50


def test_stored_offsets_read_as_records(tool, admin, make_topic, all_clients):
    """__consumer_offsets holds Kafka's own records where Kafka keeps them, as lag tools read them: its
    formatter prints what was committed."""
    topic = make_topic()
    group = f"stored-{topic}"
    stored = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 42)])
    admin.alter_consumer_group_offsets([stored])[group].result(30)
    place = partition_of(group)
    printed = tool("consumer.ConsoleConsumer", "--topic", "__consumer_offsets", "--partition", str(place),
                   "--offset", "earliest", "--timeout-ms", "30000",
                   "--max-messages", str(all_clients["confluent-kafka"].ends("__consumer_offsets", place)[1]),
                   "--formatter", "org.apache.kafka.tools.consumer.OffsetsMessageFormatter")
    decoder, stored, place = json.JSONDecoder(), [], 0
    while (place := printed.find("{", place)) >= 0:
        row, place = decoder.raw_decode(printed, place)
        stored.append(row)
    mine = [row for row in stored if row["key"]["data"]["group"] == group]
    assert [(row["key"]["data"]["topic"], row["key"]["data"]["partition"], row["value"]["data"]["offset"]) for row in mine] == \
        [(topic, 0, 42)]
