"""SIGKILL under load: `tests/crash/run --rounds N [--durability fsync|page-cache]`."""

import sys
import tempfile
from pathlib import Path

import rounds
from harness.broker import Kafka, Klamm
from load import Load

SETTINGS = {"log.segment.bytes": 16 << 20}


def started(name, durability, scratch):
    """The oracle knows no `durability`: it always does what ours calls page-cache."""
    if name == "kafka":
        return Kafka(scratch, SETTINGS).start()
    return Klamm(scratch, {**SETTINGS, "durability": durability}).start()


def main():
    parser = rounds.options(__doc__)
    parser.add_argument("--durability", choices=["fsync", "page-cache"], default="fsync")
    parser.add_argument("--broker", choices=["klamm", "kafka"], default="klamm")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="klamm-crash-") as scratch:
        broker = started(chosen.broker, chosen.durability, Path(scratch))
        try:
            run = rounds.Run(broker, Load(broker.bootstrap), broker.kill, chosen.acked, chosen.seed)
            run.rounds(chosen.rounds)
            good = run.close(f"kill, durability={chosen.durability}, seed={chosen.seed}", chosen.rounds)
        finally:
            broker.close()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
