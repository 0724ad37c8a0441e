"""One adapter per real client, all with the same few methods.

produce(topic, records, partition, codec, acks, idempotent) -> offsets (-1 with acks=0)
consume(topic, offset, count, partition) -> records, or an error if they do not come in time
by_time(topic, timestamp, partition) -> offset or -1
ends(topic, partition) -> (log start offset, log end offset)

`can_write(record)` says whether the client can write such a record at all (kcat takes lines of text,
kafka-python insists on a key or a value and on header values).
"""

import base64
import re
import subprocess
import time

import confluent_kafka
import kafka as kafka_python

from harness import broker as brokers
from records import Record

DEADLINE_S = 60
MAX_REQUEST_BYTES = 32 << 20


class Refused(Exception):
    """The client reported an error for what it was asked to do."""


class Confluent:
    """librdkafka through confluent-kafka for Python."""

    name = "confluent-kafka"
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def version(self):
        return f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})"

    def can_write(self, record):
        return True

    def settings(self, **more):
        return {"bootstrap.servers": self.bootstrap, "message.max.bytes": MAX_REQUEST_BYTES,
                "receive.message.max.bytes": 2 * MAX_REQUEST_BYTES,
                "log_level": 0, **more}

    def produce(self, topic, records, partition=0, codec="none", acks="all", idempotent=False):
        producer = confluent_kafka.Producer(self.settings(**{
            "acks": acks, "enable.idempotence": idempotent, "compression.codec": codec,
            "delivery.timeout.ms": DEADLINE_S * 1000, "linger.ms": 50,
            "queue.buffering.max.kbytes": 1 << 18}))
        offsets, errors = [None] * len(records), []
        for i, record in enumerate(records):
            def delivered(error, message, i=i):
                offsets[i] = message.offset()
                if error:
                    errors.append(error)
            producer.produce(topic, value=record.value, key=record.key, partition=partition,
                             headers=list(record.headers), timestamp=record.timestamp, on_delivery=delivered)
        left = producer.flush(DEADLINE_S)
        if errors or left:
            raise Refused(str(errors[0]) if errors else f"{left} records unsent")
        # librdkafka gives the first record of an unacknowledged request an offset of 0.
        return [-1] * len(records) if acks == "0" else offsets

    def consumer(self, **more):
        return confluent_kafka.Consumer(self.settings(**{
            "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error",
            "check.crcs": True, "fetch.message.max.bytes": 1 << 20, **more}))

    def consume(self, topic, offset, count, partition=0):
        consumer = self.consumer()
        try:
            consumer.assign([confluent_kafka.TopicPartition(topic, partition, offset)])
            return self._take(consumer, count)
        finally:
            consumer.close()

    @staticmethod
    def _take(consumer, count):
        records, end = [], time.monotonic() + DEADLINE_S
        while len(records) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(records)} of {count} records by the deadline")
            for message in consumer.consume(min(count - len(records), 10_000), 0.5):
                if message.error():
                    raise Refused(str(message.error()))
                headers = tuple((name, value) for name, value in message.headers() or ())
                records.append(Record(message.key(), message.value(), headers,
                                      message.timestamp()[1], message.offset()))
        return records

    def by_time(self, topic, timestamp, partition=0):
        consumer = self.consumer()
        try:
            asked = confluent_kafka.TopicPartition(topic, partition, timestamp)
            found = consumer.offsets_for_times([asked], DEADLINE_S)[0]
            if found.error:
                raise Refused(str(found.error))
            return -1 if found.offset == confluent_kafka.OFFSET_END else found.offset
        finally:
            consumer.close()

    def ends(self, topic, partition=0):
        consumer = self.consumer()
        try:
            return consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, partition), DEADLINE_S)
        finally:
            consumer.close()

    def close(self):
        pass


