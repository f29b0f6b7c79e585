"""Messages: odd values of expiration, CC, BCC, priority, timestamp, user_id and delivery mode, one by one."""

import pika
import pika.exceptions
from _show import attempt, connect, count, get_all, message, show

state = {"connection": connect()}


def fresh():
    """A channel, on a new connection if the last one was closed."""
    if not state["connection"].is_open:
        state["connection"] = connect()
    return state["connection"].channel()


def publish(label, **properties):
    channel = fresh()
    channel.confirm_delivery()
    attempt(label, channel.basic_publish, "", "q", b"x", pika.BasicProperties(**properties))


def left(label):
    for queue in ("q", "other"):
        try:
            for found in get_all(fresh(), queue):
                show(f"{label} in {queue}", message(*found))
        except pika.exceptions.AMQPError as error:
            show(label, error)


for name, arguments in (("q", None), ("other", None), ("ranked", {"x-max-priority": 3})):
    fresh().queue_declare(name, arguments=arguments)
texts = ("0", "1000", "-1", "abc", "", "1.5", " 5", "5 ", "4294967295", "4294967296", "99999999999", "+5", "0x5", "05")
for text in texts:
    publish(f"expiration {text!r}", expiration=text)
    show("held", count(fresh(), "q"))
    fresh().queue_purge("q")
for value in (["a"], [], "a", 5, [5], ["a", 5], [b"a"], None, {"a": 1}, ["other"], ["other", "other"], ["q"]):
    for name in ("CC", "BCC"):
        publish(f"{name} {value!r}", headers={name: value})
        left(name)
for priority in (None, 0, 1, 3, 4, 9, 255):
    fresh().basic_publish("", "ranked", str(priority).encode(), pika.BasicProperties(priority=priority))
for found in get_all(fresh(), "ranked"):
    show("priority", message(*found))
for name, values in (
    ("timestamp", (0, 1, 2**31, 2**40)),
    ("user_id", ("guest", "other", "")),
    ("delivery_mode", (1, 2, 3, 0, 255)),
    ("message_id", ("", "é" * 100)),
):
    for value in values:
        publish(f"{name} {value!r}", **{name: value})
        left(name)
for name in ("q", "other", "ranked"):
    fresh().queue_delete(name)
state["connection"].close()
