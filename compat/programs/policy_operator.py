"""Policies: operator policies limit what policies and arguments say."""

from _show import attempt, bodies, connect, fill, get_all, show, wait_count

DEFINITIONS = {
    "policies": [
        {"name": "lax", "pattern": "^lax", "apply-to": "queues", "definition": {"max-length": 9}},
        {"name": "strict", "pattern": "^strict", "apply-to": "queues", "definition": {"max-length": 1}},
        {
            "name": "mixed",
            "pattern": "^mixed",
            "apply-to": "queues",
            "definition": {"dead-letter-exchange": "", "dead-letter-routing-key": "dead"},
        },
    ],
    "parameters": [
        {
            "component": "operator_policy",
            "name": "cap",
            "value": {
                "pattern": "^(lax|strict|plain)",
                "apply-to": "queues",
                "priority": 0,
                "definition": {"max-length": 3},
            },
        },
        {
            "component": "operator_policy",
            "name": "time",
            "value": {"pattern": "^mixed", "apply-to": "queues", "priority": 0, "definition": {"message-ttl": 200}},
        },
    ],
}

connection = connect()
channel = connection.channel()
channel.queue_declare("dead")
for name, arguments in (
    ("lax", None),
    ("strict", None),
    ("plain", None),
    ("plain-more", {"x-max-length": 5}),
    ("plain-less", {"x-max-length": 2}),
    ("lax-less", {"x-max-length": 2}),
    ("other", None),
    ("mixed", {"x-message-ttl": 60000}),
):
    attempt(f"declare {name}", channel.queue_declare, name, arguments=arguments)
    fill(channel, name, "a", "b", "c", "d", "e", "f")
    if name != "mixed":
        show(name, bodies(get_all(channel, name)))
wait_count(channel, "dead", 6)
show("dead", [(b.decode(), p.headers["x-death"][0]["reason"]) for _, p, b in get_all(channel, "dead")])
connection.close()
