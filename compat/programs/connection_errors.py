"""Connections: errors that close the connection, with code and text."""

from _show import attempt, connect, show


def scene(label, *steps):
    connection = connect()
    other = connection.channel()
    channel = connection.channel()
    for step in steps:
        attempt(label, step, channel)
    show("open after", channel.is_open, other.is_open, connection.is_open)
    attempt("other channel", other.queue_declare, "q", exclusive=True)
    if connection.is_open:
        connection.close()


scene("unknown exchange type", lambda c: c.exchange_declare("e", "strange"))
scene("prefetch size", lambda c: c.basic_qos(prefetch_size=10))
scene(
    "tag twice",
    lambda c: c.queue_declare("twice", exclusive=True),
    lambda c: c.basic_consume("twice", print, consumer_tag="t"),
    lambda c: c._impl.basic_consume("twice", print, consumer_tag="t"),
)
scene("flow off", lambda c: c.flow(False))
scene("flow on", lambda c: c.flow(True))
