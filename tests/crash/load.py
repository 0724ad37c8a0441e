"""The load of a crash round: writers of several kinds on several partitions, and the full read.

Every writer is a librdkafka producer. What each kind risks differs, what is judged does not:

  idempotent  acks=all, retries through the crash with its sequences; every value must end up
              exactly once and in order
  plain       acks=all, never retries; a value without an answer may be there or not
  leader      acks=1, never retries; survives a kill, not a power cut
  bulk        as idempotent, with records so large that a commit takes its other path
  delayed     as idempotent; half of its values are delayed, in the same batches, and some of these
              are cancelled again
  failing     as idempotent; most of its values fail, some for good, and some nacks are sent twice
"""

import random
import time

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

from harness import wait
from delayed import DelayedPartition, now_ms
from failing import LETTER, MOST_RETRIES, CopyPartition, Failures, failures_of
from ledger import Partition

SMALL_BYTES, BULK_BYTES = 100, 300_000
QUEUED = 5_000
QUIET = {"log_level": 0, "log.connection.close": False}
RECONNECT = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20,
             "retry.backoff.max.ms": 100}
KINDS = {
    "idempotent": {"enable.idempotence": True, "acks": "all", "delivery.timeout.ms": 300_000},
    "plain": {"acks": "all", "message.send.max.retries": 0, "delivery.timeout.ms": 30_000},
    "leader": {"acks": "1", "message.send.max.retries": 0, "delivery.timeout.ms": 30_000},
    "bulk": {"enable.idempotence": True, "acks": "all", "delivery.timeout.ms": 300_000,
             "message.max.bytes": 4_000_000, "queue.buffering.max.kbytes": 65_536},
    "delayed": {"enable.idempotence": True, "acks": "all", "delivery.timeout.ms": 300_000},
    "failing": {"enable.idempotence": True, "acks": "all", "delivery.timeout.ms": 300_000},
}
WITHOUT_DELAYS = ("idempotent", "plain", "leader", "bulk")
# How long a released record may take on a busy machine before the judge calls it lost.
RELEASE_DEADLINE_S = 60


class Place:
    """A topic-partition of the broker and its history in the ledger."""

    def __init__(self, topic, number, index, kind, history=None):
        self.topic, self.number = topic, number
        judge = DelayedPartition if kind == "delayed" else Partition
        self.history = history or judge(index, keeps_order="enable.idempotence" in KINDS[kind])

    def __repr__(self):
        return f"{self.topic}-{self.number}"


class Writer:
    """One producer that writes to all partitions of its own topic in turn."""

    def __init__(self, number, kind, bootstrap, places):
        self.number, self.kind, self.places = number, kind, places
        self.in_flight = self.acked = self.failed = 0
        self.size = BULK_BYTES if kind == "bulk" else SMALL_BYTES
        self.most_in_flight = 50 if kind == "bulk" else QUEUED
        self.turn = 0
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": bootstrap, "linger.ms": 2, "queue.buffering.max.messages": 100_000,
            **QUIET, **RECONNECT, **KINDS[kind]})

    def write(self, count):
        """Sends up to `count` values, fewer where enough are in flight already."""
        place = self.places[self.turn % len(self.places)]
        self.turn += 1
        history, filler = place.history, b"." * (self.size - 8)
        for _ in range(min(count, self.most_in_flight - self.in_flight)):
            value = history.sent(self.number)
            self.in_flight += 1
            self.producer.produce(place.topic, partition=place.number,
                                  value=value.to_bytes(8, "big") + filler,
                                  on_delivery=self._answered(history, value))
        self.producer.poll(0)

    def _answered(self, history, value):
        def answered(error, message):
            self.in_flight -= 1
            if error is None:
                self.acked += 1
                history.acknowledged(value, message.offset())
            else:
                self.failed += 1
        return answered

    def settle(self, deadline_s=90):
        """Waits until every value has an answer; an idempotent writer retries till then."""
        left = self.producer.flush(deadline_s)
        if left:
            raise TimeoutError(f"{self.kind} writer: {left} values without an answer after {deadline_s} s")


