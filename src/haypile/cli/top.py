"""``haypile top``: queues and their rates, live.

Owns: rates from two looks, the table, the keys.
Must not know: where the numbers come from (``admin.looking``), how a terminal is drawn (rich).

Keys: q ends, / begins a filter (Enter ends it, Escape drops it), s sorts by the next column, up and down choose a
queue, Enter opens it (its arguments, consumers and first messages), Escape goes back.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from haypile.cli.place import Place, failures, with_place

if TYPE_CHECKING:
    from haypile.admin.looking import Look, Row

#: Counters whose rates are shown, and their headings.
RATES = {"published": "in/s", "delivered": "out/s", "acked": "acked/s"}
SORTS = ("messages", "in/s", "out/s", "acked/s", "name")
BARS = " ▁▂▃▄▅▆▇█"
#: Looks that a spark line shows.
HISTORY = 30
#: Messages shown of a queue that is opened.
PEEKED = 10
MISSING = "haypile top needs rich: pip install rich, or take haypile top --once"


@dataclass
class Rates:
    """Queues and how fast their counters grow."""

    rows: list[Row] = field(default_factory=list)
    _before: dict[str, tuple[float, Row]] = field(default_factory=dict)
    _history: dict[str, deque[int]] = field(default_factory=dict)

    def take(self, rows: list[Row], now: float) -> None:
        """A look at time ``now``, seconds."""
        before, self._before = self._before, {}
        self.rows = []
        for row in rows:
            name = row["name"]
            then, old = before.get(name, (now, row))
            passed = now - then
            rates = {
                heading: max(row[column] - old[column], 0) / passed if passed > 0 else 0.0
                for column, heading in RATES.items()
            }
            self._before[name] = now, row
            self._history.setdefault(name, deque(maxlen=HISTORY)).append(row["messages"])
            self.rows.append({**row, **rates, "spark": spark(self._history[name])})
        for gone in self._history.keys() - self._before.keys():
            del self._history[gone]

    def shown(self, sort: str, wanted: str) -> list[Row]:
        """The rows whose name contains ``wanted``, in the order of the column ``sort``."""
        found = [row for row in self.rows if wanted in row["name"]]
        return sorted(found, key=lambda row: row["name"] if sort == "name" else (-row[sort], row["name"]))


def spark(values: deque[int]) -> str:
    """A line of small bars, the largest value a full one."""
    most = max(values)
    return "".join(BARS[(value * (len(BARS) - 1) + most - 1) // most if most else 0] for value in values)


@dataclass
class Screen:
    """What the keys have chosen."""

    sort: int = 0
    wanted: str = ""
    typing: bool = False
    chosen: int = 0
    opened: str = ""

    def press(self, key: str, rows: list[Row]) -> bool:
        """Follow one key; False: end."""
        if self.typing:
            if key in ("enter", "escape"):
                self.typing = False
                self.wanted = self.wanted if key == "enter" else ""
            elif key == "backspace":
                self.wanted = self.wanted[:-1]
            elif len(key) == 1:
                self.wanted += key
        elif key == "escape":
            self.opened = ""
        elif key == "q":
            return False
        elif key == "/":
            self.typing, self.wanted, self.opened = True, "", ""
        elif key == "s":
            self.sort = (self.sort + 1) % len(SORTS)
        elif key in ("up", "down"):
            self.chosen = max(0, min(self.chosen + (1 if key == "down" else -1), len(rows) - 1))
        elif key == "enter" and rows:
            self.opened = rows[min(self.chosen, len(rows) - 1)]["name"]
        return True


@click.command(short_help="Queues and their rates, live.")
@click.option("--once", is_flag=True, help="Print the rates of one interval and end.")
@click.option("--json", "as_json", is_flag=True, help="With --once: as a JSON array.")
@click.option("--interval", type=click.FloatRange(0.05), default=1.0, show_default=True, help="Seconds between looks.")
@click.option("--sort", type=click.Choice(SORTS), default="messages", show_default=True)
@click.option("--filter", "wanted", default="", metavar="TEXT", help="Queues whose name contains TEXT.")
@with_place
def top(place: Place, once: bool, as_json: bool, interval: float, sort: str, wanted: str) -> None:
    """Show queues, how many messages come and go, and how deep they are, until q.

    Keys: / filter, s sort by the next column, arrows and Enter open a queue, Escape goes back, q ends.
    """
    if as_json and not once:
        raise click.UsageError("--json needs --once.")
    with place.look("watch the queues", "use rabbitmq_top or the management pages there") as look:
        rates = Rates()
        rates.take(look.rows("queues"), time.monotonic())
        if once:
            time.sleep(interval)
            rates.take(look.rows("queues"), time.monotonic())
            print_once(rates.shown(sort, wanted), as_json)
        else:
            live(look, rates, Screen(SORTS.index(sort), wanted), interval)


def print_once(rows: list[Row], as_json: bool) -> None:
    """Print the rates."""
    columns = ("name", "messages_ready", "messages_unacknowledged", "consumers", *RATES.values())
    if as_json:
        click.echo(json.dumps([{name: row[name] for name in columns} for row in rows], indent=2))
        return
    from haypile.cli.listing import print_rows  # noqa: PLC0415 - the other ways need it not

    for row in rows:
        row.update({heading: f"{row[heading]:.1f}" for heading in RATES.values()})
    print_rows(rows, columns, columns, False)


def live(look: Look, rates: Rates, screen: Screen, interval: float) -> None:
    """Draw until q."""
    try:
        from rich.live import Live  # noqa: PLC0415 - optional
    except ImportError:
        raise click.ClickException(MISSING) from None
    if not sys.stdin.isatty():
        raise click.UsageError("haypile top needs a terminal; in a script take --once.")
    keys = Keys()
    with raw_terminal(), failures(), Live(screen=True, auto_refresh=False) as drawn:
        while True:
            rows = rates.shown(SORTS[screen.sort], screen.wanted)
            drawn.update(draw(look, screen, rows), refresh=True)
            until = time.monotonic() + interval
            while (key := keys.read(until - time.monotonic())) is not None:
                if not screen.press(key, rows):
                    return
                rows = rates.shown(SORTS[screen.sort], screen.wanted)
                drawn.update(draw(look, screen, rows), refresh=True)
            rates.take(look.rows("queues"), time.monotonic())


def draw(look: Look, screen: Screen, rows: list[Row]) -> Any:
    """What is on the screen."""
    from rich.table import Table  # noqa: PLC0415 - optional
    from rich.text import Text  # noqa: PLC0415

    if screen.opened:
        return draw_queue(look, screen.opened)
    headings = ("queue", "ready", "unacked", "consumers", *RATES.values(), "")
    title = f"{look.vhost.target.transport}:///{look.vhost.name}   sorted by {SORTS[screen.sort]}"
    if screen.typing or screen.wanted:
        title += f"   /{screen.wanted}{'_' if screen.typing else ''}"
    table = Table(title=Text(title), title_justify="left", box=None, expand=True)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("queue", "") else "right")
    for number, row in enumerate(rows):
        cells = [row["messages_ready"], row["messages_unacknowledged"], row["consumers"]]
        speeds = [f"{row[heading]:.0f}" for heading in RATES.values()]
        style = "reverse" if number == min(screen.chosen, len(rows) - 1) else ""
        table.add_row(Text(row["name"]), *map(str, cells), *speeds, row["spark"], style=style)
    return table


def draw_queue(look: Look, name: str) -> Any:
    """A queue that was opened."""
    from rich.text import Text  # noqa: PLC0415 - optional

    queue = look.queue(name)
    if queue is None:
        return Text(f"queue {name!r} is gone; Escape goes back")
    lines = [f"queue {name!r}   (Escape goes back)", ""]
    lines += [f"{column}: {value}" for column, value in look.queue_row(queue, 0).items() if column == "arguments"]
    for row in look.rows("consumers"):
        if row["queue_name"] == name:
            lines.append(f"consumer {row['consumer_tag']} of {row['channel_pid']}, prefetch {row['prefetch_count']}")
    if not look.is_foreign(queue):
        for one in look.peek(queue, PEEKED):
            lines.append(f"{one.exchange or '(default)'} {one.routing_key}: {one.body[:200]!r}")
    return Text("\n".join(lines))


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys come at once and are not shown."""
    import termios  # noqa: PLC0415 - where there is a terminal
    import tty  # noqa: PLC0415

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


NAMED = {"\n": "enter", "\r": "enter", "\x7f": "backspace", "\x1b": "escape", "\x1b[A": "up", "\x1b[B": "down"}


class Keys:
    """The keys that are pressed."""

    def __init__(self) -> None:
        self._text = ""

    def read(self, seconds: float) -> str | None:
        """The next one within ``seconds``; None when there was none."""
        fd = sys.stdin.fileno()
        if not self._text:
            if not select.select([fd], [], [], max(seconds, 0))[0]:
                return None
            self._text = os.read(fd, 1024).decode(errors="replace")
        # An arrow comes as three characters at once.
        text = self._text[:3] if self._text[:3] in NAMED else self._text[:1]
        self._text = self._text[len(text) :]
        return NAMED.get(text, text)
