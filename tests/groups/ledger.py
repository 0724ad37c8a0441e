"""What the broker has acknowledged of commits, and what may be read of them after a crash.

An offset that was acknowledged never goes back. One whose answer did not come may have been stored
or not. Anything else that is read was never asked for. Keys are (group, partition).
"""

import threading
from collections import defaultdict


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.acked = defaultdict(int)
        self.asked = defaultdict(set)
        self.commits = 0
        self.open = 0

    def ask(self, places):
        with self.lock:
            self.open += 1
            for key, offset in places.items():
                self.asked[key].add(offset)

    def answer(self, places, good):
        with self.lock:
            self.open -= 1
            if good:
                self.commits += 1
                for key, offset in places.items():
                    self.acked[key] = max(self.acked[key], offset)

    def known(self):
        """What is acknowledged by now; to be asked for before the offsets are read."""
        with self.lock:
            return dict(self.acked)

    def judge(self, known, found):
        """Faults in what was read after a crash: `found` maps keys to offsets, -1 for none."""
        faults = []
        with self.lock:
            for key, acked in sorted(known.items()):
                offset = found.get(key, -1)
                if offset < acked:
                    faults.append(f"{key}: {acked} was acknowledged, {offset} is read")
                elif offset != acked and offset not in self.asked[key]:
                    faults.append(f"{key}: {offset} is read, which nobody committed")
        return faults
