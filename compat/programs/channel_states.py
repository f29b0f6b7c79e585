"""Channels: misuse that pika itself answers."""

from _show import attempt, connect, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q", exclusive=True)
attempt("cancel unknown tag", channel.basic_cancel, "nobody")
attempt("cancel without generator", channel.cancel)
attempt("get_waiting_message_count", channel.get_waiting_message_count)
attempt("no callback", channel.basic_consume, "q", None)
attempt("queue not str", channel.queue_declare, 7)
attempt("exchange not str", channel.exchange_declare, None)
attempt("bad type", channel.exchange_declare, "e", 5)
attempt("qos not int", channel.basic_qos, "many")
attempt("body not bytes", channel.basic_publish, "", "q", 5)
attempt("body str", channel.basic_publish, "", "q", "täxt")
show("str arrives as utf-8", channel.basic_get("q", auto_ack=True)[2])
attempt("stop without start", channel.stop_consuming)
attempt("start without consumers", channel.start_consuming)
attempt("close", channel.close, 200, "Normal shutdown")
attempt("close twice", channel.close)
with connection.channel() as inner:
    show("context", inner.is_open)
show("after context", inner.is_open, connection.is_open)
connection.close()
