"""Messages: every property arrives as it was sent."""

import pika
from _show import attempt, connect, get_all, message, probe, show

CASES = [
    {},
    {"content_type": "text/plain"},
    {"content_encoding": "gzip"},
    {"headers": {}},
    {"headers": {"a": "b"}},
    {"delivery_mode": 1},
    {"delivery_mode": 2},
    {"delivery_mode": pika.DeliveryMode.Persistent.value},
    {"priority": 0},
    {"priority": 9},
    {"priority": 255},
    {"correlation_id": "c" * 255},
    {"reply_to": "someone"},
    {"expiration": "60000"},
    {"message_id": ""},
    {"message_id": "ünï"},
    {"timestamp": 0},
    {"timestamp": 2**40},
    {"type": "t"},
    {"user_id": "guest"},
    {"app_id": "a"},
    {"cluster_id": "c"},
    {
        "content_type": "a",
        "content_encoding": "b",
        "headers": {"h": 1},
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "d",
        "reply_to": "e",
        "expiration": "100000",
        "message_id": "f",
        "timestamp": 5,
        "type": "g",
        "user_id": "guest",
        "app_id": "h",
        "cluster_id": "i",
    },
]
connection = connect()
channel = connection.channel()
channel.queue_declare("q")
for case in CASES:
    channel.basic_publish("", "q", b"body", pika.BasicProperties(**case))
    for found in get_all(channel, "q"):
        show(repr(case)[:60], message(*found))
for mode in (0, 3):
    bad = connection.channel()
    bad.basic_publish("", "q", b"body", pika.BasicProperties(delivery_mode=mode))
    probe(f"delivery mode {mode}", bad, "q")
attempt("too long", channel.basic_publish, "", "q", b"", pika.BasicProperties(correlation_id="c" * 256))
channel = connection.channel()
channel.queue_delete("q")
connection.close()