class KafkaPython:
    name = "kafka-python"
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def version(self):
        return kafka_python.__version__

    def can_write(self, record):
        has_content = record.key is not None or record.value is not None
        return has_content and all(value is not None for _, value in record.headers)

    def produce(self, topic, records, partition=0, codec="none", acks="all", idempotent=False):
        producer = kafka_python.KafkaProducer(
            bootstrap_servers=self.bootstrap, acks=acks if acks == "all" else int(acks),
            enable_idempotence=idempotent, compression_type=None if codec == "none" else codec,
            max_request_size=MAX_REQUEST_BYTES, linger_ms=50,
            **({} if acks == "all" else {"retries": 0}))
        try:
            sent = [producer.send(topic, value=record.value, key=record.key, headers=list(record.headers),
                                  partition=partition, timestamp_ms=record.timestamp) for record in records]
            producer.flush(DEADLINE_S)
            offsets = [future.get(DEADLINE_S).offset for future in sent]
        except kafka_python.errors.KafkaError as error:
            raise Refused(repr(error)) from error
        finally:
            producer.close()
        return [-1] * len(records) if acks == "0" else offsets

    def consumer(self):
        return kafka_python.KafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=None, auto_offset_reset="none",
            enable_auto_commit=False, check_crcs=True)

    def consume(self, topic, offset, count, partition=0):
        consumer = self.consumer()
        try:
            place = kafka_python.TopicPartition(topic, partition)
            consumer.assign([place])
            consumer.seek(place, offset)
            records, end = [], time.monotonic() + DEADLINE_S
            while len(records) < count:
                if time.monotonic() > end:
                    raise TimeoutError(f"{len(records)} of {count} records by the deadline")
                for batch in consumer.poll(timeout_ms=500).values():
                    records += [Record(m.key, m.value, tuple(m.headers), m.timestamp, m.offset) for m in batch]
            return records[:count]
        except kafka_python.errors.KafkaError as error:
            raise Refused(repr(error)) from error
        finally:
            consumer.close()

    def by_time(self, topic, timestamp, partition=0):
        consumer = self.consumer()
        try:
            place = kafka_python.TopicPartition(topic, partition)
            found = consumer.offsets_for_times({place: timestamp})[place]
            return -1 if found is None else found.offset
        finally:
            consumer.close()

    def ends(self, topic, partition=0):
        consumer = self.consumer()
        try:
            place = kafka_python.TopicPartition(topic, partition)
            return consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place]
        finally:
            consumer.close()

    def close(self):
        pass


