"""Length limits: x-max-length and x-max-length-bytes drop from the head."""

from _show import bodies, connect, count, fill, get_all, show, wait_count

connection = connect()
channel = connection.channel()
channel.queue_declare("q", arguments={"x-max-length": 3})
fill(channel, "q", *"abcdef")
wait_count(channel, "q", 3)
show("newest three", bodies(get_all(channel, "q")))
fill(channel, "q", "a", "b", "c")
held = channel.basic_get("q")
fill(channel, "q", "d")
show("held ones do not count", count(channel, "q"))
channel.basic_nack(held[0].delivery_tag)
wait_count(channel, "q", 3)
show("requeued one pushes out", bodies(get_all(channel, "q")))
channel.queue_declare("bytes", arguments={"x-max-length-bytes": 10})
fill(channel, "bytes", "aaaa", "bbbb", "cccc")
wait_count(channel, "bytes", 2)
show("ten bytes", bodies(get_all(channel, "bytes")))
fill(channel, "bytes", "x" * 11)
wait_count(channel, "bytes", 0)
show("too big alone", bodies(get_all(channel, "bytes")))
fill(channel, "bytes", "1234567890", "")
show("empty body is free", count(channel, "bytes"))
channel.queue_declare("both", arguments={"x-max-length": 2, "x-max-length-bytes": 5})
fill(channel, "both", "aa", "bb", "c", "ddddd")
wait_count(channel, "both", 1)
show("both", bodies(get_all(channel, "both")))
channel.queue_declare("zero", arguments={"x-max-length": 0})
fill(channel, "zero", "none fits")
wait_count(channel, "zero", 0)
seen = []
channel.basic_consume("zero", lambda c, m, p, b: seen.append(b), auto_ack=True)
fill(channel, "zero", "straight through")
for _ in range(100):
    connection.process_data_events(0.02)
    if seen:
        break
show("zero with a consumer", seen)
for name in ("q", "bytes", "both", "zero"):
    channel.queue_delete(name)
connection.close()
