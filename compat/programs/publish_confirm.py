"""Publishing: confirm mode; unroutable and refused messages raise."""

import pika
from _show import attempt, connect, count, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q", durable=True)
attempt("confirm_delivery", channel.confirm_delivery)
attempt("again", channel.confirm_delivery)
for mode in (1, 2):
    attempt(f"mode {mode}", channel.basic_publish, "", "q", b"x", pika.BasicProperties(delivery_mode=mode))
attempt("mandatory", channel.basic_publish, "", "q", b"x", mandatory=True)
attempt("nowhere", channel.basic_publish, "", "nobody", b"x")
attempt("nowhere, mandatory", channel.basic_publish, "", "nobody", b"lost", mandatory=True)
attempt("big", channel.basic_publish, "", "q", bytes(500000), mandatory=True)
show("count", count(channel, "q"))
for number in range(100):
    channel.basic_publish("", "q", str(number).encode())
show("count", count(channel, "q"))
attempt("no such exchange", channel.basic_publish, "absent", "k", b"x")
show("open", channel.is_open, connection.is_open)
channel = connection.channel()
channel.queue_declare("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
channel.confirm_delivery()
attempt("fits", channel.basic_publish, "", "full", b"1")
attempt("refused", channel.basic_publish, "", "full", b"2")
attempt("refused, mandatory", channel.basic_publish, "", "full", b"3", mandatory=True)
attempt(
    "refused by one of two",
    channel.basic_publish,
    "",
    "full",
    b"4",
    pika.BasicProperties(headers={"CC": ["q"]}),
)
show("count", count(channel, "full"), count(channel, "q"))
channel.queue_delete("q")
channel.queue_delete("full")
connection.close()
