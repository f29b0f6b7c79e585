"""Exchanges: bindings between exchanges, chains and circles; each queue gets one copy."""

from _show import attempt, bodies, connect, get_all, show

connection = connect()
channel = connection.channel()
channel.exchange_declare("source", "topic")
channel.exchange_declare("middle", "direct")
channel.exchange_declare("end", "fanout")
channel.queue_declare("q")
channel.queue_declare("r")
attempt("bind", channel.exchange_bind, "middle", "source", "a.*")
attempt("bind", channel.exchange_bind, "end", "middle", "a.x")
attempt("circle", channel.exchange_bind, "source", "end", "")
channel.queue_bind("q", "end", "")
channel.queue_bind("r", "middle", "a.y")
channel.queue_bind("q", "source", "a.x")
for key in ("a.x", "a.y", "b.x"):
    channel.basic_publish("source", key, key.encode())
channel.basic_publish("end", "a.y", b"around")
show("q", bodies(get_all(channel, "q")))
show("r", bodies(get_all(channel, "r")))
attempt("unbind", channel.exchange_unbind, "middle", "source", "a.*")
attempt("unbind again", channel.exchange_unbind, "middle", "source", "a.*")
channel.basic_publish("source", "a.y", b"no longer")
show("r", bodies(get_all(channel, "r")))


def fresh(label, name, *args):
    inner = connection.channel()
    attempt(label, getattr(inner, name), *args)


fresh("absent source", "exchange_bind", "end", "nothing", "k")
fresh("absent destination", "exchange_bind", "nothing", "end", "k")
fresh("both absent", "exchange_bind", "nothing", "neither", "k")
fresh("unbind absent source", "exchange_unbind", "end", "nothing", "k")
fresh("unbind absent destination", "exchange_unbind", "nothing", "end", "k")
for name in ("source", "middle", "end"):
    channel.exchange_delete(name)
channel.queue_delete("q")
channel.queue_delete("r")
connection.close()
