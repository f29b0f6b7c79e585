"""The topic exchange: patterns of words, ``*`` for one word, ``#`` for any number of them.

Owns: a trie of patterns.
Must not know: as ``base``.

Words are what lies between dots, an empty one included; an empty key has no words at all
(RabbitMQ's split_topic_key), so ``*`` does not match it and ``#`` does. Matching visits each
(node, position) once, so that patterns with many ``#`` cost no more than their size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from haypile.broker.exchanges.base import Headers, Message, Router
from haypile.broker.rows import Binding, Destination


class Node:
    """The patterns that share a beginning."""

    __slots__ = ("bound", "children")

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        self.bound: dict[bytes, Destination] = {}


def words(key: str) -> list[str]:
    """The words of a routing key or a pattern."""
    return key.split(".") if key else []


class Topic(Router):
    """``topic``."""

    type = "topic"

    def __init__(self, arguments: Headers) -> None:
        super().__init__(arguments)
        self._root = Node()

    def add(self, binding: Binding) -> None:
        node = self._root
        for word in words(binding.key):
            child = node.children.get(word)
            if child is None:
                child = node.children[word] = Node()
            node = child
        node.bound[binding.id] = binding.destination

    def remove(self, binding: Binding) -> None:
        path = [self._root]
        pattern = words(binding.key)
        for word in pattern:
            child = path[-1].children.get(word)
            if child is None:
                return
            path.append(child)
        path[-1].bound.pop(binding.id, None)
        for depth in range(len(pattern), 0, -1):
            if path[depth].bound or path[depth].children:
                break
            del path[depth - 1].children[pattern[depth - 1]]

    def match(self, keys: Sequence[str], message: Message) -> Iterable[Destination]:
        found: list[Destination] = []
        for key in keys:
            self._match(words(key), found)
        return found

    def _match(self, key: list[str], found: list[Destination]) -> None:
        length = len(key)
        seen: set[tuple[int, int]] = set()
        pending = [(self._root, 0)]
        while pending:
            node, at = pending.pop()
            if (id(node), at) in seen:
                continue
            seen.add((id(node), at))
            children = node.children
            if at == length:
                found.extend(node.bound.values())
            elif children:
                for word in (key[at], "*"):
                    child = children.get(word)
                    if child is not None:
                        pending.append((child, at + 1))
            if children:
                child = children.get("#")
                if child is not None:
                    pending.extend((child, later) for later in range(at, length + 1))

    def touches(self, binding: Binding) -> str | None:
        key = binding.key
        return key if "*" not in key and "#" not in key else None
