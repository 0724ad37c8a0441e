"""What the foreign test suites share: their lists, the broker under test, and the table of results.

A list (`NAME.tests`) has one line per entry of the foreign suite: what it is called there, then the
ways to run it or `-` if it is left out, then words for people, which an entry that is left out must
have. An entry that the list does not know fails the run: a new version of a suite is looked at, not
trusted.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "compat" / "suites"
ENVIRONMENT = ROOT / "compat" / ".env"
os.environ.setdefault("TEST_FIRST_PORT", "29100")
sys.path.insert(0, str(ROOT / "tests"))

from harness import broker as brokers  # noqa: E402  (found by the line before)


@dataclass(frozen=True)
class Entry:
    name: str
    ways: tuple
    note: str


@dataclass(frozen=True)
class Result:
    """`outcome` is passed, failed or skipped."""

    name: str
    how: str
    outcome: str
    seconds: float
    reason: str = ""


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("names", nargs="*", help="only these entries of the list, also left-out ones")
    parser.add_argument("--bootstrap", help="address of a running broker; none is started")
    parser.add_argument("--broker", choices=["klamm", "kafka"], default="klamm", help="what to start")
    parser.add_argument("--quick", action="store_true", help="only entries marked quick, in their shortest form")
    parser.add_argument("--logs", type=Path, help="keep the output of every entry in this folder")
    return parser


def read_list(name):
    entries = {}
    for line in (HERE / f"{name}.tests").read_text().splitlines():
        words = line.split(maxsplit=2)
        if not words or words[0].startswith("#"):
            continue
        ways = () if words[1] == "-" else tuple(words[1].split(","))
        entry = Entry(words[0], ways, words[2] if len(words) > 2 else "")
        if not ways and not entry.note:
            raise SystemExit(f"{name}.tests leaves {entry.name} out without a reason")
        entries[entry.name] = entry
    return entries


def chosen(entries, options):
    """The entries to run; naming one on the command line runs it even if it is left out."""
    unknown = set(options.names) - entries.keys()
    if unknown:
        raise SystemExit(f"not in the list: {', '.join(sorted(unknown))}")
    if options.names:
        return [entries[name] for name in options.names]
    return [e for e in entries.values() if e.ways and (not options.quick or "quick" in e.note.split())]


@contextmanager
def broker(options, settings):
    """The address of the broker under test, started on a fresh directory unless one was given."""
    if options.bootstrap:
        yield options.bootstrap
        return
    kind = brokers.Kafka if options.broker == "kafka" else brokers.Klamm
    with tempfile.TemporaryDirectory(prefix="suite-") as scratch:
        started = kind(scratch, settings).start()
        try:
            yield started.bootstrap
            if options.broker == "klamm" and not started.alive():
                print(started.output()[-4000:], file=sys.stderr)
                raise SystemExit("the broker ended during the suite")
        finally:
            started.close()


def run(command, deadline_s, **how):
    """Exit code and output of a process and its children; the code is None if it ran out of time."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", start_new_session=True, **how)
    try:
        output, _ = process.communicate(timeout=deadline_s)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[0]


class Table:
    """Prints each result as it comes, and the sums at the end."""

    def __init__(self, options):
        self.results, self.logs = [], options.logs
        if self.logs:
            self.logs.mkdir(parents=True, exist_ok=True)

    def keep(self, name, output):
        if self.logs:
            (self.logs / f"{name}.log").write_text(output)

    def add(self, result):
        self.results.append(result)
        print(f"{result.name:48} {result.how:22} {result.outcome:8} {result.seconds:7.1f} s  {result.reason}".rstrip(),
              flush=True)

    def close(self, left_out=()):
        """Prints what was left out and why, and the counts; returns the exit code."""
        for entry in left_out:
            print(f"{entry.name:48} {'-':22} left out          {entry.note}")
        count = {outcome: sum(r.outcome == outcome for r in self.results) for outcome in ("passed", "failed", "skipped")}
        print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
        return 0 if count["passed"] and not count["failed"] else 1
