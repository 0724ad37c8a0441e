"""One registration, several services: each gets it, and fails alone.

    registration.py BOOTSTRAP

Mail and SMS are two groups of one topic. The SMS gateway fails for a while; only its group sees
those registrations again, and mail is sent once.
"""

import sqlite3
import sys

import kit

TOPIC, USERS = "registrations", 10


class Service:
    def __init__(self, bootstrap, name, fails):
        self.name, self.fails = name, fails
        self.sender = kit.Sender(bootstrap)
        self.receiver = kit.Receiver(bootstrap, name, TOPIC, f"retry.{name}.{TOPIC}")
        self.sent = sqlite3.connect(":memory:")
        self.sent.execute("CREATE TABLE sent (user TEXT, attempt INTEGER)")

    def serve(self):
        if (message := self.receiver.next(0.1)) is not None:
            user = message.key().decode()
            attempt = int(kit.headers(message).get("klamm.retry.attempt", 0))
            if self.fails(user, attempt):
                self.sender.nack(self.name, message, klamm_nack_delay="300", klamm_nack_error="gateway is down")
            else:
                self.sent.execute("INSERT INTO sent VALUES (?, ?)", [user, attempt])
            self.receiver.done(message)

    def users(self):
        return sorted(user for user, in self.sent.execute("SELECT user FROM sent"))

    def attempts(self):
        return {attempt for attempt, in self.sent.execute("SELECT attempt FROM sent")}


def main(bootstrap):
    kit.create(bootstrap, TOPIC, 2)
    users = sorted(f"user-{n}" for n in range(USERS))
    mail = Service(bootstrap, "mail", lambda user, attempt: False)
    sms = Service(bootstrap, "sms", lambda user, attempt: int(user[-1]) % 2 == 1 and attempt < 2)
    sender = kit.Sender(bootstrap)
    for user in users:
        sender.send(TOPIC, key=user, value="welcome")
    while len(mail.users()) < USERS or len(sms.users()) < USERS:
        mail.serve()
        sms.serve()
    mail.receiver.close()
    sms.receiver.close()

    assert mail.users() == users and mail.attempts() == {0}
    assert sms.users() == users and sms.attempts() == {0, 2}
    print(f"{USERS} registrations: mail sent each once; sms sent each once, half of them at the third attempt")


if __name__ == "__main__":
    main(sys.argv[1])