class DelayedWriter(Writer):
    """Live and delayed values in turn, of several sizes; long delays have ids and half of those
    are cancelled as soon as they are acknowledged."""

    MOST_IN_FLIGHT = 2_000

    def __init__(self, *place):
        super().__init__(*place)
        self.most_in_flight = self.MOST_IN_FLIGHT
        self.chance = random.Random(self.number)

    def write(self, count):
        place = self.places[self.turn % len(self.places)]
        self.turn += 1
        for _ in range(min(count, self.most_in_flight - self.in_flight)):
            self.in_flight += 1
            if self.chance.random() < 0.5:
                value = place.history.sent(self.number)
                self._produce(place, value, [], self._answered(place.history, value))
            else:
                self._write_later(place)
        self.producer.poll(0)

    def _write_later(self, place):
        kind = self.chance.random()
        if kind < 0.8:
            delay_ms = self.chance.randint(1, 1_500 if kind < 0.5 else 12_000)
            value = place.history.sent_later(self.number, delay_ms)
            self._produce(place, value, [("klamm.delay", str(delay_ms))], self._answered(place.history, value))
            return
        delay_ms = self.chance.randint(15_000, 30_000)
        value = place.history.sent_later(self.number, delay_ms)
        due = ("klamm.deliver.at", str(place.history.due[value]))
        answered = self._answered(place.history, value)

        def then_cancel(error, message):
            answered(error, message)
            if error is None and value % 2:
                self._cancel(place, value)
        self._produce(place, value, [due, ("klamm.delay.id", str(value))], then_cancel)

    def _cancel(self, place, value):
        def cancelled(error, message):
            self.in_flight -= 1
            if error is None:
                place.history.command_acknowledged(message.offset(), value)
        self.in_flight += 1
        self.producer.produce(place.topic, partition=place.number, value=None, on_delivery=cancelled,
                              headers=[("klamm.delay.cancel", str(value))])

    def _produce(self, place, value, headers, answered):
        filler = b"." * self.chance.choice((50, 200, 1_000))
        self.producer.produce(place.topic, partition=place.number, value=value.to_bytes(8, "big") + filler,
                              headers=headers, on_delivery=answered)


class FailingWriter(Writer):
    """Sends values, nacks those that fail as soon as they are acknowledged, and nacks their retries
    as it reads them. Of all nacks some are sent again."""

    GROUP = "failing-group"
    MOST_IN_FLIGHT = 2_000
    MOST_DELAY_MS = 1_500

    def __init__(self, number, kind, bootstrap, places):
        super().__init__(number, kind, bootstrap, places)
        self.most_in_flight = self.MOST_IN_FLIGHT
        self.chance = random.Random(number)
        self.failures = Failures()
        source = places[0].topic
        self.retries, self.letters = f"retry.{self.GROUP}.{source}", f"dlq.{self.GROUP}.{source}"
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": bootstrap, "group.id": self.GROUP, "enable.auto.commit": False,
            "auto.offset.reset": "earliest", **QUIET, **RECONNECT})
        numbers = [place.number for place in places]
        known = [confluent_kafka.TopicPartition(source, number, 0) for number in numbers]
        self.consumer.commit(offsets=known, asynchronous=False)
        admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
        made = [NewTopic(topic, len(numbers), 1) for topic in (self.retries, self.letters)]
        for future in admin.create_topics(made).values():
            future.result(30)
        self.consumer.assign([confluent_kafka.TopicPartition(self.retries, number, 0) for number in numbers])
        self.copies = [Place(topic, number, number, kind, CopyPartition(self.failures, source, topic, number))
                       for topic in (self.retries, self.letters) for number in numbers]

    def write(self, count):
        place = self.places[self.turn % len(self.places)]
        self.turn += 1
        for _ in range(min(count, self.most_in_flight - self.in_flight)):
            value = place.history.sent(self.number)
            self.in_flight += 1
            self.producer.produce(place.topic, partition=place.number, value=value.to_bytes(8, "big") + b"." * 92,
                                  headers=[("klamm.retry.max", str(MOST_RETRIES))],
                                  on_delivery=self._then_fail(place, value))
        self.producer.poll(0)
        self._fail_again()

    def settle(self, deadline_s=90):
        super().settle(deadline_s)
        self._fail_again()
        super().settle(deadline_s)

    def _then_fail(self, place, value):
        answered = self._answered(place.history, value)

        def then_fail(error, message):
            answered(error, message)
            if error is None:
                self.failures.stands(value, place.number, message.offset())
                if failures_of(value) > 0:
                    self._nack(place.topic, message, value, 1)
        return then_fail

    def _fail_again(self):
        for message in self.consumer.consume(500, 0):
            if message.error():
                continue
            value = int.from_bytes(message.value()[:8], "big")
            attempt = int(dict(message.headers())["klamm.retry.attempt"])
            if failures_of(value) > attempt:
                self._nack(self.retries, message, value, attempt + 1)

    def _nack(self, topic, message, value, step):
        delay_ms = 0 if step == LETTER else self.chance.randint(1, self.MOST_DELAY_MS)
        self.failures.nacked(value, step, delay_ms)
        headers = [("klamm.nack.group", self.GROUP), ("klamm.nack.offset", str(message.offset())),
                   ("klamm.nack.delay", str(delay_ms))]

        def answered(error, _):
            self.in_flight -= 1
            if error is None:
                self.failures.acknowledged(value, step)
            else:
                self.copies[0].history.fault("refused", f"nack of {message.offset()} in {topic}: {error}")
        for _ in range(2 if self.chance.random() < 0.2 else 1):
            self.in_flight += 1
            self.producer.produce(topic, partition=message.partition(), value=None, headers=headers,
                                  on_delivery=answered)


