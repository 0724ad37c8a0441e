"""What kcat does beyond lines of text: headers, null values, whole files, metadata as JSON."""

import json

import pytest

import records as corpus


@pytest.fixture(autouse=True)
def named(record_property):
    record_property("client", "kcat")


@pytest.fixture
def kcat(all_clients):
    return all_clients["kcat"]


def test_headers_repeat_and_keep_their_order(kcat, make_topic, all_clients):
    topic = make_topic()
    kcat.produce(topic, [corpus.Record(b"k", b"v")], words=["-H", "a=1", "-H", "b=2", "-H", "a=3"])
    headers = (("a", b"1"), ("b", b"2"), ("a", b"3"))
    for reader in all_clients.values():
        assert reader.consume(topic, 0, 1)[0].headers == headers


def test_empty_value_as_null(kcat, make_topic, all_clients):
    topic = make_topic()
    kcat.run("-P", "-t", topic, "-K", ":", "-Z", stdin=b"key:")
    for reader in all_clients.values():
        read = reader.consume(topic, 0, 1)[0]
        assert (read.key, read.value) == (b"key", None)


def test_a_file_of_8_mib_as_one_record(kcat, make_topic, all_clients, tmp_path):
    topic = make_topic(max_message_bytes=11 * corpus.MEBIBYTE)
    content = corpus.of_size(8 * corpus.MEBIBYTE)[0].value
    (tmp_path / "file").write_bytes(content)
    kcat.run("-P", "-t", topic, "-p", "0", "-X", "message.max.bytes=11000000", str(tmp_path / "file"))
    for reader in all_clients.values():
        assert reader.consume(topic, 0, 1)[0].value == content


def test_metadata_listing(kcat, make_topic, broker):
    topic = make_topic(3)
    listed = json.loads(kcat.run("-L", "-J", "-t", topic))
    assert [node["name"] for node in listed["brokers"]] == [broker.bootstrap]
    partitions = listed["topics"][0]["partitions"]
    assert sorted(p["partition"] for p in partitions) == [0, 1, 2]
    assert {p["leader"] for p in partitions} == {listed["brokers"][0]["id"]}


def test_reading_to_the_end_of_every_partition_stops(kcat, make_topic):
    topic = make_topic(3)
    for partition in range(3):
        kcat.produce(topic, corpus.numbered(10), partition=partition)
    assert kcat.run("-C", "-t", topic, "-e", "-q").count(b"\n") == 30
    assert kcat.run("-C", "-t", topic, "-p", "1", "-o", "-3", "-e", "-q", "-f", "%o\n").split() == [b"7", b"8", b"9"]
