"""Connections: call_later, remove_timeout, sleep, process_data_events, callbacks from other threads."""

import threading
import time

from _show import connect, show, until

connection = connect()
called = []
connection.call_later(0.10, lambda: called.append("second"))
connection.call_later(0.05, lambda: called.append("first"))
removed = connection.call_later(0.01, lambda: called.append("never"))
connection.remove_timeout(removed)
until(connection, lambda: len(called) == 2)
show("timers", called)
started = time.monotonic()
connection.sleep(0.2)
show("slept", time.monotonic() - started >= 0.2)
started = time.monotonic()
connection.process_data_events(0.1)
show("waited", 0.09 <= time.monotonic() - started < 3)
started = time.monotonic()
connection.process_data_events(0)
show("did not wait", time.monotonic() - started < 0.1)
thread = threading.Thread(target=lambda: connection.add_callback_threadsafe(lambda: called.append("from thread")))
started = time.monotonic()
connection.call_later(0.1, thread.start)
until(connection, lambda: "from thread" in called)
thread.join()
show("threadsafe", called[-1], threading.active_count())
connection.call_later(0, lambda: called.append("inner") or connection.call_later(0, lambda: called.append("nested")))
until(connection, lambda: "nested" in called)
show("nested", called[-2:])
connection.close()
