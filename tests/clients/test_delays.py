"""Delayed delivery through every client, unmodified: tickets, holes, the release, refusals.

Where a test looks at what waits, it waits for an hour; where it looks at what comes, for half a
second, and the reader's own patience is the deadline.
"""

import time

import confluent_kafka
import pytest

import peers
import records as corpus
from records import Record, replace

AN_HOUR = (("klamm.delay", b"1h"),)
SOON = (("klamm.delay", b"500"),)
SOON_MS = 500
OUT = ("klamm.due", "klamm.accepted", "klamm.ticket")


def live(number):
    return Record(b"live", b"%d" % number)


def later(number, headers=AN_HOUR):
    return Record(b"later", b"%d" % number, headers)


def produce(client, topic, records, **how):
    """Sends records with headers; kcat has one set of headers per process."""
    if client.name != "kcat":
        return client.produce(topic, records, **how)
    for record in records:
        words = [word for name, value in record.headers for word in ("-H", f"{name}={value.decode()}")]
        client.produce(topic, [replace(record, headers=())], words=words, **how)
    return list(range(len(records)))


def values(records):
    return [(record.offset, record.value) for record in records]


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_offsets_are_exact_beside_delayed_records(client, codec, idempotent, all_clients, make_topic):
    topic = make_topic()
    mixed = [live(0), later(1), live(2), later(3), later(4)]
    assert produce(client, topic, mixed, codec=codec, idempotent=idempotent) == [0, 1, 2, 3, 4]
    for reader in all_clients.values():
        assert values(reader.consume(topic, 0, 2)) == [(0, b"0"), (2, b"2")], reader.name
        assert values(reader.consume(topic, 1, 1)) == [(2, b"2")], f"{reader.name} in a hole"
        assert reader.ends(topic) == (0, 3), f"{reader.name}: the end is the visible one"
    assert client.produce(topic, [live(5)]) in ([5], [-1])
    for reader in all_clients.values():
        assert values(reader.consume(topic, 3, 1)) == [(5, b"5")], f"{reader.name} behind a hole"
        assert reader.ends(topic) == (0, 6), reader.name


def test_a_delayed_record_comes_as_it_was_sent(client, all_clients, make_topic):
    topic = make_topic()
    user = (("trace", b"1"), ("trace", b"2"), ("tenant", b"a")) if client.name != "kcat" else (("tenant", b"a"),)
    began_ms = int(time.time() * 1000)
    produce(client, topic, [Record(b"order", b"check", user[:1] + SOON + user[1:])])
    for reader in all_clients.values():
        read = reader.consume(topic, 0, 1)[0]
        headers = dict(read.headers)
        assert (read.key, read.value) == (b"order", b"check"), reader.name
        assert read.timestamp >= began_ms + SOON_MS, f"{reader.name}: early"
        assert read.timestamp >= int(headers["klamm.due"])
        assert headers["klamm.ticket"] == b"0:0"
        assert read.offset > 0, "a new offset, not the ticket"
        if reader.name != "kcat":
            assert tuple(pair for pair in read.headers if pair[0] not in OUT) == user, reader.name


def test_records_come_in_the_order_they_are_due(client, make_topic):
    topic = make_topic()
    delays = [900, 300, 600, 300]
    produce(client, topic, [later(delay, (("klamm.delay", b"%d" % delay),)) for delay in delays])
    read = client.consume(topic, 0, len(delays))
    due = [int(dict(record.headers)["klamm.due"]) for record in read]
    assert due == sorted(due)
    assert sorted(record.value for record in read) == sorted(b"%d" % delay for delay in delays)


@pytest.mark.parametrize("header, value", [
    ("klamm.delay", b"soon"), ("klamm.delay", b"400d"), ("klamm.deliver.at", b"tomorrow"),
    ("klamm.delya", b"1s"), ("KLAMM.DELAY", b"1s"),
])
def test_a_bad_command_refuses_the_batch(client, header, value, make_topic):
    topic = make_topic()
    with pytest.raises(peers.Refused):
        produce(client, topic, [later(0, ((header, value),))])
    assert client.ends(topic) == (0, 0)


@pytest.mark.parametrize("group_protocol", ["classic", "consumer"])
def test_members_of_groups_get_what_is_due(broker, all_clients, make_topic, group_protocol):
    topic = make_topic()
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker.bootstrap, "group.id": f"delays-{group_protocol}", "log_level": 0,
        "auto.offset.reset": "earliest", "group.protocol": group_protocol})
    try:
        consumer.subscribe([topic])
        produce(all_clients["confluent-kafka"], topic, [live(0), later(1, SOON), later(2)])
        seen, end = [], time.monotonic() + peers.DEADLINE_S
        while len(seen) < 2 and time.monotonic() < end:
            message = consumer.poll(0.5)
            if message is not None:
                assert message.error() is None
                seen.append((message.offset(), message.value()))
        assert seen == [(0, b"0"), (3, b"1")]
        consumer.commit(asynchronous=False)
        place = confluent_kafka.TopicPartition(topic, 0)
        assert consumer.committed([place], 30)[0].offset == consumer.get_watermark_offsets(place, 30)[1] == 4
    finally:
        consumer.close()


def test_reading_to_the_end_stops_before_what_waits(all_clients, make_topic):
    topic = make_topic()
    kcat = all_clients["kcat"]
    all_clients["confluent-kafka"].produce(topic, [live(0), later(1), later(2)])
    assert kcat.run("-C", "-t", topic, "-e", "-q", "-f", "%o\n").split() == [b"0"]


def test_an_order_that_is_paid_is_not_cancelled(all_clients, make_topic):
    """The order time-out: a check is sent with the order's number as its id, payment takes it back."""
    topic = make_topic()
    client = all_clients["confluent-kafka"]
    checks = [Record(b"%d" % order, b"check", (("klamm.delay", b"2s"), ("klamm.delay.id", b"order-%d" % order)))
              for order in range(10)]
    client.produce(topic, checks)
    paid = [Record(b"%d" % order, None, (("klamm.delay.cancel", b"order-%d" % order),)) for order in range(0, 10, 2)]
    client.produce(topic, paid)
    unpaid = [b"%d" % order for order in range(1, 10, 2)]
    assert sorted(record.key for record in client.consume(topic, 0, 5)) == unpaid
    # Whatever else was due then would have come before this one.
    client.produce(topic, [Record(b"end", b"", (("klamm.delay", b"10"),))])
    assert [record.key for record in client.consume(topic, 0, 6)][5:] == [b"end"]


def test_replacing_moves_the_due_time(all_clients, make_topic):
    topic = make_topic()
    client = all_clients["confluent-kafka"]
    identity = (("klamm.delay.id", b"job"),)
    client.produce(topic, [Record(b"k", b"old", (("klamm.delay", b"1h"), *identity))])
    client.produce(topic, [Record(b"k", b"new", (("klamm.delay", b"100"), *identity, ("klamm.delay.replace", b"true")))])
    assert [record.value for record in client.consume(topic, 0, 1)] == [b"new"]


def test_delays_switched_off_refuse_commands(client, make_topic):
    topic = make_topic(delay_enable="false")
    with pytest.raises(peers.Refused):
        produce(client, topic, [later(0)])
    assert client.ends(topic) == (0, 0)
    assert produce(client, topic, [live(0)]) == [0]
