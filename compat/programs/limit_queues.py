"""Policies: a vhost's max-queues."""

from _show import attempt, connect

DEFINITIONS = {"parameters": [{"component": "vhost-limits", "name": "limits", "value": {"max-queues": 2}}]}

connection = connect()
channel = connection.channel()
attempt("first", channel.queue_declare, "one")
attempt("second", channel.queue_declare, "two", exclusive=True)
attempt("again", channel.queue_declare, "one")
attempt("third", connection.channel().queue_declare, "three")
attempt("passive", channel.queue_declare, "one", passive=True)
attempt("server named", connection.channel().queue_declare, "", exclusive=True)
attempt("delete", channel.queue_delete, "two")
attempt("third now", connection.channel().queue_declare, "three")
attempt("fourth", connection.channel().queue_declare, "four", arguments={"x-queue-type": "quorum"}, durable=True)
connection.close()
