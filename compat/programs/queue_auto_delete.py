"""Queues: auto-delete when the last consumer goes, not before the first came."""

from _show import attempt, connect, fill, probe

connection = connect()
channel = connection.channel()


def there(label):
    probe(label, connection.channel(), "auto")


channel.queue_declare("auto", auto_delete=True)
fill(channel, "auto", "a")
channel.basic_get("auto")
there("get is no consumer")
first, second = connection.channel(), connection.channel()
tag = first.basic_consume("auto", lambda *_: None)
second.basic_consume("auto", lambda *_: None)
first.basic_cancel(tag)
there("one of two cancelled")
second.close()
there("the other's channel closed")
channel.queue_declare("auto", auto_delete=True)
other = connect()
other.channel().basic_consume("auto", lambda *_: None)
there("consumer elsewhere")
other.close()
there("its connection closed")
channel.queue_declare("auto", auto_delete=True, exclusive=True)
tag = channel.basic_consume("auto", lambda *_: None)
channel.basic_cancel(tag)
there("exclusive too")
channel.queue_declare("auto", auto_delete=True)
attempt("deleting by hand", channel.queue_delete, "auto")
connection.close()
