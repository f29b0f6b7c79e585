"""Connections: open, capabilities, close, use after close."""

import pika
from _show import attempt, connect, show

connection = connect()
show("open", connection.is_open, connection.is_closed)
channel = connection.channel()
show("channel", channel.channel_number, channel.is_open)
for feature in (
    "basic_nack_supported",
    "consumer_cancel_notify_supported",
    "exchange_exchange_bindings_supported",
    "publisher_confirms_supported",
):
    show(feature, getattr(connection, feature))
attempt("close", connection.close)
show("closed", connection.is_open, connection.is_closed, channel.is_open)
attempt("close again", connection.close)
attempt("channel after close", connection.channel)
attempt("publish after close", channel.basic_publish, "", "x", b"")
attempt("events after close", connection.process_data_events, 0)
with connect() as second:
    show("in context", second.is_open)
show("after context", second.is_open)
try:
    with connect() as third:
        raise KeyError("mine")
except KeyError as error:
    show("own exception passes", error, third.is_open)
fourth = pika.BlockingConnection([pika.URLParameters(__import__("os").environ["AMQP_URL"])])
show("list of parameters", fourth.is_open)
attempt("close with code", fourth.close, 320, "going home")
