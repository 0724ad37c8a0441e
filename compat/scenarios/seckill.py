"""A flash sale: many requests, few items, a bounded wait, and one answer for each request.

    seckill.py BOOTSTRAP

The gateway queues a request and, beside it, its own time-out: a delayed answer under the request's
number. Whoever answers must take that time-out back first, strictly: the broker lets it succeed
only while the time-out is pending, so a request is answered by the sale or by the time-out, never
by both, and an item goes only to somebody who was told so. While sold out, a request waits for an
item to come back: it is queued again with a delay, and expires with the gateway's patience.
"""

import sqlite3
import sys
import time

import kit
from confluent_kafka import KafkaException

REQUESTS, ANSWERS = "purchase-requests", "purchase-answers"
BUYERS, ITEMS, PATIENCE_MS = 60, 10, 4_000


class Stock:
    def __init__(self, items):
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.execute("CREATE TABLE stock (items INTEGER)")
        self.database.execute("CREATE TABLE sold (request TEXT PRIMARY KEY)")
        self.database.execute("INSERT INTO stock VALUES (?)", [items])

    def sell(self, request, confirm):
        """One item to a request, if there is one and `confirm` says that it is still wanted."""
        self.database.execute("BEGIN")
        taken = self.database.execute("UPDATE stock SET items = items - 1 WHERE items > 0").rowcount == 1
        if taken and confirm():
            self.database.execute("INSERT INTO sold VALUES (?)", [request])
            self.database.execute("COMMIT")
            return "sold"
        self.database.execute("ROLLBACK")
        return "given up" if taken else "sold out"

    def give_back(self, items):
        self.database.execute("UPDATE stock SET items = items + ?", [items])

    def sold(self):
        return {request for request, in self.database.execute("SELECT request FROM sold")}


def request_all(sender):
    """The gateway's part."""
    requests = [f"request-{n}" for n in range(BUYERS)]
    for request in requests:
        expires_at = time.time_ns() // 1_000_000 + PATIENCE_MS
        sender.send(ANSWERS, key=request, value="timed out", partition=0, klamm_delay=PATIENCE_MS, klamm_delay_id=request)
        sender.send(REQUESTS, key=request, value=str(expires_at))
    return requests


def work(sender, message, stock):
    """The sale's part: what became of one request."""
    request, expires_at = message.key().decode(), int(message.value())

    def still_waits():
        try:
            sender.send(ANSWERS, key=request, partition=0, klamm_delay_cancel=request, klamm_delay_cancel_strict="true")
        except KafkaException:
            return False
        return True

    outcome = stock.sell(request, still_waits)
    if outcome == "sold":
        sender.send(ANSWERS, key=request, value="sold", partition=0)
    elif outcome == "sold out" and time.time_ns() // 1_000_000 + 500 < expires_at:
        sender.send(REQUESTS, key=request, value=message.value(), klamm_delay="500", klamm_expires_at=expires_at)
    return outcome


def main(bootstrap):
    kit.create(bootstrap, REQUESTS, 3)
    kit.create(bootstrap, ANSWERS)
    sender, stock = kit.Sender(bootstrap), Stock(ITEMS)
    requests = request_all(sender)
    sale = kit.Receiver(bootstrap, "sale", REQUESTS)
    gateway = kit.Receiver(bootstrap, "gateway", ANSWERS)
    answers, returned = {}, False
    while len(answers) < BUYERS:
        if (message := sale.next(0.05)) is not None:
            work(sender, message, stock)
            sale.done(message)
        if len(stock.sold()) == ITEMS and not returned:
            # Somebody's payment failed: two items come back, and go to two who wait.
            stock.give_back(2)
            returned = True
        if (message := gateway.next(0.05)) is not None:
            request = message.key().decode()
            assert request not in answers, f"two answers to {request}"
            answers[request] = message.value().decode()
            gateway.done(message)
    sale.close()
    gateway.close()

    told = {request for request, answer in answers.items() if answer == "sold"}
    assert set(answers) == set(requests)
    assert told == stock.sold() and len(told) == ITEMS + 2, f"{len(told)} told, {len(stock.sold())} sold"
    print(f"{BUYERS} requests, one answer each: {len(told)} sold, {BUYERS - len(told)} timed out")


if __name__ == "__main__":
    main(sys.argv[1])
