"""RPC: computes Fibonacci numbers for whoever asks.

python rpc_server.py [COUNT]
"""

import sys

import pika

wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 0
served = 0


def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def on_request(channel, method, properties, body):
    global served
    n = int(body)
    print(f"fib({n})", flush=True)
    channel.basic_publish(
        exchange="",
        routing_key=properties.reply_to,
        properties=pika.BasicProperties(correlation_id=properties.correlation_id),
        body=str(fibonacci(n)).encode(),
    )
    channel.basic_ack(method.delivery_tag)
    served += 1
    if served == wanted:
        channel.stop_consuming()


connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()
channel.queue_declare(queue="rpc_queue")
channel.basic_qos(prefetch_count=1)
channel.basic_consume(queue="rpc_queue", on_message_callback=on_request)
print("Waiting for requests", flush=True)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    print("Interrupted")
connection.close()
