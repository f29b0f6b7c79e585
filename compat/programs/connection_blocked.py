"""Connections: blocked and unblocked callbacks can be registered; nothing blocks here."""

from _show import attempt, connect, show

connection = connect(blocked_connection_timeout=5)
seen = []
attempt("blocked", connection.add_on_connection_blocked_callback, lambda *a: seen.append(a))
attempt("unblocked", connection.add_on_connection_unblocked_callback, lambda *a: seen.append(a))
channel = connection.channel()
channel.queue_declare("q")
for number in range(50):
    channel.basic_publish("", "q", str(number).encode())
connection.process_data_events(0)
show("calls", seen)
attempt("delete", channel.queue_delete, "q")
connection.close()
