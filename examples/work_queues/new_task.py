"""Work queues: sends one task to the durable queue "tasks"; each dot in it is a tenth of a second's work.

python new_task.py TASK…
"""

import sys

import pika

task = " ".join(sys.argv[1:]) or "Hello..."
connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
channel.queue_declare(queue="tasks", durable=True)
channel.basic_publish(
    exchange="",
    routing_key="tasks",
    body=task.encode(),
    properties=pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent),
)
print(f"Sent {task!r}")
connection.close()
