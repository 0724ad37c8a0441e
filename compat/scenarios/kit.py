"""What the scenarios share: topics, a producer that reports refusals, a consumer, a nack.

Everything here is plain confluent-kafka; nothing knows that the broker is Klamm but the names of
headers.
"""

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic


def create(bootstrap, topic, partitions=1):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, partitions)])[topic].result(30)


def add_partitions(bootstrap, topic, total):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_partitions([NewPartitions(topic, total)])[topic].result(30)


class Sender:
    """Sends one record at a time and waits until it is stored; raises what the broker refuses."""

    def __init__(self, bootstrap):
        self.producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True,
                                  "topic.metadata.refresh.interval.ms": 1000})

    def send(self, topic, key=None, value=None, partition=-1, **headers):
        """Underscores in header names stand for dots. Returns the offset."""
        stored = []
        named = [(name.replace("_", "."), str(text)) for name, text in headers.items()]
        self.producer.produce(topic, value, key, partition, headers=named,
                              on_delivery=lambda error, message: stored.append((error, message)))
        self.producer.flush(30)
        error, message = stored[0]
        if error is not None:
            raise KafkaException(error)
        return message.offset()

    def nack(self, group, message, **more):
        """Tells the broker that this group failed on this record: it is tried again later."""
        return self.send(message.topic(), partition=message.partition(), klamm_nack_group=group,
                         klamm_nack_offset=message.offset(), **more)


class Receiver:
    """A member of a group that commits what it has worked off."""

    def __init__(self, bootstrap, group, *topics, only_new=False):
        self.group = group
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "topic.metadata.refresh.interval.ms": 1000,
            "allow.auto.create.topics": True})
        self.consumer.subscribe(list(topics), on_assign=self._to_end if only_new else lambda *_: None)

    @staticmethod
    def _to_end(consumer, partitions):
        """Not by `auto.offset.reset=latest`, which looks for the end only when it begins to fetch."""
        for partition in partitions:
            partition.offset = consumer.get_watermark_offsets(partition)[1]
        consumer.assign(partitions)

    def next(self, wait_s=1.0):
        """The next record, or nothing within the time."""
        message = self.consumer.poll(wait_s)
        if message is None:
            return None
        if message.error() and message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            # A retry topic comes into being with the first failure, and is found within
            # `topic.metadata.refresh.interval.ms`; nothing in it is missed.
            return None
        if message.error():
            raise KafkaException(message.error())
        return message

    def assigned(self, deadline_s=30):
        """Waits until it has partitions: what is written from then on is not missed."""
        end = time.monotonic() + deadline_s
        while not self.consumer.assignment():
            assert time.monotonic() < end, "no assignment"
            self.consumer.poll(0.1)

    def done(self, message):
        self.consumer.commit(message, asynchronous=False)

    def close(self):
        self.consumer.close()


def headers(message):
    return {name: (value or b"").decode() for name, value in message.headers() or []}
