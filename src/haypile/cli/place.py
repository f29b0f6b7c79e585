"""Which vhost a command works on, and how its errors look.

Owns: ``--url`` and ``--vhost``, the connection a command opens, the exit codes.
Must not know: what commands do.

Exit codes: 0 it was done; 1 it failed, the reason is on standard error; 2 wrong usage; 3 there was nothing to
take (``get``).
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import click

from haypile import targets

if TYPE_CHECKING:
    from haypile.admin.looking import Look
    from haypile.broker.ports import VhostTarget
    from haypile.broker.session import Session

#: Exit code when there was nothing to take.
NOTHING = 3


class Place:
    """The vhost that ``--url`` and ``--vhost`` name: one of this host, or of a RabbitMQ."""

    def __init__(self, url: str | None, vhost: str | None) -> None:
        """Raises click.BadParameter."""
        try:
            local = targets.LocalURL("posix", None) if url is None else targets.parse_local(url)
            self.target: VhostTarget | None = None
            if local is not None:
                self.target = targets.local_target(local, "/" if vhost is None else vhost)
                query = urlsplit(url or "").query
                self.url = f"{local.transport}:///{quote(self.target.vhost, safe='')}" + (f"?{query}" if query else "")
            else:
                assert url is not None
                self.url = url
        except targets.TargetError as error:
            raise click.BadParameter(str(error), param_hint="--url") from error
        self.vhost = vhost

    @property
    def here(self) -> bool:
        """Whether the vhost is of this host's kernel queues."""
        return self.target is not None

    def needs_here(self, what: str, instead: str) -> VhostTarget:
        """The vhost, for a command that AMQP has no way for. Raises click.ClickException."""
        if self.target is None:
            raise click.ClickException(f"AMQP has no way to {what} of a RabbitMQ; {instead}")
        return self.target

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """A blocking connection. Errors of AMQP end the command."""
        from haypile.fronts.blocking import BlockingConnection  # noqa: PLC0415 - not every command connects
        from haypile.parameters import URLParameters  # noqa: PLC0415

        # --url counts; HAYPILE_URL was its default already.
        os.environ.pop(targets.URL_VARIABLE, None)
        with failures():
            parameters = URLParameters(self.url)
            if self.vhost is not None and not self.here and len(urlsplit(self.url).path) < 2:
                parameters.virtual_host = self.vhost
            connection = BlockingConnection(parameters)
            try:
                yield connection
            finally:
                if connection.is_open:
                    connection.close()

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """A channel of a connection of its own."""
        with self.connect() as connection:
            yield connection.channel()

    @contextmanager
    def session(self, command: str, what: str, instead: str) -> Iterator[Session]:
        """A session for changing what AMQP has no way to change; listings call it ``command``."""
        from haypile.admin.quiet import quiet_session  # noqa: PLC0415 - as above

        with failures(), quiet_session(self.needs_here(what, instead), command) as session:
            yield session

    @contextmanager
    def look(self, what: str, instead: str) -> Iterator[Look]:
        """A look at the vhost (``admin.looking``)."""
        from haypile.admin.looking import look_at  # noqa: PLC0415 - as above

        with failures(), look_at(self.needs_here(what, instead)) as look:
            yield look


@contextmanager
def failures() -> Iterator[None]:
    """What goes wrong becomes one line and exit code 1."""
    from pika.exceptions import AMQPError  # noqa: PLC0415 - --help needs no pika

    from haypile.hay.errors import HayError  # noqa: PLC0415
    from haypile.lanes.errors import LaneError  # noqa: PLC0415

    try:
        yield
    except BrokenPipeError:
        # `| head` has seen enough: click knows.
        raise
    except AMQPError as error:
        raise click.ClickException(words(error)) from error
    except (HayError, LaneError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def words(error: Exception) -> str:
    """An error of pika's in one line."""
    code, text = getattr(error, "reply_code", None), getattr(error, "reply_text", None)
    if code is not None:
        return f"{code} {text}"
    nested = getattr(error, "exceptions", None)
    if nested:
        # AMQPConnectionWorkflowFailed: the last attempt tells most.
        return words(nested[-1])
    inner = getattr(error, "exception", None)
    if isinstance(inner, Exception):
        return words(inner)
    return str(error) or f"{type(error).__name__}: {error!r}"


url_option = click.option(
    "--url",
    metavar="URL",
    envvar=targets.URL_VARIABLE,
    help="posix:///VHOST, sysv:///VHOST, or amqp://USER:PASSWORD@HOST/VHOST.  [default: $HAYPILE_URL or posix:///]",
)


def with_place(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give ``command`` the options ``--url`` and ``--vhost``, and a ``Place`` as its first argument."""

    @url_option
    @click.option("--vhost", "-p", metavar="NAME", help="The vhost, where --url does not say.  [default: /]")
    @functools.wraps(command)
    def placed(url: str | None, vhost: str | None, **options: Any) -> Any:
        return command(Place(url, vhost), **options)

    return placed


def decode(text: str) -> Any:
    """JSON. Raises click.BadParameter."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text[:60]!r} is not JSON: {error}") from error


def there_is_somebody() -> bool:
    """Whether a question would be answered by a person."""
    return sys.stdin.isatty()


def confirm(question: str, yes: bool) -> None:
    """Ask before something is destroyed. Raises click.Abort; click.UsageError where nobody can answer."""
    if yes:
        return
    if not there_is_somebody():
        raise click.UsageError(f"{question} Nobody is there to ask: say --yes.")
    click.confirm(question, abort=True, err=True)


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
