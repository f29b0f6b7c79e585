"""Expiry: what waits behind a consumer that holds all it may goes at the TTL of the queue, time and again."""

from _show import bodies, connect, fill, settle, show, until, wait_count

connection = connect()
channel = connection.channel()
channel.queue_declare("dead")
dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
channel.queue_declare("q", arguments={"x-message-ttl": 500, **dead})
channel.basic_qos(prefetch_count=1)
seen = []
channel.basic_consume("q", lambda c, m, p, b: seen.append((m, p, b)))
for turn in range(2):
    fill(channel, "q", f"held {turn}")
    until(connection, lambda: len(seen) == 1)
    fill(channel, "q", "a", "b", "c")
    settle(connection, seen)
    show("seen", bodies(seen), "waiting", channel.queue_declare("q", passive=True).method.message_count)
    wait_count(channel, "dead", 3)
    show("left", channel.queue_declare("q", passive=True).method.message_count)
    method, properties, body = channel.basic_get("dead", auto_ack=True)
    show("dead", body, properties.headers["x-death"][0]["reason"], properties.headers["x-death"][0]["count"])
    channel.queue_purge("dead")
    if turn:
        # It would have expired by now.
        channel.basic_nack(seen.pop()[0].delivery_tag)
        wait_count(channel, "dead", 1)
    else:
        channel.basic_ack(seen.pop()[0].delivery_tag)
fill(channel, "q", "last")
until(connection, lambda: len(seen) == 1)
show("seen", bodies(seen))
channel.queue_delete("q")
channel.queue_delete("dead")
connection.close()
