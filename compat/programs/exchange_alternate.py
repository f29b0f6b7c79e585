"""Exchanges: an alternate exchange takes what routes nowhere; mandatory counts it as routed."""

import pika
from _show import attempt, bodies, connect, get_all, message, show

connection = connect()
channel = connection.channel()
channel.confirm_delivery()
channel.exchange_declare("spare", "fanout")
channel.exchange_declare("first", "direct", arguments={"alternate-exchange": "spare"})
channel.exchange_declare("chained", "direct", arguments={"alternate-exchange": "first"})
channel.exchange_declare("lonely", "direct", arguments={"alternate-exchange": "absent"})
channel.queue_declare("main")
channel.queue_declare("rest")
channel.queue_bind("main", "first", "known")
attempt("nothing bound to the spare one", channel.basic_publish, "first", "unknown", b"0", mandatory=True)
channel.queue_bind("rest", "spare")
attempt("known", channel.basic_publish, "first", "known", b"1", mandatory=True)
attempt("unknown", channel.basic_publish, "first", "unknown", b"2", mandatory=True)
attempt("chained known", channel.basic_publish, "chained", "known", b"3", mandatory=True)
attempt("chained unknown", channel.basic_publish, "chained", "unknown", b"4", mandatory=True)
attempt("absent alternate", channel.basic_publish, "lonely", "k", b"5", mandatory=True)
show("main", bodies(get_all(channel, "main")))
for found in get_all(channel, "rest"):
    show("rest", message(*found))
attempt(
    "redeclared with another",
    channel.exchange_declare,
    "first",
    "direct",
    arguments={"alternate-exchange": "other"},
)
channel = connection.channel()
attempt("redeclared without", channel.exchange_declare, "first", "direct")
channel = connection.channel()
attempt("not a name", channel.exchange_declare, "bad", "direct", arguments={"alternate-exchange": 5})
channel = connection.channel()
channel.exchange_declare("self", "direct", arguments={"alternate-exchange": "self"})
channel.basic_publish("self", "k", b"circle", pika.BasicProperties())
for name in ("spare", "first", "chained", "lonely", "self"):
    attempt("delete", channel.exchange_delete, name)
channel.queue_delete("main")
channel.queue_delete("rest")
connection.close()
