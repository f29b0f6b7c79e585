"""Policies: TTL, length, dead letters and expiry by the pattern of a queue's name, merged with its arguments."""

import time

from _show import attempt, bodies, connect, count, fill, get_all, show, wait_count

DEFINITIONS = {
    "policies": [
        {"name": "short", "pattern": "^short", "apply-to": "queues", "definition": {"message-ttl": 300}},
        {"name": "three", "pattern": "^three", "apply-to": "all", "definition": {"max-length": 3}},
        {"name": "low", "pattern": "^ranked", "apply-to": "queues", "priority": 1, "definition": {"max-length": 1}},
        {"name": "high", "pattern": "^ranked", "apply-to": "queues", "priority": 2, "definition": {"max-length": 2}},
        {
            "name": "dead",
            "pattern": "^dying$",
            "apply-to": "queues",
            "definition": {"dead-letter-exchange": "", "dead-letter-routing-key": "dead", "message-ttl": 200},
        },
        {"name": "gone", "pattern": "^gone", "apply-to": "queues", "definition": {"expires": 300}},
        {"name": "other", "pattern": "^x-only", "apply-to": "exchanges", "definition": {"alternate-exchange": "x"}},
        {
            "name": "refuse",
            "pattern": "^refusing",
            "apply-to": "queues",
            "definition": {"max-length": 1, "overflow": "reject-publish"},
        },
    ]
}

connection = connect()
channel = connection.channel()
for name in ("short", "three", "ranked", "dead", "dying", "gone", "refusing", "free"):
    attempt(f"declare {name}", channel.queue_declare, name)
channel.queue_declare("short-own", arguments={"x-message-ttl": 50})
channel.queue_declare("short-long", arguments={"x-message-ttl": 60000})
channel.queue_declare("three-own", arguments={"x-max-length": 2})
channel.queue_declare("three-more", arguments={"x-max-length": 9})
channel.queue_declare("three-mode", arguments={"x-max-length-bytes": 2})
for name in ("three", "ranked", "three-own", "three-more", "three-mode", "free"):
    fill(channel, name, "a", "b", "c", "d", "e")
    show(name, bodies(get_all(channel, name)))
for name in ("short", "short-own", "short-long", "dying"):
    fill(channel, name, "m")
channel.confirm_delivery()
for body in (b"1", b"2"):
    attempt("refusing", channel.basic_publish, "", "refusing", body)
wait_count(channel, "short", 0)
wait_count(channel, "short-long", 0)
wait_count(channel, "dead", 1)
for method, properties, body in get_all(channel, "dead"):
    death = properties.headers["x-death"][0]
    show("dead", body, death["reason"], death["queue"], death["count"], method.routing_key)
time.sleep(0.6)
attempt("gone", connection.channel().queue_declare, "gone", passive=True)
attempt("same arguments", channel.queue_declare, "short-own", arguments={"x-message-ttl": 50})
attempt("the policy's", connection.channel().queue_declare, "short", arguments={"x-message-ttl": 300})
show("left", count(channel, "refusing"))
connection.close()
