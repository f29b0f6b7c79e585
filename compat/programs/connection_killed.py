"""Connections: a process killed with messages in hand gives them back, and its exclusive queue goes."""

import os
import signal
import subprocess
import sys

from _show import bodies, connect, count, get_all, probe, show, wait_count

connection = connect()
channel = connection.channel()
if sys.argv[1:] == ["victim"]:
    channel.queue_declare("private", exclusive=True)
    channel.basic_qos(prefetch_count=2)
    taken = []
    channel.basic_consume("jobs", lambda c, m, p, b: taken.append(b))
    while len(taken) < 2:
        connection.process_data_events(0.05)
    print(b" ".join(taken).decode(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
channel.queue_declare("jobs", durable=True)
for number in range(5):
    channel.basic_publish("", "jobs", str(number).encode())
done = subprocess.run([sys.executable, __file__, "victim"], stdout=subprocess.PIPE, text=True)
show("victim", done.returncode, done.stdout.strip())
wait_count(channel, "jobs", 5)
show("after", count(channel, "jobs"))
again = get_all(channel, "jobs")
show("again", bodies(again), [method.redelivered for method, _, _ in again])
probe("exclusive queue", connection.channel(), "private")
channel.queue_delete("jobs")
connection.close()
