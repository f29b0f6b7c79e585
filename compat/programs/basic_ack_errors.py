"""Acknowledging: unknown delivery tags close the channel."""

from _show import connect, fill, probe, show

connection = connect()
setup = connection.channel()
setup.queue_declare("q")


def scene(label, *steps):
    setup.queue_purge("q")
    fill(setup, "q", "a", "b", "c", "d")
    channel = connection.channel()
    for _ in range(3):
        channel.basic_get("q")
    for step in steps:
        try:
            step(channel)
        except Exception as error:
            show(label, "at once", error)
    probe(label, channel, "q")
    if channel.is_open:
        channel.close()


scene("tag too high", lambda c: c.basic_ack(4))
scene("tag zero", lambda c: c.basic_ack(0))
scene("ack twice", lambda c: c.basic_ack(2), lambda c: c.basic_ack(2))
scene("ack then nack", lambda c: c.basic_ack(2), lambda c: c.basic_nack(2))
scene("multiple too high", lambda c: c.basic_ack(9, multiple=True))
scene(
    "multiple of acknowledged",
    lambda c: c.basic_ack(2, multiple=True),
    lambda c: c.basic_ack(1, multiple=True),
)
scene("multiple of a later one", lambda c: c.basic_ack(2), lambda c: c.basic_ack(2, multiple=True))
scene("multiple zero", lambda c: c.basic_ack(0, multiple=True))
scene("multiple zero twice", lambda c: c.basic_ack(0, multiple=True), lambda c: c.basic_ack(0, multiple=True))
scene("nack too high", lambda c: c.basic_nack(4))
scene("nack multiple zero", lambda c: c.basic_nack(0, multiple=True, requeue=False))
scene("nack zero, pika's default", lambda c: c.basic_nack())
scene("reject too high", lambda c: c.basic_reject(4))
scene("reject twice", lambda c: c.basic_reject(1), lambda c: c.basic_reject(1))
scene("reject zero", lambda c: c.basic_reject(0))
other = connection.channel()
other.basic_get("q")
scene("another channel's", lambda c: c.basic_ack(3), lambda c: other.basic_ack(1))
auto = connection.channel()
auto.basic_get("q", auto_ack=True)
auto.basic_ack(1)
probe("auto-acknowledged", auto, "q")
setup.queue_delete("q")
connection.close()
