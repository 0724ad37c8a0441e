"""Delayed records over what happens to brokers: clocks that step, kills, long stops, topics that
change while records wait."""

import json
import time
import urllib.request
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions

from harness import wait
from records import Record

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
HOUR_S = 3_600


def now_ms():
    return time.time_ns() // 1_000_000


def delayed(number, delay, **more):
    headers = {"klamm.delay": delay, **{f"klamm.delay.{name}": text for name, text in more.items()}}
    return Record(b"k", b"%d" % number, tuple((name, str(text).encode()) for name, text in headers.items()))


def numbers(records):
    return [int(record.value) for record in records]


class SteppedClock:
    """The wall clock of a broker, moved while it runs; its monotonic clocks stay true."""

    def __init__(self, path):
        self.path = path
        self.step(0)
        self.environment = {
            "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(path), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}

    def step(self, seconds):
        self.path.write_text(f"{seconds:+d}\n")


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S], ids=["ahead", "back"])
def test_the_wall_clock_steps_while_records_wait(serve, tmp_path, step_s):
    clock = SteppedClock(tmp_path / "clock")
    session = serve(environment=clock.environment)
    session.make_topic("t")
    sent_ms = now_ms()
    session.produce("t", [delayed(delay, delay) for delay in (3_000, 4_000, 6_000)])
    clock.step(step_s)
    # Something that the broker stamps shows that it sees the step.
    session.make_topic("live", message_timestamp_type="LogAppendTime")
    session.produce("live", [Record(b"k", b"v")])
    seen_ms = session.client.consume("live", 0, 1)[0].timestamp
    assert abs(seen_ms - now_ms() - step_s * 1000) < HOUR_S * 500, "the clock was not moved"
    # Accepted after the step, by the same clock.
    again_ms = now_ms()
    session.produce("t", [delayed(2_000, 2_000)])
    arrived = {}
    for count in range(1, 5):
        for record in session.client.consume("t", 0, count):
            arrived.setdefault(record.value, now_ms())
    assert len(arrived) == 4
    for value, moment in arrived.items():
        accepted = again_ms if value == b"2000" else sent_ms
        assert moment >= accepted + int(value), f"{value} came early"


def test_an_operator_adopts_a_wall_clock_that_stepped(serve, tmp_path):
    clock = SteppedClock(tmp_path / "clock")
    session = serve(environment=clock.environment)

    def ask(method, path):
        request = urllib.request.Request(session.broker.http + path, method=method,
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    session.make_topic("t")
    session.produce("t", [delayed(1, "30m")])
    clock.step(HOUR_S)
    wait.until(lambda: ask("GET", "/api/v1/clock")["stepped"], "the step is seen", 30)
    assert session.client.ends("t") == (0, 0)
    assert not ask("POST", "/api/v1/clock/adopt")["stepped"]
    assert numbers(session.client.consume("t", 0, 1)) == [1], "due by the time that was adopted"


def test_kill_and_a_stop_longer_than_every_due_time(serve):
    session = serve(**{"delay.journal.segment.bytes": 1 << 20})
    session.make_topic("t")
    delays = [100 + (number * 7919) % 3_000 for number in range(5_000)]
    session.produce("t", [delayed(delay, delay) for delay in delays])
    last_due_ms = now_ms() + 3_100
    session.broker.kill()
    wait.until(lambda: now_ms() > last_due_ms, "every record is due", 30)
    session.broker.start()
    session.make_topic("live")
    session.produce("live", [Record(b"k", b"v")])
    read = session.client.consume("t", 0, len(delays))
    assert sorted(numbers(read)) == sorted(delays)
    order = [(int(dict(record.headers)["klamm.due"]), int(dict(record.headers)["klamm.ticket"].split(b":")[1]))
             for record in read]
    released_while_up = sum(record.timestamp < last_due_ms for record in read)
    assert order[released_while_up:] == sorted(order[released_while_up:])
    assert session.client.ends("t")[1] - len(delays) >= len(delays), "each at an offset of its own, once"


def test_cancel_and_replace_find_what_waits_in_another_partition(serve):
    session = serve()
    session.make_topic("t")
    session.produce("t", [delayed(0, "2s", id="a"), delayed(1, "2s", id="b"), delayed(2, "2s", id="c")])
    session.admin.create_partitions([NewPartitions("t", 4)])["t"].result(30)
    wait.until(lambda: len(session.admin.list_topics("t", 10).topics["t"].partitions) == 4, "four partitions")
    cancel = Record(b"k", None, (("klamm.delay.cancel", b"a"),))
    session.produce("t", [cancel], partition=2)
    session.produce("t", [delayed(9, "100", id="b", replace="true")], partition=3)
    assert numbers(session.client.consume("t", 0, 1, partition=3)) == [9]
    assert numbers(session.client.consume("t", 0, 1)) == [2]
    session.produce("t", [delayed(3, "10")])
    assert numbers(session.client.consume("t", 0, 2)) == [2, 3], "neither a nor b came"


def test_what_waits_goes_with_its_topic(serve):
    session = serve()
    session.make_topic("t")
    session.produce("t", [delayed(0, "1s")])
    due_ms = now_ms() + 1_000
    session.admin.delete_topics(["t"])["t"].result(30)
    wait.until(lambda: "t" not in session.admin.list_topics(timeout=10).topics, "the topic is gone")
    session.make_topic("t")
    wait.until(lambda: now_ms() > due_ms, "the record would be due", 30)
    session.produce("t", [delayed(1, "10")])
    assert numbers(session.client.consume("t", 0, 1)) == [1]
    assert "pending" in session.broker.output(), "the log tells how many were dropped"


def test_neither_retention_nor_delete_records_takes_what_waits(serve):
    session = serve(log_retention_check_interval_ms=100)
    session.make_topic("t", retention_bytes=1, segment_bytes=1 << 20)
    session.produce("t", [delayed(7, "3s")])
    for _ in range(3):
        session.produce("t", [Record(b"k", b"x" * 900_000)])
    end = session.client.ends("t")[1]
    wait.until(lambda: session.client.ends("t")[0] > 0, "retention has deleted", 30)
    session.admin.delete_records([TopicPartition("t", 0, -1)])
    wait.until(lambda: session.client.ends("t")[0] >= end, "all that is visible is deleted", 30)
    read = session.client.consume("t", session.client.ends("t")[0], 1)
    assert numbers(read) == [7]


def test_a_compacted_topic_keeps_what_waits_and_what_came(serve):
    session = serve(log_cleaner_backoff_ms=100)
    session.make_topic("t", cleanup_policy="compact", min_cleanable_dirty_ratio="0.0", segment_bytes=1 << 20)
    session.produce("t", [delayed(1, "1s")])
    session.produce("t", [Record(b"k", b"0")])
    assert numbers(session.client.consume("t", 0, 2)) == [0, 1], "the newer version of its key comes when due"
