"""What the broker promised of failures, by record and step, beside what the ledger knows of offsets.

A value may fail several times: each time its consumer sends a nack of the record that it read, and
the broker makes the next step of it, a retry or in the end a dead letter. Faults:

  lost       a nack was acknowledged, its step is due, and not there though the judge waited; or a
             step that was there is not there any more
  doubled    a step stands at two offsets
  invented   a step that no nack asked for
  misplaced  a step tells of another place than the one where its value was acknowledged, or stands
             in another partition than its value

A step whose nack has no acknowledgement may be there once or not at all.
"""

from delayed import now_ms
from ledger import Fault, parts_of

# Retries that every failing value asks for; the step behind them is its dead letter.
MOST_RETRIES = 2
LETTER = MOST_RETRIES + 1


def failures_of(value):
    """How often a value fails; LETTER times is for good."""
    return value % (LETTER + 1)


class Failures:
    """All that fails in one topic."""

    def __init__(self):
        self.asked = set()  # (value, step), once a nack for it was sent
        self.due = {}  # (value, step) -> the earliest moment that the judge waits for
        self.awaited = set()  # acknowledged and not seen
        self.seen = {}  # (value, step) -> (topic, partition, offset)
        self.origins = {}  # value -> (partition, offset) where it was acknowledged

    def stands(self, value, partition, offset):
        self.origins[value] = (partition, offset)

    def nacked(self, value, step, delay_ms):
        self.asked.add((value, step))
        self.due.setdefault((value, step), now_ms() + delay_ms)

    def acknowledged(self, value, step):
        if (value, step) not in self.seen:
            self.awaited.add((value, step))


class CopyPartition:
    """One partition of the retry or dead-letter topic."""

    def __init__(self, failures, source, topic, number):
        self.failures, self.source, self.topic, self.number = failures, source, topic, number
        self.faults = []
        self.there = {}  # (value, step) -> offset

    def fault(self, kind, text):
        self.faults.append(Fault(kind, self.number, text))

    def awaited(self):
        """What is to come to this partition."""
        origins = self.failures.origins
        return {(value, step) for value, step in self.failures.awaited
                if origins[value][0] == self.number and self.holds(step)}

    def overdue(self, moment_ms):
        return {key for key in self.awaited() if self.failures.due[key] < moment_ms}

    def last_due_ms(self):
        return max(map(self.failures.due.get, self.awaited()), default=0)

    def judge_overdue(self, moment_ms):
        for value, step in self.overdue(moment_ms):
            late_ms = moment_ms - self.failures.due[value, step]
            self.fault("lost", f"step {step} of {parts_of(value)} was due {late_ms} ms ago")
            self.failures.awaited.discard((value, step))

    def holds(self, step):
        return (step == LETTER) == self.topic.startswith("dlq.")

    def reading(self):
        return CopyReading(self)


class CopyReading:
    """A full read from offset 0."""

    def __init__(self, partition):
        self.partition = partition
        self.read_now = {}
        self.count = 0

    def read(self, message):
        headers = {name: text.decode() for name, text in message.headers() or ()}
        value = int.from_bytes(message.value()[:8], "big")
        if message.topic().startswith("dlq."):
            names = ("topic", "partition", "offset")
            origin = ":".join(headers[f"__dlq.errors.{name}"] for name in names)
            step = int(headers["__dlq.errors.delivery.count"])
        else:
            origin, step = headers["klamm.retry.origin"], int(headers["klamm.retry.attempt"])
        self.took(message.offset(), value, step, origin)

    def took(self, offset, value, step, origin):
        """One copy as a consumer saw it; `origin` is what it tells, `topic:partition:offset`."""
        self.count += 1
        partition, key = self.partition, (value, step)
        failures = partition.failures
        here = (partition.topic, partition.number, offset)
        if key not in failures.asked or not partition.holds(step):
            partition.fault("invented", f"step {step} of {parts_of(value)} at {here}")
            return
        known = failures.seen.setdefault(key, here)
        if known != here:
            partition.fault("doubled", f"step {step} of {parts_of(value)} stands at {known} and {here}")
            return
        failures.awaited.discard(key)
        self.read_now[key] = offset
        stood = failures.origins[value]
        if origin != f"{partition.source}:{stood[0]}:{stood[1]}" or stood[0] != partition.number:
            partition.fault("misplaced", f"{parts_of(value)} stood at {stood}, step {step} at {here} "
                                         f"tells of {origin}")

    def ended(self, log_end):
        partition = self.partition
        for key in partition.there.keys() - self.read_now.keys():
            partition.fault("lost", f"step {key[1]} of {parts_of(key[0])} was at {partition.there[key]}, "
                                    f"the log ends at {log_end}")
        partition.there = self.read_now
