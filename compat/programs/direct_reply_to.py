"""Messages: direct reply-to, by amq.rabbitmq.reply-to."""

import pika
from _show import attempt, connect, probe, show, until

connection, server = connect(), connect()
answering = server.channel()
answering.queue_declare("rpc")


def on_request(channel, method, properties, body):
    show("request", body, properties.reply_to[:23], properties.correlation_id)
    channel.basic_ack(method.delivery_tag)
    channel.basic_publish(
        "",
        properties.reply_to,
        b"answer to " + body,
        pika.BasicProperties(correlation_id=properties.correlation_id),
    )


answering.basic_consume("rpc", on_request)
channel = connection.channel()
answers = []
tag = channel.basic_consume("amq.rabbitmq.reply-to", lambda c, m, p, b: answers.append((m, p, b)), auto_ack=True)
show("tag", tag)
for number in range(2):
    channel.basic_publish(
        "",
        "rpc",
        b"%d" % number,
        pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=str(number)),
    )
    until(server, lambda: server.process_data_events(0) or True)
    for _ in range(300):
        server.process_data_events(0.01)
        connection.process_data_events(0.01)
        if len(answers) > number:
            break
for method, properties, body in answers:
    show("answer", method.exchange, method.redelivered, method.delivery_tag, properties.correlation_id, body)
    show("its key", method.routing_key)
attempt("second consumer", channel.basic_consume, "amq.rabbitmq.reply-to", print, auto_ack=True)
show("open", channel.is_open)
attempt("with acks", connection.channel().basic_consume, "amq.rabbitmq.reply-to", print)
other = connection.channel()
other.basic_publish("", "rpc", b"nobody listens", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
probe("publishing without a consumer", other, "rpc")
probe("declare", connection.channel(), "amq.rabbitmq.reply-to")
cancelling = connection.channel()
tag = cancelling.basic_consume("amq.rabbitmq.reply-to", print, auto_ack=True)
attempt("cancel", cancelling.basic_cancel, tag)
answering.queue_delete("rpc")
connection.close()
server.close()
