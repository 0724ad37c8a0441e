"""Members of consumer groups as processes of real clients, a load to consume, and the judge of what
they told: PROTOCOL.md has the lines they speak.
"""

import itertools
import re
import signal
import subprocess
import threading
from collections import defaultdict
from dataclasses import dataclass

import confluent_kafka

from harness import broker as brokers, wait

HERE = brokers.ROOT / "tests" / "clients"
ENVIRONMENT = brokers.ENVIRONMENT
RUN_ON = float("inf")


def python(name):
    return [str(ENVIRONMENT / "venv" / "bin" / "python"), str(HERE / "members" / "member.py"), name]


def go(name):
    return [str(ENVIRONMENT / "member"), name]


def java():
    jars = brokers.ROOT / "compat" / ".env" / "kafka"
    return ["java", "-Xmx128m", f"-Dlog4j2.configurationFile={jars}/log4j2.properties", "-cp",
            f"{ENVIRONMENT}/java:{jars}/lib/*", "Member", "java"]


COMMANDS = {
    "confluent-kafka": python("confluent-kafka"),
    "kafka-python": python("kafka-python"),
    "aiokafka": python("aiokafka"),
    "franz-go": go("franz-go"),
    "sarama": go("sarama"),
    "kafkajs": ["node", str(HERE / "node" / "member.js"), "kafkajs"],
    "java": java(),
}


@dataclass
class Tenure:
    """One member's time with one partition, in milliseconds of the machine's clock."""

    member: str
    partition: int
    start_ms: int
    end_ms: float = RUN_ON


class Member:
    """One member process; a thread of its own reads what it tells."""

    def __init__(self, name, command, bootstrap, group, topic, protocol="classic"):
        self.name, self.owned, self.records, self.tenures = name, set(), [], []
        self.said, self.changed = [], threading.Condition()
        environment = {"NODE_PATH": str(ENVIRONMENT / "node" / "node_modules")}
        self.process = subprocess.Popen(
            [*command, bootstrap, group, topic, protocol], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", env={**brokers.os.environ, **environment})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.hear(line.rstrip("\n").split("\t"))

    def hear(self, words):
        partitions = {int(n) for n in words[2].split(",") if n} if len(words) > 2 else set()
        match words[0]:
            case "ASSIGNED":
                self.assigned(partitions, int(words[1]))
            case "REVOKED":
                self.revoked(partitions, int(words[1]))
            case "RECORD":
                self.records.append((int(words[2]), int(words[3])))
            case _:
                self.said.append("\t".join(words))

    def assigned(self, partitions, now_ms):
        for partition in partitions - self.owned:
            self.tenures.append(Tenure(self.name, partition, now_ms))
        self.owned |= partitions

    def revoked(self, partitions, now_ms):
        for tenure in self.tenures:
            if tenure.partition in partitions and tenure.end_ms is RUN_ON:
                tenure.end_ms = now_ms
        self.owned -= partitions

    def seen(self):
        with self.changed:
            return list(self.records)

    def alive(self):
        return self.process.poll() is None

    def close(self):
        """Leaves the group as an application does, and waits for the end of the process."""
        self.process.stdin.write("close\n")
        self.process.stdin.close()
        status = self.process.wait(30)
        self.reader.join(30)
        assert status == 0 and any(line.startswith("CLOSED") for line in self.said), "\n".join(self.said[-40:])

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.wait()


class KcatMember(Member):
    """kcat -G: records on its output, rebalances in words on its error output, commits by itself."""

    ASSIGNED = re.compile(r"(assigned|revoked): (.*)")

    def __init__(self, name, bootstrap, group, topic, protocol="classic"):
        self.name, self.owned, self.records, self.tenures = name, set(), [], []
        self.said, self.changed = [], threading.Condition()
        self.process = subprocess.Popen(
            ["kcat", "-b", bootstrap, "-G", group, "-f", "%p %o\n", "-u", "-X", "auto.offset.reset=earliest",
             "-X", f"session.timeout.ms=6000", "-X", "heartbeat.interval.ms=200", topic],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_words)]
        for reader in self.readers:
            reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                partition, offset = line.split()
                self.records.append((int(partition), int(offset)))

    def _read_words(self):
        for line in self.process.stderr:
            with self.changed:
                self.said.append(line)
                if found := self.ASSIGNED.search(line):
                    partitions = {int(n) for n in re.findall(r"\[(\d+)\]", found[2])}
                    # When it happened is not told, so these tenures are not judged.
                    self.owned = self.owned | partitions if found[1] == "assigned" else self.owned - partitions

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        for reader in self.readers:
            reader.join(30)


