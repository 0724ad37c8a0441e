"""Kafka's own command-line tools, as operators type them."""

import json
import re

import pytest

import records as corpus
from harness import wait


@pytest.fixture(autouse=True)
def named(record_property):
    record_property("client", "java")


def test_kafka_topics(tool):
    tool("TopicCommand", "--create", "--topic", "typed", "--partitions", "2", "--config", "retention.ms=1000000")
    described = tool("TopicCommand", "--describe", "--topic", "typed")
    assert "PartitionCount: 2" in described and "retention.ms=1000000" in described
    assert described.count("Leader: 1") == 2
    tool("TopicCommand", "--alter", "--topic", "typed", "--partitions", "3")
    assert "PartitionCount: 3" in tool("TopicCommand", "--describe", "--topic", "typed")
    assert "typed" in tool("TopicCommand", "--list").split()
    tool("TopicCommand", "--delete", "--topic", "typed")
    wait.until(lambda: "typed" not in tool("TopicCommand", "--list").split(), "the topic's end", poll_s=0.2)


def test_kafka_configs(tool, make_topic):
    topic = make_topic()
    entity = ["--entity-type", "topics", "--entity-name", topic]
    tool("kafka.admin.ConfigCommand", *entity, "--alter", "--add-config", "segment.bytes=2000000,cleanup.policy=[compact,delete]")
    described = tool("kafka.admin.ConfigCommand", *entity, "--describe")
    assert "segment.bytes=2000000" in described and "cleanup.policy=compact,delete" in described
    tool("kafka.admin.ConfigCommand", *entity, "--alter", "--delete-config", "segment.bytes")
    everything = tool("kafka.admin.ConfigCommand", *entity, "--describe", "--all")
    assert "segment.bytes=1073741824" in everything and "DEFAULT_CONFIG" in everything


def test_kafka_configs_of_a_broker(tool):
    everything = tool("kafka.admin.ConfigCommand", "--entity-type", "brokers", "--entity-name", "1", "--describe", "--all")
    assert "num.partitions=4" in everything


def test_kafka_topics_as_scripts_use_it(tool, refused):
    """Assigned replicas, patterns, and every `--if-exists` and `--describe` filter."""
    tool("TopicCommand", "--create", "--topic", "placed.one", "--replica-assignment", "1,1")
    tool("TopicCommand", "--create", "--topic", "placed.one", "--if-not-exists")
    assert "already exists" in refused("TopicCommand", "--create", "--topic", "placed.one")
    assert "collides" in refused("TopicCommand", "--create", "--topic", "placed_one")
    refused("TopicCommand", "--create", "--topic", "placed.two", "--replication-factor", "2")
    tool("TopicCommand", "--create", "--topic", "placed.two", "--config", "retention.ms=7000")

    described = tool("TopicCommand", "--describe", "--topic", "placed.*")
    assert re.findall(r"Topic: (\S+)\s+TopicId", described) == ["placed.one", "placed.two"]
    topic_id = re.search(r"TopicId: (\S+)", described)[1]
    assert "placed.one" in tool("TopicCommand", "--describe", "--topic-id", topic_id)
    overridden = tool("TopicCommand", "--describe", "--topics-with-overrides")
    # Kafka calls its cluster-wide min.insync.replicas an override of every topic.
    assert re.search("placed.two.*retention.ms=7000", overridden)
    assert not re.search("placed.one.*retention.ms", overridden)
    for filtered in ("--under-replicated-partitions", "--unavailable-partitions", "--under-min-isr-partitions"):
        assert "placed" not in tool("TopicCommand", "--describe", filtered)
    assert "placed.one" in tool("TopicCommand", "--list", "--exclude-internal").split()

    tool("TopicCommand", "--alter", "--topic", "placed.one", "--partitions", "3", "--replica-assignment", "1,1,1")
    refused("TopicCommand", "--alter", "--topic", "placed.one", "--partitions", "2")
    for action in (["--describe"], ["--delete"], ["--alter", "--partitions", "2"]):
        assert "does not exist" in refused("TopicCommand", *action, "--topic", "absent")
        tool("TopicCommand", *action, "--topic", "absent", "--if-exists")
    tool("TopicCommand", "--delete", "--topic", "placed.*")
    wait.until(lambda: "placed" not in tool("TopicCommand", "--list"), "the topics' end", poll_s=0.2)


