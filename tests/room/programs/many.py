"""A plain pika program: COUNT queues, each with a consumer, thirty messages each, over one connection.

With ``descriptors`` the process has none left when it publishes; a second connection is refused then.
"""

import errno
import logging
import os
import resource
import sys

import pika

logging.basicConfig(level=logging.WARNING)

count = int(sys.argv[1])
parameters = pika.URLParameters(os.environ["AMQP_URL"])
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
got: dict[int, list[int]] = {number: [] for number in range(count)}
if "descriptors" in sys.argv:
    used = len(os.listdir("/proc/self/fd")) - 1
    # One of a queue's two descriptors may be had, for a few queues.
    limit, hard = used + 4, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
for number in range(count):
    channel.queue_declare(f"q{number}")
    channel.basic_consume(
        f"q{number}", lambda c, m, p, body, number=number: got[number].append(int(body)), auto_ack=True
    )
if "descriptors" in sys.argv:
    # pika's own loop needs a few before it comes to connecting, and says so itself when they are missing.
    refused = ""
    while not refused:
        try:
            pika.BlockingConnection(parameters)
        except pika.exceptions.AMQPError as error:
            refused = repr(error)
        except OSError as error:
            assert error.errno == errno.EMFILE
            limit += 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    print("refused:", refused)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 4, hard))
for message in range(30):
    for number in range(count):
        channel.basic_publish("", f"q{number}", b"%d" % message)
while sum(map(len, got.values())) < 30 * count:
    connection.process_data_events(1)
assert all(numbers == list(range(30)) for numbers in got.values()), got
print("all", 30 * count)
connection.close()
