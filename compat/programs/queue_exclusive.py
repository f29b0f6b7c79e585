"""Queues: an exclusive queue belongs to its connection, which takes it along when it goes."""

from _show import attempt, connect, fill, show

owner, stranger = connect(), connect()
channel = owner.channel()
attempt("declare", channel.queue_declare, "mine", exclusive=True)
fill(channel, "mine", "a")


def fresh(label, name, *args, **kwargs):
    attempt(label, getattr(stranger.channel(), name), *args, **kwargs)


fresh("declare", "queue_declare", "mine")
fresh("declare exclusive", "queue_declare", "mine", exclusive=True)
fresh("passive", "queue_declare", "mine", passive=True)
fresh("bind", "queue_bind", "mine", "amq.direct", "k")
fresh("unbind", "queue_unbind", "mine", "amq.direct", "k")
fresh("purge", "queue_purge", "mine")
fresh("delete", "queue_delete", "mine")
fresh("get", "basic_get", "mine")
fresh("consume", "basic_consume", "mine", print)
fresh("publishing is allowed", "basic_publish", "", "mine", b"b")
attempt("owner, other channel", owner.channel().queue_declare, "mine", exclusive=True)
show("owner sees", [owner.channel().basic_get("mine", auto_ack=True)[2] for _ in range(2)])
owner.close()
fresh("after the owner closed", "queue_declare", "mine", passive=True)
fresh("now free", "queue_declare", "mine", exclusive=True)
stranger.close()
