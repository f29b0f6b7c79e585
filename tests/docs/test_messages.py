"""What haypile logs and raises for people: form, and an entry in docs/troubleshooting.md for each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "haypile"
PAGE = " ".join((ROOT / "docs" / "troubleshooting.md").read_text().replace("`", "").split())

#: Errors that people see; routes files' own have a page of their own (docs/hybrid.md).
RAISED = {"UnusableDirectory", "OutOfRoom", "NoRoom", "Damaged", "BadRow", "LaneError", "TargetError", "InUse"}
LEVELS = {"debug", "info", "warning", "error", "exception", "log"}
#: With a traceback: errors of haypile's own.
TRACEBACKS = {"wires/lives.py", "wires/local.py", "links/runner.py"}

HOLE = "…"


class Message(NamedTuple):
    """A text in the source, ``…`` for what is filled in."""

    place: str
    level: str
    text: str
    holes: int
    given: int
    traceback: bool

    def pieces(self) -> list[str]:
        """What stands between the holes, where it says something."""
        found = [" ".join(piece.split()).strip(" ,()/'\"") for piece in re.split(f"[{HOLE};:]", self.text)]
        return [piece for piece in found if len(piece) > 5]


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the source, with its file."""
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(SRC)), node


def logged() -> list[Message]:
    """What goes to the logger ``haypile``."""
    found = []
    for place, call in calls():
        function = call.func
        if not (isinstance(function, ast.Attribute) and getattr(function.value, "id", "") == "LOGGER"):
            continue
        if function.attr not in LEVELS:
            continue
        given = call.args[1:] if function.attr == "log" else call.args
        assert isinstance(given[0], ast.Constant), f"{place}:{call.lineno}: not a plain text"
        holes = re.findall(r"%[rsdg]", str(given[0].value))
        text = re.sub(r"%[rsdg]", HOLE, str(given[0].value))
        traceback = function.attr == "exception" or any(keyword.arg == "exc_info" for keyword in call.keywords)
        level = "warning" if function.attr == "log" else function.attr
        found.append(Message(f"{place}:{call.lineno}", level, text, len(holes), len(given) - 1, traceback))
    return found


def raised() -> list[Message]:
    """What ``RAISED`` say."""
    found = []
    for place, call in calls():
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        if name in RAISED and call.args:
            first = call.args[0]
            parts = first.values if isinstance(first, ast.JoinedStr) else [first]
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in parts)
            found.append(Message(f"{place}:{call.lineno}", name, text, 0, 0, False))
    return found


LOGGED, SAID = logged(), raised()


def by_place(messages: list[Message]) -> list[object]:
    return [pytest.param(one, id=one.place) for one in messages]


def test_there_are_messages() -> None:
    assert len(LOGGED) > 20
    assert len(SAID) > 40


@pytest.mark.parametrize("message", by_place(LOGGED))
def test_log_messages_say_what_and_where_in_one_line(message: Message) -> None:
    assert message.holes == message.given
    assert message.holes, "it names nothing: no queue, no vhost, no file"
    assert "\n" not in message.text
    assert message.pieces(), "it says nothing of its own"
    assert not message.text.endswith((".", "!"))
    first = message.text.lstrip(HOLE + ":; ")[:1]
    assert first.islower() or message.text.startswith("RabbitMQ")
    assert not message.traceback or message.place.partition(":")[0] in TRACEBACKS


@pytest.mark.parametrize("message", by_place([one for one in LOGGED if one.level not in ("debug", "info")]))
def test_warnings_are_in_the_docs(message: Message) -> None:
    assert message.pieces()[0] in PAGE, f"{message.text!r} is not in docs/troubleshooting.md"


@pytest.mark.parametrize("message", by_place([one for one in SAID if one.pieces()]))
def test_errors_are_in_the_docs(message: Message) -> None:
    assert message.pieces()[0] in PAGE, f"{message.text!r} is not in docs/troubleshooting.md"
