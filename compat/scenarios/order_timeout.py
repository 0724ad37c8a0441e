"""Orders that nobody pays are cancelled after a while; paid ones never are.

    order_timeout.py BOOTSTRAP

With each order goes a check, delayed and under the order's number; payment takes it back. A
payment may come while its check is on the way: then the version column decides, and the order is
either paid or cancelled, once.
"""

import sqlite3
import sys

import kit

TOPIC, AFTER = "order-checks", "2s"


class Shop:
    def __init__(self, bootstrap):
        self.sender = kit.Sender(bootstrap)
        self.orders = sqlite3.connect(":memory:")
        self.orders.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, status TEXT, version INTEGER)")

    def place(self, order):
        self.orders.execute("INSERT INTO orders VALUES (?, 'placed', 1)", [order])
        self.sender.send(TOPIC, key=order, value="unpaid?", klamm_delay=AFTER, klamm_delay_id=order)

    def change(self, order, status, version):
        """Only if nobody changed it since it was read."""
        changed = self.orders.execute(
            "UPDATE orders SET status = ?, version = version + 1 WHERE id = ? AND version = ? AND status = 'placed'",
            [status, order, version])
        return changed.rowcount == 1

    def pay(self, order, take_back=True):
        if self.change(order, "paid", self.read(order)[1]) and take_back:
            self.sender.send(TOPIC, key=order, klamm_delay_cancel=order)

    def check(self, order):
        return self.change(order, "cancelled", self.read(order)[1])

    def read(self, order):
        return self.orders.execute("SELECT status, version FROM orders WHERE id = ?", [order]).fetchone()


def main(bootstrap):
    kit.create(bootstrap, TOPIC, 3)
    shop = Shop(bootstrap)
    orders = [f"order-{n}" for n in range(12)]
    for order in orders:
        shop.place(order)
    for order in orders[:4]:
        shop.pay(order)
    # The process that took this payment died before it could take the check back.
    shop.pay(orders[4], take_back=False)

    checks = kit.Receiver(bootstrap, "cancel-unpaid", TOPIC)
    checked, cancelled = [], []
    while len(checked) < len(orders) - 4:
        if (message := checks.next()) is not None:
            order = message.key().decode()
            checked.append(order)
            if shop.check(order):
                cancelled.append(order)
            checks.done(message)
    checks.close()

    assert sorted(cancelled) == sorted(orders[5:]), cancelled
    assert sorted(checked) == sorted(orders[4:]), "what was taken back is not delivered"
    assert all(shop.read(order)[0] == "paid" for order in orders[:5])
    print(f"{len(orders)} orders: 5 paid, {len(cancelled)} cancelled once each, {len(checked)} checks delivered")


if __name__ == "__main__":
    main(sys.argv[1])
