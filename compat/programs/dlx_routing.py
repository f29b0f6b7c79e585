"""Dead letters: routing keys kept or changed, CC and BCC, absent and alternate exchanges."""

import pika
from _show import connect, count, fill, get_all, message, show, wait_count

connection = connect()
channel = connection.channel()
channel.exchange_declare("dlx", "direct", arguments={"alternate-exchange": "spare"})
channel.exchange_declare("spare", "fanout")
for name in ("dead", "unrouted", "cc"):
    channel.queue_declare(name)
channel.queue_bind("dead", "dlx", "q")
channel.queue_bind("dead", "dlx", "changed")
channel.queue_bind("cc", "dlx", "extra")
channel.queue_bind("unrouted", "spare")


def scene(label, arguments, key="q", headers=None):
    channel.queue_declare("q", arguments=arguments)
    channel.exchange_declare("e", "fanout")
    channel.queue_bind("q", "e")
    channel.basic_publish("e", key, label.encode(), pika.BasicProperties(headers=headers))
    channel.basic_reject(channel.basic_get("q")[0].delivery_tag, requeue=False)
    channel.queue_declare("q", passive=True)
    wait_count(channel, "q", 0)
    connection.sleep(0.05)
    for queue in ("dead", "cc", "unrouted"):
        for found in get_all(channel, queue):
            show(f"{label} in {queue}", message(*found))
    channel.queue_delete("q")
    channel.exchange_delete("e")


scene("key kept", {"x-dead-letter-exchange": "dlx"})
scene("key changed", {"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "changed"})
scene("key kept, CC too", {"x-dead-letter-exchange": "dlx"}, headers={"CC": ["extra"]})
scene(
    "key changed, CC gone",
    {"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "changed"},
    headers={"CC": ["extra"], "BCC": ["secret"]},
)
scene("alternate", {"x-dead-letter-exchange": "dlx"}, key="no such key")
scene("absent", {"x-dead-letter-exchange": "absent"})
scene("no dlx", {})
channel.queue_declare("q", arguments={"x-dead-letter-exchange": "dlx"})
fill(channel, "q", "deleted with the queue")
channel.queue_delete("q")
show("deleting does not dead-letter", count(channel, "dead"))
for name in ("dead", "unrouted", "cc"):
    channel.queue_delete(name)
for name in ("dlx", "spare"):
    channel.exchange_delete(name)
connection.close()
