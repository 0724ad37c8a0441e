"""Kafka's own tools on consumer groups of both protocols, as operators type them."""

import contextlib
import os
import signal
import subprocess

import pytest

import records as corpus
from conftest import STARTER
from harness import wait

GROUPS = "consumer.group.ConsumerGroupCommand"
PROTOCOLS = ["classic", "consumer"]


@pytest.fixture(autouse=True)
def named(record_property):
    record_property("client", "java")


@pytest.fixture
def topic(make_topic, all_clients):
    """A topic of two partitions with 20 records in the first."""
    topic = make_topic(2)
    all_clients["java"].produce(topic, corpus.numbered(20))
    return topic


@pytest.fixture
def consuming(broker, tmp_path):
    """Runs kafka-console-consumer as the only member of a group, from its first 20 records on."""
    @contextlib.contextmanager
    def run(group, topic, protocol):
        shown = tmp_path / group
        words = ["--bootstrap-server", broker.bootstrap, "--topic", topic, "--group", group, "--from-beginning",
                 "--command-property", f"group.protocol={protocol}",
                 "--command-property", "auto.commit.interval.ms=100"]
        with shown.open("w") as out:
            member = subprocess.Popen([STARTER, "tool", "consumer.ConsoleConsumer", *words], stdout=out,
                                      stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            wait.until(lambda: len(shown.read_bytes().splitlines()) >= 20, "20 records", 60)
            yield
        finally:
            # It commits and leaves its group, as on Ctrl-C.
            os.killpg(member.pid, signal.SIGTERM)
            member.wait(30)
    return run


def table(printed):
    """The lines of the tool's table as dictionaries."""
    lines = [line.split() for line in printed.splitlines() if line.strip()]
    title = next(i for i, line in enumerate(lines) if line[0] in ("GROUP", "TOPIC"))
    return [dict(zip(lines[title], line)) for line in lines[title + 1:]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_kafka_consumer_groups_with_a_member(tool, topic, consuming, protocol):
    group = f"watched-{protocol}"
    with consuming(group, topic, protocol):
        def lags():
            rows = table(tool(GROUPS, "--describe", "--group", group))
            return {row["PARTITION"]: (row["CURRENT-OFFSET"], row["LAG"]) for row in rows}
        wait.until(lambda: lags() == {"0": ("20", "0"), "1": ("0", "0")}, "the commit", poll_s=0.2)
        members = table(tool(GROUPS, "--describe", "--group", group, "--members", "--verbose"))
        assert [row["#PARTITIONS"] for row in members] == ["2"]
        assert f"{topic}:0,1" in members[0].values()
        state = table(tool(GROUPS, "--describe", "--group", group, "--state"))[0]
        assert "Stable" in state.values() and state["#MEMBERS"] == "1"
        listed = table(tool(GROUPS, "--list", "--state", "Stable"))
        assert group in [row["GROUP"] for row in listed]
        listed = table(tool(GROUPS, "--list", "--type", protocol))
        assert group in [row["GROUP"] for row in listed]
        assert group in tool("GroupsCommand", "--list", "--group-type", protocol)
        # The tool exits with 0 whatever comes of these.
        reset = tool(GROUPS, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
        assert "the current state is Stable" in reset
        assert "The group is not empty" in tool(GROUPS, "--delete", "--group", group)
    left = table(tool(GROUPS, "--describe", "--group", group))
    assert [(row["CURRENT-OFFSET"], row["CONSUMER-ID"]) for row in left] == [("20", "-"), ("0", "-")]
    assert "was successful" in tool(GROUPS, "--delete", "--group", group)
    assert "not found" in tool(GROUPS, "--describe", "--group", group)


def test_kafka_consumer_groups_reset_and_delete_offsets(tool, topic, tmp_path):
    """On a group that no member has ever joined: the tool makes it by its first reset."""
    group = "reset"

    def committed():
        rows = table(tool(GROUPS, "--describe", "--group", group))
        return {int(row["PARTITION"]): row["CURRENT-OFFSET"] for row in rows}

    def reset(*words, mode="--execute"):
        rows = table(tool(GROUPS, "--reset-offsets", "--group", group, *words, mode))
        return {int(row["PARTITION"]): row["NEW-OFFSET"] for row in rows}

    one = ["--topic", topic]
    assert reset(*one, "--to-latest", mode="--dry-run") == {0: "20", 1: "0"}
    assert "not found" in tool(GROUPS, "--describe", "--group", group)
    assert reset(*one, "--to-latest") == {0: "20", 1: "0"}
    assert reset("--topic", f"{topic}:0", "--to-offset", "5") == {0: "5"}
    assert reset("--all-topics", "--shift-by", "3") == {0: "8", 1: "0"}
    assert committed() == {0: "8", 1: "0"}
    assert reset(*one, "--by-duration", "P1D") == {0: "0", 1: "0"}
    assert reset(*one, "--to-datetime", "2100-01-01T00:00:00.000") == {0: "20", 1: "0"}
    assert reset(*one, "--to-earliest") == {0: "0", 1: "0"}
    plan = tmp_path / "plan.csv"
    plan.write_text(f"{topic},0,7\n")
    assert reset("--from-file", str(plan)) == {0: "7"}
    exported = tool(GROUPS, "--reset-offsets", "--group", group, *one, "--to-current", "--export", "--dry-run")
    assert set(exported.split()) == {f"{topic},0,7", f"{topic},1,0"}

    assert "Successful" in tool(GROUPS, "--delete-offsets", "--group", group, "--topic", f"{topic}:0")
    assert committed() == {1: "0"}
    assert "was successful" in tool(GROUPS, "--delete", "--group", group)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_kafka_consumer_perf_test(tool, topic, protocol):
    assert "20 records sent" in tool("ProducerPerformance", "--topic", topic, "--num-records", "20",
                                     "--record-size", "100", "--throughput", "-1")
    printed = tool("ConsumerPerformance", "--topic", topic, "--num-records", "40", "--timeout", "30000",
                   "--command-property", f"group.protocol={protocol}", "--command-property", "auto.offset.reset=earliest")
    titles, values = (line.split(", ") for line in printed.splitlines()[:2])
    assert dict(zip(titles, values))["data.consumed.in.nMsg"] == "40"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_verifiable_consumer(tool, topic, protocol):
    printed = tool("VerifiableConsumer", "--topic", topic, "--group-id", f"verified-{protocol}", "--group-protocol", protocol,
                   "--max-messages", "20", "--reset-policy", "earliest")
    assert '"name":"partitions_assigned"' in printed and '"name":"shutdown_complete"' in printed
    assert f'"topic":"{topic}","partition":0,"count":20,"minOffset":0,"maxOffset":19' in printed
