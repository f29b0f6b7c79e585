"""Messages: header tables of every AMQP type, nested, arrive unchanged."""

import datetime
import decimal

import pika
from _show import connect, show

VALUES = [
    True,
    False,
    0,
    1,
    -1,
    127,
    128,
    -129,
    2**15,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**63 - 1,
    -(2**63),
    1.5,
    -0.0,
    1e300,
    "",
    "text",
    "ünïcödé ✓",
    "x" * 300,
    b"",
    b"bytes \x00\xff",
    None,
    decimal.Decimal("3.14"),
    decimal.Decimal("-1"),
    decimal.Decimal("100"),
    datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
    [],
    [1, "two", 3.0, None, [True, b"x"]],
    {},
    {"a": {"b": {"c": [1, {"d": 2}]}}},
    {"": "empty key"},
    {"k" * 128: 1},
    [[]],
    [{}],
]
connection = connect()
channel = connection.channel()
channel.queue_declare("q")
for value in VALUES:
    properties = pika.BasicProperties(headers={"value": value})
    try:
        channel.basic_publish("", "q", b"", properties)
    except Exception as error:
        show("not sent", repr(value)[:50], error)
        continue
    _, arrived, _ = channel.basic_get("q", auto_ack=True)
    got = arrived.headers["value"]
    show("sent", repr(value)[:60])
    show("  got", type(got).__name__, repr(got)[:60])
for bad in (2**63, object(), {1: 2}, "k"):
    label = f"not a table value: {type(bad).__name__}"
    try:
        channel.basic_publish("", "q", b"", pika.BasicProperties(headers={"value": bad}))
        show(label, None)
    except Exception as error:  # what it says differs between versions of Python
        show(label, type(error).__name__)
many = {f"header {number}": number for number in range(500)}
channel = connection.channel()
channel.queue_purge("q")
channel.basic_publish("", "q", b"", pika.BasicProperties(headers=many))
_, arrived, _ = channel.basic_get("q", auto_ack=True)
show("500 headers", arrived.headers == many)
channel.queue_delete("q")
connection.close()
