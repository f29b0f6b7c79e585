"""Publishing: mandatory messages that route nowhere come back."""

import pika
from _show import connect, message, show, until

connection = connect()
channel = connection.channel()
channel.exchange_declare("e", "topic")
channel.queue_declare("q")
channel.queue_bind("q", "e", "yes")
returned = []
channel.add_on_return_callback(lambda c, m, p, b: returned.append(message(m, p, b)))
channel.basic_publish("e", "no", b"1", pika.BasicProperties(message_id="m", headers={"a": 1}), mandatory=True)
channel.basic_publish("e", "yes", b"2", mandatory=True)
channel.basic_publish("e", "no", b"3")
channel.basic_publish("", "nobody", b"4", mandatory=True)
channel.basic_publish("amq.headers", "k", bytes(200000), mandatory=True)
until(connection, lambda: len(returned) == 3)
for one in returned:
    show("returned", one)
show("arrived", channel.queue_delete("q").method.message_count)
channel.exchange_delete("e")
connection.close()
