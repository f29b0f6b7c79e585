"""The shop's queues, wherever SHOP_URL leads: kernel queues while it is written, a RabbitMQ where it is deployed.

    orders          to be paid; a payment that fails is rejected and goes to
    orders.retry    for half a second, and from there to orders again
    orders.failed   given up after three attempts, for a person to look at
"""

import os

import haypile as pika

URL = os.environ.get("SHOP_URL", "posix:///shop")
RETRY_AFTER = 0.5
ATTEMPTS = 3


def connect():
    """A connection and a channel on which the queues are there."""
    connection = pika.BlockingConnection(pika.URLParameters(URL))
    channel = connection.channel()
    to_retry = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "orders.retry"}
    to_orders = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "orders"}
    channel.queue_declare("orders", durable=True, arguments=to_retry)
    channel.queue_declare(
        "orders.retry", durable=True, arguments={**to_orders, "x-message-ttl": int(1000 * RETRY_AFTER)}
    )
    channel.queue_declare("orders.failed", durable=True)
    return connection, channel


def attempts(properties):
    """How often the worker has rejected this order; the broker counts (RabbitMQ: Dead Letter Exchanges, x-death)."""
    deaths = (properties.headers or {}).get("x-death", [])
    return sum(death["count"] for death in deaths if death["queue"] == "orders" and death["reason"] == "rejected")
