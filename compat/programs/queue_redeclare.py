"""Queues: redeclaring must be equivalent, field by field and argument by argument."""

from _show import attempt, connect

connection = connect()
connection.channel().queue_declare("plain")
connection.channel().queue_declare("dur", durable=True)
connection.channel().queue_declare("mine", exclusive=True)
connection.channel().queue_declare("args", arguments={"x-message-ttl": 60000, "x-max-length": 5, "x-mine": "1"})


def again(label, *args, **kwargs):
    attempt(label, connection.channel().queue_declare, *args, **kwargs)


again("same", "plain")
again("durable", "plain", durable=True)
again("auto_delete", "plain", auto_delete=True)
again("exclusive", "plain", exclusive=True)
again("all at once", "plain", durable=True, auto_delete=True, exclusive=True)
again("not durable", "dur")
again("exclusive dropped", "mine")
again("exclusive same", "mine", exclusive=True)
again("exclusive and durable", "mine", exclusive=True, durable=True)
again("same arguments", "args", arguments={"x-message-ttl": 60000, "x-max-length": 5, "x-mine": "1"})
again("other order", "args", arguments={"x-max-length": 5, "x-mine": "1", "x-message-ttl": 60000})
again("ttl changed", "args", arguments={"x-message-ttl": 60001, "x-max-length": 5, "x-mine": "1"})
again("ttl gone", "args", arguments={"x-max-length": 5, "x-mine": "1"})
again("ttl of another type", "args", arguments={"x-message-ttl": 60000.0, "x-max-length": 5, "x-mine": "1"})
again("own argument changed", "args", arguments={"x-message-ttl": 60000, "x-max-length": 5, "x-mine": "2"})
again("own argument gone", "args", arguments={"x-message-ttl": 60000, "x-max-length": 5})
again("dlx added", "args", arguments={"x-message-ttl": 60000, "x-max-length": 5, "x-dead-letter-exchange": "e"})
again("ttl added", "plain", arguments={"x-message-ttl": 1000})
again("priority added", "plain", arguments={"x-max-priority": 5})
again("type named", "plain", arguments={"x-queue-type": "classic"})
again("type other", "plain", durable=True, arguments={"x-queue-type": "quorum"})
again("mode", "plain", arguments={"x-queue-mode": "lazy"})
again("expires added", "plain", arguments={"x-expires": 100000})
again("single active added", "plain", arguments={"x-single-active-consumer": True})
for queue in ("plain", "dur", "mine", "args"):
    attempt("delete", connection.channel().queue_delete, queue)
connection.close()
