"""Signal handlers that raise (Ctrl-C) while a loop calls a session.

Owns: that no transaction of the store, whose lock all processes wait for, stays open.
Must not know: what the session was doing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from haypile.broker.session import Session

Entry = TypeVar("Entry", bound=Callable[..., None])


def interruptible(entry: Entry) -> Entry:
    """For what the loop calls: Ctrl-C may fall anywhere, even between a transaction and its end."""

    @functools.wraps(entry)
    def guarded(self: Session, *arguments: Any) -> None:
        try:
            entry(self, *arguments)
        except BaseException:
            self.vhost.hay.let_go()
            raise

    return cast(Entry, guarded)
