"""Consuming: two worker processes share a queue fairly, one message at a time."""

import subprocess
import sys

from _show import connect, count, show

connection = connect()
channel = connection.channel()
if sys.argv[1:] == ["worker"]:
    taken = []
    channel.basic_qos(prefetch_count=1)

    def on_message(channel, method, properties, body):
        channel.basic_ack(method.delivery_tag)
        if body == b"stop":
            channel.stop_consuming()
        else:
            taken.append(int(body))
            connection.sleep(0.005)

    channel.basic_consume("jobs", on_message)
    print("ready", flush=True)
    channel.start_consuming()
    print(*taken, flush=True)
    connection.close()
    sys.exit()
channel.queue_declare("jobs")
workers = [subprocess.Popen([sys.executable, __file__, "worker"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
for worker in workers:
    worker.stdout.readline()
for number in range(100):
    channel.basic_publish("", "jobs", str(number).encode())
for _ in workers:
    channel.basic_publish("", "jobs", b"stop")
shares = [list(map(int, worker.communicate(timeout=30)[0].split())) for worker in workers]
show("each once", sorted(shares[0] + shares[1]) == list(range(100)))
show("each in order", all(share == sorted(share) for share in shares))
show("shared", all(len(share) >= 25 for share in shares))
show("left", count(channel, "jobs"))
channel.queue_delete("jobs")
connection.close()
