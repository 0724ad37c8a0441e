"""What the broker promised, kept outside it, and the judgement over what it later shows.

A value names its writer, its partition and its number in that writer's sequence there, so that one
64-bit integer tells everything. The ledger remembers, per partition, which value stands at which
offset, once an acknowledgement or a read has said so, and judges every later word against that:

  lost        a known offset is not there in a full read, or lies past the log end
  moved       an offset that held one value holds another (an offset was used again)
  doubled     a value stands at two offsets; no writer here sends a value twice by its own choice,
              so a second copy is the broker's
  disordered  offsets of a read do not rise, or an idempotent writer's values are not in its order
              (a plain one's may be: its client sends again what the broker refused as a whole)
  invented    a value that nobody sent, or that was sent to another partition
  unread      the broker says the log ends further on than the read came

Values whose fate is unknown (no answer before the crash) may be there or not, but only as above.
"""

from array import array
from collections import namedtuple

Fault = namedtuple("Fault", "kind partition text")

WRITER_BITS, PARTITION_BITS, NUMBER_BITS = 12, 12, 40
ABSENT = -1


def value_of(writer, partition, number):
    return (writer << PARTITION_BITS | partition) << NUMBER_BITS | number


def parts_of(value):
    place = value >> NUMBER_BITS
    return place >> PARTITION_BITS, place & (1 << PARTITION_BITS) - 1, value & (1 << NUMBER_BITS) - 1


class Partition:
    """One partition's known history; `index` is its number in the ledger, not the broker's."""

    def __init__(self, index, keeps_order=True):
        self.index = index
        self.keeps_order = keeps_order
        self.values = array("q")  # by offset; ABSENT where nothing is known
        self.offsets = {}  # writer -> array of offsets by number; ABSENT where unknown
        self.acked = 0
        self.faults = []

    def sent(self, writer):
        """Notes that the writer sends its next value here, and returns that value."""
        offsets = self.offsets.setdefault(writer, array("q"))
        offsets.append(ABSENT)
        return value_of(writer, self.index, len(offsets) - 1)

    def acknowledged(self, value, offset):
        self.acked += 1
        self._stands(value, offset, "acknowledged")

    def fault(self, kind, text):
        self.faults.append(Fault(kind, self.index, text))

    def _stands(self, value, offset, how):
        """Takes up that `value` stands at `offset`, or notes what speaks against it."""
        while len(self.values) <= offset:
            self.values.append(ABSENT)
        known = self.values[offset]
        if known == value:
            return
        if known != ABSENT:
            self.fault("moved", f"offset {offset} held {parts_of(known)}, now {how} as {parts_of(value)}")
            return
        writer, partition, number = parts_of(value)
        offsets = self.offsets.get(writer, ())
        if partition != self.index or number >= len(offsets):
            self.fault("invented", f"offset {offset} {how} as {parts_of(value)}, which nobody sent here")
            return
        if offsets[number] not in (ABSENT, offset):
            self.fault("doubled", f"{parts_of(value)} stands at {offsets[number]} and is {how} at {offset}")
        self.values[offset] = value
        if offsets[number] == ABSENT:
            offsets[number] = offset

    def reading(self):
        """A full read from offset 0; feed it every record, then close it with the log end."""
        return Reading(self)


class Reading:
    def __init__(self, partition):
        self.partition = partition
        self.next = 0
        self.numbers = {}  # writer -> the last number read
        self.count = 0

    def read(self, message):
        """A record as a client library gives it."""
        self.saw(message.offset(), int.from_bytes(message.value()[:8], "big"))

    def saw(self, offset, value):
        if not self.placed(offset, value):
            return
        partition = self.partition
        writer, number = value >> PARTITION_BITS + NUMBER_BITS, value & (1 << NUMBER_BITS) - 1
        if partition.keeps_order and number <= self.numbers.get(writer, ABSENT):
            partition.fault("disordered", f"{parts_of(value)} at {offset} follows number {self.numbers[writer]}")
        self.numbers[writer] = number

    def placed(self, offset, value):
        """Holds offset and value against what is known, whatever came before; false if the offset
        did not rise."""
        partition = self.partition
        if offset < self.next:
            partition.fault("disordered", f"offset {offset} read after {self.next - 1}")
            return False
        if offset > self.next:
            self._skipped(offset)
        self.next = offset + 1
        self.count += 1
        values = partition.values
        if offset >= len(values) or values[offset] != value:
            partition._stands(value, offset, "read")
        return True

    def ended(self, log_end):
        """The broker gives `log_end` as the end, and the read came to an end by itself."""
        if self.next < log_end:
            self.partition.fault("unread", f"read up to {self.next}, the log ends at {log_end}")
        self._skipped(max(len(self.partition.values), self.next))

    def _skipped(self, until):
        values = self.partition.values
        for offset in range(self.next, min(until, len(values))):
            if values[offset] != ABSENT:
                self.partition.fault("lost", f"{parts_of(values[offset])} at offset {offset}")
