"""Shipments that fail while the partner is down are parked, and sent on when it is back.

    shipments.py BOOTSTRAP HTTP KLAMM

Two attempts, then the dead-letter topic. When the partner is back an operator puts them back with
one command, `klamm dlq redrive`: the failing group gets them again, nobody else does.
"""

import json
import sqlite3
import subprocess
import sys

import kit

TOPIC, GROUP, SHIPMENTS = "shipments", "courier", 12


def klamm(binary, http, *words):
    done = subprocess.run([binary, *words, "--http", http, "--output", "json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def main(bootstrap, http, binary):
    kit.create(bootstrap, TOPIC, 3)
    sender = kit.Sender(bootstrap)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE shipments (id TEXT PRIMARY KEY, times INTEGER)")
    shipments = sorted(f"shipment-{n}" for n in range(SHIPMENTS))
    for shipment in shipments:
        sender.send(TOPIC, key=shipment, value="one parcel", klamm_retry_schedule="200,400")

    dead = f"dlq.{GROUP}.{TOPIC}"
    courier = kit.Receiver(bootstrap, GROUP, TOPIC, f"retry.{GROUP}.{TOPIC}")
    onlooker = kit.Receiver(bootstrap, "statistics", TOPIC)
    parked = kit.Receiver(bootstrap, "alarm", dead)
    partner_is_up, told, seen = False, [], 0
    while database.execute("SELECT count(*) FROM shipments").fetchone()[0] < SHIPMENTS:
        if (message := courier.next(0.1)) is not None:
            if partner_is_up:
                database.execute("INSERT INTO shipments VALUES (?, 1)", [message.key().decode()])
            else:
                sender.nack(GROUP, message, klamm_nack_reason="partner is down")
            courier.done(message)
        if (message := parked.next(0.05)) is not None:
            told.append(kit.headers(message))
            parked.done(message)
        if onlooker.next(0.05) is not None:
            seen += 1
        if len(told) == SHIPMENTS and not partner_is_up:
            partner_is_up = True
            klamm(binary, http, "dlq", "redrive", dead, "--wait")
    for receiver in (courier, onlooker, parked):
        receiver.close()

    sent = sorted(shipment for shipment, in database.execute("SELECT id FROM shipments"))
    assert sent == shipments and len(told) == SHIPMENTS
    assert {story["__dlq.errors.topic"] for story in told} == {TOPIC}
    assert {story["__dlq.errors.message"] for story in told} == {"partner is down"}
    assert seen == SHIPMENTS, "other groups get each shipment once"
    print(f"{SHIPMENTS} shipments parked after 3 attempts, put back by one command, sent once each")


if __name__ == "__main__":
    main(*sys.argv[1:])
