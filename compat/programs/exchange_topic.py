"""Exchanges: topic, with * and # exactly."""

from _show import connect, get_all, show

PATTERNS = [
    "a.b",
    "a.*",
    "*.b",
    "a.#",
    "#.b",
    "#",
    "*",
    "",
    "a.*.c",
    "a.#.c",
    "*.*",
    "#.#",
    "*.#",
    "#.*",
    "a..b",
    "a.*.*",
    "#.a.#",
    "a.#.b.#",
    ".",
    "*.",
    "a.b.#.#",
    "**",
    "a*",
    "a.#b",
    "##",
]
KEYS = [
    "a",
    "b",
    "a.b",
    "a.c",
    "a.b.c",
    "a.c",
    "a.x.y.c",
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "..",
    "b.a",
    "x.a.y",
    "a.b.b",
    "*",
    "#",
    "a*",
    "**",
    "a.#b",
    "A.B",
    "a.b.c.d.e.f.g.h",
]
connection = connect()
channel = connection.channel()
channel.exchange_declare("t", "topic")
queues = {}
for number, pattern in enumerate(PATTERNS):
    queues[pattern] = channel.queue_declare(f"q{number}", exclusive=True).method.queue
    channel.queue_bind(queues[pattern], "t", pattern)
for key in KEYS:
    channel.basic_publish("t", key, key.encode())
for pattern, queue in queues.items():
    show(repr(pattern), [body.decode() for _, _, body in get_all(channel, queue)])
channel.queue_bind(queues["a.b"], "t", "a.*")
channel.queue_bind(queues["a.b"], "t", "#")
channel.basic_publish("t", "a.b", b"once")
show("one copy", [body.decode() for _, _, body in get_all(channel, queues["a.b"])])
channel.queue_unbind(queues["a.b"], "t", "#")
channel.queue_unbind(queues["a.b"], "t", "a.b")
for key in ("a.b", "a.c", "b"):
    channel.basic_publish("t", key, key.encode())
show("after unbind", [body.decode() for _, _, body in get_all(channel, queues["a.b"])])
channel.exchange_delete("t")
connection.close()
