"""The checker must catch what it is there for: histories with one fault planted in each."""

import pytest

from ledger import Partition, parts_of, value_of

IDEMPOTENT, OTHER = 1, 2


@pytest.fixture
def history():
    """Ten acknowledged values at offsets 0..9 and one of unknown fate."""
    partition = Partition(3)
    values = [partition.sent(IDEMPOTENT) for _ in range(11)]
    for offset, value in enumerate(values[:10]):
        partition.acknowledged(value, offset)
    return partition, values


def kinds(partition, log, log_end=None):
    reading = partition.reading()
    for offset, value in log:
        reading.saw(offset, value)
    reading.ended(log_end if log_end is not None else (log[-1][0] + 1 if log else 0))
    return sorted({fault.kind for fault in partition.faults})


def test_values_tell_their_parts():
    assert parts_of(value_of(7, 4095, 1 << 39)) == (7, 4095, 1 << 39)


def test_a_faithful_log_has_no_fault(history):
    partition, values = history
    assert kinds(partition, list(enumerate(values[:10]))) == []


def test_an_unknown_value_may_be_there_or_not(history):
    partition, values = history
    assert kinds(partition, list(enumerate(values))) == []


def test_gaps_where_nothing_was_known_are_no_fault():
    partition = Partition(0)
    first, second = partition.sent(OTHER), partition.sent(OTHER)
    partition.acknowledged(first, 4)
    partition.acknowledged(second, 9)
    assert kinds(partition, [(4, first), (9, second)]) == []


def test_a_lost_value_in_the_middle(history):
    partition, values = history
    assert kinds(partition, [(o, v) for o, v in enumerate(values[:10]) if o != 5]) == ["lost"]


def test_a_lost_tail(history):
    partition, values = history
    assert kinds(partition, list(enumerate(values[:8]))) == ["lost"]


def test_a_lost_log(history):
    partition, _ = history
    assert kinds(partition, []) == ["lost"]


def test_what_was_only_read_may_not_vanish_either(history):
    partition, values = history
    assert kinds(partition, list(enumerate(values))) == []
    assert kinds(partition, list(enumerate(values[:10]))) == ["lost"]


def test_a_doubled_value(history):
    partition, values = history
    assert "doubled" in kinds(partition, [*enumerate(values[:10]), (10, values[9])])


def test_two_acknowledgements_of_one_value(history):
    partition, values = history
    partition.acknowledged(values[9], 12)
    assert [fault.kind for fault in partition.faults] == ["doubled"]


def test_an_offset_used_again(history):
    partition, values = history
    log = list(enumerate(values[:9])) + [(9, values[10])]
    assert kinds(partition, log) == ["moved"]


def test_an_offset_acknowledged_again_for_another_value(history):
    partition, values = history
    partition.acknowledged(values[10], 4)
    assert [fault.kind for fault in partition.faults] == ["moved"]


def test_offsets_that_do_not_rise(history):
    partition, values = history
    log = list(enumerate(values[:10]))
    log[4], log[5] = log[5], log[4]
    assert "disordered" in kinds(partition, log)


def test_a_writer_out_of_its_own_order():
    partition = Partition(0)
    first, second = partition.sent(OTHER), partition.sent(OTHER)
    assert kinds(partition, [(0, second), (1, first)]) == ["disordered"]


def test_a_plain_writer_may_be_reordered_by_its_client():
    partition = Partition(0, keeps_order=False)
    first, second = partition.sent(OTHER), partition.sent(OTHER)
    assert kinds(partition, [(0, second), (1, first)]) == []


def test_a_value_of_another_partition(history):
    partition, values = history
    stray = value_of(IDEMPOTENT, 9, 0)
    assert "invented" in kinds(partition, [*enumerate(values[:10]), (10, stray)])


def test_a_value_that_nobody_sent(history):
    partition, values = history
    assert "invented" in kinds(partition, [*enumerate(values[:10]), (10, value_of(OTHER, 3, 0))])


def test_a_read_that_stops_before_the_end(history):
    partition, values = history
    assert kinds(partition, list(enumerate(values[:10])), log_end=12) == ["unread"]
