"""Loss of power under load: `tests/crash/powercut --rounds N`.

The data directory lies on an ext4 image that is stopped as a cut of power stops a disk: whatever
was not synced is gone, sizes and names included. Only acks=all promises to survive that, so no
writer with acks=1 takes part.

The broker is halted before the disk, as a cut of power ends both at once. With `--dying-disk` it
lives on for a moment and answers what it then can, which is the fault of a disk, not of power.
"""

import signal
import sys
import tempfile
from pathlib import Path

import rounds
from harness import disk
from harness.broker import Klamm
from load import Load

IMAGE_BYTES = 4 << 30


def main():
    parser = rounds.options(__doc__)
    parser.add_argument("--dying-disk", action="store_true", help="the broker outlives its disk a little")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="klamm-power-") as scratch:
        try:
            with disk.Ext4(scratch, IMAGE_BYTES) as image:
                good = cut_power_of(image, Path(scratch), chosen)
        except disk.Unavailable as reason:
            print(f"power cut: skipped, {reason}")
            print("0 passed, 0 failed, 1 skipped")
            good = True
    sys.exit(0 if good else 1)


def cut_power_of(image, scratch, chosen):
    own = rounds.settings(chosen, {"log.segment.bytes": 16 << 20})
    broker = Klamm(scratch / "broker", own, data_dir=image.path / "data")

    def cut():
        if not chosen.dying_disk:
            broker.process.send_signal(signal.SIGSTOP)
        image.cut_power()
        broker.kill()
        image.unmount()
        image.mount()

    try:
        broker.start()
        load = Load(broker.bootstrap, rounds.kinds(chosen, ("idempotent", "plain", "bulk")))
        run = rounds.Run(broker, load, cut, chosen.acked, chosen.seed)
        run.rounds(chosen.rounds)
        return run.close(f"power cut, seed={chosen.seed}", chosen.rounds)
    finally:
        broker.close()


if __name__ == "__main__":
    main()
