"""Quorum queues: every argument, right and wrong, and the delivery limit's dead letters."""

import time

from _show import attempt, connect, fill, get_all, message, show

QUORUM = {"x-queue-type": "quorum"}
CASES = [
    ({}, {}),
    ({}, {"durable": True}),
    ({}, {"durable": True, "exclusive": True}),
    ({}, {"durable": True, "auto_delete": True}),
    ({"x-max-priority": 3}, {"durable": True}),
    ({"x-message-ttl": 1000}, {"durable": True}),
    ({"x-delivery-limit": -1}, {"durable": True}),
    ({"x-delivery-limit": "1"}, {"durable": True}),
    ({"x-delivery-limit": 0}, {"durable": True}),
    ({"x-queue-mode": "lazy"}, {"durable": True}),
    ({"x-overflow": "reject-publish-dlx"}, {"durable": True}),
    ({"x-overflow": "reject-publish"}, {"durable": True}),
    ({"x-dead-letter-strategy": "at-least-once"}, {"durable": True}),
    (
        {"x-dead-letter-strategy": "at-least-once", "x-dead-letter-exchange": "", "x-overflow": "reject-publish"},
        {"durable": True},
    ),
    ({"x-dead-letter-strategy": "nope"}, {"durable": True}),
    ({"x-single-active-consumer": True}, {"durable": True}),
    ({"x-expires": 100000}, {"durable": True}),
    ({"x-max-in-memory-length": 5}, {"durable": True}),
    ({"x-quorum-initial-group-size": 1}, {"durable": True}),
    ({"x-quorum-initial-group-size": "1"}, {"durable": True}),
    ({"x-queue-leader-locator": "balanced"}, {"durable": True}),
    ({"x-queue-leader-locator": "nope"}, {"durable": True}),
    ({"x-queue-version": 2}, {"durable": True}),
    ({"x-cancel-on-ha-failover": True}, {"durable": True}),
    ({"x-queue-master-locator": "min-masters"}, {"durable": True}),
    ({"x-max-age": "1D"}, {"durable": True}),
    ({"x-whatever": 1}, {"durable": True}),
]
state = {"connection": connect()}


def fresh():
    """A channel, on a new connection if the last one was closed."""
    if not state["connection"].is_open:
        state["connection"] = connect()
    return state["connection"].channel()


def get(channel, seconds=0.6):
    """A message, once it is there: quorum queues give back a little later."""
    deadline = time.monotonic() + seconds
    while True:
        found = channel.basic_get("q")
        if found[0] is not None or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


for arguments, options in CASES:
    attempt(f"{arguments} {options}", fresh().queue_declare, "q", arguments={**QUORUM, **arguments}, **options)
    fresh().queue_delete("q")
channel = fresh()
channel.queue_declare("dead")
for limit in (0, 2):
    limits = {"x-delivery-limit": limit, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    channel.queue_declare("q", durable=True, arguments={**QUORUM, **limits})
    fill(channel, "q", "m", headers={"a": 1})
    for number in range(4):
        found = get(channel)
        show(f"limit {limit}, {number}", message(*found))
        if found[0] is None:
            break
        channel.basic_nack(found[0].delivery_tag, requeue=True)
    for found in get_all(channel, "dead"):
        show("dead", message(*found))
    channel.queue_delete("q")
channel.queue_delete("dead")
state["connection"].close()
