"""Races: processes declare, bind, publish to, purge and delete the same names; one consistent vhost is left."""

import subprocess
import sys

import pika
import pika.exceptions
from _show import bodies, connect, fill, get_all, show

QUEUES, ROUNDS = ("r0", "r1"), 40
connection = connect()
if sys.argv[1:]:
    number = int(sys.argv[1])
    channel = connection.channel()
    odd = []
    for step in range(ROUNDS):
        queue = QUEUES[(step + number) % 2]
        try:
            channel.queue_declare(queue)
            channel.exchange_declare("x", "direct")
            channel.queue_bind(queue, "x", f"k{number}")
            channel.basic_publish("x", f"k{number}", b"message")
            channel.basic_publish("", queue, b"message")
            if step % 4 == number % 4:
                channel.queue_purge(queue)
            if step % 3 == 0:
                channel.queue_delete(queue)
            if step % 10 == number:
                channel.exchange_delete("x")
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != 404:
                odd.append(str(error))
            channel = connection.channel()
    print(odd, flush=True)
    connection.close()
    sys.exit()
workers = [
    subprocess.Popen([sys.executable, __file__, str(number)], stdout=subprocess.PIPE, text=True) for number in range(4)
]
for worker in workers:
    show("worker", worker.communicate(timeout=50)[0].strip(), worker.returncode)
channel = connection.channel()
for queue in QUEUES:
    channel.queue_delete(queue)
channel.exchange_delete("x")
channel.exchange_declare("x", "direct")
for queue in QUEUES:
    show("fresh", channel.queue_declare(queue).method.message_count)
confirming = connection.channel()
confirming.confirm_delivery()
for number in range(4):
    try:
        confirming.basic_publish("x", f"k{number}", b"", mandatory=True)
        show("a binding came back", number)
    except pika.exceptions.UnroutableError:
        show("nothing is bound")
for queue in QUEUES:
    channel.queue_bind(queue, "x", "k")
fill(channel, "r0", "one")
confirming.basic_publish("x", "k", b"both", mandatory=True)
for queue in QUEUES:
    show(queue, bodies(get_all(channel, queue)))
connection.close()
