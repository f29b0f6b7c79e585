"""Work queues: does tasks one at a time and acknowledges each when it is done.

python worker.py [SECONDS]      stops after SECONDS without a task; without it, on Ctrl-C
"""

import sys
import time

import pika

patience = float(sys.argv[1]) if len(sys.argv) > 1 else None
connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
channel.queue_declare(queue="tasks", durable=True)
channel.basic_qos(prefetch_count=1)
print("Waiting for tasks", flush=True)
try:
    for method, _properties, body in channel.consume("tasks", inactivity_timeout=patience):
        if method is None:
            break
        task = body.decode()
        time.sleep(task.count(".") / 10)
        print(f"Done {task!r}", flush=True)
        channel.basic_ack(method.delivery_tag)
except KeyboardInterrupt:
    print("Interrupted")
connection.close()
