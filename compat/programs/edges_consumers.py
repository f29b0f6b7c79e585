"""Consumers: odd arguments, and what may be done with amq.rabbitmq.reply-to."""

import pika
from _show import attempt, connect, probe

REPLY = "amq.rabbitmq.reply-to"
state = {"connection": connect()}


def fresh():
    """A channel, on a new connection if the last one was closed."""
    if not state["connection"].is_open:
        state["connection"] = connect()
    return state["connection"].channel()


def ignore(*_):
    """For messages that never come."""


for arguments in (
    {"x-priority": "5"},
    {"x-priority": True},
    {"x-priority": None},
    {"x-priority": -5},
    {"x-priority": 2**40},
    {"x-stream-offset": "first"},
    {"x-cancel-on-ha-failover": "x"},
    {"x-cancel-on-ha-failover": True},
    {"x-credit": {"credit": 1, "drain": False}},
    {"x-credit": 5},
    {"x-other": 1},
):
    channel = fresh()
    channel.queue_declare("q")
    attempt(f"{arguments}", channel.basic_consume, "q", ignore, arguments=arguments, consumer_tag="t")
    if channel.is_open:
        channel.basic_cancel("t")
attempt("with acknowledgements", fresh().basic_consume, REPLY, ignore, auto_ack=False)
channel = fresh()
channel.basic_consume(REPLY, ignore, auto_ack=True, consumer_tag="r")
attempt("a second", channel.basic_consume, REPLY, ignore, auto_ack=True)
channel = fresh()
attempt("publish without a consumer", channel.basic_publish, "", "q", b"", pika.BasicProperties(reply_to=REPLY))
probe("then", channel)
for name in ("queue_declare", "queue_delete", "queue_purge", "basic_get"):
    attempt(name, getattr(fresh(), name), REPLY)
attempt("bind", fresh().queue_bind, REPLY, "amq.direct", "k")
channel = fresh()
channel.basic_consume(REPLY, ignore, auto_ack=True, consumer_tag="r")
attempt("cancel", channel.basic_cancel, "r")
attempt("publish after it", channel.basic_publish, "", "q", b"", pika.BasicProperties(reply_to=REPLY))
probe("then", channel)
channel = fresh()
channel.basic_consume(REPLY, ignore, auto_ack=True, exclusive=True)
probe("exclusive", channel)
fresh().queue_delete("q")
state["connection"].close()
