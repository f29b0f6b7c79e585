"""Connections: two hundred channels, each with its own queue, prefetch and acknowledgements."""

from _show import connect, show, until

connection = connect()
channels = [connection.channel() for _ in range(200)]
seen = []
for number, channel in enumerate(channels):
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_consume(queue, lambda c, m, p, b: (seen.append(b), c.basic_ack(m.delivery_tag)))
    channel.basic_publish("", queue, str(number).encode())
until(connection, lambda: len(seen) == 200)
show("each once", sorted(map(int, seen)) == list(range(200)))
for channel in channels[::2]:
    channel.close()
show("open", sum(channel.is_open for channel in channels))
show("number used again", connection.channel().channel_number)
connection.close()
