"""A sync that fails once (fsyncgate): the kernel may say yes the next time, and the data is gone.
A write that fails for another reason than room is no better. The broker stops with exit code 4 and
acknowledges nothing after it."""

import subprocess
import threading

import pytest

import records as corpus
from harness import wait

# What a commit calls: the ring's write is its own sync (O_DSYNC), a bulk commit syncs the segment.
WRITES = "pwritev,pwritev2,pwrite64,writev"
CASES = {"write of the commit ring": (WRITES, "ring", 100, "all"),
         "sync of a segment": ("fdatasync,fsync", "segments", 600_000, "all"),
         "write of a segment": (WRITES, "segments", 100, "all"),
         "write of a segment, acks=1": (WRITES, "segments", 100, "1")}


class Injection:
    """strace on a running broker that makes the named calls on these files fail with EIO."""

    def __init__(self, process, calls, paths, scratch):
        words = ["strace", "-f", "-p", str(process.pid), "-o", str(scratch / "strace"),
                 "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO:when=1"]
        for path in paths:
            words += ["-P", str(path)]
        self.errors = scratch / "strace.errors"
        with open(self.errors, "wb") as output:
            self.tracer = subprocess.Popen(words, stdout=output, stderr=output)
        try:
            wait.until(lambda: b"attached" in self.errors.read_bytes(), "strace", 10)
        except TimeoutError:
            self.tracer.kill()
            pytest.skip(f"strace may not attach here: {self.errors.read_text(errors='replace')}")

    def close(self):
        self.tracer.kill()
        self.tracer.wait()


@pytest.mark.parametrize("case", CASES)
def test_a_failed_sync_ends_the_broker(serve, tmp_path, case):
    calls, failing, value_bytes, acks = CASES[case]
    session = serve()
    session.make_topic("t", max_message_bytes=2_000_000)
    acked = [(offset, record) for record in corpus.of_size(*[value_bytes] * 5)
             for offset in session.produce("t", [record])]
    files = {"ring": list((session.broker.data_dir / "commit").iterdir()),
             "segments": list(session.folder("t").glob("*.log"))}
    injection = Injection(session.broker.process, calls, files[failing], tmp_path)
    after = []

    def produce():
        try:
            after.append(session.produce("t", corpus.of_size(value_bytes), acks=acks))
        except Exception as refusal:  # whatever it is called, it is no acknowledgement
            after.append(refusal)
    writer = threading.Thread(target=produce, daemon=True)
    writer.start()
    try:
        assert session.broker.wait_exit(20) == 4, session.broker.output()
    finally:
        injection.close()
    assert not any(isinstance(answer, list) for answer in after), "acknowledged after a failed sync"
    session.broker.start()
    for offset, record in acked:
        assert session.client.consume("t", offset, 1) == [record.at(offset)]


def test_a_failed_sync_of_a_compacted_segment_ends_the_broker(serve, tmp_path):
    session = serve(log_cleaner_backoff_ms=100, log_flush_offset_checkpoint_interval_ms=100)
    session.make_topic("t", cleanup_policy="compact", segment_bytes=1_048_576, min_cleanable_dirty_ratio=0.0)
    cleaned = session.folder("t") / f"{0:020}.log.cleaned"
    injection = Injection(session.broker.process, "fdatasync,fsync", [cleaned], tmp_path)
    try:
        for _ in range(4):
            session.produce("t", corpus.of_size(600_000))
        assert session.broker.wait_exit(20) == 4, session.broker.output()
    finally:
        injection.close()
    assert "compacted" in session.broker.output()
