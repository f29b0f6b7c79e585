"""Publishing: every way of being unroutable, with mandatory and without, and what counts as routed."""

import pika
from _show import attempt, bodies, connect, get_all, message, send, show, until

connection = connect()
channel = connection.channel()
returned = []
confirmed = connection.channel()
confirmed.confirm_delivery()
channel.add_on_return_callback(lambda c, m, p, b: returned.append(message(m, p, b)))
for kind in ("direct", "fanout", "topic", "headers"):
    channel.exchange_declare(kind, kind)
    channel.queue_declare(f"q-{kind}")
channel.queue_bind("q-direct", "direct", "k")
channel.queue_bind("q-topic", "topic", "a.*")
channel.queue_bind("q-headers", "headers", arguments={"x-match": "all", "a": 1})
channel.exchange_declare("empty", "fanout")
channel.exchange_declare("to-empty", "fanout", arguments={"alternate-exchange": "empty"})
channel.exchange_declare("to-absent", "fanout", arguments={"alternate-exchange": "absent"})
channel.exchange_declare("to-full", "fanout", arguments={"alternate-exchange": "full"})
channel.exchange_declare("full", "fanout")
channel.queue_declare("q-full")
channel.queue_bind("q-full", "full")
channel.exchange_declare("chain", "fanout")
channel.exchange_bind("empty", "chain")
channel.queue_declare("refusing", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
channel.queue_declare("at-once", arguments={"x-message-ttl": 0})
channel.queue_declare("bound", exclusive=True)
channel.queue_bind("bound", "fanout")
channel.queue_unbind("bound", "fanout")
cases = (
    ("", "nobody", None),
    ("", "q-direct", None),
    ("direct", "other", None),
    ("direct", "", None),
    ("fanout", "k", None),
    ("topic", "a", None),
    ("topic", "a.b.c", None),
    ("headers", "k", None),
    ("headers", "k", {"a": 2}),
    ("headers", "k", {"a": 1}),
    ("to-empty", "k", None),
    ("to-absent", "k", None),
    ("to-full", "k", None),
    ("chain", "k", None),
    ("", "refusing", None),
    ("", "at-once", None),
    ("direct", "other", {"CC": ["k"]}),
    ("direct", "other", {"CC": ["nowhere"], "BCC": ["neither"]}),
    ("direct", "other", {"BCC": ["k"]}),
)
for exchange, key, headers in cases:
    properties = pika.BasicProperties(headers=headers, expiration="60000")
    for mandatory in (True, False):
        label = f"{exchange} {key} {headers} {mandatory}"
        attempt(label, confirmed.basic_publish, exchange, key, b"c", properties, mandatory=mandatory)
    channel.basic_publish(exchange, key, b"p", properties, mandatory=True)
    channel.queue_declare("q-full", passive=True)
    connection.process_data_events(0.02)
    for one in returned:
        show("returned", one)
    returned.clear()
channel.queue_delete("q-direct")
attempt("queue deleted", confirmed.basic_publish, "direct", "k", b"", mandatory=True)
channel.queue_unbind("q-topic", "topic", "a.*")
attempt("unbound", confirmed.basic_publish, "topic", "a.b", b"", mandatory=True)
channel.tx_select()
channel.basic_publish("", "nobody", b"in a transaction", mandatory=True)
connection.process_data_events(0.05)
show("before the commit", returned)
channel.tx_commit()
until(connection, lambda: returned)
show("after it", *returned)
show("full", bodies(get_all(channel, "q-full")))
send(connection.channel(), "nobody", "not mandatory")
connection.close()