CONFIGS = "kafka.admin.ConfigCommand"


def test_kafka_configs_of_a_group(tool, refused):
    group = ["--entity-type", "groups", "--entity-name", "tuned"]
    tool(CONFIGS, *group, "--alter", "--add-config", "consumer.session.timeout.ms=50000,consumer.heartbeat.interval.ms=6000")
    described = tool(CONFIGS, *group, "--describe", "--all")
    assert "consumer.session.timeout.ms=50000" in described
    assert "DYNAMIC_GROUP_CONFIG:consumer.heartbeat.interval.ms=6000" in described
    assert "DEFAULT_CONFIG:group.consumer.assignment.interval.ms=1000" in described
    assert "consumer.heartbeat.interval.ms=6000" in tool(CONFIGS, "--group", "tuned", "--describe", "--all")
    for wrong in ("consumer.session.timeout.ms=44999", "consumer.heartbeat.interval.ms=15001", "consumer.unknown=1"):
        assert "InvalidConfigurationException" in refused(CONFIGS, *group, "--alter", "--add-config", wrong)
    tool(CONFIGS, *group, "--alter", "--delete-config", "consumer.session.timeout.ms,consumer.heartbeat.interval.ms")
    assert "DYNAMIC" not in tool(CONFIGS, *group, "--describe", "--all")


def test_kafka_configs_of_a_groups_retries(tool, refused):
    group, every = ["--entity-type", "groups", "--entity-name", "failing"], ["--entity-type", "brokers", "--entity-default"]
    tool(CONFIGS, *group, "--alter", "--add-config", "retry.max.attempts=3,retry.backoff.multiplier=1.5")
    tool(CONFIGS, *every, "--alter", "--add-config", "retry.backoff.jitter=0")
    described = tool(CONFIGS, *group, "--describe", "--all")
    assert "DYNAMIC_GROUP_CONFIG:retry.max.attempts=3" in described and "retry.backoff.multiplier=1.5" in described
    assert "DYNAMIC_DEFAULT_BROKER_CONFIG:retry.backoff.jitter=0" in described
    assert "DEFAULT_CONFIG:retry.backoff.initial.ms=10000" in described
    for wrong in ("retry.max.attempts=-1", "retry.backoff.jitter=2", "errors.deadletterqueue.topic.name=a/b"):
        assert "InvalidConfigurationException" in refused(CONFIGS, *group, "--alter", "--add-config", wrong)
    tool(CONFIGS, *every, "--alter", "--delete-config", "retry.backoff.jitter")


def test_kafka_tools_on_a_retry_topic(tool, refused, make_topic):
    """It follows its source, and what it is cannot be changed."""
    source = make_topic(2)
    retry = f"retry.failing.{source}"
    tool("TopicCommand", "--create", "--topic", retry)
    described = tool("TopicCommand", "--describe", "--topic", retry)
    assert "PartitionCount: 2" in described and "klamm.role=retry" in described and "retention.ms=-1" in described
    assert "klamm.group=failing" in tool(CONFIGS, "--topic", retry, "--describe")
    assert "InvalidConfigurationException" in refused(CONFIGS, "--topic", retry, "--alter", "--add-config", "klamm.role=dlq")
    assert "add them there" in refused("TopicCommand", "--alter", "--topic", retry, "--partitions", "3")
    tool("TopicCommand", "--alter", "--topic", source, "--partitions", "3")
    assert "PartitionCount: 3" in tool("TopicCommand", "--describe", "--topic", retry)
    groups = tool("consumer.group.ConsumerGroupCommand", "--list")
    assert "failing" not in groups.split(), "a topic alone makes no group"
    tool("TopicCommand", "--delete", "--topic", retry)


def test_kafka_configs_at_run_time_of_one_and_of_all_brokers(tool, refused):
    one, every = ["--entity-type", "brokers", "--entity-name", "1"], ["--entity-type", "brokers", "--entity-default"]
    key = "log.message.timestamp.after.max.ms"
    for entity, value in ((every, "7000"), (one, "8000")):
        tool(CONFIGS, *entity, "--alter", "--add-config", f"{key}={value}")
        wait.until(lambda: f"{key}={value}" in tool(CONFIGS, *entity, "--describe"), "the value", poll_s=0.2)
    assert f"DYNAMIC_DEFAULT_BROKER_CONFIG:{key}=7000" in tool(CONFIGS, *one, "--describe")
    for entity in (one, every):
        tool(CONFIGS, *entity, "--alter", "--delete-config", key)
        wait.until(lambda: key not in tool(CONFIGS, *entity, "--describe"), "the default", poll_s=0.2)
    assert "InvalidRequestException" in refused(CONFIGS, *one, "--alter", "--add-config", "node.id=7")


