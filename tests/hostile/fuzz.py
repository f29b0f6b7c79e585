"""Random and mutated bytes for everything that decodes bytes which another process may have written.

    python -m tests.hostile.fuzz [INPUTS [SEED]]

A decoder may refuse: with its own exception and no other, quickly, and without taking much memory. Inputs are valid
bytes with a few bytes changed, cut, repeated or spliced, and bytes that were never valid.
"""

from __future__ import annotations

import random
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pika

from haypile.broker import message, rows
from haypile.hay import base
from haypile.hay.errors import Damaged
from haypile.lanes.landing import PREFIX_BYTES, Landing

NONCE = b"\x01nonce\xff\x7f"
#: Seconds that one input may take.
SLOWEST = 0.5
#: Bytes by which memory may grow over a whole run.
GROWTH = 200_000_000

#: Lengths that tempt a decoder.
EXTREMES = (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80" + bytes(3))

TABLE: dict[str, Any] = {
    "number": 7,
    "long": 1 << 40,
    "text": "ä" * 40,
    "bytes": b"\x00\xff",
    "list": [1, "two", [3, None, True]],
    "table": {"a": {"b": {"c": []}}},
    "x-death": [{"count": 1, "reason": "expired", "queue": "q", "routing-keys": ["k"]}],
}


class Target(NamedTuple):
    """One decoder: how it is called, valid inputs, and what it may raise."""

    decode: Callable[[bytes], Any]
    valid: list[bytes]
    refusals: tuple[type[Exception], ...]


def records() -> list[bytes]:
    """Valid records."""
    properties = pika.BasicProperties(
        content_type="text/plain", headers=TABLE, delivery_mode=2, priority=3, expiration="60", timestamp=1
    )
    made = []
    for encoded in (b"", message.encode_properties(pika.BasicProperties(delivery_mode=1, message_id="m"))):
        for body in (b"", b"body", bytes(3000)):
            made.append(message.encode(NONCE, 1 << 60, 9, message.encode_prefix("x", "key"), encoded, body, 0, 0))
    encoded = message.encode_properties(properties)
    made.append(message.encode(NONCE, 5, 1, message.encode_prefix("", "q"), encoded, b"text", 3, 1))
    return made


def read_landing(path: Path) -> Callable[[bytes], Any]:
    """Reads bytes as a dead session's landing."""

    def read(content: bytes) -> list[Any]:
        path.write_bytes(content)
        return list(Landing.read(path))

    return read


def landings(path: Path) -> list[bytes]:
    """A valid landing file of small slots."""
    landing = Landing.create(path, slots=4, slot_bytes=64)
    landing.close()
    content = bytearray(path.read_bytes())
    stride = PREFIX_BYTES + 64
    for slot in range(4):
        at = len(content) - (4 - slot) * stride
        content[at : at + PREFIX_BYTES] = struct.pack("8Q", slot, 7, slot % 3, 5, 0, 0, 1, 20)
        content[at + PREFIX_BYTES : at + PREFIX_BYTES + 20] = b"x" * 20
    return [bytes(content)]


def targets(directory: Path) -> dict[str, Target]:
    """Every decoder, by name."""
    table = rows.encode_table(TABLE)
    queue = rows.encode_queue(rows.QueueRow(1, 2, 0, True, False, TABLE))
    exchange = rows.encode_exchange(rows.ExchangeRow("topic", True, False, False, TABLE))
    operations = base.encode([(base.SET, b"key", b"value"), (base.DELETE, b"k", b""), (base.KEEP, b"q" * 4, bytes(26))])
    return {
        "record": Target(lambda data: message.decode(data, NONCE), records(), (message.Foreign,)),
        "trim": Target(lambda data: message.trim(data, NONCE), records(), ()),
        "table": Target(lambda data: rows.decode_table(data, 0), [table], (rows.BadRow,)),
        "queue row": Target(rows.decode_queue, [queue], (rows.BadRow,)),
        "exchange row": Target(rows.decode_exchange, [exchange], (rows.BadRow,)),
        "journal": Target(lambda data: list(base.decode(data)), [operations], (Damaged,)),
        "landing": Target(read_landing(directory / "landing"), landings(directory / "made"), ()),
    }


def mutated(valid: list[bytes], chance: random.Random) -> bytes:
    """One input."""
    kind = chance.random()
    if kind < 0.1:
        return chance.randbytes(chance.randrange(200))
    data = bytearray(chance.choice(valid))
    if kind < 0.15:
        return bytes(data[: chance.randrange(len(data) + 1)])
    if kind < 0.2:
        return bytes(data) + chance.randbytes(chance.randrange(50))
    if kind < 0.25:
        other = chance.choice(valid)
        return bytes(data[: chance.randrange(len(data) + 1)]) + other[chance.randrange(len(other) + 1) :]
    for _ in range(chance.randrange(1, 5)):
        # What decides is at the front.
        at = min(chance.randrange(len(data)), chance.randrange(len(data)))
        if chance.random() < 0.3:
            data[at : at + 4] = chance.choice(EXTREMES)
        else:
            data[at] = chance.randrange(256)
    return bytes(data)


def inputs(count: int, seed: int, found: dict[str, Target]) -> Iterator[tuple[str, Target, bytes]]:
    """``count`` inputs, most of them for the decoders of what comes through a lane."""
    chance = random.Random(seed)
    names = ["record"] * 6 + ["table"] * 4 + ["queue row", "exchange row", "trim", "journal"]
    for number in range(count):
        name = "landing" if number % 50 == 0 else chance.choice(names)
        yield name, found[name], mutated(found[name].valid, chance)


def memory() -> int:
    """Bytes this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(count: int, seed: int) -> dict[str, tuple[int, int]]:
    """Feed ``count`` inputs; by decoder: how many, and how many it took for good ones.

    Raises AssertionError with the input for what must not happen.
    """
    tally: dict[str, tuple[int, int]] = {}
    before = memory()
    with tempfile.TemporaryDirectory() as directory:
        for name, target, data in inputs(count, seed, targets(Path(directory))):
            begun = time.process_time()
            good = 1
            try:
                target.decode(data)
            except target.refusals:
                good = 0
            except Exception as error:
                raise AssertionError(f"{name}: {error!r} for {data[:4000].hex()}") from error
            assert time.process_time() - begun < SLOWEST, f"{name}: too slow for {data.hex()}"
            total, fine = tally.get(name, (0, 0))
            tally[name] = total + 1, fine + good
    grown = memory() - before
    assert grown < GROWTH, f"memory grew by {grown} bytes"
    return tally


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    begin = time.monotonic()
    for decoder, (number, fine) in sorted(run(wanted, int(sys.argv[2]) if len(sys.argv) > 2 else 1).items()):
        print(f"{decoder}: {number} inputs, {number - fine} refused")
    took = time.monotonic() - begin
    print(f"{wanted} inputs in {took:.0f} s: no other exception, no hang, {memory() >> 20} MiB at most")

