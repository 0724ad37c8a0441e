"""Kafka's command-line tools that work on groups: kafka-consumer-groups, kafka-groups, console and
verifiable consumers, the performance tests, and the formatters of what groups have stored."""

import datetime
import json
import re
import signal
import subprocess

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

import records as corpus
from harness import wait
from test_kafka_tools import STARTER, named, tool  # noqa: F401  (fixtures)

GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


@pytest.fixture
def commit(admin):
    """Commits offsets for a group that has no members; returns the group's name."""
    def do(group, *places):
        partitions = [TopicPartition(*place) for place in places]
        admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, partitions)])[group].result(30)
        return group
    return do


@pytest.fixture
def committed(admin):
    """What a group has committed, by topic and partition."""
    def ask(group):
        found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
        return {(place.topic, place.partition): place.offset for place in found.topic_partitions}
    return ask


def test_offsets_reset_in_other_ways(tool, commit, committed, make_topic, all_clients, tmp_path):
    topic = make_topic()
    all_clients["java"].produce(topic, corpus.numbered(50))
    group = commit(f"reset-{topic}", (topic, 0, 10))

    def reset(*words, where=("--topic", topic)):
        tool(GROUPS, "--reset-offsets", "--group", group, *where, *words)
        return committed(group)[topic, 0]
    assert reset("--to-latest", "--dry-run") == 10
    assert reset("--to-datetime", datetime_ms(corpus.BASE_TIME_MS + 100), "--execute") == 10
    plan = tmp_path / "plan.csv"
    plan.write_text(f"{topic},0,21\n")
    assert reset("--from-file", str(plan), "--execute", where=()) == 21
    assert reset("--to-earliest", "--execute", where=("--all-topics",)) == 0


def datetime_ms(time_ms):
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}"


def test_kafka_groups_lists_all(tool, commit, make_topic):
    topic = make_topic()
    group = commit(f"listed-{topic}", (topic, 0, 0))
    assert re.search(rf"^{group} +Classic\b", tool("GroupsCommand", "--list"), re.MULTILINE)


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
            subprocess.run(["pkill", "-INT", "-s", str(self.process.pid), "java"], check=False)
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


def test_verifiable_consumer(tool, make_topic, all_clients):
    topic = make_topic(2)
    for partition in range(2):
        all_clients["java"].produce(topic, corpus.numbered(50), partition=partition)
    printed = tool("VerifiableConsumer", "--topic", topic, "--group-id", f"verified-{topic}", "--max-messages", "100",
                   "--reset-policy", "earliest", "--group-protocol", "classic")
    events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert sum(event["count"] for event in events if event["name"] == "records_consumed") == 100
    assert all(event["success"] for event in events if event["name"] == "offsets_committed")


def test_performance_tools(tool, make_topic):
    topic = make_topic(2)
    sent = tool("ProducerPerformance", "--topic", topic, "--num-records", "20000", "--record-size", "100",
                "--throughput", "-1", "--command-property", "acks=all")
    assert "20000 records sent" in sent
    read = tool("ConsumerPerformance", "--topic", topic, "--num-records", "20000", "--timeout", "20000",
                "--group", f"measured-{topic}")
    header, figures = ([word.strip() for word in line.split(",")] for line in read.splitlines()[-2:])
    assert int(dict(zip(header, figures))["data.consumed.in.nMsg"]) >= 20000


def partition_of(group):
    """Where Kafka keeps what it knows of a group: Java's hash of its name over 50 partitions."""
    number = 0
    for character in group.encode():
        number = (31 * number + character) & 0xFFFFFFFF
    return (number & 0x7FFFFFFF) % 50


def test_stored_offsets_read_as_records(tool, commit, make_topic, all_clients):
    """__consumer_offsets holds Kafka's own records where Kafka keeps them, as lag tools read them: its
    formatter prints what was committed."""
    topic = make_topic()
    group = commit(f"stored-{topic}", (topic, 0, 42))
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