class Load:
    """All writers and places of a run."""

    TOPICS = {"idempotent": 4, "plain": 4, "leader": 2, "bulk": 2, "delayed": 3, "failing": 3}

    def __init__(self, bootstrap, kinds):
        self.bootstrap = bootstrap
        admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
        topics = [NewTopic(f"{kind}-values", self.TOPICS[kind], 1, config={"max.message.bytes": "4000000"})
                  for kind in kinds]
        for future in admin.create_topics(topics).values():
            future.result(30)
        self.places, self.writers = [], []
        for number, topic in enumerate(topics):
            kind = kinds[number]
            own = [Place(topic.topic, partition, len(self.places) + partition, kind)
                   for partition in range(topic.num_partitions)]
            self.places += own
            writer = {"delayed": DelayedWriter, "failing": FailingWriter}.get(kind, Writer)
            self.writers.append(writer(number, kind, bootstrap, own))
        for writer in self.writers:
            self.places += getattr(writer, "copies", [])

    @property
    def acked(self):
        return sum(writer.acked for writer in self.writers)

    @property
    def in_flight(self):
        return sum(writer.in_flight for writer in self.writers)

    def take_faults(self):
        """What has been found since the last call."""
        found = [(place, fault) for place in self.places for fault in place.history.faults]
        for place in self.places:
            place.history.faults.clear()
        return found

    def run_until(self, condition, deadline_s):
        """Keeps every writer busy until the condition holds."""
        end = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"no progress: {self.acked} acknowledged after {deadline_s} s")
            for writer in self.writers:
                writer.write(5 if writer.kind == "bulk" else 200)

    def settle(self):
        for writer in self.writers:
            writer.settle()

    def delays(self):
        """The places where values come later."""
        return [place for place in self.places if isinstance(place.history, (DelayedPartition, CopyPartition))]

    def read_everything(self):
        """Reads every partition from 0 to its end and holds it against the ledger; returns the
        number of records read. Of delayed values it waits for those that are due."""
        count = self._read(self.places)
        delayed = self.delays()
        moment_ms, end = now_ms(), time.monotonic() + RELEASE_DEADLINE_S
        while any(place.history.overdue(moment_ms) for place in delayed) and time.monotonic() < end:
            self._read(delayed)
        for place in delayed:
            place.history.judge_overdue(moment_ms)
        return count

    def read_until_delivered(self):
        """Reads until no acknowledged delayed value is left, at the end of a run."""
        delayed = self.delays()
        last_ms = max((place.history.last_due_ms() for place in delayed), default=0)
        while now_ms() <= last_ms:
            self._read(delayed)
        return self.read_everything()

    def _read(self, places):
        consumer = confluent_kafka.Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "unused", "enable.auto.commit": False,
            "auto.offset.reset": "error", "check.crcs": True, "queued.min.messages": 200_000,
            "fetch.wait.max.ms": 10, "fetch.error.backoff.ms": 20, **QUIET, **RECONNECT})
        try:
            return self._read_with(consumer, places)
        finally:
            consumer.close()

    @staticmethod
    def _read_with(consumer, places):
        ends, readings, open_places = {}, {}, {}
        for place in places:
            asked = confluent_kafka.TopicPartition(place.topic, place.number, 0)
            ends[place] = consumer.get_watermark_offsets(asked, 30)[1]
            readings[place.topic, place.number] = place.history.reading()
            open_places[place.topic, place.number] = place
        consumer.assign([confluent_kafka.TopicPartition(p.topic, p.number, 0) for p in places if ends[p]])
        unfinished = {key for key, place in open_places.items() if ends[place]}
        end = time.monotonic() + 120
        while unfinished and time.monotonic() < end:
            for message in consumer.consume(10_000, 0.2):
                if message.error():
                    raise RuntimeError(f"read of {message.topic()}-{message.partition()}: {message.error()}")
                key, offset = (message.topic(), message.partition()), message.offset()
                readings[key].read(message)
                if offset + 1 >= ends[open_places[key]]:
                    unfinished.discard(key)
        for key, reading in readings.items():
            reading.ended(ends[open_places[key]])
        return sum(reading.count for reading in readings.values())


def wait_for_service(bootstrap, deadline_s=30):
    """Until the broker answers a metadata request."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET, **RECONNECT})

    def answers():
        try:
            return admin.list_topics(timeout=1)
        except confluent_kafka.KafkaException:
            return None
    return wait.until(answers, "an answer to Metadata", deadline_s)
