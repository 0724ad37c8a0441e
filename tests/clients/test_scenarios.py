"""The programs under compat/scenarios, as a user would start them."""

import os
import subprocess

import pytest

from harness import broker as brokers

HOME = brokers.ROOT / "compat" / "scenarios"
PYTHON = brokers.ENVIRONMENT / "venv" / "bin" / "python"
NAMES = ["order_timeout", "payment_check", "shipments", "registration", "key_order", "cache_invalidation", "seckill"]


@pytest.mark.parametrize("name", NAMES)
def test_scenario(name, broker):
    arguments = [broker.bootstrap, broker.http.removeprefix("http://"), str(brokers.binary())]
    needed = arguments if name == "shipments" else arguments[:1]
    done = subprocess.run([PYTHON, HOME / f"{name}.py", *needed], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(HOME)})
    assert done.returncode == 0, done.stdout + done.stderr
