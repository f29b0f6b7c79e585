"""Programs: a request and its answer over an exclusive reply queue, between two processes."""

import subprocess
import sys
import uuid

import pika
from _show import connect, show, until

connection = connect()
channel = connection.channel()
if sys.argv[1:] == ["server"]:
    channel.queue_declare("rpc")

    def on_request(channel, method, properties, body):
        channel.basic_publish(
            "",
            properties.reply_to,
            str(int(body) ** 2).encode(),
            pika.BasicProperties(correlation_id=properties.correlation_id),
        )
        channel.basic_ack(method.delivery_tag)
        if body == b"9":
            channel.stop_consuming()

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("rpc", on_request)
    print("ready", flush=True)
    channel.start_consuming()
    connection.close()
    sys.exit()
server = subprocess.Popen([sys.executable, __file__, "server"], stdout=subprocess.PIPE, text=True)
server.stdout.readline()
reply_queue = channel.queue_declare("", exclusive=True).method.queue
answers = {}
channel.basic_consume(reply_queue, lambda c, m, p, b: answers.update({p.correlation_id: b}), auto_ack=True)
for number in range(10):
    identity = str(uuid.uuid4())
    channel.basic_publish(
        "", "rpc", str(number).encode(), pika.BasicProperties(reply_to=reply_queue, correlation_id=identity)
    )
    until(connection, lambda: identity in answers)
    show(number, answers[identity])
show("server", server.wait(20))
channel.queue_delete("rpc")
connection.close()
