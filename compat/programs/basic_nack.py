"""Acknowledging: nack and reject, requeued or dropped; order and redelivered flags."""

from _show import bodies, connect, fill, get_all, show

connection = connect()
setup = connection.channel()
setup.queue_declare("q")


def scene(label, *steps, take=4):
    setup.queue_purge("q")
    fill(setup, "q", *"abcdef")
    channel = connection.channel()
    for _ in range(take):
        channel.basic_get("q")
    for step in steps:
        step(channel)
    channel.queue_declare("q", passive=True)
    found = get_all(setup, "q")
    show(label, bodies(found), [int(method.redelivered) for method, _, _ in found])
    channel.close()
    found = get_all(setup, "q")
    show("  after close", bodies(found), [int(method.redelivered) for method, _, _ in found])


scene("nack 2", lambda c: c.basic_nack(2))
scene("nack 2, dropped", lambda c: c.basic_nack(2, requeue=False))
scene("nack up to 3", lambda c: c.basic_nack(3, multiple=True))
scene("nack up to 3, dropped", lambda c: c.basic_nack(3, multiple=True, requeue=False))
scene("nack all", lambda c: c.basic_nack(0, multiple=True))
scene("reject 3", lambda c: c.basic_reject(3))
scene("reject 3, dropped", lambda c: c.basic_reject(3, requeue=False))
scene("out of order", lambda c: c.basic_reject(3), lambda c: c.basic_reject(1), lambda c: c.basic_nack(2))
scene("mixed", lambda c: c.basic_ack(1), lambda c: c.basic_nack(3), lambda c: c.basic_reject(2, requeue=False))
scene(
    "everything taken",
    lambda c: c.basic_nack(4),
    lambda c: c.basic_nack(6),
    lambda c: c.basic_nack(2),
    take=6,
)
setup.queue_delete("q")
connection.close()
