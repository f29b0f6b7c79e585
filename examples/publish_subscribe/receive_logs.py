"""Publish/subscribe: prints every line sent from now on.

python receive_logs.py [COUNT]
"""

import sys

import pika

wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 0
seen = 0


def on_message(channel, method, properties, body):
    global seen
    seen += 1
    print(body.decode(), flush=True)
    if seen == wanted:
        channel.stop_consuming()


connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
channel.exchange_declare(exchange="logs", exchange_type="fanout")
queue = channel.queue_declare(queue="", exclusive=True).method.queue
channel.queue_bind(exchange="logs", queue=queue)
channel.basic_consume(queue=queue, on_message_callback=on_message, auto_ack=True)
print("Waiting for logs", flush=True)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    print("Interrupted")
connection.close()
