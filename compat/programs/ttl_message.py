"""Expiry: per-message expiration, only at the head; the smaller of both; bad values."""

import pika
from _show import attempt, bodies, connect, count, fill, get_all, probe, show, wait_count

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
fill(channel, "q", "short", expiration="200")
fill(channel, "q", "long", expiration="60000")
fill(channel, "q", "none")
fill(channel, "q", "short behind", expiration="1")
wait_count(channel, "q", 3)
show("only the head goes", count(channel, "q"))
found = get_all(channel, "q")
show("getting skips the expired", bodies(found), [properties.expiration for _, properties, _ in found])
channel.queue_declare("both", arguments={"x-message-ttl": 60000})
fill(channel, "both", "x", expiration="100")
wait_count(channel, "both", 0)
channel.queue_declare("both2", arguments={"x-message-ttl": 100})
fill(channel, "both2", "x", expiration="60000")
wait_count(channel, "both2", 0)
show("the smaller one counts", count(channel, "both"), count(channel, "both2"))
fill(channel, "q", "zero", expiration="0")
wait_count(channel, "q", 0)
show("zero", bodies(get_all(channel, "q")))
for value in ("-1", "abc", "", "1.5", "99999999999", " 5", "4294967295"):
    other = connection.channel()
    other.basic_publish("", "q", b"x", pika.BasicProperties(expiration=value))
    probe(f"expiration {value!r}", other, "q")
other = connection.channel()
other.confirm_delivery()
attempt("bad, confirmed", other.basic_publish, "", "q", b"x", pika.BasicProperties(expiration="bad"))
other = connection.channel()
other.basic_publish("amq.fanout", "", b"x", pika.BasicProperties(expiration="bad"))
probe("bad, routed nowhere", other, "q")
for queue in ("q", "both", "both2"):
    channel.queue_delete(queue)
connection.close()
