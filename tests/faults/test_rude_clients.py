"""Clients that send garbage, send slowly, or never read: they hurt nobody else."""

import random
import socket
import struct
import threading
from pathlib import Path

import records as corpus


def connect(session):
    return socket.create_connection(("127.0.0.1", session.broker.port), timeout=10)


def resident_mib(session):
    status = Path(f"/proc/{session.broker.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def serves(session, topic):
    """A well-behaved client is served as if it were alone."""
    session.make_topic(topic)
    records = corpus.numbered(100)
    session.produce(topic, records)
    return session.holds(topic, records)


def send_and_hear_out(session, data):
    """Sends, says that nothing more will come, and reads until the broker closes."""
    with connect(session) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except ConnectionError:
            pass


def test_random_bytes(serve):
    session, source = serve(), random.Random(11)
    for _ in range(200):
        data = source.randbytes(source.randrange(1, 5000))
        send_and_hear_out(session, data)
    assert session.broker.alive()
    assert serves(session, "after-garbage")
    assert "panicked" not in session.broker.output()


def test_frames_of_every_api_with_random_bodies(serve):
    session, source = serve(), random.Random(12)
    for key in range(-1, 95):
        for version in (0, 3, 9, 13, 18):
            body = struct.pack(">hhih", key, version, 1, -1) + source.randbytes(60)
            send_and_hear_out(session, struct.pack(">i", len(body)) + body)
    assert session.broker.alive()
    assert serves(session, "after-frames")
    assert "panicked" not in session.broker.output()


def test_sizes_that_promise_what_does_not_come(serve):
    """A size of a gibibyte is no reason to take a gibibyte."""
    session = serve()
    before = resident_mib(session)
    waiting = [connect(session) for _ in range(50)]
    for connection in waiting:
        try:
            connection.sendall(struct.pack(">i", 100 * corpus.MEBIBYTE) + b"\0" * 1000)
        except OSError:
            pass
    assert serves(session, "beside-promises")
    assert resident_mib(session) < before + 64
    for connection in waiting:
        connection.close()


def test_slow_clients(serve):
    """Twenty clients that send one byte now and then, in the middle of a request."""
    session = serve()
    body = struct.pack(">hhih", 18, 0, 1, -1)
    frame = struct.pack(">i", len(body)) + body
    slow, over = [connect(session) for _ in range(20)], threading.Event()

    def drip():
        for byte in frame[:-1]:
            for connection in slow:
                connection.sendall(bytes([byte]))
            if over.wait(0.2):
                return
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        assert serves(session, "beside-slow")
    finally:
        over.set()
        dripping.join()
    for connection in slow:
        connection.close()


def test_clients_that_never_read(serve):
    """They ask for much and take nothing: their answers are bounded, others are served."""
    session = serve()
    session.make_topic("big", max_message_bytes=2_000_000)
    session.produce("big", corpus.of_size(*[1_000_000] * 20))
    before = resident_mib(session)
    body = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", -1)
    frame = struct.pack(">i", len(body)) + body
    deaf = [connect(session) for _ in range(20)]
    for connection in deaf:
        connection.setblocking(False)
        try:
            for _ in range(2000):
                connection.send(frame)
        except OSError:  # the broker no longer reads: that is what is wanted
            pass
    assert serves(session, "beside-deaf")
    assert resident_mib(session) < before + 64
    for connection in deaf:
        connection.close()
