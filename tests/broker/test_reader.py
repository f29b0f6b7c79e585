"""Records taken apart with a memory of the last one: as without."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties
from pika.spec import Basic

from haypile.broker import message

NONCE, OTHER = b"12345678", b"87654321"

properties = st.sampled_from(
    [
        None,
        BasicProperties(delivery_mode=2),
        BasicProperties(content_type="text/plain", delivery_mode=2),
        BasicProperties(correlation_id="a"),
        BasicProperties(headers={"n": 1}),
    ]
)
records = st.builds(
    lambda nonce, time, name, wanted, body, priority, flags: message.encode(
        nonce,
        time,
        7,
        message.encode_prefix(*name),
        message.encode_properties(wanted),
        body,
        priority,
        flags,
    ),
    st.sampled_from([NONCE, NONCE, NONCE, OTHER]),
    st.integers(0, 2**64 - 1),
    st.sampled_from([("", "q"), ("", "r"), ("x", "q"), ("exchange", "")]),
    properties,
    st.binary(max_size=40),
    st.sampled_from([0, 0, 3]),
    st.sampled_from([0, 0, message.PERSISTENT]),
)
#: Cut off, or with something behind.
spoilt = st.one_of(
    records,
    records,
    records,
    st.builds(lambda record, end: record[:end], records, st.integers(0, 60)),
    st.builds(lambda record, more: record + more, records, st.binary(min_size=1, max_size=3)),
    st.binary(max_size=50),
)


def seen(read: Any, *arguments: Any) -> Any:
    """What a client sees of a record; None: nothing."""
    try:
        exchange, routing_key, found, body = read(*arguments)
    except message.Foreign:
        return None
    return exchange, routing_key, vars(found), body


@given(st.lists(spoilt, max_size=20))
def test_as_without_memory(some: list[bytes]) -> None:
    read, _ = message.reader(NONCE)
    for record in some:
        assert seen(read, record) == seen(message.contents, record, NONCE)


@given(st.lists(spoilt, max_size=20), st.sampled_from([0, 1]))
def test_deliveries_of_many_as_one_by_one(some: list[bytes], step: int) -> None:
    """Tags go on where they were; what is no record of ours is put aside, and takes none."""
    _, read_all = message.reader(NONCE)
    aside: list[bytes] = []
    made: list[Any] = []
    for part in (some[:5], some[5:]):
        read_all(part, made, "me", 7 + step * len(made), step, lambda record, error: aside.append(record))
    wanted = [(record, seen(message.contents, record, NONCE)) for record in some]
    assert aside == [record for record, found in wanted if found is None]
    found = [one for _, one in wanted if one is not None]
    assert [(m.exchange, m.routing_key, vars(p), body) for m, p, body in made] == found
    for number, (method, _, _) in enumerate(made):
        plain = Basic.Deliver("me", 8 + step * number, False, method.exchange, method.routing_key)
        assert vars(method) == vars(plain)
    assert len({id(properties) for _, properties, _ in made}) == len(made)


@pytest.mark.parametrize("wanted", [None, BasicProperties(delivery_mode=2), BasicProperties(headers={"n": 1})])
def test_each_message_has_properties_of_its_own(wanted: BasicProperties | None) -> None:
    record = message.encode(
        NONCE, 1, 7, message.encode_prefix("", "q"), message.encode_properties(wanted), b"body", 0, 0
    )
    read, _ = message.reader(NONCE)
    first, second, third = (read(record)[2] for _ in range(3))
    second.app_id, second.headers = "changed", {"m": 2}
    assert vars(first) == vars(third) == vars(wanted or BasicProperties())
    assert vars(read(record)[2]) == vars(first)
