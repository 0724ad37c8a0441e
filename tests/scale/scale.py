"""Memory and start-up of the real binary: idle, with 10,000 connections, with 1,000 partitions and
10 GiB after a kill and after a clean stop; processor time while 10,000 members of groups and 1,000
fetches wait.

Memory bounds hold on any machine and fail the run. Times are printed beside their bounds and fail
it only with `--strict`, as they say something on a quiet machine only.
"""

import argparse
import resource
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

import waiting
from harness.broker import Klamm

MEBIBYTE = 1 << 20
VALUE = bytes(range(256)) * 4


class Report:
    def __init__(self, strict):
        self.strict, self.passed, self.failed = strict, 0, 0

    def figure(self, what, value, bound, unit, always):
        good = value <= bound
        counts = always or self.strict
        verdict = "ok" if good else "FAILED" if counts else "above, not counted"
        print(f"{what:58} {value:10.3f} {unit:4} bound {bound:6.2f}  {verdict}", flush=True)
        self.passed += good or not counts
        self.failed += not good and counts


def resident_mib(broker):
    for line in Path(f"/proc/{broker.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def idle(report, scratch):
    broker = Klamm(scratch / "idle").start()
    try:
        report.figure("idle: resident", resident_mib(broker), 16, "MiB", True)
        report.figure("idle: first start, to the ready line", broker.started_in_s * 1000, 50, "ms", False)
        broker.stop()
        broker.start()
        report.figure("idle: start of an empty directory", broker.started_in_s * 1000, 50, "ms", False)
    finally:
        broker.close()


def api_versions(connection):
    """One ApiVersions v0 request and its answer, so that the connection is more than accepted."""
    body = struct.pack(">hhih", 18, 0, 1, -1)
    connection.sendall(struct.pack(">i", len(body)) + body)
    size = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))[0]
    assert len(connection.recv(size, socket.MSG_WAITALL)) == size


def connections(report, scratch, count):
    broker = Klamm(scratch / "connections").start()
    opened = []
    try:
        began = time.monotonic()
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", broker.port), timeout=30)
            opened.append(connection)
            api_versions(connection)
        print(f"{count} connections opened in {time.monotonic() - began:.1f} s")
        report.figure(f"{count} idle connections: resident", resident_mib(broker), 64, "MiB", True)
        api_versions(opened[0])
        api_versions(opened[-1])
    finally:
        for connection in opened:
            connection.close()
        broker.close()


def waits(report, scratch):
    broker = Klamm(scratch / "waits", overrides={"max.connections.per.ip": "20000"}).start()
    try:
        share, formed_s, rate = waiting.members(broker, groups=100, of_each=100, seconds=20)
        report.figure("100 groups of 100: formed", formed_s, 30, "s", False)
        name = f"10,000 members, {rate:.0f} heartbeats/s: processors"
        report.figure(name, share * 100, 5, "%", False)
        admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        admin.create_topics([NewTopic("quiet", 1, 1)])["quiet"].result(60)
        for wait_ms in (500, 30_000):
            share = waiting.long_polls(broker, b"quiet", 1000, 15, wait_ms)
            report.figure(f"1,000 long polls of {wait_ms} ms: processors", share * 100, 5, "%", False)
    finally:
        broker.close()


def fill(broker, partitions, total_bytes):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.create_topics([NewTopic("big", partitions, 1)])["big"].result(60)
    producer = confluent_kafka.Producer({
        "bootstrap.servers": broker.bootstrap, "acks": 1, "linger.ms": 100, "batch.size": MEBIBYTE,
        "queue.buffering.max.messages": 200_000, "log_level": 0})
    sent = 0
    while sent < total_bytes:
        for partition in range(partitions):
            for _ in range(256):
                while True:
                    try:
                        producer.produce("big", value=VALUE, partition=partition)
                        break
                    except BufferError:
                        producer.poll(0.1)
            sent += 256 * len(VALUE)
            if sent >= total_bytes:
                break
        producer.poll(0)
    left = producer.flush(120)
    assert left == 0, f"{left} records unsent"


def starts(report, scratch, partitions, gib):
    broker = Klamm(scratch / "starts").start()
    try:
        began = time.monotonic()
        fill(broker, partitions, int(gib * 1024 * MEBIBYTE))
        stored = sum(path.stat().st_size for path in broker.data_dir.rglob("*.log"))
        print(f"{stored / 1024 / MEBIBYTE:.1f} GiB on {partitions} partitions in {time.monotonic() - began:.0f} s, "
              f"resident {resident_mib(broker):.1f} MiB")
        broker.kill()
        broker.start(deadline_s=120)
        name = f"{partitions} partitions, {gib:g} GiB: start after"
        report.figure(f"{name} kill -9", broker.started_in_s, 5, "s", False)
        code = broker.stop(60)
        assert code == 0, f"SIGTERM: exit code {code}"
        broker.start(deadline_s=120)
        report.figure(f"{name} a clean stop", broker.started_in_s, 0.5, "s", False)
        report.figure(f"{name} a clean stop: resident", resident_mib(broker), 64, "MiB", False)
    finally:
        broker.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=10)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--strict", action="store_true", help="times count as well")
    parser.add_argument("--only", choices=["idle", "connections", "waits", "starts"])
    chosen = parser.parse_args()
    # The broker inherits it: descriptors for connections, segments and indexes.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    report = Report(chosen.strict)
    with tempfile.TemporaryDirectory(prefix="klamm-scale-") as folder:
        if chosen.only in (None, "idle"):
            idle(report, Path(folder))
        if chosen.only in (None, "connections"):
            connections(report, Path(folder), chosen.connections)
        if chosen.only in (None, "waits"):
            waits(report, Path(folder))
        if chosen.only in (None, "starts"):
            starts(report, Path(folder), chosen.partitions, chosen.gib)
    print(f"{report.passed} passed, {report.failed} failed")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
