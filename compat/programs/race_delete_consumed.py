"""Races: a queue is deleted under consumers in other processes; each is cancelled, and publishers go on."""

import subprocess
import sys
import time

from _show import connect, show

connection = connect()
channel = connection.channel()
if sys.argv[1:] == ["consumer"]:
    cancelled = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    channel.basic_consume("q", lambda c, m, p, b: c.basic_ack(m.delivery_tag), consumer_tag="tag")
    print("ready", flush=True)
    deadline = time.monotonic() + 20
    while not cancelled and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    print("cancelled", cancelled, "open", channel.is_open, flush=True)
    connection.close()
    sys.exit()
if sys.argv[1:] == ["publisher"]:
    channel.confirm_delivery()
    print("ready", flush=True)
    sent, end = 0, time.monotonic() + 0.5
    while time.monotonic() < end:
        channel.basic_publish("", "q", b"m")
        channel.basic_publish("", "other", b"m", mandatory=True)
        sent += 1
    print(sent, flush=True)
    connection.close()
    sys.exit()
channel.queue_declare("q")
channel.queue_declare("other")
workers = [
    subprocess.Popen([sys.executable, __file__, role], stdout=subprocess.PIPE, text=True)
    for role in ("consumer", "consumer", "publisher")
]
for worker in workers:
    worker.stdout.readline()
time.sleep(0.2)
channel.queue_delete("q")
for worker in workers[:2]:
    show("consumer", worker.stdout.read().strip(), worker.wait())
sent = int(workers[2].stdout.read())
show("publisher", sent > 0, workers[2].wait())
show("none is missing", channel.queue_purge("other").method.message_count == sent)
show("anew", channel.queue_declare("q").method)
channel.queue_delete("q")
channel.queue_delete("other")
connection.close()
