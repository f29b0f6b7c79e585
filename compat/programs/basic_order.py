"""Messages: order from one channel to one queue, whatever their sizes and delivery modes."""

import pika
from _show import connect, show, until

connection = connect()
channel = connection.channel()
channel.queue_declare("q", durable=True)
sizes = [10, 5000, 100, 20000, 1, 8192, 50, 70000]


def publish(first, last):
    for number in range(first, last):
        body = b"%06d" % number + bytes(sizes[number % len(sizes)])
        mode = pika.BasicProperties(delivery_mode=2 if number % 3 == 0 else 1)
        channel.basic_publish("", "q", body, mode)


publish(0, 100)
seen = []
consumer = connection.channel()
consumer.basic_qos(prefetch_count=7)
consumer.basic_consume("q", lambda c, m, p, b: (seen.append(int(b[:6])), c.basic_ack(m.delivery_tag)))
publish(100, 200)
until(connection, lambda: len(seen) >= 150)
publish(200, 300)
until(connection, lambda: len(seen) == 300)
show("in order", seen == list(range(300)))
show("left", channel.queue_delete("q").method.message_count)
connection.close()
