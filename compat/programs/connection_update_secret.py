"""Connections: update_secret."""

from _show import attempt, connect, show

connection = connect()
attempt("update_secret", connection.update_secret, "guest", "a reason")
show("open", connection.is_open)
attempt("still works", connection.channel().queue_declare, "q", exclusive=True)
connection.close()
