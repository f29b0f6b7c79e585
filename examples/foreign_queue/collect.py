"""Consume what sensor.py sends, with pika over haypile: python examples/foreign_queue/collect.py /NAME"""

import sys

import haypile as pika

connection = pika.BlockingConnection(pika.ConnectionParameters("localhost"))
channel = connection.channel()
channel.queue_declare(queue="readings", arguments={"x-kernel-queue": f"posix:{sys.argv[1]}"})
left = 10


def callback(ch, method, properties, body):
    global left
    print(f" [x] {body.decode()}, priority {properties.priority}")
    ch.basic_ack(delivery_tag=method.delivery_tag)
    left -= 1
    if not left:
        ch.stop_consuming()


channel.basic_consume(queue="readings", on_message_callback=callback)
channel.start_consuming()
channel.queue_delete(queue="readings")
connection.close()
