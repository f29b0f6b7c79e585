"""Consuming: tags given and generated, unique in a channel, free for other channels."""

from _show import attempt, connect, count, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
seen = []
attempt(
    "own tag",
    channel.basic_consume,
    "q",
    lambda c, m, p, b: seen.append((m.consumer_tag, b)),
    consumer_tag="mine",
)
generated = channel.basic_consume("q", lambda *_: None)
show("generated", generated[:5], len(channel.consumer_tags))
attempt("again the same, pika says", channel.basic_consume, "q", print, consumer_tag="mine")
attempt("other channel", connection.channel().basic_consume, "q", lambda *_: None, consumer_tag="mine")
channel.basic_cancel(generated)
show("count", count(channel, "q"))
attempt("cancel", channel.basic_cancel, "mine")
attempt("cancel again", channel.basic_cancel, "mine")
attempt("tag can be used again", channel.basic_consume, "q", lambda *_: None, consumer_tag="mine")
attempt("long tag", channel.basic_consume, "q", lambda *_: None, consumer_tag="x" * 255)
attempt("odd tag", channel.basic_consume, "q", lambda *_: None, consumer_tag="ünï ✓")
show("tags", sorted(channel.consumer_tags, key=len))
channel.queue_delete("q")
connection.close()
