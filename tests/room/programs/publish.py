"""A plain pika program: publish COUNT messages of SIZE bytes to queue q, say when the connection was blocked.

Arguments: COUNT SIZE [confirm] [persistent] [timeout=SECONDS]
"""

import logging
import os
import sys

import pika

logging.basicConfig(level=logging.WARNING)

count, size = int(sys.argv[1]), int(sys.argv[2])
options = sys.argv[3:]
parameters = pika.URLParameters(os.environ["AMQP_URL"])
for option in options:
    if option.startswith("timeout="):
        parameters.blocked_connection_timeout = float(option.partition("=")[2])
connection = pika.BlockingConnection(parameters)
connection.add_on_connection_blocked_callback(lambda c, f: print("blocked:", f.method.reason, flush=True))
connection.add_on_connection_unblocked_callback(lambda c, f: print("unblocked", flush=True))
channel = connection.channel()
channel.queue_declare("q", durable=True)
if "confirm" in options:
    channel.confirm_delivery()
properties = pika.BasicProperties(delivery_mode=2 if "persistent" in options else 1)
try:
    for number in range(count):
        channel.basic_publish("", "q", b"%d " % number + bytes(size), properties)
except pika.exceptions.AMQPError as error:
    print(type(error).__name__, number, flush=True)
    sys.exit(3)
connection.process_data_events(0)
print("published", count, flush=True)
connection.close()
