"""Exchanges: headers, with x-match all, any and the -with-x forms, and values of several types."""

import pika
from _show import attempt, connect, get_all, show

BINDINGS = {
    "all": {"x-match": "all", "a": 1, "b": "two"},
    "any": {"x-match": "any", "a": 1, "b": "two"},
    "default": {"a": 1, "b": "two"},
    "all-x": {"x-match": "all-with-x", "x-h": "v", "a": 1},
    "any-x": {"x-match": "any-with-x", "x-h": "v", "a": 2},
    "x ignored": {"x-match": "all", "x-h": "v", "a": 1},
    "present": {"x-match": "all", "a": None},
    "nothing": {},
    "any nothing": {"x-match": "any"},
    "bool": {"flag": True},
    "big": {"n": 2**40},
    "text": {"a": "1"},
}
HEADERS = [
    None,
    {},
    {"a": 1},
    {"a": 1, "b": "two"},
    {"a": 1, "b": "two", "c": 3},
    {"b": "two"},
    {"a": "1"},
    {"a": 2},
    {"x-h": "v", "a": 1},
    {"x-h": "v"},
    {"flag": True},
    {"flag": 1},
    {"n": 2**40},
    {"a": None},
    {"a": True},
    {"a": 1, "b": "Two"},
]
connection = connect()
channel = connection.channel()
channel.exchange_declare("h", "headers")
for number, (name, arguments) in enumerate(BINDINGS.items()):
    channel.queue_declare(f"q{number}", exclusive=True)
    channel.queue_bind(f"q{number}", "h", "ignored", arguments)
for number, headers in enumerate(HEADERS):
    channel.basic_publish("h", "any key", str(number).encode(), pika.BasicProperties(headers=headers))
for number, name in enumerate(BINDINGS):
    found = [int(body) for _, _, body in get_all(channel, f"q{number}")]
    show(name, [repr(HEADERS[index]) for index in found])
attempt("bad x-match", channel.queue_bind, "q0", "h", "", {"x-match": "some"})
channel = connection.channel()
attempt("x-match of a number", channel.queue_bind, "q0", "h", "", {"x-match": 5})
channel = connection.channel()
channel.exchange_delete("h")
connection.close()
