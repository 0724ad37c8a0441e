"""SIGKILL under load: `tests/crash/run --rounds N [--durability fsync|page-cache] [--delays | --retries]`."""

import sys
import tempfile
from pathlib import Path

import rounds
from harness.broker import Kafka, Klamm
from load import WITHOUT_DELAYS, Load

SETTINGS = {"log.segment.bytes": 16 << 20}


def started(chosen, scratch):
    """The oracle knows no `durability`: it always does what ours calls page-cache."""
    if chosen.broker == "kafka":
        return Kafka(scratch, SETTINGS).start()
    return Klamm(scratch, rounds.settings(chosen, {**SETTINGS, "durability": chosen.durability})).start()


def main():
    parser = rounds.options(__doc__)
    parser.add_argument("--durability", choices=["fsync", "page-cache"], default="fsync")
    parser.add_argument("--broker", choices=["klamm", "kafka"], default="klamm")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="klamm-crash-") as scratch:
        broker = started(chosen, Path(scratch))
        try:
            load = Load(broker.bootstrap, rounds.kinds(chosen, WITHOUT_DELAYS))
            run = rounds.Run(broker, load, broker.kill, chosen.acked, chosen.seed)
            run.rounds(chosen.rounds)
            name = f"kill, durability={chosen.durability}, seed={chosen.seed}"
            good = run.close(name + rounds.loads(chosen), chosen.rounds)
        finally:
            broker.close()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
