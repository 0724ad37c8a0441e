"""Every instance of a service drops a cached row when it changes.

    cache_invalidation.py BOOTSTRAP

Each instance is a group of its own, so that each gets every invalidation, and begins at the end:
an empty cache has missed nothing. A reader may have fetched the old row just before the change and
put it into its cache just after the invalidation; therefore a second one follows, delayed.
"""

import sqlite3
import sys
import uuid

import kit

TOPIC = "invalidations"


class Instance:
    def __init__(self, bootstrap, database):
        self.database, self.cache = database, {}
        self.receiver = kit.Receiver(bootstrap, f"cache-{uuid.uuid4()}", TOPIC, only_new=True)
        self.receiver.assigned()
        self.heard = 0

    def fetch(self, product):
        return self.database.execute("SELECT price FROM products WHERE id = ?", [product]).fetchone()[0]

    def price(self, product):
        if product not in self.cache:
            self.cache[product] = self.fetch(product)
        return self.cache[product]

    def hear(self, times):
        while self.heard < times:
            if (message := self.receiver.next()) is not None:
                self.cache.pop(message.key().decode(), None)
                self.heard += 1


def main(bootstrap):
    kit.create(bootstrap, TOPIC)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE products (id TEXT PRIMARY KEY, price INTEGER)")
    database.execute("INSERT INTO products VALUES ('tea', 300)")
    instances = [Instance(bootstrap, database) for _ in range(3)]
    sender = kit.Sender(bootstrap)
    assert [instance.price("tea") for instance in instances] == [300] * 3

    slow = instances[0]
    fetched_before = slow.fetch("tea")
    database.execute("UPDATE products SET price = 280 WHERE id = 'tea'")
    sender.send(TOPIC, key="tea", value="changed")
    sender.send(TOPIC, key="tea", value="changed", klamm_delay="1s")
    for instance in instances:
        instance.hear(1)
    slow.cache["tea"] = fetched_before
    assert [instance.price("tea") for instance in instances] == [300, 280, 280], "one has the old price"
    for instance in instances:
        instance.hear(2)
    assert [instance.price("tea") for instance in instances] == [280] * 3
    for instance in instances:
        instance.receiver.close()
    print("3 instances heard both invalidations; the late old price is gone")


if __name__ == "__main__":
    main(sys.argv[1])
