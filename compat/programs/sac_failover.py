"""Consumers: single active ones in several processes; the next takes over when the active one is killed."""

import os
import signal
import subprocess
import sys

from _show import connect, count, fill, get_all, show, wait_count

connection = connect()
channel = connection.channel()
if len(sys.argv) == 3:
    name, most = sys.argv[1], int(sys.argv[2])
    taken = []

    def on_message(channel, method, properties, body):
        taken.append(body.decode())
        print(name, body.decode(), method.redelivered, flush=True)
        if len(taken) == most:
            os.kill(os.getpid(), signal.SIGKILL)
        if body == b"stop":
            channel.basic_ack(method.delivery_tag)
            channel.stop_consuming()
            return
        channel.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("q", on_message, consumer_tag=name)
    print("ready", flush=True)
    channel.start_consuming()
    connection.close()
    sys.exit()
channel.queue_declare("q", arguments={"x-single-active-consumer": True})
workers = []
for name, most in (("first", "2"), ("second", "2"), ("third", "99")):
    worker = subprocess.Popen([sys.executable, __file__, name, most], stdout=subprocess.PIPE, text=True)
    worker.stdout.readline()
    workers.append(worker)
show("waiting", count(channel, "q"))
fill(channel, "q", "a", "b", "c", "d", "e", "stop")
for worker in workers:
    for line in worker.communicate(timeout=30)[0].splitlines():
        show("took", line)
    show("ended", worker.returncode)
wait_count(channel, "q", 0)
show("left", count(channel, "q"), len(get_all(channel, "q")))
channel.queue_delete("q")
connection.close()
