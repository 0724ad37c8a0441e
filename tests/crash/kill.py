"""Rounds of SIGKILL under load: `tests/crash/run --rounds N [--durability fsync|page-cache]`.

A round: load until enough is acknowledged, kill at a random moment with much in flight, start
again, let the writers settle, read everything and judge it. Every writer lives through the whole
run, so an idempotent one retries over the crash with the sequences it had.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from harness.broker import Kafka, Klamm
from load import Load

LEAST_IN_FLIGHT = 1_000
# A start may take this long plus a share of what may have to be scanned, so that the bound says
# "depends on the data since the last checkpoint" on a slow machine too.
START_BASE_S, START_BYTES_PER_S = 5.0, 50e6


class Round:
    def __init__(self, number):
        self.number = number
        self.acked = self.in_flight = self.read = 0
        self.started_in_s = 0.0

    def line(self, faults):
        return (f"round {self.number:3}: {self.acked:7} acknowledged, {self.in_flight:5} in flight at the kill, "
                f"start {self.started_in_s * 1000:5.0f} ms, {self.read:8} read, {faults} faults")


def data_bytes(broker):
    return sum(path.stat().st_size for path in Path(broker.data_dir).rglob("*.log"))


def one_round(number, broker, load, least_acked, chance, fault_point=None):
    result = Round(number)
    before, target = load.acked, least_acked + chance.randrange(least_acked // 2)
    load.run_until(lambda: load.acked - before >= target and load.in_flight >= LEAST_IN_FLIGHT, 120)
    # The moment: not at an answer's arrival, where polling would put it, but some time after.
    moment = time.monotonic() + chance.random() * 0.02
    load.run_until(lambda: time.monotonic() >= moment and load.in_flight >= LEAST_IN_FLIGHT, 30)
    result.in_flight = load.in_flight
    broker.kill()
    result.acked = load.acked - before
    broker.start()
    result.started_in_s = broker.started_in_s
    load.settle()
    result.read = load.read_everything()
    return result


def started(name, durability, scratch):
    """The oracle knows no `durability`: it always does what ours calls page-cache."""
    if name == "kafka":
        return Kafka(scratch, {"log.segment.bytes": 16 << 20}).start()
    return Klamm(scratch, {"log.segment.bytes": 16 << 20, "durability": durability}).start()


def run(broker, rounds, durability, least_acked, seed):
    chance = random.Random(seed)
    failed_rounds, reported = 0, 0
    total_acked = total_in_flight = 0
    try:
        load = Load(broker.bootstrap)
        for number in range(1, rounds + 1):
            result = one_round(number, broker, load, least_acked, chance)
            faults = load.faults()[reported:]
            reported += len(faults)
            allowed_s = START_BASE_S + data_bytes(broker) / START_BYTES_PER_S
            slow = result.started_in_s > allowed_s
            failed_rounds += bool(faults) or slow
            total_acked += result.acked
            total_in_flight += result.in_flight
            print(result.line(len(faults)), flush=True)
            if slow:
                print(f"    start took longer than {allowed_s:.1f} s")
            for place, fault in faults[:10]:
                print(f"    {fault.kind} {place}: {fault.text}")
        code = broker.stop()
        if code != 0:
            failed_rounds += 1
            print(f"    SIGTERM at the end: exit code {code}")
    finally:
        broker.close()
    print(f"kill, durability={durability}, seed={seed}: {rounds} rounds, {total_acked} acknowledged, "
          f"{total_in_flight} in flight at the kills, {reported} faults")
    print(f"{rounds - failed_rounds} passed, {failed_rounds} failed")
    return failed_rounds == 0


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--durability", choices=["fsync", "page-cache"], default="fsync")
    options.add_argument("--broker", choices=["klamm", "kafka"], default="klamm")
    options.add_argument("--acked", type=int, default=10_000, help="least acknowledged values per round")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="klamm-crash-") as scratch:
        broker = started(chosen.broker, chosen.durability, Path(scratch))
        good = run(broker, chosen.rounds, chosen.durability, chosen.acked, chosen.seed)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
