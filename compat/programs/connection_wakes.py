"""Connections: a callback from another thread wakes a sleeping consumer."""

import threading
import time

from _show import connect, show

connection = connect()
channel = connection.channel()
channel.queue_declare("idle")
channel.basic_consume("idle", lambda *_: None)
timer = threading.Timer(0.2, lambda: connection.add_callback_threadsafe(channel.stop_consuming))
timer.start()
started = time.monotonic()
channel.start_consuming()
elapsed = time.monotonic() - started
show("woken", 0.15 < elapsed < 3)
timer.join()
show("tags", channel.consumer_tags)
connection.close()
