"""Length limits: a burst past the limit, while a consumer has room for all of it."""

from _show import bodies, collect, connect, send, settle, show

connection, other = connect(), connect()
channel = connection.channel()
for overflow in ("drop-head", "reject-publish"):
    channel.queue_declare(overflow, arguments={"x-max-length": 2, "x-overflow": overflow})
    seen = collect(other.channel(), overflow)
    send(channel, overflow, *"abcdef")
    channel.queue_declare(overflow, passive=True)
    settle(other, seen)
    show(overflow, bodies(seen))
    channel.queue_delete(overflow)
connection.close()
other.close()
