"""Prints what is left in the queues named on the command line. Run by the runner after a program."""

import sys

import pika.exceptions
from _show import connect, get_all, message, show

connection = connect()
for queue in sys.argv[1:]:
    channel = connection.channel()
    try:
        declared = channel.queue_declare(queue, passive=True).method
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code != 404:
            show(f"left in {queue!r}", error)
        continue
    show(f"left in {queue!r}", declared.message_count, declared.consumer_count)
    for found in get_all(channel, queue):
        show("  ", message(*found))
connection.close()
