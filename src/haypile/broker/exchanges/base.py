"""What an exchange type is to the topology.

Owns: the interface between an exchange's bindings and routing.
Must not know: other exchanges, queues, caches; a router names destinations, nothing else.

A router keeps the bindings of one exchange in the form that makes matching fast. It is changed
and asked only under the topology's lock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from pika.spec import BasicProperties

from haypile.broker.rows import Binding, Destination

Headers = dict[str, Any]


class Message(NamedTuple):
    """What routing may look at besides the routing keys."""

    headers: Headers | None = None
    properties: BasicProperties | None = None


NO_MESSAGE = Message()


class Router(ABC):
    """The bindings of one exchange."""

    #: Name of the exchange type.
    type: ClassVar[str]
    #: Whether the destinations of a message depend on its routing keys alone.
    by_key: bool = True
    #: How many messages it keeps for later bindings (x-recent-history); 0: none.
    history: int = 0
    #: Arguments that a redeclaration must repeat.
    significant: ClassVar[tuple[str, ...]] = ("alternate-exchange",)

    def __init__(self, arguments: Headers) -> None:
        self.arguments = arguments

    @classmethod
    def check_exchange(cls, name: str, arguments: Headers) -> None:
        """Raise PreconditionFailed when an exchange cannot be declared with ``arguments``."""
        return

    @classmethod
    def check_binding(cls, key: str, arguments: Headers) -> None:
        """Raise PreconditionFailed when RabbitMQ would refuse the binding."""
        return

    def check_own_binding(self, key: str, arguments: Headers) -> None:
        """``check_binding`` for this exchange."""
        self.check_binding(key, arguments)

    @abstractmethod
    def add(self, binding: Binding) -> None:
        """A binding came (its id is new)."""

    @abstractmethod
    def remove(self, binding: Binding) -> None:
        """A binding went."""

    @abstractmethod
    def match(self, keys: Sequence[str], message: Message) -> Iterable[Destination]:
        """Where a message goes that has these routing keys (CC and BCC after the first)."""

    def delay(self, message: Message) -> int:
        """Milliseconds the exchange holds a message back (x-delayed-message); 0: it does not."""
        return 0

    def touches(self, binding: Binding) -> str | None:
        """The one routing key whose route changes with ``binding``; None: perhaps any."""
        return None


#: A class of routers, where ``type`` is a name.
RouterType = type[Router]


class Keyed(Router):
    """Bindings by their exact key."""

    def __init__(self, arguments: Headers) -> None:
        super().__init__(arguments)
        self._by_key: dict[str, dict[bytes, Destination]] = {}

    def add(self, binding: Binding) -> None:
        self._by_key.setdefault(binding.key, {})[binding.id] = binding.destination

    def remove(self, binding: Binding) -> None:
        of_key = self._by_key.get(binding.key)
        if of_key is not None:
            of_key.pop(binding.id, None)
            if not of_key:
                del self._by_key[binding.key]

    def match(self, keys: Sequence[str], message: Message) -> Iterable[Destination]:
        return [found for key in keys for found in self._by_key.get(key, _NONE).values()]

    def touches(self, binding: Binding) -> str | None:
        return binding.key


_NONE: dict[bytes, Destination] = {}
