"""Exchanges: the default exchange routes to the queue of that name, and can be neither bound nor deleted."""

from _show import attempt, connect, get_all, message, show

connection = connect()
channel = connection.channel()
channel.queue_declare("a")
channel.queue_declare("b")
channel.basic_publish("", "a", b"to a")
channel.basic_publish("", "nobody", b"to nobody")
for queue in ("a", "b"):
    show(queue, [message(*found) for found in get_all(channel, queue)])


def fresh(label, name, *args, **kwargs):
    channel = connection.channel()
    attempt(label, getattr(channel, name), *args, **kwargs)
    if channel.is_open:
        channel.close()


fresh("declare", "exchange_declare", "", "direct")
fresh("declare passive", "exchange_declare", "", "direct", passive=True)
fresh("delete", "exchange_delete", "")
fresh("bind queue", "queue_bind", "a", "", "key")
fresh("unbind queue", "queue_unbind", "a", "", "a")
fresh("bind exchange", "exchange_bind", "amq.direct", "", "key")
fresh("bind from", "exchange_bind", "", "amq.direct", "key")
fresh("unbind exchange", "exchange_unbind", "amq.direct", "", "key")
channel.queue_delete("a")
channel.queue_delete("b")
connection.close()
