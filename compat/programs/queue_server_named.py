"""Queues: named by the server; the empty name means the channel's last one."""

from _show import attempt, bodies, connect, get_all, show

connection = connect()
channel = connection.channel()
one = channel.queue_declare("").method.queue
two = channel.queue_declare("", exclusive=True).method.queue
show("prefix", one[:8], two[:8], one != two, len(one))
channel.queue_declare("named")
channel.queue_bind("", "amq.fanout")
channel.basic_publish("amq.fanout", "", b"to the last declared")
show("named", bodies(get_all(channel, "named")))
channel.queue_bind("", "amq.direct")
channel.basic_publish("amq.direct", "named", b"key and queue empty: the queue's name")
channel.basic_publish("amq.direct", "", b"empty key")
show("get by empty name", channel.basic_get("")[2])
attempt("purge by empty name", channel.queue_purge, "")
attempt("consume by empty name", channel.basic_consume, "", lambda *_: None, consumer_tag="t")
attempt("look again by name", channel.queue_declare, one, passive=True)
attempt("declare again by name", connection.channel().queue_declare, one)
fresh = connection.channel()
attempt("none declared here: bind", fresh.queue_bind, "", "amq.direct", "k")
attempt("none declared here: get", connection.channel().basic_get, "")
attempt("none declared here: purge", connection.channel().queue_purge, "")
attempt("none declared here: delete", connection.channel().queue_delete, "")
attempt("none declared here: consume", connection.channel().basic_consume, "", print)
channel.queue_declare("named")
channel.queue_delete("named")
attempt("last one deleted", channel.queue_bind, "", "amq.direct", "k")
connection.channel().queue_delete(one)
connection.close()
