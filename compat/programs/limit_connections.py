"""Policies: a vhost's max-connections."""

import pika
from _show import attempt, connect, show, until

DEFINITIONS = {"parameters": [{"component": "vhost-limits", "name": "limits", "value": {"max-connections": 2}}]}


def refused():
    try:
        connect().close()
    except pika.exceptions.AMQPConnectionError as error:
        show("refused", error)
        return True
    return False


first, second = connect(), connect()
show("two", first.is_open, second.is_open)
refused()
second.close()
until(first, lambda: not refused())
attempt("first goes on", first.channel().queue_declare, "q")
first.close()
