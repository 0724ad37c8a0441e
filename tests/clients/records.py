"""Records as every client must give them back: bytes exactly, null apart from empty."""

import random
import time
from dataclasses import dataclass, field, replace

# An hour ago: apart from the broker's own clock, and well within retention.
BASE_TIME_MS = int(time.time() * 1000) - 3_600_000
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Record:
    key: bytes | None
    value: bytes | None
    headers: tuple = field(default=())
    timestamp: int = BASE_TIME_MS
    offset: int = -1

    def at(self, offset):
        return replace(self, offset=offset)

    def __repr__(self):
        def brief(data):
            return data if data is None or len(data) <= 32 else f"<{len(data)} bytes, {hash(data):x}>"
        return f"Record({self.offset}: {brief(self.key)} {brief(self.value)} {self.headers} @{self.timestamp})"


def stamped(records):
    """Gives each record a time of its own, rising."""
    return [replace(record, timestamp=BASE_TIME_MS + 10 * i) for i, record in enumerate(records)]


def corners():
    """Null and empty keys and values, headers that repeat and keep their order, binary bytes."""
    every_byte = bytes(range(256))
    return stamped([
        Record(b"key", b"value"),
        Record(None, b"null key"),
        Record(b"null value", None),
        Record(None, None),
        Record(b"", b""),
        Record(every_byte, every_byte * 3),
        Record(b"headers", b"v", (("a", b"1"), ("b", b"2"), ("a", b"3"), ("a", b"1"))),
        Record(b"header values", b"v", (("empty", b""), ("null", None), ("bytes", every_byte))),
        Record("ключ".encode(), "значение ☃".encode(), (("имя", b"v"),)),
    ])


def numbered(count, size=100):
    """`count` records, each telling its own number, filled up to `size` bytes."""
    return stamped([Record(b"k%d" % i, (b"%d|" % i).ljust(size, b".")) for i in range(count)])


def of_size(*sizes):
    """Records whose values have these sizes and do not compress."""
    source = random.Random(7)
    return stamped([Record(b"k", source.randbytes(size)) for size in sizes])
