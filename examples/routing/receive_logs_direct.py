"""Routing: prints lines of the severities it is told.

python receive_logs_direct.py COUNT SEVERITY…       COUNT 0: until Ctrl-C
"""

import sys

import pika

if len(sys.argv) < 3:
    sys.exit(f"usage: {sys.argv[0]} COUNT SEVERITY…")
wanted, severities = int(sys.argv[1]), sys.argv[2:]
seen = 0


def on_message(channel, method, properties, body):
    global seen
    seen += 1
    print(f"{method.routing_key}: {body.decode()}", flush=True)
    if seen == wanted:
        channel.stop_consuming()


connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
channel.exchange_declare(exchange="direct_logs", exchange_type="direct")
queue = channel.queue_declare(queue="", exclusive=True).method.queue
for severity in severities:
    channel.queue_bind(exchange="direct_logs", queue=queue, routing_key=severity)
channel.basic_consume(queue=queue, on_message_callback=on_message, auto_ack=True)
print("Waiting for logs", flush=True)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    print("Interrupted")
connection.close()
