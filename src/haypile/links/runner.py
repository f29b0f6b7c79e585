"""Running links: all of a vhost's on one loop, each by one process at a time.

Owns: that loop, who runs which link, their status files, and the thread that serves a program's connections.
Must not know: how messages are passed on (``link``), what routes say.

An error in our own code loses no link: it is logged, and all of them connect anew.
"""

from __future__ import annotations

import atexit
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pika.adapters.select_connection import IOLoop
from pika.connection import Parameters

from haypile.links import opening, status
from haypile.links.end import Opener
from haypile.links.link import Link
from haypile.links.plan import Place, Plan

LOGGER = logging.getLogger("haypile")

#: Seconds between status files, and between looks whether a link of another process became free.
TICK = 1.0
#: Seconds over which a rate is an average.
RATE_SPAN = 5.0
#: Seconds after which ending a link is tried again.
PATIENCE = 10.0
#: Seconds that connections may take to close.
GOODBYE = 3.0

@dataclass(frozen=True)
class Site:
    """A vhost whose links are run."""

    #: Its state directory.
    directory: Path
    vhost: str
    #: How to connect to it.
    local: Callable[[], Parameters]
    #: How to connect to a RabbitMQ by its name. Raises KeyError for one that nobody knows.
    remote: Callable[[str], Parameters]

    def opener(self, place: Place) -> Opener:
        """Makes connections to where ``place`` is. Raises KeyError."""
        parameters = self.local() if place.remote is None else self.remote(place.remote)

        def connect(**callbacks: Any) -> Any:
            return opening.connection_class()(parameters, **callbacks)

        return connect

    def login(self, place: Place) -> str | None:
        """The user there. Raises KeyError."""
        parameters = self.local() if place.remote is None else self.remote(place.remote)
        return getattr(parameters.credentials, "username", None)

    def identity(self, plan: Plan) -> str:
        """This link among those of all hosts that a message may pass."""
        return f"{plan.name}@{platform.node()}:{self.vhost}"


