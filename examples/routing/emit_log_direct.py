"""Routing: sends a line with a severity to those who asked for that severity.

python emit_log_direct.py SEVERITY LINE…
"""

import sys

import pika

severity = sys.argv[1] if len(sys.argv) > 1 else "info"
line = " ".join(sys.argv[2:]) or "Hello World!"
connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
channel.exchange_declare(exchange="direct_logs", exchange_type="direct")
channel.basic_publish(exchange="direct_logs", routing_key=severity, body=line.encode())
print(f"Sent {severity}: {line}")
connection.close()
