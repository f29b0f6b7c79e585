"""What a link is to do.

Owns: the description of a link and of its two ends, as plain data that may be written down.
Must not know: connections, files, URLs (an end names its RabbitMQ; who runs the link knows where that is).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

#: Messages that a link has in hand at most: taken there and not yet confirmed here.
WINDOW = 500


class InvalidPlan(ValueError):
    """A link that cannot be; the text says why."""


@dataclass(frozen=True)
class Place:
    """One end of a link."""

    #: Name of the RabbitMQ in the routes file; None: this host.
    remote: str | None = None
    queue: str | None = None
    exchange: str | None = None
    #: With an exchange: the routing key of all messages; None: each keeps its own.
    routing_key: str | None = None

    def __str__(self) -> str:
        if self.queue is None and self.exchange is None:
            return f"RabbitMQ {self.remote}"
        what = f"queue {self.queue!r}" if self.queue is not None else f"exchange {self.exchange!r}"
        return f"{what} {'here' if self.remote is None else f'on {self.remote}'}"


@dataclass(frozen=True)
class Plan:
    """A link: what is taken from the queue ``source`` is published to ``sink``."""

    name: str
    source: Place
    sink: Place
    #: Most messages in hand.
    window: int = WINDOW
    #: What becomes of a message that goes to no queue there: "retry" waits until it does, "drop" lets it go.
    unroutable: str = "retry"
    #: Mark messages with the links they passed, and pass none twice.
    hops: bool = True
    #: Messages say themselves where they go (``links.parcel``).
    parcels: bool = False
    #: The bindings that made the link, each as text; none of a link that was written down.
    bindings: tuple[str, ...] = ()
    #: The last of them is gone: what was collected still goes, and then the link.
    ending: bool = False

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise InvalidPlan(f"link {self.name!r}: a name has at least one character, no slash and no leading dot")
        if self.source.queue is None or self.source.exchange is not None:
            raise InvalidPlan(f"link {self.name!r}: it takes from a queue; name one in 'from'")
        if not self.parcels and (self.sink.queue is None) == (self.sink.exchange is None):
            raise InvalidPlan(f"link {self.name!r}: it publishes to a queue or to an exchange; name one in 'to'")
        if self.source == self.sink:
            raise InvalidPlan(f"link {self.name!r}: it leads from {self.source} to itself")
        if type(self.window) is not int or not 1 <= self.window <= 65_535:
            raise InvalidPlan(f"link {self.name!r}: window is {self.window!r}, but must be from 1 to 65535")
        if self.unroutable not in ("retry", "drop"):
            raise InvalidPlan(f"link {self.name!r}: unroutable is {self.unroutable!r}, but must be retry or drop")


def to_json(plan: Plan) -> dict[str, Any]:
    """``plan`` as JSON has it."""
    return asdict(plan)


def from_json(value: dict[str, Any]) -> Plan:
    """The reverse. Raises InvalidPlan."""
    try:
        places = {end: Place(**value[end]) for end in ("source", "sink")}
        return Plan(**{**value, **places, "bindings": tuple(value.get("bindings", ()))})
    except (KeyError, TypeError) as error:
        raise InvalidPlan(f"this is no link: {error}") from error
