"""Queues: which arguments and flags must be equal to declare again, and how the refusal reads."""

from _show import attempt, connect

PAIRS = (
    ({"x-max-length": 5}, {"x-max-length": 5}),
    ({"x-max-length": 5}, {}),
    ({}, {"x-max-length": 5}),
    ({"x-max-length": 5}, {"x-max-length": 6}),
    ({"x-message-ttl": 5000}, {"x-message-ttl": 2**31 + 5000}),
    ({"x-queue-type": "classic"}, {}),
    ({}, {"x-queue-type": "classic"}),
    ({"x-other": 1}, {}),
    ({"x-other": 1}, {"x-other": 2}),
    ({"x-max-priority": 3}, {"x-max-priority": 4}),
    ({"x-single-active-consumer": True}, {"x-single-active-consumer": False}),
    ({"x-single-active-consumer": False}, {}),
    ({"x-queue-mode": "lazy"}, {"x-queue-mode": "default"}),
    ({"x-overflow": "drop-head"}, {}),
    ({"x-dead-letter-exchange": "a"}, {"x-dead-letter-exchange": "b"}),
    ({"x-dead-letter-exchange": "a", "x-dead-letter-routing-key": "k"}, {"x-dead-letter-exchange": "a"}),
    ({"x-expires": 50000}, {"x-expires": 50001}),
    ({"x-queue-type": "classic"}, {"x-queue-type": "quorum"}),
    ({"x-queue-version": 1}, {"x-queue-version": 2}),
    ({"x-queue-master-locator": "min-masters"}, {"x-queue-master-locator": "client-local"}),
    ({"x-max-length-bytes": 5, "x-max-length": 1}, {"x-max-length": 2, "x-max-length-bytes": 6}),
)
connection = connect()
for first, second in PAIRS:
    channel = connection.channel()
    channel.queue_declare("q", arguments=first)
    attempt(f"{first} {second}", channel.queue_declare, "q", arguments=second)
    connection.channel().queue_delete("q")
for options in ("durable", "exclusive", "auto_delete"):
    for first in (False, True):
        channel = connection.channel()
        channel.queue_declare("q", **{options: first})
        attempt(f"{options} {first}", channel.queue_declare, "q", **{options: not first})
        connection.channel().queue_delete("q")
channel = connection.channel()
channel.queue_declare("q", durable=True)
attempt("passive", channel.queue_declare, "q", passive=True, arguments={"x-max-length": 1})
channel.queue_delete("q")
connection.close()
