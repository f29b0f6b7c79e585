"""Topics: sends a line under a key such as "kern.critical".

python emit_log_topic.py KEY LINE…
"""

import sys

import pika

key = sys.argv[1] if len(sys.argv) > 1 else "anonymous.info"
line = " ".join(sys.argv[2:]) or "Hello World!"
connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
channel.exchange_declare(exchange="topic_logs", exchange_type="topic")
channel.basic_publish(exchange="topic_logs", routing_key=key, body=line.encode())
print(f"Sent {key}: {line}")
connection.close()
