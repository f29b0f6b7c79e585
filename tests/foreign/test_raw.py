"""What deliveries of raw messages are made of."""

from __future__ import annotations

from pika import spec

from haypile.broker.raw import deliveries
from haypile.lanes.foreign import POSIX, SYSV


def test_deliveries_are_what_pikas_constructors_make() -> None:
    """Tags in order, each with properties of its own."""
    found = [(b"a", 3), (b"b", 3), (b"c", 300), (b"d", 300)]
    made = deliveries("q", POSIX, found, "consumer", 7)
    for number, (delivery, properties, body) in enumerate(made):
        assert vars(delivery) == vars(spec.Basic.Deliver("consumer", 8 + number, False, "", "q"))
        headers = {"x-kernel-priority": 300} if number > 1 else None
        assert vars(properties) == vars(spec.BasicProperties(priority=min(found[number][1], 255), headers=headers))
        assert body == found[number][0]
    made[0][1].content_type = "mine"
    made[2][1].headers["x-kernel-priority"] = "mine"
    assert made[1][1].content_type is None and made[3][1].headers == {"x-kernel-priority": 300}
    (delivery, properties, _), *_ = deliveries("q", SYSV, [(b"", 5)], "consumer", 0)
    assert delivery.delivery_tag == 1 and properties.type == "5"
