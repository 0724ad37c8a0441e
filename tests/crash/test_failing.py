"""The checker of retries must catch what it is there for: one fault planted in each history."""

import pytest

import failing
from failing import LETTER, CopyPartition, Failures
from ledger import value_of

ONE, OTHER = value_of(1, 0, 3), value_of(1, 0, 7)
START_MS = 1_000_000


@pytest.fixture
def clock(monkeypatch):
    now = [START_MS]
    monkeypatch.setattr(failing, "now_ms", lambda: now[0])
    return now


@pytest.fixture
def history(clock):
    """Two values at offsets 10 and 11 of partition 0, each with an acknowledged nack of step 1; of
    the first one also of its letter."""
    failures = Failures()
    for value, offset in ((ONE, 10), (OTHER, 11)):
        failures.stands(value, 0, offset)
        failures.nacked(value, 1, 500)
        failures.acknowledged(value, 1)
    failures.nacked(ONE, LETTER, 0)
    failures.acknowledged(ONE, LETTER)
    return [CopyPartition(failures, "t", topic, 0) for topic in ("retry.g.t", "dlq.g.t")]


FAITHFUL = [(0, ONE, 1, "t:0:10"), (1, OTHER, 1, "t:0:11")]
LETTERS = [(0, ONE, LETTER, "t:0:10")]


def read(partition, rows):
    reading = partition.reading()
    for row in rows:
        reading.took(*row)
    reading.ended(len(rows))
    return sorted(fault.kind for fault in partition.faults)


def overdue(history, clock):
    clock[0] += 10_000
    for partition in history:
        partition.judge_overdue(clock[0])
    return [sorted(fault.kind for fault in partition.faults) for partition in history]


def test_a_faithful_broker_has_no_fault(history, clock):
    for _ in range(2):
        assert read(history[0], FAITHFUL) == []
        assert read(history[1], LETTERS) == []
    assert overdue(history, clock) == [[], []]


def test_nothing_is_missed_before_its_time(history, clock):
    clock[0] += 400
    assert read(history[0], []) == []
    history[0].judge_overdue(clock[0])
    assert history[0].faults == []


def test_a_lost_retry(history, clock):
    read(history[0], FAITHFUL[:1])
    read(history[1], LETTERS)
    assert overdue(history, clock) == [["lost"], []]


def test_a_lost_letter(history, clock):
    read(history[0], FAITHFUL)
    read(history[1], [])
    assert overdue(history, clock) == [[], ["lost"]]


def test_a_retry_that_is_gone_again(history):
    read(history[0], FAITHFUL)
    assert read(history[0], FAITHFUL[:1]) == ["lost"]


def test_a_doubled_retry(history):
    assert read(history[0], [*FAITHFUL, (2, ONE, 1, "t:0:10")]) == ["doubled"]


def test_a_doubled_letter_over_two_reads(history):
    read(history[1], LETTERS)
    assert "doubled" in read(history[1], [*LETTERS, (1, ONE, LETTER, "t:0:10")])


def test_a_step_that_nobody_asked_for(history):
    assert read(history[0], [*FAITHFUL, (2, ONE, 2, "t:0:10")]) == ["invented"]


def test_a_letter_among_the_retries(history):
    assert read(history[0], [*FAITHFUL, (2, ONE, LETTER, "t:0:10")]) == ["invented"]


def test_a_step_that_tells_of_another_place(history):
    assert read(history[0], [FAITHFUL[0], (1, OTHER, 1, "t:0:10")]) == ["misplaced"]


def test_a_step_without_an_acknowledgement_may_be_there_or_not(history, clock):
    failures = history[0].failures
    failures.nacked(OTHER, 2, 0)
    read(history[0], FAITHFUL)
    read(history[1], LETTERS)
    assert overdue(history, clock) == [[], []]
    assert read(history[0], [*FAITHFUL, (2, OTHER, 2, "t:0:11")]) == []
