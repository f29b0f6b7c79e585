"""Hello World, the receiving half: prints what arrives in the queue "hello".

python receive.py [COUNT]       stops after COUNT messages; without it, on Ctrl-C
"""

import sys

import pika

wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 0
seen = 0


def on_message(channel, method, properties, body):
    global seen
    seen += 1
    print(f"Received {body.decode()!r}", flush=True)
    if seen == wanted:
        channel.stop_consuming()


connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
channel.queue_declare(queue="hello")
channel.basic_consume(queue="hello", on_message_callback=on_message, auto_ack=True)
print("Waiting for messages. To exit press CTRL+C", flush=True)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    print("Interrupted")
connection.close()
