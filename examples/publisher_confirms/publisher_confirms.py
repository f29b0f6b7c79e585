"""Publisher confirms: every message is known to be safe, or the program hears why not.

python publisher_confirms.py [COUNT]
"""

import sys

import pika
import pika.exceptions

count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
queue = channel.queue_declare(queue="", exclusive=True).method.queue
channel.confirm_delivery()
for i in range(count):
    channel.basic_publish(exchange="", routing_key=queue, body=str(i).encode(), mandatory=True)
ready = channel.queue_declare(queue=queue, passive=True).method.message_count
print(f"{count} messages confirmed, {ready} in the queue")
try:
    channel.basic_publish(exchange="", routing_key="no such queue", body=b"lost", mandatory=True)
except pika.exceptions.UnroutableError as error:
    print(f"returned: {error.messages[0].method.reply_text}")
connection.close()
