"""Length limits: a burst past the limit, while a consumer has room for some of it."""

from _show import bodies, collect, connect, get_all, send, settle, show

connection, other = connect(), connect()
channel = connection.channel()
for overflow in ("drop-head", "reject-publish"):
    channel.queue_declare(overflow, arguments={"x-max-length": 2, "x-overflow": overflow})
    consuming = other.channel()
    consuming.basic_qos(prefetch_count=3)
    seen = collect(consuming, overflow)
    send(channel, overflow, *"abcdefgh")
    channel.queue_declare(overflow, passive=True)
    settle(other, seen)
    show(overflow, bodies(seen), bodies(get_all(channel, overflow)))
    channel.queue_delete(overflow)
connection.close()
other.close()
