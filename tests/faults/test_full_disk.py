"""A full disk: produce gets an error that it may retry, reads live, nothing acknowledged is lost,
and the service goes on by itself when there is room again."""

import os

import pytest
from confluent_kafka import KafkaError, Producer

import records as corpus
from records import Record
from harness import disk, wait


@pytest.fixture(params=[disk.Ext4, disk.Tmpfs], ids=["ext4", "tmpfs"])
def small_disk(request, tmp_path):
    try:
        with request.param(tmp_path, 192 << 20) as mounted:
            yield mounted
    except disk.Unavailable as reason:
        pytest.skip(str(reason))


class Ballast:
    """A file that takes all the room there is."""

    def __init__(self, folder):
        self.path = folder / "ballast"

    def fill(self):
        room = os.statvfs(self.path.parent)
        with open(self.path, "wb") as file:
            size = room.f_bavail * room.f_frsize
            while size >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
                    file.seek(0, os.SEEK_END)
                except OSError:
                    size //= 2

    def release(self):
        self.path.unlink()


def produce_once(session, topic, value):
    return produce_record(session, topic, Record(None, value))


def produce_record(session, topic, record):
    """One record with acks=all and no retry; returns (offset, None) or (None, error code)."""
    answers = []
    producer = Producer({"bootstrap.servers": session.broker.bootstrap, "acks": "all",
                         "message.send.max.retries": 0, "delivery.timeout.ms": 20_000,
                         "log_level": 0})
    producer.produce(topic, key=record.key, value=record.value, headers=list(record.headers), partition=0,
                     on_delivery=lambda error, message: answers.append((error, message.offset())))
    producer.flush(30)
    error, offset = answers[0]
    return (None, error.code()) if error else (offset, None)


@pytest.mark.parametrize("durability", ["fsync", "page-cache"])
def test_a_full_disk(serve, small_disk, durability):
    session = serve(data_dir=small_disk.path / "data", durability=durability)
    session.make_topic("t", max_message_bytes=2_000_000)
    acked = {}
    value = corpus.of_size(900_000)[0].value

    def produce():
        marked = len(acked).to_bytes(4, "big") + value
        offset, error = produce_once(session, "t", marked)
        if error is None:
            acked[offset] = marked
        return error

    assert produce() is None
    ballast = Ballast(small_disk.path)
    ballast.fill()
    errors = set()
    for _ in range(400):
        error = produce()
        if error is not None:
            errors.add(error)
            break
    else:
        pytest.fail("400 MB went onto a disk of 192 MiB")
    # What it said must be an error that a producer tries again.
    assert errors == {KafkaError.KAFKA_STORAGE_ERROR}, errors
    assert session.broker.alive(), session.broker.output()
    read_back(session, acked)
    ballast.release()
    wait.until(lambda: produce() is None, "produce after there is room", 30)
    read_back(session, acked)
    session.broker.kill()
    session.broker.start()
    read_back(session, acked)


def test_a_full_delay_store(serve, small_disk):
    """It refuses what is to be delayed; what is live goes on, and what is due comes."""
    session = serve()
    session.make_topic("t")
    session.produce("t", [Record(b"k", b"live 0")])
    (session.folder("t") / "delay").symlink_to(small_disk.path, target_is_directory=True)
    value = b"x" * 100_000

    def delayed(number, delay):
        return Record(b"k", b"%d %s" % (number, value), (("klamm.delay", delay),))

    session.produce("t", [delayed(number, b"5s") for number in range(200)])
    ballast = Ballast(small_disk.path)
    ballast.fill()
    accepted = 200
    for number in range(200, 600):
        error = produce_record(session, "t", delayed(number, b"4s"))[1]
        if error is not None:
            assert error == KafkaError.KAFKA_STORAGE_ERROR
            break
        accepted += 1
    else:
        pytest.fail("the full disk took 40 MB")
    session.produce("t", [Record(b"k", b"live 1")])
    read = session.client.consume("t", 0, accepted + 2)
    assert len(read) == accepted + 2, "what is due comes from a full disk"
    assert produce_record(session, "t", delayed(600, b"10"))[1] == KafkaError.KAFKA_STORAGE_ERROR
    assert session.broker.alive(), session.broker.output()
    ballast.release()
    wait.until(lambda: produce_record(session, "t", delayed(601, b"10"))[1] is None, "room again", 30)
    session.broker.kill()
    session.broker.start()
    session.produce("t", [delayed(602, b"10"), Record(b"k", b"live 2")])
    read = [record.value.split()[0] for record in session.client.consume("t", 0, accepted + 5)]
    numbers = [int(word) for word in read if word != b"live"]
    assert sorted(numbers) == [*range(accepted), 601, 602], "once each"


def read_back(session, acked):
    """All of the log, in order; what was acknowledged stands at its offset."""
    start, end = session.client.ends("t")
    assert start == 0 and end > max(acked)
    read = {record.offset: record.value for record in session.client.consume("t", 0, end)}
    assert {offset: read[offset] for offset in acked} == acked
