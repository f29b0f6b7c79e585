"""The shop's worker: pays orders, one at a time. A payment that fails is tried again later, three times in all.

python worker.py [SECONDS]      stops after SECONDS without an order; without it, on Ctrl-C
"""

import json
import signal
import sys

import orders

import haypile as pika


def pay(order, attempt):
    """The bank. A slow one fails twice, a stolen card always."""
    if order["card"] == "stolen" or (order["card"] == "slow bank" and attempt < 3):
        raise ConnectionError("the bank does not answer")


def handle(channel, method, properties, body):
    """One order: paid and acknowledged, or rejected to be tried again, or given up."""
    order = json.loads(body)
    attempt = orders.attempts(properties) + 1
    try:
        pay(order, attempt)
    except ConnectionError as error:
        if attempt < orders.ATTEMPTS:
            print(f"Order {order['number']}: {error}, attempt {attempt}", flush=True)
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        print(f"Order {order['number']}: given up", flush=True)
        # First there, then not here any more: killed in between, it is there twice and not lost.
        channel.basic_publish("", "orders.failed", body, pika.BasicProperties(delivery_mode=2), mandatory=True)
    else:
        print(f"Order {order['number']}: paid", flush=True)
    channel.basic_ack(method.delivery_tag)


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
patience = float(sys.argv[1]) if len(sys.argv) > 1 else None
connection, channel = orders.connect()
channel.confirm_delivery()
channel.basic_qos(prefetch_count=1)
print("Waiting for orders", flush=True)
try:
    for method, properties, body in channel.consume("orders", inactivity_timeout=patience):
        if method is None:
            break
        handle(channel, method, properties, body)
except KeyboardInterrupt:
    print("Interrupted")
finally:
    if connection.is_open:
        connection.close()
