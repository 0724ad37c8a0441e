"""Starts and ends broker processes for the tests: klamm itself and Apache Kafka, the oracle.

A broker keeps its port over restarts, so that a client's connections find it again. Its output
goes to files, never into a pipe that nobody reads.
"""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import wait

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / "tests" / ".env"
# Below the kernel's range for outgoing connections, so that no client of a test is given a port
# that a broker needs again after a restart.
PORTS = iter(range(int(os.environ.get("TEST_FIRST_PORT", 28100)), 32000))


def binary():
    """The broker under test: TEST_BROKER, else the release build, else the debug build."""
    named = os.environ.get("TEST_BROKER")
    candidates = [Path(named)] if named else [ROOT / "target" / kind / "klamm" for kind in ("release", "debug")]
    for path in candidates:
        if path.exists():
            return path
    raise FileNotFoundError(f"build the broker first: none of {candidates} is there")


def free_port():
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise OSError("no free port")


def _inherited():
    """The environment without what the broker would take for its settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KLAMM_")}


class Klamm:
    """One broker process on one data directory; may be killed and started again."""

    READY = re.compile(r"^klamm ready kafka=(\S+) http=(\S+)", re.MULTILINE)

    def __init__(self, scratch, overrides=None, data_dir=None, wrapper=(), environment=None):
        self.scratch = Path(scratch)
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.data_dir = Path(data_dir) if data_dir else self.scratch / "data"
        self.overrides = dict(overrides or {})
        self.wrapper = list(wrapper)
        self.environment = dict(environment or {})
        self.port, self.http_port = free_port(), free_port()
        self.process = None
        self.starts = 0
        self.started_in_s = None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    @property
    def http(self):
        return f"http://127.0.0.1:{self.http_port}"

    def output(self):
        """Everything the latest process has printed."""
        return self._read("stdout") + self._read("stderr")

    def _path(self, stream):
        return self.scratch / f"{stream}.{self.starts}"

    def _read(self, stream):
        path = self._path(stream)
        return path.read_text(errors="replace") if path.exists() else ""

    def spawn(self, **environment):
        """Starts the process without waiting for it to serve."""
        self.starts += 1
        command = [*self.wrapper, str(binary()), "serve",
                   "--listen", self.bootstrap, "--http", f"127.0.0.1:{self.http_port}",
                   "--data-dir", str(self.data_dir)]
        for key, value in self.overrides.items():
            command += ["--override", f"{key}={value}"]
        with open(self._path("stdout"), "wb") as out, open(self._path("stderr"), "wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env={**_inherited(), **self.environment, **environment})
        return self

    def start(self, deadline_s=60.0, **environment):
        """Starts the process and waits for its ready line."""
        began = time.monotonic()
        self.spawn(**environment)
        wait.until(self._ready_or_dead, "the broker's ready line", deadline_s, poll_s=0.002)
        self.started_in_s = time.monotonic() - began
        if self.process.poll() is not None and not self.READY.search(self._read("stdout")):
            raise RuntimeError(f"exited with {self.process.returncode}:\n{self.output()[-4000:]}")
        return self

    def _ready_or_dead(self):
        return self.READY.search(self._read("stdout")) or self.process.poll() is not None

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_exit(self, deadline_s=15.0):
        """The exit code, once the process has ended by itself."""
        return self.process.wait(deadline_s)

    def kill(self):
        """As a crash: SIGKILL, no chance to sync or to say good-bye."""
        if self.alive():
            self.process.kill()
        self.process.wait()

    def stop(self, deadline_s=15.0):
        """As an operator: SIGTERM; returns the exit code."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline_s)

    def close(self):
        if self.process is not None:
            self.kill()


class Kafka:
    """Apache Kafka through compat/peers/kafka, behind the same few methods."""

    STARTER = ROOT / "compat" / "peers" / "kafka"

    def __init__(self, scratch, overrides=None):
        self.scratch = Path(scratch)
        self.data_dir = self.scratch / "data"
        self.overrides = dict(overrides or {})
        self.port = free_port()
        free_port()

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def start(self, deadline_s=90.0):
        settings = [f"{key}={value}" for key, value in self.overrides.items()]
        began = time.monotonic()
        subprocess.run([self.STARTER, "start", self.scratch, str(self.port), *settings],
                       check=True, stdout=subprocess.DEVNULL, timeout=deadline_s)
        self.started_in_s = time.monotonic() - began
        return self

    def kill(self):
        process = int((self.scratch / "pid").read_text())
        os.kill(process, signal.SIGKILL)
        wait.until(lambda: not Path(f"/proc/{process}").exists(), "the end of Kafka")

    def stop(self):
        self.close()
        return 0

    def close(self):
        subprocess.run([self.STARTER, "stop", self.scratch], check=False)
