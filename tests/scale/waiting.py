"""What waiting costs: members of classic groups that do nothing but send heartbeats, and fetches
that wait for records that never come. Counted is the broker's processor time, which says little on
a busy machine: run it on a quiet one.
"""

import selectors
import socket
import struct
import time
from pathlib import Path

SESSION_MS = 60_000


def text(value):
    return struct.pack(">h", len(value)) + value


def blob(value):
    return struct.pack(">i", len(value)) + value


def framed(key, version, body):
    header = struct.pack(">hhi", key, version, 0) + text(b"scale")
    return blob(header + body)


def read_text(body, at):
    length = struct.unpack_from(">h", body, at)[0]
    return body[at + 2 : at + 2 + length], at + 2 + length


def ask(connection, key, version, body):
    connection.sendall(framed(key, version, body))
    size = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))[0]
    return connection.recv(size, socket.MSG_WAITALL)[4:]


class Member:
    """One member of one group on a connection of its own, with the protocol's first versions."""

    def __init__(self, port, group):
        self.group, self.id, self.generation = group, b"", -1
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.connection.setblocking(False)
        self.received = b""
        self.next = self.joined
        self.heartbeats = 0
        self.due = None

    def send(self, key, body):
        self.connection.send(framed(key, 0, body))

    def join(self):
        self.next, self.due = self.joined, None
        self.send(11, text(self.group) + struct.pack(">i", SESSION_MS) + text(self.id) + text(b"consumer")
                  + struct.pack(">i", 1) + text(b"range") + blob(b""))

    def joined(self, body):
        code, self.generation = struct.unpack_from(">hi", body)
        _, at = read_text(body, 6)
        _, at = read_text(body, at)
        self.id, _ = read_text(body, at)
        if code:
            return self.join()
        self.next = self.synced
        self.send(14, text(self.group) + struct.pack(">i", self.generation) + text(self.id) + struct.pack(">i", 0))

    def synced(self, body):
        if struct.unpack_from(">h", body)[0]:
            return self.join()
        self.next = self.beat
        self.due = time.monotonic() + 3

    def heartbeat(self):
        self.due = None
        self.send(12, text(self.group) + struct.pack(">i", self.generation) + text(self.id))

    def beat(self, body):
        if struct.unpack_from(">h", body)[0]:
            return self.join()
        self.heartbeats += 1
        self.due = time.monotonic() + 3

    def readable(self):
        self.received += self.connection.recv(65536)
        while len(self.received) >= 4:
            size = struct.unpack_from(">i", self.received)[0]
            if len(self.received) < 4 + size:
                return
            body, self.received = self.received[8 : 4 + size], self.received[4 + size :]
            self.next(body)


def processor_s(broker):
    fields = Path(f"/proc/{broker.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def create_offsets_topic(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        code = struct.unpack_from(">h", ask(connection, 10, 0, text(b"any")))[0]
        assert code == 0, f"FindCoordinator: {code}"


def members(broker, groups, of_each, seconds):
    """Joins, then counts the broker's time while all members only send heartbeats. Returns the
    share of one processor, and the seconds until all were in."""
    create_offsets_topic(broker.port)
    all_members = [Member(broker.port, b"group-%d" % (n % groups)) for n in range(groups * of_each)]
    selector = selectors.DefaultSelector()
    began = time.monotonic()
    for member in all_members:
        selector.register(member.connection, selectors.EVENT_READ, member)
        member.join()
    formed = begin = None
    while True:
        now = time.monotonic()
        if formed is None and all(member.next == member.beat for member in all_members):
            formed = now - began
            # Let the connections' memories and the last rebalance settle.
            settle = now + 5
        if formed is not None and begin is None and now > settle:
            begin, before, beats = now, processor_s(broker), sum(m.heartbeats for m in all_members)
        if begin is not None and now > begin + seconds:
            break
        assert now < began + 300, "the groups do not form"
        for key, _ in selector.select(0.05):
            key.data.readable()
        now = time.monotonic()
        for member in all_members:
            if member.due is not None and member.due <= now:
                member.heartbeat()
    took = now - begin
    share = (processor_s(broker) - before) / took
    rate = (sum(m.heartbeats for m in all_members) - beats) / took
    for member in all_members:
        member.connection.close()
    return share, formed, rate


def long_polls(broker, topic, count, seconds, wait_ms):
    """Fetches from the end of an empty partition, each on a connection of its own. Returns the
    share of one processor."""
    fetch = framed(1, 4, struct.pack(">iiiibi", -1, wait_ms, 1, 1 << 20, 0, 1) + text(topic)
                   + struct.pack(">iiqi", 1, 0, 0, 1 << 20))
    selector = selectors.DefaultSelector()
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", broker.port), timeout=60)
        selector.register(connection, selectors.EVENT_READ)
        connection.sendall(fetch)
    end = time.monotonic() + seconds
    before = processor_s(broker)
    while time.monotonic() < end:
        for key, _ in selector.select(0.1):
            assert key.fileobj.recv(65536), "the broker hung up"
            key.fileobj.sendall(fetch)
    share = (processor_s(broker) - before) / seconds
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    return share
