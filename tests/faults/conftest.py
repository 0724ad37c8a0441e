"""A broker of a test's own, and the few requests these tests make of it."""

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

import peers
import records as corpus
from harness.broker import Klamm


class Session:
    """One broker with a client, so that a test reads as a story."""

    def __init__(self, broker):
        self.broker = broker
        self.client = peers.Confluent(broker.bootstrap)
        self.admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})

    def make_topic(self, name, partitions=1, **configs):
        settings = {key.replace("_", "."): str(value) for key, value in configs.items()}
        self.admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(30)

    def produce(self, topic, records, **how):
        return self.client.produce(topic, records, **how)

    def holds(self, topic, records, partition=0, start=0):
        """Reads the whole partition: exactly these records, from this offset on."""
        assert self.client.ends(topic, partition) == (start, start + len(records))
        read = self.client.consume(topic, start, len(records), partition)
        assert read == [record.at(start + i) for i, record in enumerate(records)]
        return True

    def folder(self, topic, partition=0):
        return self.broker.data_dir / f"{topic}-{partition}"

    def active_log(self, topic, partition=0):
        return max(self.folder(topic, partition).glob("*.log"))


@pytest.fixture
def serve(tmp_path):
    """Starts a broker with these settings; every broker of the test is ended with it."""
    started = []

    def start(data_dir=None, environment=None, **overrides):
        settings = {key.replace("_", "."): value for key, value in overrides.items()}
        broker = Klamm(tmp_path / f"broker{len(started)}", settings, data_dir=data_dir, environment=environment)
        started.append(broker)
        return Session(broker.start())
    yield start
    for broker in started:
        broker.close()


@pytest.fixture
def batches():
    """Ten lots of records, to be produced one request each."""
    records = corpus.numbered(1000, size=200)
    return [records[start:start + 100] for start in range(0, 1000, 100)]
