"""Topics: prints lines whose key matches one of the patterns (* is one word, # any number).

python receive_logs_topic.py COUNT PATTERN…       COUNT 0: until Ctrl-C
"""

import sys

import pika

if len(sys.argv) < 3:
    sys.exit(f"usage: {sys.argv[0]} COUNT PATTERN…")
wanted, patterns = int(sys.argv[1]), sys.argv[2:]
seen = 0


def on_message(channel, method, properties, body):
    global seen
    seen += 1
    print(f"{method.routing_key}: {body.decode()}", flush=True)
    if seen == wanted:
        channel.stop_consuming()


connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
channel.exchange_declare(exchange="topic_logs", exchange_type="topic")
queue = channel.queue_declare(queue="", exclusive=True).method.queue
for pattern in patterns:
    channel.queue_bind(exchange="topic_logs", queue=queue, routing_key=pattern)
channel.basic_consume(queue=queue, on_message_callback=on_message, auto_ack=True)
print("Waiting for logs", flush=True)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    print("Interrupted")
connection.close()
