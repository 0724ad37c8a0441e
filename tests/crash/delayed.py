"""What the broker promised of delayed records, beside what the ledger knows of offsets.

A delayed value is acknowledged under a ticket, an offset at which nothing ever stands, and is
delivered later at another. On top of the ledger's own faults:

  early         seen before its due time by this host's clock, or stamped before the due time that
                it tells itself, which is by the broker's
  overdue       acknowledged, due, and not there though the judge waited
  reused        a ticket is the offset of something else
  misticketed   delivered under another ticket than the acknowledged one
  resurrected   delivered though its cancellation was acknowledged well before it was due
  disordered    delivered behind one that was due later and accepted later

A value without an acknowledgement may be delivered once or never.
"""

import time

from ledger import ABSENT, Partition, Reading, parts_of

# A cancellation acknowledged this long before the due time is in time on any machine.
IN_TIME_MS = 5_000
OF_A_COMMAND = -2


def now_ms():
    return time.time_ns() // 1_000_000


class DelayedPartition(Partition):
    """A partition whose writer sends live and delayed values and cancels some."""

    def __init__(self, index, keeps_order=True):
        super().__init__(index, keeps_order)
        self.due = {}  # delayed value -> the earliest moment it may be seen
        self.tickets = {}  # ticket -> the value, or OF_A_COMMAND
        self.ticket_of = {}  # acknowledged value -> ticket
        self.waiting = set()  # acknowledged, not delivered, not cancelled
        self.cancelled = set()

    def sent_later(self, writer, delay_ms):
        value = self.sent(writer)
        self.due[value] = now_ms() + delay_ms
        return value

    def acknowledged(self, value, offset):
        if value not in self.due:
            self._free_of_tickets(value, offset)
            super().acknowledged(value, offset)
            return
        self.acked += 1
        self._takes_ticket(value, offset)
        self.ticket_of[value] = offset
        if self.delivered_at(value) == ABSENT:
            self.waiting.add(value)

    def command_acknowledged(self, offset, cancelled):
        """A cancellation of `cancelled`, if that is not delivered by then."""
        self._takes_ticket(OF_A_COMMAND, offset)
        if self.due[cancelled] - now_ms() >= IN_TIME_MS:
            self.cancelled.add(cancelled)
            self.waiting.discard(cancelled)

    def delivered_at(self, value):
        writer, _, number = parts_of(value)
        return self.offsets[writer][number]

    def overdue(self, moment_ms):
        return {value for value in self.waiting if self.due[value] < moment_ms}

    def last_due_ms(self):
        return max(map(self.due.get, self.waiting), default=0)

    def judge_overdue(self, moment_ms):
        for value in self.overdue(moment_ms):
            self.fault("overdue", f"{parts_of(value)}, ticket {self.ticket_of[value]}, was due "
                                  f"{moment_ms - self.due[value]} ms ago")
            self.waiting.discard(value)

    def _takes_ticket(self, value, offset):
        known = self.tickets.setdefault(offset, value)
        stands = offset < len(self.values) and self.values[offset] != ABSENT
        if known != value or stands:
            self.fault("reused", f"ticket {offset} was given out before")

    def _free_of_tickets(self, value, offset):
        if offset in self.tickets:
            self.fault("reused", f"{parts_of(value)} stands at {offset}, which is a ticket")

    def reading(self):
        return DelayedReading(self)


class DelayedReading(Reading):
    def __init__(self, partition):
        super().__init__(partition)
        self.last_released = None

    def read(self, message):
        value = int.from_bytes(message.value()[:8], "big")
        headers = {name: text.decode() for name, text in message.headers() or ()}
        self.took(message.offset(), value, headers.get("klamm.ticket"), headers.get("klamm.due"),
                  message.timestamp()[1])

    def took(self, offset, value, ticket, due, timestamp_ms):
        """One record as a consumer saw it; `ticket` and `due` are header texts."""
        partition = self.partition
        partition._free_of_tickets(value, offset)
        if value not in partition.due:
            self.saw(offset, value)
            return
        first_time = partition.delivered_at(value) == ABSENT
        self.placed(offset, value)
        self._judge_release(value, int(ticket.rpartition(":")[2]), int(due), timestamp_ms)
        if timestamp_ms < int(due):
            partition.fault("early", f"{parts_of(value)} is due {due}, stamped {timestamp_ms}")
        if first_time:
            self._judge_moment(value)
        partition.waiting.discard(value)

    def _judge_moment(self, value):
        partition, due, now = self.partition, self.partition.due[value], now_ms()
        if now < due:
            partition.fault("early", f"{parts_of(value)} is due {due}, seen {now}")
        if value in partition.cancelled:
            partition.fault("resurrected", f"{parts_of(value)} was cancelled")

    def _judge_release(self, value, ticket, due, timestamp_ms):
        partition = self.partition
        if partition.ticket_of.get(value, ticket) != ticket:
            partition.fault("misticketed", f"{parts_of(value)} was acknowledged under "
                                           f"{partition.ticket_of[value]}, delivered under {ticket}")
        if self.last_released and (due, ticket) < self.last_released and ticket < self.last_released[1] \
                and due < self.last_released[0]:
            partition.fault("disordered", f"due {due}, ticket {ticket} follows {self.last_released}")
        self.last_released = (due, ticket)

