"""Waiting on a condition with a deadline; the only place of the suite that sleeps."""

import time


def until(condition, what, deadline_s=30.0, poll_s=0.02):
    """Returns the condition's first true value, or fails naming what was waited for."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline_s:g} s: {what}")
        time.sleep(poll_s)
