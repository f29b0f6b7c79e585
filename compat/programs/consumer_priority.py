"""Consumers: x-priority; the higher one is served while it has room."""

from _show import bodies, collect, connect, fill, show, until

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
low, high = connection.channel(), connection.channel()
low.basic_qos(prefetch_count=10)
high.basic_qos(prefetch_count=2)
in_low = collect(low, "q", arguments={"x-priority": -1})
in_high = collect(high, "q", arguments={"x-priority": 5})
middle = connection.channel()
middle.basic_qos(prefetch_count=1)
in_middle = collect(middle, "q")
for body in "abcdef":
    fill(channel, "q", body)
    channel.queue_declare("q", passive=True)
until(connection, lambda: len(in_low) + len(in_middle) + len(in_high) == 6)
show("high", bodies(in_high))
show("middle", bodies(in_middle))
show("low", bodies(in_low))
high.basic_ack(in_high[0][0].delivery_tag)
high.queue_declare("q", passive=True)
fill(channel, "q", "g")
until(connection, lambda: len(in_high) == 3)
show("high has room again", bodies(in_high))
channel.queue_delete("q")
connection.close()
