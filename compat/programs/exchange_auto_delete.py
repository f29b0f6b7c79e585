"""Exchanges: auto-delete when the last binding goes, by unbinding or by deletion of either end."""

from _show import attempt, connect

connection = connect()
channel = connection.channel()
channel.queue_declare("q")


def there(label, name="auto"):
    attempt(label, connection.channel().exchange_declare, name, passive=True)


channel.exchange_declare("auto", "direct", auto_delete=True)
there("before any binding")
channel.queue_bind("q", "auto", "1")
channel.queue_bind("q", "auto", "2")
channel.queue_unbind("q", "auto", "1")
there("one binding left")
channel.queue_unbind("q", "auto", "2")
there("no binding left")
channel.exchange_declare("auto", "fanout", auto_delete=True)
channel.queue_bind("q", "auto")
channel.queue_delete("q")
there("queue deleted")
channel.exchange_declare("auto", "fanout", auto_delete=True)
channel.exchange_declare("target", "fanout")
channel.exchange_bind("target", "auto")
channel.exchange_delete("target")
there("destination exchange deleted")
channel.exchange_declare("auto", "fanout", auto_delete=True)
channel.exchange_declare("source", "fanout")
channel.exchange_bind("auto", "source")
channel.exchange_delete("source")
there("source exchange deleted")
channel.exchange_declare("chain", "fanout", auto_delete=True)
channel.exchange_bind("auto", "chain")
channel.queue_declare("q")
channel.queue_bind("q", "auto")
channel.queue_delete("q")
there("a chain: the end")
there("a chain: its source", "chain")
connection.close()