class LineDriver:
    """A client in another language, kept running, spoken to as PROTOCOL.md says."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)

    def can_write(self, record):
        return True

    def ask(self, *words, body=()):
        lines = ["\t".join(str(word) for word in words), *body]
        self.process.stdin.write(("\n".join(lines) + "\n").encode())
        self.process.stdin.flush()
        kind, _, rest = self._line().partition("\t")
        if kind != "OK":
            raise Refused(rest)
        return [self._line() for _ in range(int(rest))]

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait(5)}")
        return line.decode().rstrip("\n")

    def version(self):
        return self.ask("VERSION")[0]

    def produce(self, topic, records, partition=0, codec="none", acks="all", idempotent=False):
        body = [self._write(record) for record in records]
        return [int(line) for line in
                self.ask("PRODUCE", topic, partition, codec, acks, int(idempotent), len(records), body=body)]

    def consume(self, topic, offset, count, partition=0):
        return [self._read(line) for line in self.ask("CONSUME", topic, partition, offset, count)]

    def by_time(self, topic, timestamp, partition=0):
        return int(self.ask("BYTIME", topic, partition, timestamp)[0])

    def ends(self, topic, partition=0):
        return tuple(int(line) for line in self.ask("ENDS", topic, partition))

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)

    @staticmethod
    def _bytes(data):
        return "-" if data is None else base64.b64encode(data).decode()

    @classmethod
    def _write(cls, record):
        headers = ",".join(f"{name}={cls._bytes(value)}" for name, value in record.headers)
        return f"{record.timestamp}\t{cls._bytes(record.key)}\t{cls._bytes(record.value)}\t{headers}"

    @staticmethod
    def _read(line):
        def data(text):
            return None if text == "-" else base64.b64decode(text)
        offset, timestamp, key, value, headers = line.split("\t")
        pairs = [header.partition("=") for header in headers.split(",") if header]
        return Record(data(key), data(value), tuple((name, data(text)) for name, _, text in pairs),
                      int(timestamp), int(offset))


class Java(LineDriver):
    name = "java"

    def __init__(self, bootstrap):
        jars = brokers.ROOT / "compat" / ".env" / "kafka"
        super().__init__(["java", "-Xmx768m", f"-Dlog4j2.configurationFile={jars}/log4j2.properties", "-cp",
                          f"{brokers.ENVIRONMENT}/java:{jars}/lib/*", "Client", bootstrap])


class FranzGo(LineDriver):
    name = "franz-go"

    def __init__(self, bootstrap):
        super().__init__([str(brokers.ENVIRONMENT / "franz"), bootstrap])


class Kcat:
    """Debian's kcat on an old librdkafka; one process per request, text on its pipes."""

    name = "kcat"
    SEPARATOR = "\x1e"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def version(self):
        text = subprocess.run(["kcat", "-V"], capture_output=True, text=True, check=True).stdout
        own, library = (re.search(pattern, text)[1] for pattern in (r"Version (\S+)", r"librdkafka (\S+)"))
        return f"{own} (librdkafka {library})"

    def can_write(self, record):
        """Records are lines, headers are one set per process."""
        has_text = record.key and record.value and b"\n" not in record.key + record.value
        return bool(has_text and not record.headers)

    def run(self, *words, stdin=b""):
        done = subprocess.run(["kcat", "-b", self.bootstrap, *words], input=stdin, capture_output=True,
                              timeout=DEADLINE_S + 10)
        if done.returncode != 0 or b"ERROR" in done.stderr:
            raise Refused(done.stderr.decode(errors="replace"))
        return done.stdout

    def produce(self, topic, records, partition=0, codec="none", acks="all", idempotent=False, words=()):
        text = "\n".join(f"{r.key.decode()}{self.SEPARATOR}{r.value.decode()}" for r in records).encode()
        self.run("-P", "-t", topic, "-p", str(partition), "-z", codec, "-K", self.SEPARATOR,
                 "-X", f"acks={acks}", "-X", f"enable.idempotence={str(idempotent).lower()}",
                 "-X", "linger.ms=50", *words, stdin=text)
        return [-1] * len(records)

    def consume(self, topic, offset, count, partition=0):
        out = self.run("-C", "-t", topic, "-p", str(partition), "-o", str(offset), "-c", str(count), "-q",
                       "-X", "check.crcs=true", "-X", f"receive.message.max.bytes={2 * MAX_REQUEST_BYTES}",
                       "-f", "%o\t%T\t%K\t%S\t%h\n%k%s")
        records, place = [], 0
        for _ in range(count):
            end = out.index(b"\n", place)
            at, timestamp, key_size, value_size, headers = out[place:end].split(b"\t", 4)
            key, place = self._slice(out, end + 1, int(key_size))
            value, place = self._slice(out, place, int(value_size))
            pairs = [pair.partition(b"=") for pair in headers.split(b",") if pair]
            records.append(Record(key, value, tuple((n.decode(), v) for n, _, v in pairs), int(timestamp), int(at)))
        return records

    @staticmethod
    def _slice(data, start, size):
        return (None, start) if size < 0 else (data[start:start + size], start + size)

    def by_time(self, topic, timestamp, partition=0):
        out = self.run("-Q", "-t", f"{topic}:{partition}:{timestamp}").decode()
        return int(out.split("offset ")[1])

    def ends(self, topic, partition=0):
        start, end = (int(self.run("-Q", "-t", f"{topic}:{partition}:{at}").split(b"offset ")[1]) for at in (-2, -1))
        return start, end

    def close(self):
        pass


ALL = {peer.name: peer for peer in (Confluent, KafkaPython, Java, FranzGo, Kcat)}
