"""Connections: a wrong password."""

import pika
from _show import connect, show

try:
    connection = connect(credentials=pika.PlainCredentials("guest", "wrong"))
    show("connected", connection.is_open)
    connection.close()
except pika.exceptions.AMQPConnectionError as error:
    show("refused", type(error).__name__, [str(arg) for arg in error.args])
