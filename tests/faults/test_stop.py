"""Ending and starting: signals, exit codes, one broker per data directory."""

import signal
import subprocess
import threading

import pytest

import records as corpus
from harness.broker import Klamm


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(serve, batches, sent):
    session = serve()
    session.make_topic("t")
    for batch in batches:
        session.produce("t", batch)
    session.broker.process.send_signal(sent)
    assert session.broker.wait_exit(10) == 0
    session.broker.start()
    assert session.holds("t", sum(batches, []))


def test_sigterm_under_load_ends_within_10_s_and_keeps_what_was_acknowledged(serve):
    session = serve()
    session.make_topic("t")
    acked, over = [], threading.Event()

    def load():
        while not over.is_set():
            try:
                records = corpus.numbered(100)
                acked.append((session.produce("t", records, acks="all")[0], records))
            except Exception:  # the broker is gone: what the last request became is unknown
                return
    writer = threading.Thread(target=load)
    writer.start()
    try:
        while len(acked) < 5:
            assert session.broker.alive()
        assert session.broker.stop(10) == 0
    finally:
        session.broker.start()
        over.set()
        writer.join(90)
    for offset, records in acked:
        assert session.client.consume("t", offset, 100) == [r.at(offset + i) for i, r in enumerate(records)]


def test_stopping_ten_times_changes_nothing(serve, batches):
    session = serve()
    session.make_topic("t", 3)
    expected = []
    for batch in batches:
        session.produce("t", batch, partition=2)
        expected += batch
        assert session.broker.stop() == 0
        session.broker.start()
        assert session.holds("t", expected, partition=2)


def test_a_second_broker_on_the_same_directory_is_refused(serve, tmp_path, batches):
    session = serve()
    session.make_topic("t")
    session.produce("t", batches[0])
    second = Klamm(tmp_path / "second", data_dir=session.broker.data_dir).spawn()
    try:
        assert second.wait_exit(10) not in (0, None)
        complaint = [line for line in second.output().splitlines() if "lock" in line or "in use" in line]
        assert complaint, second.output()
    finally:
        second.close()
    session.produce("t", batches[1])
    assert session.holds("t", batches[0] + batches[1])


def test_a_port_in_use_is_one_clear_line(serve, tmp_path):
    session = serve()
    second = Klamm(tmp_path / "second")
    second.port = session.broker.port
    second.spawn()
    try:
        assert second.wait_exit(10) == 1
        assert str(session.broker.port) in second.output()
        assert "panicked" not in second.output()
    finally:
        second.close()


def test_what_it_prints_when_ready(serve):
    session = serve()
    ready = session.broker._read("stdout").splitlines()
    assert f"klamm ready kafka={session.broker.bootstrap} http=127.0.0.1:{session.broker.http_port}" in ready


def test_kill_during_start_up_is_survived(serve, batches):
    """A crash while recovering from a crash."""
    session = serve()
    session.make_topic("t")
    for batch in batches:
        session.produce("t", batch)
    session.broker.kill()
    for _ in range(10):
        session.broker.spawn()
        try:
            session.broker.wait_exit(0.01)
        except subprocess.TimeoutExpired:
            session.broker.kill()
    session.broker.start()
    assert session.holds("t", sum(batches, []))
