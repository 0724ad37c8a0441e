"""SIGKILL in the middle of rebalances and commits: `tests/groups/run --rounds N`.

Groups of librdkafka consumers, both group protocols, share one topic. Members come and go all the
time, so the groups hardly ever rest, and every member commits as it goes. A round: let them work,
kill the broker at a random moment, start it again, read all committed offsets and hold them against
the ledger of acknowledged commits, then wait until every group has committed again, with nobody's
help. The same processes live through all rounds.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import confluent_kafka
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from harness import wait
from harness.broker import Kafka, Klamm
from ledger import Ledger

TOPIC, PARTITIONS, RECORDS = "work", 12, 20_000
MEMBERS = 4
PROTOCOLS = ("classic", "consumer")
SETTINGS = {"group.initial.rebalance.delay.ms": 0, "group.min.session.timeout.ms": 1000,
            "group.consumer.heartbeat.interval.ms": 200, "group.consumer.min.heartbeat.interval.ms": 200,
            "group.consumer.session.timeout.ms": 3000, "group.consumer.min.session.timeout.ms": 3000}
# Without its new start from the bootstrap servers when all brokers are gone: in this version of
# librdkafka a request can get stuck on the broker that is given up then.
QUIET = {"log_level": 0, "log.connection.close": False, "metadata.recovery.strategy": "none", "reconnect.backoff.ms": 20,
         "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20, "retry.backoff.max.ms": 100}
RECOVERY_S = 30


class Member(threading.Thread):
    """Joins, commits a little further with every record, and leaves when told or when its time is up."""

    def __init__(self, group, lifetime_s):
        super().__init__(daemon=True)
        self.group, self.end = group, time.monotonic() + lifetime_s
        self.leaving = threading.Event()
        settings = {"bootstrap.servers": group.bootstrap, "group.id": group.name, "group.protocol": group.protocol,
                    "auto.offset.reset": "earliest", "enable.auto.commit": False, **QUIET}
        if group.protocol == "classic":
            settings |= {"session.timeout.ms": 2000, "heartbeat.interval.ms": 200,
                         "partition.assignment.strategy": "cooperative-sticky"}
        self.consumer = confluent_kafka.Consumer(settings)
        self.start()

    def run(self):
        self.consumer.subscribe([TOPIC])
        while not self.leaving.is_set() and time.monotonic() < self.end:
            message = self.consumer.poll(0.1)
            if message is None or message.error():
                continue
            self.commit(message)
            if message.offset() == RECORDS - 1:
                # Work never ends: begin again would send commits back, so rest here.
                self.consumer.pause([TopicPartition(TOPIC, message.partition())])
        self.consumer.close()

    def commit(self, message):
        places = {(self.group.name, message.partition()): message.offset() + 1}
        self.group.ledger.ask(places)
        good = False
        try:
            self.consumer.commit(message=message, asynchronous=False)
            good = True
        except confluent_kafka.KafkaException:
            # Without an answer, or refused since the group is rebalancing: it may be stored or not.
            pass
        finally:
            self.group.ledger.answer(places, good)
            self.group.commits += good


class Group:
    def __init__(self, name, protocol, bootstrap, ledger, chance):
        self.name, self.protocol, self.bootstrap = name, protocol, bootstrap
        self.ledger, self.chance, self.commits = ledger, chance, 0
        self.members = []

    def tend(self):
        """Replaces members whose time was up; each lives about a second, so the group rarely rests."""
        self.members = [member for member in self.members if member.is_alive()]
        while len(self.members) < MEMBERS:
            self.members.append(Member(self, 0.3 + 2 * self.chance.random()))

    def end(self):
        for member in self.members:
            member.leaving.set()
        for member in self.members:
            member.join(30)


class Run:
    def __init__(self, broker, seed, groups, protocols):
        self.broker, self.chance, self.ledger = broker, random.Random(seed), Ledger()
        self.admin = AdminClient({"bootstrap.servers": broker.bootstrap, **QUIET})
        self.admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
        producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, **QUIET})
        for partition in range(PARTITIONS):
            for number in range(RECORDS):
                producer.produce(TOPIC, b"%d" % number, partition=partition)
            producer.flush(60)
        self.groups = [Group(f"{protocol}-{n}", protocol, broker.bootstrap, self.ledger, self.chance)
                       for n in range(groups) for protocol in protocols]
        self.failed = 0

    def tend_until(self, condition, what, deadline_s):
        """Keeps members coming and going while it waits."""
        def tended():
            for group in self.groups:
                group.tend()
            return condition()
        wait.until(tended, what, deadline_s)

    def round(self, number):
        before, moment = self.ledger.commits, time.monotonic() + 0.5 + self.chance.random()
        self.tend_until(lambda: time.monotonic() > moment and self.ledger.commits > before, "commits", 60)
        in_flight, commits = self.ledger.open, self.ledger.commits - before
        self.broker.kill()
        known = self.ledger.known()
        self.broker.start()
        faults = self.ledger.judge(known, self.read())
        marks, began = {group.name: group.commits for group in self.groups}, time.monotonic()
        try:
            self.tend_until(lambda: all(g.commits > marks[g.name] for g in self.groups), "recovery", RECOVERY_S)
        except TimeoutError:
            faults += [f"{g.name} has not committed again" for g in self.groups if g.commits == marks[g.name]]
        self.failed += bool(faults)
        print(f"round {number:3}: {commits:5} commits acknowledged, {in_flight:2} in flight at the crash, "
              f"groups back in {time.monotonic() - began:4.1f} s, {len(faults)} faults", flush=True)
        for fault in faults[:10]:
            print(f"    {fault}", flush=True)

    def read(self):
        """All committed offsets, as an administrator reads them, once their coordinators have loaded."""
        found = {}
        for group in self.groups:
            # A group may have committed nothing so far: an empty list is an answer.
            places, = wait.until(lambda: self.offsets(group.name), f"offsets of {group.name}", RECOVERY_S)
            for place in places:
                found[group.name, place.partition] = place.offset
        return found

    def offsets(self, group):
        try:
            listed = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
            return (listed.result(RECOVERY_S).topic_partitions,)
        except confluent_kafka.KafkaException as error:
            if error.args[0].code() == confluent_kafka.KafkaError.COORDINATOR_LOAD_IN_PROGRESS:
                return None
            raise

    def close(self, rounds, seed):
        for group in self.groups:
            group.end()
        code = self.broker.stop()
        self.failed += code != 0
        print(f"groups, seed={seed}: {rounds} rounds, {self.ledger.commits} commits acknowledged")
        print(f"{max(rounds - self.failed, 0)} passed, {self.failed} failed", flush=True)
        return self.failed == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=2, help="groups of each protocol")
    parser.add_argument("--protocol", choices=PROTOCOLS, action="append", help="only this group protocol")
    parser.add_argument("--broker", choices=["klamm", "kafka"], default="klamm")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="klamm-groups-") as scratch:
        kind = {"klamm": Klamm, "kafka": Kafka}[chosen.broker]
        broker = kind(Path(scratch), SETTINGS).start()
        try:
            run = Run(broker, chosen.seed, chosen.groups, chosen.protocol or PROTOCOLS)
            for number in range(1, chosen.rounds + 1):
                run.round(number)
            good = run.close(chosen.rounds, chosen.seed)
        finally:
            broker.close()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
