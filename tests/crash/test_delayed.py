"""The checker of delayed values must catch what it is there for: one fault planted in each history."""

import pytest

import delayed
from delayed import DelayedPartition

WRITER = 1
START_MS = 1_000_000


@pytest.fixture
def clock(monkeypatch):
    """The judge's clock, which tests move."""
    now = [START_MS]
    monkeypatch.setattr(delayed, "now_ms", lambda: now[0])
    return now


@pytest.fixture
def history(clock):
    """Live values at 0 and 3, delayed ones with tickets 1 (due +10 s), 2 (due +20 s), all acknowledged."""
    partition = DelayedPartition(5)
    live = [partition.sent(WRITER)]
    later = [partition.sent_later(WRITER, 10_000), partition.sent_later(WRITER, 20_000)]
    live.append(partition.sent(WRITER))
    for offset, value in enumerate([live[0], *later, live[1]]):
        partition.acknowledged(value, offset)
    return partition, live, later


def read(history, released, log_end=None):
    """A full read: the live values, then `released` as (offset, value, ticket, due, timestamp)."""
    partition, live, _ = history
    reading = partition.reading()
    reading.took(0, live[0], None, None, 0)
    reading.took(3, live[1], None, None, 0)
    for offset, value, ticket, due, timestamp_ms in released:
        reading.took(offset, value, f"5:{ticket}", str(due), timestamp_ms)
    reading.ended(log_end if log_end is not None else (released[-1][0] + 1 if released else 4))
    return sorted({fault.kind for fault in partition.faults})


def due(history, at):
    return history[0].due[history[2][at]]


def in_order(history):
    return [(4 + at, history[2][at], 1 + at, due(history, at), due(history, at)) for at in range(2)]


def test_a_faithful_release_has_no_fault(history, clock):
    clock[0] += 30_000
    assert read(history, in_order(history)) == []
    assert read(history, in_order(history)) == []
    history[0].judge_overdue(clock[0])
    assert history[0].faults == []


def test_nothing_is_overdue_before_its_time(history, clock):
    clock[0] += 5_000
    assert read(history, []) == []
    history[0].judge_overdue(clock[0])
    assert history[0].faults == []


def test_a_lost_delayed_value(history, clock):
    clock[0] += 30_000
    assert read(history, in_order(history)[:1]) == []
    history[0].judge_overdue(clock[0])
    assert [fault.kind for fault in history[0].faults] == ["overdue"]


def test_a_released_value_that_is_gone_again(history, clock):
    clock[0] += 30_000
    read(history, in_order(history))
    assert read(history, in_order(history)[:1], log_end=6) == ["lost", "unread"]


def test_a_value_released_twice(history, clock):
    clock[0] += 30_000
    first, second = in_order(history)
    again = (6, *second[1:])
    assert read(history, [first, second, again]) == ["doubled"]


def test_a_value_released_twice_over_two_reads(history, clock):
    clock[0] += 30_000
    first, second = in_order(history)
    read(history, [first, second])
    assert "doubled" in read(history, [first, (5, second[1], *second[2:]), (6, *second[1:])])


def test_a_value_seen_before_it_is_due(history, clock):
    clock[0] += 9_999
    assert read(history, in_order(history)[:1]) == ["early"]


def test_a_value_stamped_before_it_is_due(history, clock):
    clock[0] += 30_000
    offset, value, ticket, when, _ = in_order(history)[0]
    assert read(history, [(offset, value, ticket, when, when - 1)]) == ["early"]


def test_a_ticket_that_becomes_a_live_offset(history):
    partition = history[0]
    partition.acknowledged(partition.sent(WRITER), 2)
    assert [fault.kind for fault in partition.faults] == ["reused"]


def test_a_ticket_that_was_a_live_offset(history):
    partition = history[0]
    partition.acknowledged(partition.sent_later(WRITER, 1), 3)
    assert [fault.kind for fault in partition.faults] == ["reused"]


def test_a_ticket_at_which_a_record_is_read(history, clock):
    clock[0] += 30_000
    partition, live, _ = history
    reading = partition.reading()
    reading.took(1, live[1], None, None, 0)
    assert "reused" in {fault.kind for fault in partition.faults}


def test_another_ticket_than_the_acknowledged_one(history, clock):
    clock[0] += 30_000
    offset, value, _, when, stamp = in_order(history)[0]
    assert read(history, [(offset, value, 9, when, stamp)]) == ["misticketed"]


def test_releases_in_the_wrong_order(history, clock):
    clock[0] += 30_000
    first, second = in_order(history)
    swapped = [(4, *second[1:]), (5, *first[1:])]
    assert read(history, swapped) == ["disordered"]


def test_one_accepted_after_a_later_one_had_gone_is_in_order(history, clock):
    clock[0] += 30_000
    partition = history[0]
    late = partition.sent_later(WRITER, -25_000)
    partition.acknowledged(late, 6)
    first, second = in_order(history)
    assert read(history, [first, second, (7, late, 6, partition.due[late], clock[0])]) == []


def test_a_cancelled_value_that_comes_all_the_same(history, clock):
    partition, _, later = history
    partition.command_acknowledged(8, later[1])
    clock[0] += 30_000
    assert read(history, in_order(history)) == ["resurrected"]


def test_a_cancelled_value_is_not_waited_for(history, clock):
    partition, _, later = history
    partition.command_acknowledged(8, later[1])
    clock[0] += 30_000
    read(history, in_order(history)[:1])
    partition.judge_overdue(clock[0])
    assert partition.faults == []


def test_a_cancellation_near_the_due_time_may_come_too_late(history, clock):
    partition, _, later = history
    clock[0] += 19_000
    partition.command_acknowledged(8, later[1])
    clock[0] += 30_000
    assert read(history, in_order(history)) == []
