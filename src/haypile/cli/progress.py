"""Progress bars.

Owns: when one is shown: on standard error, where a person sees it, once the work has taken a second.
Must not know: what takes so long.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import click

#: Seconds of work before a bar is worth a look.
PATIENCE = 1.0
#: Seconds between two looks of a bar: drawing costs more than most steps.
PAUSE = 0.1


class Progress:
    """How far some work is."""

    def __init__(self, label: str, length: int | None, visible: bool) -> None:
        """``length``: how many steps there are, None where nobody knows."""
        self.label = label
        self.length = length
        self.done = 0
        self._next = monotonic() + PATIENCE if visible else None
        self._note = ""
        self._bar: Any = None

    def step(self, count: int = 1, note: str = "") -> None:
        """So much more is done; ``note`` stands beside the bar."""
        self.done += count
        self._note = note
        if self._next is not None and monotonic() >= self._next:
            self._next = monotonic() + PAUSE
            self._draw()

    def _draw(self) -> None:
        if self._bar is None:
            self._bar = click.progressbar(
                length=0, label=self.label, file=sys.stderr, show_pos=True, item_show_func=str
            )
        self._bar.length = self.length
        self._bar.update(self.done - self._bar.pos, self._note)

    def end(self) -> None:
        """Leave the bar as it stands, and go to the next line."""
        if self._bar is not None:
            self._draw()
            self._bar.render_finish()


@contextmanager
def progress(label: str, length: int | None = None, *, quiet: bool = False) -> Iterator[Progress]:
    """A bar for what is done inside. ``quiet``: never; also where standard error is no terminal."""
    shown = Progress(label, length, not quiet and sys.stderr.isatty())
    try:
        yield shown
    finally:
        shown.end()
