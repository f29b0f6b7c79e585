"""What a signal handler calls takes no lock: the thread that it interrupts may be the one that holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from haypile import targets
from haypile.broker.ports import VhostTarget
from haypile.cli.move import opener
from haypile.links.move import Move
from haypile.links.plan import Place, Plan
from haypile.links.runner import Runner, Site
from haypile.parameters import URLParameters
from tests.links.links import LOCAL, connect

PLAN = Plan("here", Place(queue="from"), Place(queue="to"))


@pytest.fixture
def target(state_directory: Path) -> VhostTarget:
    """A vhost with two queues."""
    with connect(LOCAL) as connection:
        for queue in ("from", "to"):
            connection.channel().queue_declare(queue, durable=True)
    found = targets.resolve(URLParameters(LOCAL))
    assert isinstance(found, VhostTarget)
    return found


def interrupted(loop: Any, handler: Callable[[], None]) -> None:
    """Call ``handler`` where ``loop`` is in the middle of being woken."""

    def locked(callback: Callable[[], None]) -> None:
        raise AssertionError("a deadlock: IOLoop.add_callback_threadsafe takes a lock that is not reentrant")

    with pytest.MonkeyPatch.context() as held:
        held.setattr(loop, "add_callback_threadsafe", locked)
        handler()


def test_a_move_ends(target: VhostTarget) -> None:
    move = Move(PLAN, opener(LOCAL), opener(LOCAL), lambda moved, left: None)
    move.loop.call_later(0.05, lambda: interrupted(move.loop, move.stop))
    assert move.run(follow=True) == 0


def test_links_end(target: VhostTarget) -> None:
    def local() -> URLParameters:
        return URLParameters(LOCAL)

    runner = Runner(Site(target.directory, target.vhost, local, remote=lambda name: local()), [PLAN])
    runner.loop.call_later(0.05, lambda: interrupted(runner.loop, runner.interrupt))
    runner.run()
    assert all(link.gone for link in runner.links.values())
