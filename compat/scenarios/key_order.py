"""Events of one account are applied in order, although partitions are added meanwhile.

    key_order.py BOOTSTRAP

When partitions are added, an account's next event may lie in another partition than the one
before, and be read first. Every event has its number; one that comes too early is sent again,
delayed, until its turn; one that was applied already is passed over.
"""

import sqlite3
import sys

import kit

TOPIC, ACCOUNTS, EVENTS = "account-events", 20, 30


class Ledger:
    def __init__(self):
        self.accounts = sqlite3.connect(":memory:")
        self.accounts.execute("CREATE TABLE accounts (id TEXT PRIMARY KEY, applied INTEGER, history TEXT)")

    def apply(self, account, number):
        """Whether the event's turn has come: `applied`, `early` or `known`."""
        with self.accounts as transaction:
            transaction.execute("INSERT OR IGNORE INTO accounts VALUES (?, 0, '')", [account])
            applied, = transaction.execute("SELECT applied FROM accounts WHERE id = ?", [account]).fetchone()
            if number <= applied:
                return "known"
            if number > applied + 1:
                return "early"
            transaction.execute("UPDATE accounts SET applied = ?, history = history || ? WHERE id = ?",
                                [number, f"{number} ", account])
            return "applied"

    def histories(self):
        return dict(self.accounts.execute("SELECT id, history FROM accounts"))


def main(bootstrap):
    kit.create(bootstrap, TOPIC, 2)
    sender, ledger = kit.Sender(bootstrap), Ledger()
    accounts = [f"account-{n}" for n in range(ACCOUNTS)]
    for number in range(1, EVENTS + 1):
        if number == EVENTS // 2:
            kit.add_partitions(bootstrap, TOPIC, 8)
            # A new producer sees them at once, a running one within its metadata's age.
            sender = kit.Sender(bootstrap)
        for account in accounts:
            sender.send(TOPIC, key=account, value=str(number))

    receiver = kit.Receiver(bootstrap, "ledger", TOPIC)
    receiver.assigned()
    # Whoever reads the first partitions is busy, so that the new ones are read before them.
    busy = [place for place in receiver.consumer.assignment() if place.partition < 2]
    receiver.consumer.pause(busy)
    counts = {"applied": 0, "early": 0, "known": 0}
    while counts["applied"] < ACCOUNTS * EVENTS:
        message = receiver.next()
        if message is None:
            continue
        outcome = ledger.apply(message.key().decode(), int(message.value()))
        counts[outcome] += 1
        if outcome == "early":
            sender.send(TOPIC, key=message.key(), value=message.value(), klamm_delay="200")
            receiver.consumer.resume(busy)
        receiver.done(message)
    receiver.close()

    assert counts["early"] > 0
    wanted = "".join(f"{number} " for number in range(1, EVENTS + 1))
    assert ledger.histories() == dict.fromkeys(accounts, wanted)
    print(f"{counts['applied']} events in order over 2, then 8 partitions; {counts['early']} times one came too early")


if __name__ == "__main__":
    main(sys.argv[1])
