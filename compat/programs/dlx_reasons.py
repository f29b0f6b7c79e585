"""Dead letters: rejected, expired and maxlen, with every header of x-death."""

import pika
from _show import connect, fill, get_all, message, show, wait_count

connection = connect()
channel = connection.channel()
channel.exchange_declare("dlx", "topic")
channel.queue_declare("dead")
channel.queue_bind("dead", "dlx", "#")
DLX = {"x-dead-letter-exchange": "dlx"}
channel.queue_declare("rejecting", arguments=DLX)
channel.queue_declare("expiring", arguments={**DLX, "x-message-ttl": 100})
channel.queue_declare("short", arguments={**DLX, "x-max-length": 1, "x-dead-letter-routing-key": "too many"})
channel.exchange_declare("e", "direct")
channel.queue_bind("rejecting", "e", "key")


def dead(label, expected):
    wait_count(channel, "dead", expected)
    for found in get_all(channel, "dead"):
        show(label, message(*found))


properties = pika.BasicProperties(message_id="m", headers={"mine": 1}, delivery_mode=2, priority=3)
channel.basic_publish("e", "key", b"1", properties)
channel.basic_reject(channel.basic_get("rejecting")[0].delivery_tag, requeue=False)
dead("rejected", 1)
fill(channel, "rejecting", "2", "3", "4")
for _ in range(3):
    method, _, _ = channel.basic_get("rejecting")
channel.basic_nack(method.delivery_tag, multiple=True, requeue=False)
dead("nacked", 3)
fill(channel, "rejecting", "requeued")
channel.basic_reject(channel.basic_get("rejecting")[0].delivery_tag, requeue=True)
channel.queue_purge("rejecting")
dead("neither requeued nor purged", 0)
fill(channel, "expiring", "5")
dead("expired", 1)
fill(channel, "expiring", "6", expiration="50")
dead("expired, own time", 1)
fill(channel, "rejecting", "7", expiration="50")
dead("expired without a queue's ttl", 1)
fill(channel, "short", "8", "9", "10")
dead("maxlen", 2)
for name in ("dead", "rejecting", "expiring", "short"):
    channel.queue_delete(name)
for name in ("dlx", "e"):
    channel.exchange_delete(name)
connection.close()
