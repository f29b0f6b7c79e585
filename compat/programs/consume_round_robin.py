"""Consuming: consumers of one connection take turns."""

from _show import connect, fill, show, until

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
seen = []
for tag in ("one", "two", "three"):
    inner = connection.channel()
    inner.basic_qos(prefetch_count=1)
    inner.basic_consume(
        "q",
        lambda c, m, p, b: (seen.append((m.consumer_tag, int(b))), c.basic_ack(m.delivery_tag)),
        consumer_tag=tag,
    )
for number in range(30):
    fill(channel, "q", str(number))
until(connection, lambda: len(seen) == 30)
show("all", sorted(number for _, number in seen) == list(range(30)))
shares = {tag: sum(who == tag for who, _ in seen) for tag in ("one", "two", "three")}
show("fair", all(5 <= share <= 15 for share in shares.values()))
channel.queue_delete("q")
connection.close()
