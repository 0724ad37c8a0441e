"""A payment provider is asked again and again, at growing intervals, until it answers or is given up.

    payment_check.py BOOTSTRAP

Each payment carries its own schedule. A provider that has no answer yet is a failure of the group:
one record that names group and offset, and the broker brings the payment back after the next step
of the schedule, in the group's retry topic. When the schedule is used up the payment is in the
dead-letter topic, with its story in its headers.
"""

import sqlite3
import sys
import time

import kit

TOPIC, GROUP, SCHEDULE = "payments", "payment-check", "300,600,1200"


class Provider:
    """Answers a payment at the n-th question; some never."""

    def __init__(self):
        self.asked = {}

    def ask(self, payment):
        self.asked.setdefault(payment, []).append(time.monotonic())
        answers_at = {"at-once": 1, "second": 2, "fourth": 4}.get(payment.split("/")[0])
        return "paid" if answers_at is not None and len(self.asked[payment]) >= answers_at else None


def main(bootstrap):
    kit.create(bootstrap, TOPIC, 2)
    sender, provider = kit.Sender(bootstrap), Provider()
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE payments (id TEXT PRIMARY KEY, status TEXT)")
    payments = [f"{kind}/{n}" for kind in ("at-once", "second", "fourth", "never") for n in range(3)]
    for payment in payments:
        database.execute("INSERT INTO payments VALUES (?, 'open')", [payment])
        sender.send(TOPIC, key=payment, value="30.00 EUR", klamm_retry_schedule=SCHEDULE)

    checks = kit.Receiver(bootstrap, GROUP, TOPIC, f"retry.{GROUP}.{TOPIC}")
    given_up = kit.Receiver(bootstrap, "give-up", f"dlq.{GROUP}.{TOPIC}")
    while database.execute("SELECT count(*) FROM payments WHERE status = 'open'").fetchone()[0] > 0:
        if (message := checks.next(0.1)) is not None:
            payment = message.key().decode()
            if status := provider.ask(payment):
                database.execute("UPDATE payments SET status = ? WHERE id = ?", [status, payment])
            else:
                sender.nack(GROUP, message, klamm_nack_reason="no answer yet")
            checks.done(message)
        if (message := given_up.next(0.1)) is not None:
            told = kit.headers(message)
            assert told["__dlq.errors.reason"] == "schedule-exhausted", told
            assert told["__dlq.errors.delivery.count"] == "4", told
            database.execute("UPDATE payments SET status = 'given up' WHERE id = ?", [message.key().decode()])
            given_up.done(message)
    checks.close()
    given_up.close()

    for payment, times in provider.asked.items():
        kind = payment.split("/")[0]
        assert len(times) == {"at-once": 1, "second": 2, "fourth": 4, "never": 4}[kind], (payment, len(times))
        waits = [later - earlier for earlier, later in zip(times, times[1:])]
        assert all(wait >= step for wait, step in zip(waits, (0.3, 0.6, 1.2))), (payment, waits)
    gone = database.execute("SELECT count(*) FROM payments WHERE status = 'given up'").fetchone()[0]
    assert gone == 3
    print(f"{len(payments)} payments: {len(payments) - gone} answered after 1, 2 or 4 questions, {gone} given up after 4")


if __name__ == "__main__":
    main(sys.argv[1])
