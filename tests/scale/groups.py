"""Groups at scale: a group of 1,000 members, 100 groups of 100, and what waiting costs, driven by the
generator in benches/groups: `tests/scale/groups.py [--strict]`.

Members are what clients are by default: a heartbeat every 3 s, a fetch that waits 500 ms. The broker
has its default settings, so the forming of a group holds Kafka's first delay of 3 s.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.broker import ROOT, Klamm
from scale import Report

WINDOW_S = 20


def generator():
    """Builds the generator and returns its path."""
    command = ["cargo", "build", "--release", "--locked", "--bench", "groups", "--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "groups")


def drive(path, scratch, *words, window_s=0):
    """One run of the generator against a fresh broker; returns its figures."""
    broker = Klamm(scratch).start()
    try:
        command = [path, *words, "--target", broker.bootstrap, "--pid", str(broker.process.pid), "--window", str(window_s)]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}{broker.output()[-2000:]}")
        return json.loads(done.stdout)
    finally:
        broker.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="times and CPU count as well")
    chosen = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    report, path = Report(chosen.strict), generator()
    with tempfile.TemporaryDirectory(prefix="klamm-scale-") as folder:
        def run(*words, window_s=0):
            return drive(path, Path(tempfile.mkdtemp(dir=folder)), *words, window_s=window_s)
        formed = run("form", "--groups", "1", "--members", "1000")["formed_s"]
        report.figure("a group of 1,000 members forms", formed, 10, "s", False)
        formed = run("form", "--groups", "100", "--members", "100")["formed_s"]
        report.figure("100 groups of 100 members form", formed, 30, "s", False)
        # Session time-outs of these outlast the window, so they may be silent.
        silent = run("form", "--groups", "100", "--members", "100", "--heartbeat-ms", "40000", window_s=WINDOW_S)
        report.figure("10,000 silent members: CPU", silent["cores"], 0.05, "core", False)
        beating = run("form", "--groups", "100", "--members", "100", window_s=WINDOW_S)
        report.figure("10,000 members with heartbeats: CPU", beating["cores"], 0.05, "core", False)
        polls = run("polls", "--connections", "1000", window_s=WINDOW_S)
        report.figure("1,000 long polls of 500 ms: CPU", polls["cores"], 0.05, "core", False)
        polls = run("polls", "--connections", "1000", "--max-wait-ms", "30000", window_s=WINDOW_S)
        report.figure("1,000 long polls of 30 s: CPU", polls["cores"], 0.05, "core", False)
    print(f"{report.passed} passed, {report.failed} failed")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