class Runner:
    """The links of one site on one loop."""

    def __init__(self, site: Site, plans: Sequence[Plan]) -> None:
        self.site = site
        self.plans = {plan.name: plan for plan in plans}
        self.loop = IOLoop()
        self.links: dict[str, Link] = {}
        self._rates: dict[str, list[tuple[float, int]]] = {}
        #: Links that were declared, and since when some of them end.
        self._declared: Set[str] = frozenset()
        self._ending: dict[str, float] = {}
        self._stopping = self._interrupted = False
        #: Names of the links to run; None: declared ones, too.
        self.only: frozenset[str] | None = None

    def run(self) -> None:
        """Until ``stop``. Raises KeyError for a RabbitMQ that nobody knows."""
        try:
            self._tick()
            while not self._turn():
                pass
        finally:
            for link in self.links.values():
                status.unlock(self.site.directory, link.plan.name)
            self.loop.close()

    def _turn(self) -> bool:
        """Run the loop; False when an error ended it before ``stop`` did."""
        try:
            self.loop.start()
        except Exception:
            if self._stopping:
                raise
            LOGGER.exception("an error in the links of vhost %r: all of them connect anew", self.site.vhost)
            for link in self.links.values():
                for end in (link.source, link.sink):
                    end.fail("an error of haypile's own; the log has it")
            return False
        return True

    def stop(self) -> None:
        """From any thread: acknowledge what is confirmed, close, and return from ``run``."""
        self.loop.add_callback_threadsafe(self._stop)

    def interrupt(self) -> None:
        """From a signal handler: ``stop`` soon."""
        # The loop's own way to be woken takes a lock, which the thread that a signal interrupts may hold.
        self._interrupted = True

    def add(self, plan: Plan) -> None:
        """From any thread: run ``plan`` too, from now on."""

        def take_in() -> None:
            self.plans.setdefault(plan.name, plan)
            self._begin()

        self.loop.add_callback_threadsafe(take_in)

    def _tick(self) -> None:
        if self._interrupted:
            self._stop()
        if self._stopping:
            return
        self.loop.call_later(TICK, self._tick)
        declared = {plan.name: plan for plan in status.declared(self.site.directory)}
        for name in self._declared - declared.keys():
            self._drop(name)  # it was forgotten
        for name, plan in declared.items():
            if self.only is None or name in self.only:
                self.plans.setdefault(name, plan)
        self._declared = declared.keys() & self.plans.keys()
        self._begin()
        for name, link in list(self.links.items()):
            link.look()
            self._report(name, link)
            if name in declared and declared[name].ending:
                self._finish(name, link)
            else:
                self._ending.pop(name, None)

    def _begin(self) -> None:
        """Start what nobody runs."""
        if self._stopping:
            return
        for name, plan in self.plans.items():
            if name not in self.links and status.lock(self.site.directory, name):
                site = self.site
                source, sink = site.opener(plan.source), site.opener(plan.sink)
                login = site.login(plan.sink) if plan.sink.remote is not None else None
                link = self.links[name] = Link(plan, site.identity(plan), self.loop, source, sink, login)
                link.start()

    def _finish(self, name: str, link: Link) -> None:
        """End a link whose bindings are gone, once all that they collected has arrived."""
        since = self._ending.setdefault(name, time.monotonic())
        channel, plan = link.source.channel, link.plan
        if link.state != "running" or link.hand or link.waiting != 0 or link.looked_at < since:
            return

        def gone(_: Any) -> None:
            if link.sink.channel is not None and plan.sink.exchange == plan.source.queue:
                link.sink.channel.exchange_delete(plan.sink.exchange)
            status.forget(self.site.directory, name)
            self._drop(name)
            status.erase(self.site.directory, name)

        def delete(_: Any) -> None:
            channel.queue_delete(plan.source.queue, if_empty=True, callback=gone)

        self._ending[name] = time.monotonic() + PATIENCE
        for tag in channel.consumer_tags:
            channel.basic_cancel(tag, callback=delete)

    def _drop(self, name: str) -> None:
        """Run link ``name`` no longer."""
        self.plans.pop(name, None)
        self._ending.pop(name, None)
        link = self.links.pop(name, None)
        if link is not None:
            link.stop()
            self._report(name, link)
            status.unlock(self.site.directory, name)

    def _report(self, name: str, link: Link) -> None:
        now = time.monotonic()
        rates = self._rates.setdefault(name, [])
        rates.append((now, link.moved))
        while len(rates) > 2 and now - rates[0][0] > RATE_SPAN:
            del rates[0]
        (since, before), span = rates[0], max(now - rates[0][0], 1e-9)
        told = {
            "name": name,
            "from": str(link.plan.source),
            "to": str(link.plan.sink) if not link.plan.parcels else f"{link.plan.sink.remote} (outbox)",
            "state": link.state,
            "moved": link.moved,
            "rate": round((link.moved - before) / span, 1) if now > since else 0.0,
            "in_hand": len(link.hand),
            "lag": None if link.waiting is None else link.waiting + len(link.hand),
            "looped": link.looped,
            "last_error": link.trouble,
            "pid": os.getpid(),
            "at": time.time(),
        }
        try:
            status.write(self.site.directory, name, told)
        except OSError as error:
            LOGGER.warning("link %r goes on, but its status cannot be written: %s", name, error)

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        for name, link in self.links.items():
            link.stop()
            self._report(name, link)
        deadline = time.monotonic() + GOODBYE

        def leave() -> None:
            if all(link.gone for link in self.links.values()) or time.monotonic() > deadline:
                self.loop.stop()
            else:
                self.loop.call_later(0.01, leave)

        leave()


# -- for the connections of a program ---------------------------------------------------------


class Host:
    """A thread that runs the links of a site while connections of this process need them."""

    _hosts: dict[Path, Host] = {}
    _mutex = threading.Lock()

    def __init__(self, site: Site) -> None:
        self.runner = Runner(site, ())
        self.users = 0
        self.thread = threading.Thread(target=self._run, name=f"haypile links of {site.vhost}", daemon=True)

    def _run(self) -> None:
        try:
            self.runner.run()
        except Exception:
            LOGGER.exception("the links of vhost %r stopped; connect anew, or haypile link run", self.runner.site.vhost)

    @classmethod
    def join(cls, site: Site) -> Host:
        """The host of ``site``, started if need be; give it back by ``leave``."""
        with cls._mutex:
            host = cls._hosts.get(site.directory)
            if host is None:
                host = cls._hosts[site.directory] = cls(site)
                host.thread.start()
            host.users += 1
            return host

    def leave(self) -> None:
        """One user less; the last one ends the thread."""
        with self._mutex:
            self.users -= 1
            if self.users > 0 or self._hosts.get(self.runner.site.directory) is not self:
                return
            del self._hosts[self.runner.site.directory]
        self._end()

    def _end(self) -> None:
        if self.thread.is_alive():
            self.runner.stop()
            self.thread.join(GOODBYE + 1)

    @classmethod
    def end_all(cls) -> None:
        """At the end of the process, while its sessions are still open."""
        with cls._mutex:
            hosts = list(cls._hosts.values())
            cls._hosts.clear()
        for host in hosts:
            host._end()

    @classmethod
    def forget_all(cls) -> None:
        """In a forked child: the threads are the parent's."""
        cls._mutex = threading.Lock()
        cls._hosts.clear()


atexit.register(Host.end_all)
os.register_at_fork(after_in_child=Host.forget_all)