class Group:
    """The members of one group on one topic."""

    def __init__(self, client, bootstrap, topic, partitions, protocol="classic"):
        self.client, self.bootstrap, self.topic, self.protocol = client, bootstrap, topic, protocol
        self.partitions = set(range(partitions))
        self.name = f"group-of-{topic}"
        self.members, self.names = [], (f"member-{n}" for n in itertools.count(1))

    def join(self):
        name = next(self.names)
        if self.client == "kcat":
            member = KcatMember(name, self.bootstrap, self.name, self.topic)
        else:
            member = Member(name, COMMANDS[self.client], self.bootstrap, self.name, self.topic, self.protocol)
        self.members.append(member)
        return member

    def settle(self, *members):
        """Waits until these members own all partitions between them, each one some."""
        def settled():
            gone = [m for m in members if not m.alive()]
            assert not gone, f"{gone[0].name} ended: {gone[0].said[-45:]}"
            owned = [set(m.owned) for m in members]
            return sum(map(len, owned)) == len(self.partitions) and all(owned) and set.union(*owned) == self.partitions
        try:
            wait.until(settled, "settled", 40)
        except TimeoutError as error:
            owned = {m.name: sorted(m.owned) for m in members}
            said = {m.name: m.said[-5:] for m in members}
            raise TimeoutError(f"the group did not settle: {owned}, {said}") from error

    def leave(self, member, load):
        """Closes a member under load; kcat only once it has nothing in hand, as it drops that."""
        if self.client == "kcat":
            with load.paused:
                self.consumed(load.written())
                member.close()
        else:
            member.close()

    def consumed(self, records):
        """Waits until the members have seen all of these records."""
        def missing():
            return set(records) - set(self.seen())
        try:
            wait.until(lambda: not missing(), "consumed")
        except TimeoutError as error:
            left = sorted(missing())
            raise TimeoutError(f"{len(left)} of {len(records)} records not consumed: {left[:5]}...{left[-5:]}") from error

    def seen(self):
        return [record for member in self.members for record in member.seen()]

    def close(self):
        for member in self.members:
            member.kill()


class Load:
    """Writes to all partitions of a topic in turn until stopped, some hundred records a second."""

    def __init__(self, bootstrap, topic, partitions):
        self.producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "log_level": 0})
        self.topic, self.partitions = topic, partitions
        self.ends = defaultdict(int)
        self.stopped, self.paused = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def _run(self):
        while not self.stopped.wait(0.02):
            with self.paused:
                self.write(2)

    def written(self):
        return {(partition, offset) for partition, end in self.ends.items() for offset in range(end)}

    def write(self, each):
        """`each` records to every partition; returns what will be read of them."""
        written = []
        for partition in range(self.partitions):
            for _ in range(each):
                written.append((partition, self.ends[partition]))
                self.producer.produce(self.topic, b"v", partition=partition)
                self.ends[partition] += 1
        assert self.producer.flush(30) == 0
        return written

    def stop(self):
        self.stopped.set()
        self.thread.join()


def overlaps(members):
    """Pairs of tenures in which two members held one partition at once."""
    tenures = sorted((t for member in members for t in member.tenures), key=lambda t: t.start_ms)
    found = []
    for first, second in itertools.combinations(tenures, 2):
        same = first.partition == second.partition and first.member != second.member
        if same and second.start_ms < first.end_ms:
            found.append((first, second))
    return found
