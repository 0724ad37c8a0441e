"""Damaged files (promise L3): a torn tail is cut and told of, damage in the middle stays with its
partition, an index is only a cache."""

import os
import random
import shutil
import struct
import uuid

import pytest
from confluent_kafka import KafkaException

import peers
import records as corpus


@pytest.fixture
def killed(serve, batches):
    """A broker that was killed with ten batches in t-0 and t-1. In page-cache mode, where the
    commit log does not hold a second copy that would mend a damaged tail."""
    session = serve(durability="page-cache")
    session.make_topic("t", 2)
    for partition in (0, 1):
        for batch in batches:
            session.produce("t", batch, partition=partition)
    session.broker.kill()
    return session


@pytest.fixture
def stopped(killed):
    """The same, after a clean stop."""
    killed.broker.start()
    assert killed.broker.stop() == 0
    return killed


def flip(path, position):
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x40]))


def last_base_offset(path):
    """Where the last batch of a log begins: the client decides how records are shared out to
    batches. A batch is 12 bytes, offset and length, and as many as the length says."""
    with open(path, "rb") as file:
        log, position, base_offset = file.read(), 0, 0
    while position < len(log):
        base_offset, length = struct.unpack_from(">qi", log, position)
        position += 12 + length
    return base_offset


def tail_was_cut(session):
    """One line says how many bytes were cut, and why."""
    return [line for line in session.broker.output().splitlines() if "t-0" in line and "bytes" in line]


def test_garbage_after_the_last_batch_is_cut(killed, batches):
    with open(killed.active_log("t"), "ab") as log:
        log.write(random.Random(1).randbytes(777))
    killed.broker.start()
    assert killed.holds("t", sum(batches, []))
    assert killed.holds("t", sum(batches, []), partition=1)
    assert any("777" in line for line in tail_was_cut(killed)), killed.broker.output()


def test_zeros_after_the_last_batch_are_cut(killed, batches):
    with open(killed.active_log("t"), "ab") as log:
        log.write(bytes(5000))
    killed.broker.start()
    assert killed.holds("t", sum(batches, []))


def test_a_torn_last_batch_is_cut_at_the_one_before(killed, batches):
    log = killed.active_log("t")
    records, whole = sum(batches, []), last_base_offset(log)
    os.truncate(log, log.stat().st_size - 10)
    killed.broker.start()
    assert killed.holds("t", records[:whole])
    assert killed.holds("t", records, partition=1)
    assert tail_was_cut(killed), killed.broker.output()
    killed.produce("t", records[whole:])
    assert killed.holds("t", records)


def test_a_flipped_bit_in_the_last_batch_cuts_it(killed, batches):
    log = killed.active_log("t")
    whole = last_base_offset(log)
    flip(log, log.stat().st_size - 20)
    killed.broker.start()
    assert killed.holds("t", sum(batches, [])[:whole])
    assert tail_was_cut(killed), killed.broker.output()


def test_with_fsync_the_commit_log_mends_a_torn_tail(serve, batches):
    session = serve()
    session.make_topic("t")
    for batch in batches:
        session.produce("t", batch, acks="all")
    session.broker.kill()
    log = session.active_log("t")
    os.truncate(log, log.stat().st_size // 2 + 7)
    session.broker.start()
    assert session.holds("t", sum(batches, []))


def test_damage_in_the_middle_stays_with_its_partition(stopped, batches):
    """After a clean stop nothing is scanned: the reader meets the damage. The records before it
    and the other partition are served; no wrong byte is given out as right."""
    log = stopped.active_log("t")
    flip(log, log.stat().st_size // 2)
    stopped.broker.start()
    assert stopped.holds("t", sum(batches, []), partition=1)
    expected = sum(batches, [])
    assert stopped.client.consume("t", 0, 100) == [r.at(i) for i, r in enumerate(expected[:100])]
    with pytest.raises(peers.Refused, match="INVALID_MSG"):
        stopped.client.consume("t", 0, 1000)
    assert stopped.broker.alive()
    stopped.produce("t", batches[0], partition=1)


def test_a_log_cut_after_a_clean_stop_keeps_its_offsets(stopped, batches):
    """What is gone was durable: it is told of, and no offset of it is given out again."""
    log = stopped.active_log("t")
    os.truncate(log, log.stat().st_size // 2 + 7)
    stopped.broker.start()
    assert stopped.client.ends("t") == (0, 1000)
    with pytest.raises(peers.Refused, match="INVALID_MSG"):
        stopped.client.consume("t", 990, 1)
    assert "t-0" in stopped.broker.output()
    assert stopped.produce("t", batches[0])[0] == 1000
    assert stopped.holds("t", sum(batches, []), partition=1)


@pytest.mark.parametrize("kind", ["index", "timeindex"])
@pytest.mark.parametrize("harm", ["missing", "garbage", "cut", "zeros"])
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_an_index_is_only_a_cache(serve, batches, kind, harm, end):
    session = serve(durability="page-cache")
    session.make_topic("t", segment_bytes=1_048_576, index_interval_bytes=4096)
    records = corpus.numbered(4000, size=1000)
    for start in range(0, 4000, 20):
        session.produce("t", records[start:start + 20])
    session.broker.kill() if end == "kill" else session.broker.stop()
    spoilt = list(session.folder("t").glob(f"*.{kind}"))
    assert spoilt
    for path in spoilt:
        size = path.stat().st_size
        if harm == "missing":
            path.unlink()
        elif harm == "garbage":
            path.write_bytes(random.Random(3).randbytes(size))
        elif harm == "cut":
            os.truncate(path, max(size - 5, 0))
        else:
            path.write_bytes(bytes(size))
    session.broker.start()
    for offset in (0, 1, 999, 1500, 2777, 3999):
        assert session.client.consume("t", offset, 1) == [records[offset].at(offset)]
        assert session.client.by_time("t", records[offset].timestamp) == offset
    assert session.holds("t", records)


def test_a_directory_of_another_topic_is_not_opened(stopped, batches):
    """The UUID is the identity, not the name."""
    (stopped.folder("t") / "partition.metadata").write_text("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n")
    stopped.broker.start()
    assert stopped.holds("t", sum(batches, []), partition=1)
    with pytest.raises((peers.Refused, KafkaException)):
        stopped.client.ends("t")
    assert stopped.broker.alive()


def test_a_partition_that_cannot_be_opened_does_not_stop_the_others(stopped, batches):
    """A directory that is none; the same goes for one that may not be read."""
    shutil.rmtree(stopped.folder("t"))
    stopped.folder("t").write_text("not a directory")
    stopped.broker.start()
    assert stopped.holds("t", sum(batches, []), partition=1)
    assert stopped.broker.alive()
    assert "t-0" in stopped.broker.output()


def test_a_strange_directory_and_file_are_left_alone(stopped, batches):
    data = stopped.broker.data_dir
    (data / f"stranger-{uuid.uuid4().hex}").mkdir()
    (data / "notes.txt").write_text("mine")
    stopped.broker.start()
    assert stopped.holds("t", sum(batches, []))
    assert (data / "notes.txt").read_text() == "mine"


def test_an_interrupted_deletion_is_finished(stopped, batches):
    """A crash after the rename: the next start removes what bears the mark, and nothing else."""
    data = stopped.broker.data_dir
    shutil.copytree(stopped.folder("t"), data / f"gone-0.{uuid.uuid4().hex}-delete")
    stopped.broker.start()
    assert stopped.holds("t", sum(batches, []))
