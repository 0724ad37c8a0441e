"""Rounds of load, crash, restart and judgement; what the crash is, the caller says.

A round: load until enough is acknowledged, crash at a random moment with much in flight, start
again, let the writers settle, read everything and judge it. Every writer lives through the whole
run, so an idempotent one retries over the crash with the sequences it had.
"""

import argparse
import random
import time
from dataclasses import dataclass
from pathlib import Path

LEAST_IN_FLIGHT = 1_000
# A start may take this long plus a share of what is stored, so that the bound says "depends on the
# data" on a slow machine too. Bounds in seconds are in benches/.
START_BASE_S, START_BYTES_PER_S = 5.0, 50e6


def options(description):
    """The command line that every kind of run shares."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--acked", type=int, default=10_000, help="least acknowledged values per round")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--delays", action="store_true", help="with delayed values, half of all")
    parser.add_argument("--retries", action="store_true", help="with values that fail, most of all")
    return parser


# So that a round sees journals sealed into runs, and runs merged.
DELAY_SETTINGS = {"delay.journal.segment.bytes": 1 << 20}


def settings(chosen, own):
    """The broker's settings for this kind of run."""
    return {**own, **(DELAY_SETTINGS if chosen.delays or chosen.retries else {})}


def kinds(chosen, own):
    """The writers of this kind of run."""
    if chosen.retries:
        return ("failing", "idempotent")
    return ("delayed", "idempotent") if chosen.delays else own


def loads(chosen):
    """For the last line: what the load had besides."""
    return "".join(f", {kind}" for kind in ("delays", "retries") if getattr(chosen, kind))


@dataclass
class Round:
    number: int
    acked: int = 0
    in_flight: int = 0
    read: int = 0
    started_in_s: float = 0.0
    allowed_s: float = 0.0
    name: str = ""

    @property
    def slow(self):
        return self.started_in_s > self.allowed_s

    def line(self, faults):
        return (f"round {self.number:3}: {self.acked:7} acknowledged, {self.in_flight:5} in flight at the crash, "
                f"start {self.started_in_s * 1000:5.0f} ms, {self.read:8} read, {faults} faults"
                + (f", at {self.name}" if self.name else "")
                + (f", slower than {self.allowed_s:.1f} s" if self.slow else ""))


class Run:
    def __init__(self, broker, load, crash, least_acked, seed):
        self.broker, self.load, self.crash, self.least_acked = broker, load, crash, least_acked
        self.chance = random.Random(seed)
        self.reported = self.failed = self.acked = self.in_flight = 0

    def until_crash(self, result):
        """Load until enough is acknowledged, then the crash."""
        load, chance = self.load, self.chance
        before, target = load.acked, self.least_acked + chance.randrange(self.least_acked // 2)
        load.run_until(lambda: load.acked - before >= target and load.in_flight >= LEAST_IN_FLIGHT, 120)
        # The moment: not at an answer's arrival, where polling would put it, but some time after.
        moment = time.monotonic() + chance.random() * 0.02
        load.run_until(lambda: time.monotonic() >= moment and load.in_flight >= LEAST_IN_FLIGHT, 30)
        result.in_flight = load.in_flight
        self.crash()

    def round(self, number):
        result, load = Round(number), self.load
        before = load.acked
        self.until_crash(result)
        result.acked = load.acked - before
        result.allowed_s = START_BASE_S + self._data_bytes() / START_BYTES_PER_S
        self.broker.start(deadline_s=result.allowed_s + 60)
        result.started_in_s = self.broker.started_in_s
        load.settle()
        result.read = load.read_everything()
        return result

    def rounds(self, count):
        """Runs and prints `count` rounds; a round with a fault or a slow start has failed."""
        for number in range(1, count + 1):
            result = self.round(number)
            self.acked += result.acked
            self.in_flight += result.in_flight
            self.judge(result.line, result.slow)
        if self.load.delays():
            read = self.load.read_until_delivered()
            self.judge(lambda faults: f"all delivered: {read:8} read, {faults} faults")

    def judge(self, line, slow=False):
        """Takes up what was found since the last time, and prints the line that tells of it."""
        faults = self.load.take_faults()
        self.reported += len(faults)
        self.failed += bool(faults) or slow
        print(line(len(faults)), flush=True)
        for place, fault in faults[:10]:
            print(f"    {fault.kind} {place}: {fault.text}", flush=True)

    def _data_bytes(self):
        return sum(path.stat().st_size for path in Path(self.broker.data_dir).rglob("*.log"))

    def close(self, name, count):
        """Ends the broker as an operator does and prints the sums; true if all was well."""
        code = self.broker.stop()
        if code != 0:
            self.failed += 1
            print(f"SIGTERM at the end: exit code {code}")
        print(f"{name}: {count} rounds, {self.acked} acknowledged, {self.in_flight} in flight at the crashes, "
              f"{self.reported} faults")
        print(f"{max(count - self.failed, 0)} passed, {self.failed} failed", flush=True)
        return self.failed == 0