def test_kafka_configs_of_all_topics(tool, refused, make_topic):
    topic = make_topic(retention_ms=5000)
    assert "retention.ms=5000" in tool(CONFIGS, "--entity-type", "topics", "--describe")
    both = ["--add-config", "segment.ms=7000", "--delete-config", "retention.ms"]
    tool(CONFIGS, "--topic", topic, "--alter", *both)
    described = tool(CONFIGS, "--topic", topic, "--describe")
    assert "segment.ms=7000" in described and "retention.ms=5000" not in described
    assert "UnknownTopicOrPartition" in refused(CONFIGS, "--topic", "absent", "--alter", *both)


def test_kafka_get_offsets(tool, make_topic, all_clients):
    topic = make_topic(2)
    all_clients["java"].produce(topic, corpus.numbered(7), partition=1)
    assert tool("GetOffsetShell", "--topic", topic).split() == [f"{topic}:0:0", f"{topic}:1:7"]
    assert tool("GetOffsetShell", "--topic", topic, "--time", "earliest").split() == [f"{topic}:0:0", f"{topic}:1:0"]
    by_time = tool("GetOffsetShell", "--topic-partitions", f"{topic}:1", "--time", str(corpus.BASE_TIME_MS + 30))
    assert by_time.strip() == f"{topic}:1:3"
    newest = tool("GetOffsetShell", "--topic-partitions", f"{topic}:1", "--time", "max-timestamp")
    assert newest.strip() == f"{topic}:1:6"


def test_kafka_delete_records(tool, make_topic, all_clients, tmp_path):
    topic = make_topic()
    all_clients["java"].produce(topic, corpus.numbered(20))
    plan = {"partitions": [{"topic": topic, "partition": 0, "offset": 15}], "version": 1}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    assert "low_watermark: 15" in tool("DeleteRecordsCommand", "--offset-json-file", str(tmp_path / "plan.json"))
    assert all_clients["java"].ends(topic) == (15, 20)


def test_kafka_log_dirs(tool, make_topic, all_clients):
    topic = make_topic(2)
    all_clients["java"].produce(topic, corpus.numbered(20))
    printed = tool("LogDirsCommand", "--describe", "--topic-list", topic)
    described = json.loads(next(line for line in printed.splitlines() if line.startswith("{")))
    directory = described["brokers"][0]["logDirs"][0]
    sizes = {p["partition"]: p["size"] for p in directory["partitions"]}
    assert directory["error"] is None
    assert sizes[f"{topic}-0"] > 2000 and sizes[f"{topic}-1"] == 0


def test_kafka_consumer_groups_of_a_simple_group(tool, make_topic, all_clients):
    """Offsets alone, as an operator plants, looks at, moves and deletes them."""
    topic, group = make_topic(2), "simple-group"
    all_clients["java"].produce(topic, corpus.numbered(30))

    def consumer_groups(*words):
        return tool("consumer.group.ConsumerGroupCommand", *words)

    def described():
        """Committed offset, end of log and lag by partition."""
        printed = consumer_groups("--describe", "--group", group)
        rows = re.findall(rf"^{group}\s+{topic}\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", printed, re.MULTILINE)
        return {int(partition): tuple(map(int, rest)) for partition, *rest in rows}

    everything = ["--group", group, "--topic", topic, "--reset-offsets", "--execute"]
    consumer_groups(*everything, "--to-earliest")
    assert described() == {0: (0, 30, 30), 1: (0, 0, 0)}
    consumer_groups(*everything, "--to-latest")
    assert described() == {0: (30, 30, 0), 1: (0, 0, 0)}
    consumer_groups("--group", group, "--topic", f"{topic}:0", "--reset-offsets", "--execute", "--shift-by", "-12")
    assert described()[0] == (18, 30, 12)
    assert group in consumer_groups("--list").split()
    assert re.search(rf"^{group} .* Empty +0$", consumer_groups("--describe", "--group", group, "--state"), re.MULTILINE)

    assert "Successful" in consumer_groups("--delete-offsets", "--group", group, "--topic", f"{topic}:1")
    assert described() == {0: (18, 30, 12)}
    assert "was successful" in consumer_groups("--delete", "--group", group)
    assert group not in consumer_groups("--list").split()
    assert "GroupIdNotFoundException" in consumer_groups("--describe", "--group", group)


