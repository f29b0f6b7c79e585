"""A sensor: publishes readings to this host, whatever becomes of the network. sensor.py NAME COUNT"""

import sys

import pika

name, count = sys.argv[1], int(sys.argv[2])
with pika.BlockingConnection(pika.ConnectionParameters("localhost")) as connection:
    channel = connection.channel()
    channel.queue_declare("readings", durable=True)
    channel.confirm_delivery()
    for number in range(count):
        channel.basic_publish("", "readings", f"{name} {number}".encode(), pika.BasicProperties(delivery_mode=2))
print(f"{name}: {count} readings")
