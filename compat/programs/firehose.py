"""Firehose: who is bound to amq.rabbitmq.trace sees what is published and delivered, RabbitMQ's headers and all."""

import re

import pika
from _show import connect

#: Here it is on while somebody is bound; of a RabbitMQ it must be turned on.
NEEDS = "firehose"

connection = connect()
channel = connection.channel()
watch = connection.channel()
copies = watch.queue_declare("", exclusive=True).method.queue
watch.queue_bind(copies, "amq.rabbitmq.trace", "#")


def plain(value):
    """Without what differs from run to run."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in sorted(value.items()) if name not in ("node", "connection", "time")}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, str):
        return re.sub(r"amq\.(rabbitmq\.reply-to\.|gen-).*", "(a name of the broker's)", value)
    return value


def tell(title, least):
    """Print the copies of what was done; there are ``least`` of them (a RabbitMQ may need a moment), or more."""
    print("--", title)
    found = []
    for _ in range(3):
        connection.process_data_events(0.05)
        while len(found) < 50:
            method, properties, body = watch.basic_get(copies, auto_ack=True)
            if method is None:
                if len(found) < least:
                    continue
                break
            headers = plain(properties.headers or {})
            assert headers.pop("vhost", method.exchange) != "amq.rabbitmq.trace"
            if "routed_queues" in headers:
                headers["routed_queues"].sort()
            found.append((plain(method.routing_key), headers, body[:10]))
    print(*found, sep="\n")


def take(queue, **options):
    """A message that is on its way at most."""
    while True:
        method, properties, body = channel.basic_get(queue, **options)
        if method is not None:
            return method, properties, body


for name in ("a", "b"):
    channel.queue_declare(name)
channel.exchange_declare("f", "fanout")
channel.queue_bind("a", "f")
channel.queue_bind("b", "f")
channel.basic_publish("", "a", b"one")
tell("to a queue", 1)
everything = pika.BasicProperties(
    "text/plain", "e", {"h": 1, "CC": ["a"], "BCC": ["b"]}, 2, 3, "c", "r", "60000", "m", 7, "t", "guest", "app"
)
channel.basic_publish("f", "k.x", b"two", everything)
tell("all properties, CC and BCC", 1)
channel.basic_publish("", "z", b"", pika.BasicProperties(headers={"CC": ["a", "nowhere"]}))
channel.basic_publish("amq.topic", "nowhere", b"x")
tell("to nobody", 2)
got = take("a")[0]
channel.basic_nack(got.delivery_tag)
got = take("a")[0]
channel.basic_ack(got.delivery_tag)
tell("got, put back, got again", 2)
channel.queue_purge("a")
channel.queue_purge("b")
channel.basic_publish("f", "k", b"three")
seen = []
tag = channel.basic_consume("a", lambda *one: seen.append(one[3]), auto_ack=True)
tag2 = channel.basic_consume("b", lambda c, m, p, b: (seen.append(b), c.basic_ack(m.delivery_tag)))
while len(seen) < 2:
    connection.process_data_events(0.05)
channel.basic_cancel(tag)
channel.basic_cancel(tag2)
tell("consumed", 3)
work = connection.channel()
work.tx_select()
work.basic_publish("", "a", b"tx")
tell("in a transaction", 1)
work.tx_rollback()
tell("rolled back", 0)
channel.queue_declare("d", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "a"})
channel.basic_publish("", "d", b"dead")
channel.basic_reject(take("d")[0].delivery_tag, requeue=False)
take("a", auto_ack=True)
tell("a dead letter", 3)
asking = connection.channel()
replies = []
asking.basic_consume("amq.rabbitmq.reply-to", lambda *one: replies.append(one[3]), auto_ack=True)
asking.basic_publish("", "b", b"?", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
channel.basic_publish("", take("b", auto_ack=True)[1].reply_to, b"!")
while not replies:
    connection.process_data_events(0.05)
tell("direct reply-to", 3)
channel.exchange_declare("m", "direct", arguments={"alternate-exchange": "f"})
channel.basic_publish("m", "none", b"alternate")
tell("alternate exchange", 1)
channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
channel.basic_publish("", "q", b"quorum")
channel.basic_nack(take("q")[0].delivery_tag)
take("q", auto_ack=True)
tell("quorum queue", 3)
watch.queue_bind(copies, "f")  # the copy in this queue is of a message that was not published to the firehose
channel.basic_publish("f", "k", b"again")
tell("what is watched and what watches", 3)
watch.queue_unbind(copies, "amq.rabbitmq.trace", "#")
channel.basic_publish("", "a", b"unseen")
tell("nobody watches", 0)
connection.close()
