"""Exchanges: an internal exchange is reached by bindings, not by publishing."""

from _show import attempt, bodies, connect, get_all, probe, show

connection = connect()
channel = connection.channel()
channel.exchange_declare("inner", "fanout", internal=True)
channel.exchange_declare("outer", "fanout")
channel.exchange_bind("inner", "outer")
channel.queue_declare("q")
channel.queue_bind("q", "inner")
channel.basic_publish("outer", "", b"through")
show("q", bodies(get_all(channel, "q")))
other = connection.channel()
other.basic_publish("inner", "", b"refused")
probe("publish to internal", other, "q")
confirming = connection.channel()
confirming.confirm_delivery()
attempt("publish to internal, confirmed", confirming.basic_publish, "inner", "", b"refused")
attempt("redeclare public", connection.channel().exchange_declare, "inner", "fanout")
channel.exchange_delete("inner")
channel.exchange_delete("outer")
channel.queue_delete("q")
connection.close()
