"""The thread that runs links: errors of our own, replies that come too late. Both ends are this host."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haypile import targets
from haypile.broker.ports import VhostTarget
from haypile.links.link import Link
from haypile.links.plan import Place, Plan
from haypile.links.runner import Host, Site
from haypile.parameters import URLParameters
from tests.links.links import LOCAL, connect, drain, publish

PLAN = Plan("here", Place(queue="from"), Place(queue="to"), window=20)


@pytest.fixture
def host(state_directory: Path) -> Iterator[Host]:
    """A host of this process, without a link."""
    with connect(LOCAL) as connection:
        for queue in ("from", "to"):
            connection.channel().queue_declare(queue, durable=True)

        def local() -> URLParameters:
            return URLParameters(LOCAL)

        target = targets.resolve(local())
        assert isinstance(target, VhostTarget)
        made = Host.join(Site(target.directory, target.vhost, local, remote=lambda name: URLParameters(LOCAL)))
        yield made
        made.leave()
        assert not made.thread.is_alive()


#: Where the mistake is made: in a callback of a connection, which is given up by that, or in a timer of the loop.
MISTAKES = {"_on_message": ((1, 15, 60), "its connection is given up"), "_settle": ((2,), "given up|connect anew")}


@pytest.mark.parametrize("where", MISTAKES)
def test_an_error_of_our_own_loses_no_link(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """It is logged with its traceback, the link connects anew, and every message arrives."""
    (at, said), ours, times = MISTAKES[where], getattr(Link, where), [0]

    def failing(self: Link, *arguments: Any) -> None:
        times[0] += 1
        if times[0] in at:
            raise RuntimeError("a mistake in haypile")
        ours(self, *arguments)

    monkeypatch.setattr(Link, where, failing)
    bodies = [b"%d" % number for number in range(100)]
    publish(LOCAL, "from", bodies)
    with caplog.at_level(logging.ERROR, "haypile"):
        host.runner.add(PLAN)
        found = drain(LOCAL, "to", 100)
    assert list(dict.fromkeys(body for _, _, body in found)) == bodies
    errors = [one for one in caplog.records if one.levelno == logging.ERROR and one.name == "haypile"]
    assert len(errors) == len(at)
    assert all(record.exc_info and re.search(said, record.getMessage()) for record in errors)


def test_an_error_in_the_loop_itself(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All links connect anew, and go on."""
    publish(LOCAL, "from", [b"1"])
    host.runner.add(PLAN)
    drain(LOCAL, "to", 1)

    def mistaken() -> None:
        raise RuntimeError("a mistake in haypile")

    with caplog.at_level(logging.ERROR, "haypile"):
        host.runner.loop.add_callback_threadsafe(mistaken)
        publish(LOCAL, "from", [b"2"])
        assert [body for _, _, body in drain(LOCAL, "to", 1)][-1] == b"2"
    errors = [one for one in caplog.records if one.levelno == logging.ERROR and one.name == "haypile"]
    assert len(errors) == 1 and "connect anew" in errors[0].getMessage() and errors[0].exc_info


def test_stopped_in_the_middle_of_opening(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """A reply that was under way when its connection was closed is left alone."""
    publish(LOCAL, "from", [b"one"])
    host.runner.add(PLAN)
    drain(LOCAL, "to", 1)
    link = host.runner.links["here"]
    for up in (link._source_up, link._sink_up):
        for end in (link.source, link.sink):
            while (channel := end.channel) is None:
                time.sleep(0.001)  # the last cut went through this end

            def cut(up: Any = up, end: Any = end, channel: Any = channel) -> None:
                if end.channel is channel:
                    up(channel)
                    end.fail("cut off by a test")

            host.runner.loop.add_callback_threadsafe(cut)
    publish(LOCAL, "from", [b"two"])
    assert [body for _, _, body in drain(LOCAL, "to", 1)][-1] == b"two"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
