"""Publish/subscribe: sends a line to everybody who listens.

python emit_log.py LINE…
"""

import sys

import pika

line = " ".join(sys.argv[1:]) or "info: Hello World!"
connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
channel.exchange_declare(exchange="logs", exchange_type="fanout")
channel.basic_publish(exchange="logs", routing_key="", body=line.encode())
print(f"Sent {line!r}")
connection.close()
