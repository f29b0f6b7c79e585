"""Programs: delay and retry; a TTL queue without consumers dead-letters into a work queue until work succeeds."""

import itertools
import time

import pika
from _show import connect, message, show, until, wait_count

connection = connect()
channel = connection.channel()
channel.exchange_declare("work", "direct")
channel.exchange_declare("retry", "fanout")
channel.queue_declare("jobs", arguments={"x-dead-letter-exchange": "retry"})
channel.queue_declare("waiting", arguments={"x-dead-letter-exchange": "work", "x-message-ttl": 250})
channel.queue_declare("given up")
channel.queue_bind("jobs", "work", "job")
channel.queue_bind("waiting", "retry")
seen, started = [], time.monotonic()


def work(channel, method, properties, body):
    deaths = (properties.headers or {}).get("x-death", [])
    tries = sum(death["count"] for death in deaths if death["reason"] == "rejected")
    seen.append((method, properties, body, time.monotonic() - started))
    if tries >= int(body):
        channel.basic_ack(method.delivery_tag)
    elif tries == 3:
        channel.basic_publish("", "given up", body)
        channel.basic_ack(method.delivery_tag)
    else:
        channel.basic_reject(method.delivery_tag, requeue=False)


channel.basic_consume("jobs", work)
channel.basic_publish("work", "job", b"2", pika.BasicProperties(message_id="m", headers={"a": [1, {"b": "c"}]}))
until(connection, lambda: len(seen) == 3)
for method, properties, body, _ in seen:
    show("try", message(method, properties, body))
gaps = [later[3] - sooner[3] for sooner, later in itertools.pairwise(seen)]
show("in time", [0.2 < gap < 1.5 for gap in gaps])
seen.clear()
channel.basic_publish("work", "job", b"9")
wait_count(channel, "given up", 1)
show("tries", len(seen))
channel.basic_publish("", "waiting", b"0", pika.BasicProperties(expiration="50"))
until(connection, lambda: len(seen) == 5)
connection.process_data_events(0.5)
show("no route back", len(seen))
connection.close()
