"""SIGKILL at named places: `tests/crash/run --points --rounds N [--durability fsync|page-cache] [--delays | --retries]`.

The broker is built with the feature `crash-points` and kills itself at the chosen place, the n-th
time it comes by, under the load and before the judge of `kill.py`. Places take turns; the run fails
if one was not hit as often as its share. A place in recovery may be hit there: that is a crash of
its own kind.
"""

import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import rounds
from harness.broker import Klamm
from load import WITHOUT_DELAYS, Load

# Where the broker can be killed (`crash_point::pass` in src/), and how often it comes by at most
# before it is.
POINTS = {
    "commit-before": 30,
    "commit-unsynced": 30,
    "commit-after": 30,
    "commit-next-file": 4,
    "recycle": 8,
    "roll": 8,
    "checkpoint-synced": 3,
    "checkpoint-rename": 3,
    "checkpoint-written": 3,
}
# Those that only delayed records come by.
DELAY_POINTS = {
    "release": 30,
    "release-half": 30,
    "seal": 4,
    "sealed": 4,
    "manifest": 4,
    "merge": 2,
    "merged": 2,
}
# With nacks there are too few runs for a merge, and a place of their own.
RETRY_POINTS = {"nack-copied": 30, "release": 30, "release-half": 30, "seal": 4, "sealed": 4, "manifest": 4}
# Small files, so that a round sees rolls, recycled commit files and checkpoints.
SETTINGS = {"log.segment.bytes": 1 << 20, "commit.log.file.bytes": 1 << 20, "commit.log.max.bytes": 8 << 20}
DEADLINE_S = 120


class Run(rounds.Run):
    """Rounds whose crash is the broker's own."""

    def __init__(self, broker, load, points, chosen):
        super().__init__(broker, load, broker.kill, chosen.acked, chosen.seed)
        self.points = points
        self.hits = Counter()

    def until_crash(self, result):
        point = list(self.points)[(result.number - 1) % len(self.points)]
        nth = self.chance.randint(1, self.points[point])
        result.name = f"{point}:{nth}"
        self.broker.kill()
        self.broker.spawn(CRASH_AT=result.name)
        self.load.run_until(lambda: not self.broker.alive(), DEADLINE_S)
        result.in_flight = self.load.in_flight
        code = self.broker.wait_exit()
        if code != -signal.SIGKILL:
            raise RuntimeError(f"{result.name}: exit code {code}\n{self.broker.output()[-4000:]}")
        self.hits[point] += 1

    def judge_hits(self, count):
        """Prints how often each place was hit; a place that was hit too seldom is a failure."""
        least = count // len(self.points)
        for point in self.points:
            seldom = self.hits[point] < least
            self.failed += seldom
            print(f"{point:20} {self.hits[point]:4} hits" + (f", fewer than {least}" if seldom else ""), flush=True)


def main():
    parser = rounds.options(__doc__)
    parser.add_argument("--points", action="store_true", help="this kind of run")
    parser.add_argument("--durability", choices=["fsync", "page-cache"], default="fsync")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="klamm-crash-") as scratch:
        own = rounds.settings(chosen, {**SETTINGS, "durability": chosen.durability})
        broker = Klamm(Path(scratch), own).start()
        special = {**(DELAY_POINTS if chosen.delays else {}), **(RETRY_POINTS if chosen.retries else {})}
        points = {**special, **POINTS}
        try:
            load = Load(broker.bootstrap, rounds.kinds(chosen, WITHOUT_DELAYS))
            run = Run(broker, load, points, chosen)
            run.rounds(chosen.rounds)
            run.judge_hits(chosen.rounds)
            name = f"kill at named places, durability={chosen.durability}, seed={chosen.seed}"
            good = run.close(name, chosen.rounds)
        finally:
            broker.close()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
