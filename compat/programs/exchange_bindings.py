"""Exchanges: bindings differ by their arguments too; binding errors."""

from _show import attempt, bodies, connect, get_all, show

connection = connect()
channel = connection.channel()
channel.exchange_declare("e", "direct")
channel.queue_declare("q")
channel.queue_bind("q", "e", "k", {"n": 1})
channel.queue_bind("q", "e", "k", {"n": 2})
channel.queue_bind("q", "e", "k")
channel.basic_publish("e", "k", b"one copy")
show("q", bodies(get_all(channel, "q")))
channel.queue_unbind("q", "e", "k", {"n": 1})
channel.queue_unbind("q", "e", "k", {"n": 3})
channel.queue_unbind("q", "e", "k")
channel.basic_publish("e", "k", b"by n=2")
channel.queue_unbind("q", "e", "k", {"n": 2})
channel.basic_publish("e", "k", b"not at all")
show("q", bodies(get_all(channel, "q")))


def fresh(label, name, *args, **kwargs):
    attempt(label, getattr(connection.channel(), name), *args, **kwargs)


fresh("absent queue", "queue_bind", "nothing", "e", "k")
fresh("absent exchange", "queue_bind", "q", "nothing", "k")
fresh("both absent", "queue_bind", "nothing", "neither", "k")
fresh("unbind absent queue", "queue_unbind", "nothing", "e", "k")
fresh("unbind absent exchange", "queue_unbind", "q", "nothing", "k")
fresh("unbind both absent", "queue_unbind", "nothing", "neither", "k")
fresh("unbind not bound", "queue_unbind", "q", "e", "k")
fresh("exchange unbind not bound", "exchange_unbind", "e", "amq.direct", "k")
channel.queue_delete("q")
channel.exchange_delete("e")
connection.close()
