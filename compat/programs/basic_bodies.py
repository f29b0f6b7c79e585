"""Messages: bodies from nothing to a megabyte, around every size where something changes inside."""

from _show import connect, show, text, until

SIZES = [
    0,
    1,
    2,
    15,
    16,
    17,
    511,
    512,
    513,
    1023,
    1024,
    2030,
    2031,
    4000,
    4095,
    4096,
    4097,
    7000,
    8000,
    8100,
    8150,
    8190,
    8191,
    8192,
    8193,
    16384,
    65535,
    65536,
    65537,
    131063,
    131064,
    131072,
    131073,
    262144,
    1000000,
    1048576,
]
connection = connect()
channel = connection.channel()
channel.queue_declare("q")


def body(size):
    return bytes(number * 7 % 251 for number in range(min(size, 997))) * (size // 997 + 1)


for size in SIZES:
    channel.basic_publish("", "q", body(size)[:size])
for size in SIZES[::2]:
    _, _, got = channel.basic_get("q", auto_ack=True)
    show("get", len(got), text(got) if len(got) > 80 else got)
    _, _, got = channel.basic_get("q")
    show("get", len(got), text(got) if len(got) > 80 else got)
channel.close()
channel = connection.channel()
seen = []
channel.basic_qos(prefetch_count=3)
channel.basic_consume(
    "q",
    lambda c, m, p, b: (
        seen.append((len(b), m.redelivered, b == body(len(b))[: len(b)])),
        c.basic_ack(m.delivery_tag),
    ),
)
until(connection, lambda: len(seen) == len(SIZES) // 2)
show("again", seen)
live = []
for size in SIZES:
    channel.basic_publish("", "q", body(size)[:size])
until(connection, lambda: len(seen) == len(SIZES) // 2 + len(SIZES))
show("as they come", [size for size, _, whole in seen[len(SIZES) // 2 :] if whole] == SIZES)
channel.queue_delete("q")
connection.close()
