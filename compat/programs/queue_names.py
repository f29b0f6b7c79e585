"""Queues: reserved, odd and too long names."""

from _show import attempt, connect

for name in (
    "amq.mine",
    "amq.",
    "amq",
    "AMQ.x",
    "with space",
    "ünïcödé ✓",
    "x" * 255,
    "a/b",
    "a\0b",
    "x" * 256,
):
    connection = connect()
    label = name if len(name) < 50 else f"{len(name)} letters"
    attempt(f"declare {label!r}", connection.channel().queue_declare, name)
    if connection.is_open:
        attempt(f"passive {label!r}", connection.channel().queue_declare, name, passive=True)
        channel = connection.channel()
        attempt(f"publish {label!r}", channel.basic_publish, "", name, b"body")
        attempt(f"get {label!r}", channel.basic_get, name, auto_ack=True)
        attempt(f"delete {label!r}", connection.channel().queue_delete, name)
        connection.close()
