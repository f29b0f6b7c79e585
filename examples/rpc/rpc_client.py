"""RPC: asks the server for Fibonacci numbers.

python rpc_client.py N…
"""

import sys
import uuid

import pika


class FibonacciClient:
    """Calls the server and waits for its answer."""

    def __init__(self):
        self.connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
        self.channel = self.connection.channel()
        self.callback_queue = self.channel.queue_declare(queue="", exclusive=True).method.queue
        self.channel.basic_consume(
            queue=self.callback_queue, on_message_callback=self.on_response, auto_ack=True
        )
        self.response = None
        self.correlation_id = None

    def on_response(self, channel, method, properties, body):
        if properties.correlation_id == self.correlation_id:
            self.response = body

    def call(self, n):
        self.response = None
        self.correlation_id = str(uuid.uuid4())
        self.channel.basic_publish(
            exchange="",
            routing_key="rpc_queue",
            properties=pika.BasicProperties(reply_to=self.callback_queue, correlation_id=self.correlation_id),
            body=str(n).encode(),
        )
        while self.response is None:
            self.connection.process_data_events(time_limit=None)
        return int(self.response)


client = FibonacciClient()
for n in [int(argument) for argument in sys.argv[1:]] or [30]:
    print(f"fib({n}) = {client.call(n)}", flush=True)
client.connection.close()
