"""Exchanges: reserved, odd and too long names; types with plugins this broker has not."""

from _show import attempt, connect

LONG = "x" * 255
for name in ("amq.mine", "amq.", "amq", "with space", "ünïcödé", "x" * 255, "", "a\nb", "Amq.x", "x" * 256):
    connection = connect()
    label = name if len(name) < 50 else f"{len(name)} letters"
    attempt(f"declare {label!r}", connection.channel().exchange_declare, name, "direct")
    if connection.is_open:
        attempt(f"delete {label!r}", connection.channel().exchange_delete, name)
        attempt(f"passive {label!r}", connection.channel().exchange_declare, name, passive=True)
        connection.close()
