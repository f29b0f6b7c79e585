"""Erlang's ``erlang:phash2/1`` and the first numbers of ``rand``'s exs1024, as RabbitMQ uses them.

Owns: the two algorithms, as far as a consistent hash exchange needs them.
Must not know: exchanges.

A consistent hash exchange promises that a key always goes to the same queue. For that to hold
between a RabbitMQ and haypile the numbers must be the same; they are compared with RabbitMQ's own
in tests/broker/test_plugin_exchanges.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from haypile.broker.terms import Atom, Nested, Scaled, Term

_GOLDEN = 0x9E3779B9
_M32 = 0xFFFFFFFF
_M64 = 0xFFFFFFFFFFFFFFFF


def _constant(number: int) -> int:
    """HCONST, HCONST_2, … of erts/emulator/beam/erl_term_hashing.h."""
    return (_GOLDEN * number) & _M32


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Bob Jenkins' mix of 1996 (https://burtleburtle.net/bob/hash/evahash.html)."""
    a = (a - b - c) & _M32 ^ c >> 13
    b = (b - c - a) & _M32 ^ (a << 8) & _M32
    c = (c - a - b) & _M32 ^ b >> 13
    a = (a - b - c) & _M32 ^ c >> 12
    b = (b - c - a) & _M32 ^ (a << 16) & _M32
    c = (c - a - b) & _M32 ^ b >> 5
    a = (a - b - c) & _M32 ^ c >> 3
    b = (b - c - a) & _M32 ^ (a << 10) & _M32
    c = (c - a - b) & _M32 ^ b >> 15
    return a, b, c


def _block(octets: bytes, start: int) -> int:
    a = b = _GOLDEN
    c = start
    length, at = len(octets), 0
    while length - at >= 12:
        a = (a + int.from_bytes(octets[at : at + 4], "little")) & _M32
        b = (b + int.from_bytes(octets[at + 4 : at + 8], "little")) & _M32
        c = (c + int.from_bytes(octets[at + 8 : at + 12], "little")) & _M32
        a, b, c = _mix(a, b, c)
        at += 12
    rest = octets[at:]
    a = (a + int.from_bytes(rest[:4], "little")) & _M32
    b = (b + int.from_bytes(rest[4:8], "little")) & _M32
    # The lowest octet of c is kept for the length.
    c = (c + length + (int.from_bytes(rest[8:], "little") << 8)) & _M32
    return _mix(a, b, c)[2]


def _words(first: int, second: int, number: int, start: int) -> int:
    con = _constant(number)
    return _mix((con + first) & _M32, (con + second) & _M32, start)[2]


def _atom(name: str) -> int:
    value = 0
    for octet in name.encode():
        value = ((value << 4) + octet) & _M32
        high = value & 0xF0000000
        if high:
            value ^= high >> 24
            value ^= high
    return value


def _integer(value: int, start: int) -> int:
    if -(1 << 27) <= value < 1 << 27:
        if value < 0:
            start = _words(-value, 0, 1, start)
        return _words(value & _M32, 0, 1, start)
    con, value = (10, -value) if value < 0 else (11, value)
    while True:
        digit = value & _M64
        start = _words(digit & _M32, digit >> 32, con, start)
        value >>= 64
        if not value:
            return start


def _hash(value: Term, start: int) -> int:
    if isinstance(value, bytes):
        con = (_constant(13) + start) & _M32
        return _block(value, con) if value else con
    if isinstance(value, Atom):
        return _words(_atom(value.name), 0, 3, start) if start else _atom(value.name)
    if isinstance(value, int):
        return _integer(value, start)
    if isinstance(value, Scaled):
        return _tuple((value.scale, value.value), start)
    if isinstance(value, Nested):
        raise ValueError("tables and arrays are not hashed")
    return _tuple(value, start)


def _tuple(items: tuple[Term, ...], start: int) -> int:
    start = _words(len(items), 0, 9, start)
    for item in items:
        start = _hash(item, start)
    return start


def phash2(value: Term) -> int:
    """``erlang:phash2(value)``: 27 bits.

    ``value`` is a term (``terms``) or a plain tuple of terms. Raises ValueError for tables and arrays.
    """
    return _hash(value, 0) & ((1 << 27) - 1)


def exs1024(seed: int) -> Iterator[float]:
    """``rand:uniform_s`` after ``rand:seed_s(exs1024, {seed, seed, seed})``: from 0 to below 1."""
    mask = (1 << 21) - 1
    low, middle, high = ((((seed & mask) + 1) * prime) & mask for prime in (2097131, 2097133, 2097143))
    state = (low << 43) | (middle << 22) | (high << 1) | 1
    left: list[int] = []
    for _ in range(16):
        state ^= state >> 12
        state ^= (state << 25) & _M64
        state ^= state >> 27
        left.insert(0, (state * 2685821657736338717) & _M64)
    used: list[int] = []
    while True:
        if len(left) == 1:
            left = left + used[::-1]
            used = []
        first, second = left[0], left[1]
        second ^= (second << 31) & _M64
        second ^= second >> 11
        first_mixed = first ^ (first >> 30)
        state = first_mixed ^ second
        used.append(first)
        left = [state, *left[2:]]
        yield ((state * 1181783497276652981) & _M64) / 2**64
