"""A member of a consumer group on a Python client; speaks the member part of PROTOCOL.md.

    member.py CLIENT BOOTSTRAP GROUP TOPIC GROUP_PROTOCOL

Of all that was consumed, offsets are committed before partitions are given up and at the end.
"""

import asyncio
import select
import sys
import time

SESSION_MS = 6000
HEARTBEAT_MS = 200


def tell(event, *fields):
    print(event, time.time_ns() // 1_000_000, *fields, sep="\t", flush=True)


def tell_partitions(event, partitions):
    tell(event, ",".join(str(p.partition) for p in partitions))


def asked_to_close():
    return bool(select.select([sys.stdin], [], [], 0)[0])


def confluent(bootstrap, group, topic, protocol):
    import confluent_kafka
    settings = {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                "enable.auto.commit": False, "group.protocol": protocol, "log_level": 3,
                "topic.metadata.refresh.interval.ms": 1000}
    if protocol == "classic":
        settings |= {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": HEARTBEAT_MS,
                     "partition.assignment.strategy": "cooperative-sticky"}
    consumer = confluent_kafka.Consumer(settings)

    def commit():
        try:
            consumer.commit(asynchronous=False)
        except confluent_kafka.KafkaException as error:
            # Nothing was consumed since the last commit.
            if error.args[0].code() != confluent_kafka.KafkaError._NO_OFFSET:
                raise

    def revoked(_, partitions):
        commit()
        tell_partitions("REVOKED", partitions)

    consumer.subscribe([topic], on_assign=lambda _, partitions: tell_partitions("ASSIGNED", partitions),
                       on_revoke=revoked, on_lost=lambda _, partitions: tell_partitions("REVOKED", partitions))
    while not asked_to_close():
        message = consumer.poll(0.05)
        if message is None:
            continue
        if message.error():
            raise confluent_kafka.KafkaException(message.error())
        tell("RECORD", message.partition(), message.offset())
    consumer.close()


def kafka_python(bootstrap, group, topic, _):
    import kafka
    # Its listener cannot wait for a commit; with auto-commit it does one itself before a rebalance
    # and when it closes. In between the interval is too long to matter.
    consumer = kafka.KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
                                   enable_auto_commit=True, auto_commit_interval_ms=600_000,
                                   session_timeout_ms=SESSION_MS, heartbeat_interval_ms=HEARTBEAT_MS,
                                   metadata_max_age_ms=1000)

    class Listener(kafka.ConsumerRebalanceListener):
        def on_partitions_revoked(self, partitions):
            tell_partitions("REVOKED", partitions)

        def on_partitions_assigned(self, partitions):
            tell_partitions("ASSIGNED", partitions)

    consumer.subscribe([topic], listener=Listener())
    # Of a topic that it hears of only after it has joined, 3.0.12 may forget the assignment: a poll
    # that ends between its SyncGroup and the answer is not taken up again, and heartbeats stop.
    while not consumer.partitions_for_topic(topic):
        pass
    while not asked_to_close():
        for records in consumer.poll(timeout_ms=50).values():
            for record in records:
                tell("RECORD", record.partition, record.offset)
    consumer.close()


async def aiokafka(bootstrap, group, topic, _):
    import aiokafka as client
    consumer = client.AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
                                       enable_auto_commit=False, session_timeout_ms=SESSION_MS,
                                       heartbeat_interval_ms=HEARTBEAT_MS, metadata_max_age_ms=1000)

    class Listener(client.ConsumerRebalanceListener):
        async def on_partitions_revoked(self, revoked):
            if revoked:
                await consumer.commit()
            tell_partitions("REVOKED", revoked)

        async def on_partitions_assigned(self, assigned):
            tell_partitions("ASSIGNED", assigned)

    consumer.subscribe([topic], listener=Listener())
    await consumer.start()
    while not asked_to_close():
        for records in (await consumer.getmany(timeout_ms=50)).values():
            for record in records:
                tell("RECORD", record.partition, record.offset)
    await consumer.commit()
    tell_partitions("REVOKED", consumer.assignment())
    await consumer.stop()


def main():
    name, *words = sys.argv[1:]
    if name == "aiokafka":
        asyncio.run(aiokafka(*words))
    else:
        {"confluent-kafka": confluent, "kafka-python": kafka_python}[name](*words)
    tell("CLOSED")


main()