def test_kafka_broker_api_versions(tool):
    printed = tool("BrokerApiVersionsCommand")
    supported = {m[1]: m[2] for m in re.finditer(r"^\s+(\w+)\(\d+\): (\S+)", printed, re.MULTILINE)}
    assert {"Produce", "Fetch", "ListOffsets", "Metadata", "ApiVersions", "CreateTopics"} <= supported.keys()
    assert supported["Produce"] == "0"


def test_kafka_cluster_id(tool, admin):
    assert admin.list_topics(timeout=10).cluster_id in tool("ClusterTool", "cluster-id")


def test_console_producer_and_consumer(tool, make_topic):
    """With --partition and --offset, so that no group is needed."""
    topic = make_topic()
    lines = "\n".join(f"a:1,b:2,a:3\tkey{i}\tvalue {i} ☃" for i in range(100)) + "\n"
    tool("ConsoleProducer", "--topic", topic, "--reader-property", "parse.key=true",
         "--reader-property", "parse.headers=true", "--compression-codec", "zstd", stdin=lines)
    shown = ["--formatter-property", "print.key=true", "--formatter-property", "print.headers=true",
             "--formatter-property", "print.offset=true"]
    read = tool("consumer.ConsoleConsumer", "--topic", topic, "--partition", "0", "--offset", "40",
                "--max-messages", "60", "--timeout-ms", "20000", *shown)
    assert read.splitlines() == [f"Offset:{i}\ta:1,b:2,a:3\tkey{i}\tvalue {i} ☃" for i in range(40, 100)]
    first = tool("consumer.ConsoleConsumer", "--topic", topic, "--partition", "0", "--offset", "earliest", "--max-messages", "1")
    assert first.strip() == "value 0 ☃"


def test_client_compatibility_probe(tool, make_topic, request):
    """Kafka's own one-shot probe of what a broker can do; klamm has no ACLs yet."""
    topic = make_topic()
    acls = "true" if request.config.getoption("--broker") == "kafka" else "false"
    tool("ClientCompatibilityTest", "--topic", topic, "--offsets-for-times-supported", "true",
         "--cluster-id-supported", "true", "--expect-record-too-large-exception", "false",
         "--num-cluster-nodes", "1", "--create-topics-supported", "true", "--describe-acls-supported", acls,
         "--describe-configs-supported", "true", "--idempotent-producer-supported", "true")


def test_verifiable_producer(tool, make_topic, all_clients):
    topic = make_topic()
    printed = tool("VerifiableProducer", "--topic", topic, "--max-messages", "1000", "--acks", "-1")
    events = [json.loads(line) for line in printed.splitlines()]
    acked = [event for event in events if event["name"] == "producer_send_success"]
    assert sorted(int(event["value"]) for event in acked) == list(range(1000))
    assert all_clients["java"].ends(topic) == (0, 1000)


def test_kafka_dump_log(tool, make_topic, all_clients, broker):
    """Kafka's reader of segment files finds every batch valid and both indexes sane."""
    topic = make_topic(segment_bytes=1_048_576, segment_index_bytes=10_240, index_interval_bytes=4096)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        for _ in range(4):
            all_clients["java"].produce(topic, corpus.of_size(*[2000] * 150), codec=codec)
    folder = broker.data_dir / f"{topic}-0"
    logs = sorted(folder.glob("*.log"))
    assert len(logs) >= 4
    seen = 0
    for log in logs:
        printed = tool("DumpLogSegments", "--deep-iteration", "--files", str(log), connect=None)
        assert printed.count("isvalid: true") == printed.count("baseOffset: ")
        assert "isvalid: false" not in printed
        seen += len(re.findall(r"^\| offset: ", printed, re.MULTILINE))
    assert seen == 20 * 150
    for index in [*folder.glob("*.index"), *folder.glob("*.timeindex")]:
        # A check prints its complaints; the active segment's index may be sparse or absent.
        printed = tool("DumpLogSegments", "--files", str(index), connect=None)
        assert "Mismatches" not in printed and "misordered" not in printed and "not found" not in printed, printed
