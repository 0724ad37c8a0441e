"""What one client wrote, every client reads back byte for byte: codecs, acks, sizes, offsets, times."""

import pytest

import peers
import records as corpus

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def written(client, topic, records, **how):
    """Produces, and returns the records as they must be read, offsets 0.. in order."""
    offsets = client.produce(topic, records, **how)
    assert offsets in (list(range(len(records))), [-1] * len(records))
    return [record.at(i) for i, record in enumerate(records)]


def with_broker_times(client, expected, read):
    """kcat cannot set timestamps, so what it wrote carries its own clock's."""
    if client.name == "kcat":
        return [corpus.replace(record, timestamp=seen.timestamp) for record, seen in zip(expected, read)]
    return expected


def read_by_all(all_clients, client, topic, expected):
    for reader in all_clients.values():
        read = reader.consume(topic, 0, len(expected))
        if reader.name == "kcat":
            # Its %h prints header bytes as text: compare what text can show.
            expected_here = [corpus.replace(r, headers=()) for r in expected]
            read = [corpus.replace(r, headers=()) for r in read]
        else:
            expected_here = expected
        assert read == with_broker_times(client, expected_here, read), f"{reader.name} reads {client.name}"


def corpus_for(client):
    """Corner cases and a run that compresses, without what the client has no way to write."""
    return corpus.stamped([r for r in corpus.corners() + corpus.numbered(200) if client.can_write(r)])


@pytest.mark.parametrize("codec", CODECS)
def test_every_client_reads_what_it_wrote(client, codec, all_clients, make_topic):
    topic = make_topic()
    expected = written(client, topic, corpus_for(client), codec=codec, acks="all")
    read_by_all(all_clients, client, topic, expected)


@pytest.mark.parametrize("acks", ["0", "1"])
def test_weaker_acks(client, acks, make_topic):
    topic = make_topic()
    expected = written(client, topic, corpus_for(client), acks=acks)
    read = client.consume(topic, 0, len(expected))
    assert read == with_broker_times(client, expected, read)


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_idempotent_producer(client, codec, make_topic):
    topic = make_topic()
    expected = written(client, topic, corpus_for(client), codec=codec, acks="all", idempotent=True)
    assert client.ends(topic) == (0, len(expected))
    read = client.consume(topic, 0, len(expected))
    assert read == with_broker_times(client, expected, read)


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_sizes_from_1_byte_to_10_mib(client, codec, all_clients, make_topic):
    topic = make_topic(max_message_bytes=11 * corpus.MEBIBYTE)
    records = corpus.of_size(1, 100, 10_000, 1_000_000, 10 * corpus.MEBIBYTE - 200)
    if client.name == "kcat":
        pytest.skip("takes records as lines of text; see test_kcat.py for files")
    for record in records:
        client.produce(topic, [record], codec=codec)
    read_by_all(all_clients, client, topic, [record.at(i) for i, record in enumerate(records)])


def test_a_record_above_the_limit_is_refused(client, make_topic):
    topic = make_topic(max_message_bytes=10_000)
    value = b"x" * 20_000
    with pytest.raises(peers.Refused, match="(?i)large|too_large|size"):
        client.produce(topic, [corpus.Record(b"k", value)])
    assert client.ends(topic) == (0, 0)


def test_fetch_from_any_offset(client, make_topic, all_clients):
    topic = make_topic()
    records = corpus.numbered(500)
    for start in range(0, 500, 50):
        all_clients["confluent-kafka"].produce(topic, records[start:start + 50], codec="lz4")
    for offset in (0, 1, 49, 50, 51, 275, 498, 499):
        assert client.consume(topic, offset, 1) == [records[offset].at(offset)]
    assert client.consume(topic, 123, 377) == [record.at(123 + i) for i, record in enumerate(records[123:])]


def test_offsets_by_time(client, make_topic, all_clients):
    topic = make_topic()
    records = corpus.numbered(300)
    for start in range(0, 300, 100):
        all_clients["confluent-kafka"].produce(topic, records[start:start + 100], codec="gzip")
    for index in (0, 1, 99, 100, 150, 299):
        assert client.by_time(topic, records[index].timestamp) == index
        assert client.by_time(topic, records[index].timestamp - 1) == index
    assert client.by_time(topic, records[-1].timestamp + 1) == -1
    assert client.ends(topic) == (0, 300)


def test_an_offset_beyond_the_end_is_out_of_range(client, make_topic):
    topic = make_topic()
    client.produce(topic, [corpus.Record(b"k", b"v")])
    if client.name in ("kcat", "franz-go"):
        pytest.skip("resets to the end instead of reporting it")
    with pytest.raises(peers.Refused, match="(?i)out ?of ?range"):
        client.consume(topic, 50, 1)


def test_log_append_time(client, make_topic, all_clients):
    """With LogAppendTime every record carries the broker's time, whatever the client says."""
    topic = make_topic(message_timestamp_type="LogAppendTime")
    client.produce(topic, corpus.numbered(1))
    for reader in all_clients.values():
        assert reader.consume(topic, 0, 1)[0].timestamp > corpus.BASE_TIME_MS + 1_800_000


@pytest.mark.parametrize("codec", ["uncompressed", "gzip", "zstd"])
def test_broker_recompresses(client, codec, make_topic, all_clients):
    """A topic's own codec replaces the producer's; keys, values and header order stay."""
    topic = make_topic(compression_type=codec)
    expected = written(client, topic, corpus_for(client), codec="snappy")
    read_by_all(all_clients, client, topic, expected)


def test_auto_created_topic(client, all_clients, request):
    """Producing to a topic that nobody made makes it, with the broker's partition count."""
    topic = f"auto-{client.name}"
    records = [corpus.Record(b"k", b"v")]
    client.produce(topic, records)
    assert client.consume(topic, 0, 1)[0].value == b"v"
