"""What the fronts of all loops share.

Owns: deciding where a connection goes before pika's own constructor runs, and whether its parameters can
be left to pika's workflow.
Must not know: any loop, the broker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pika.connection import Parameters

from haypile.broker.ports import VhostTarget
from haypile.targets import ROUTES, TargetError, resolve
from haypile.wires.local import LocalWire
from haypile.wires.seam import workflow as workflows
from haypile.wires.seam.connection import Seam


class Front(Seam):
    """A mixin in front of one of pika's connection classes; its parameters say where it leads."""

    #: Longest wait for room in a lane, seconds: other work of the loop waits too.
    patience = 0.0005
    #: What waits for a disk is done in another thread.
    threads = False
    #: The kind of wire to this host.
    wires: type[LocalWire] = LocalWire

    def __init__(
        self, parameters: Parameters | None = None, *args: Any, target: VhostTarget | None = None, **kwargs: Any
    ) -> None:
        """See pika. Raises ``targets.TargetError`` for parameters that lead nowhere; ``target``: where they do."""
        if parameters is None:
            parameters = Parameters()
        if isinstance(parameters, Parameters):
            led = target or resolve(parameters)
            if isinstance(led, VhostTarget):
                self.wire = wire = self.make_wire(led)
                if ROUTES in led.options:
                    wire.open_session = self.open_hybrid(Path(led.options[ROUTES]))
            else:
                parameters = led
        super().__init__(parameters, *args, **kwargs)

    def make_wire(self, target: VhostTarget) -> LocalWire:
        """The wire to ``target``."""
        return self.wires(self, target, self.watch, self.unwatch, patience=self.patience, threads=self.threads)

    def open_hybrid(self, path: Path) -> Callable[..., Any]:
        """What opens sessions by the routes file at ``path``. Raises ``targets.TargetError``."""
        # Most programs have no routes: they need not pay for the import.
        from haypile.routes import load  # noqa: PLC0415

        routes = load(path)

        def connect(parameters: Parameters, on_frame: Callable[[Any], None], **callbacks: Any) -> Any:
            return workflows.raw_connection(self.pikas(), on_frame)(parameters, custom_ioloop=self.ioloop, **callbacks)

        def open_session(target: VhostTarget, outbox: LocalWire, **options: Any) -> Any:
            # The broker is imported by the first connection to this host, not before.
            from haypile.hybrid.session import HybridSession  # noqa: PLC0415

            return HybridSession.open(target, outbox, routes, connect, **options)

        return open_session

    @classmethod
    def pikas(cls) -> Any:
        """pika's own connection class under this one."""
        return next(kind for kind in cls.__mro__ if kind.__module__.startswith("pika.adapters."))

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have the loop call ``callback`` whenever ``fd`` is readable."""
        raise NotImplementedError

    def unwatch(self, fd: int) -> None:
        """Undo ``watch``."""
        raise NotImplementedError

    @classmethod
    def services(cls, custom_ioloop: Any) -> Any:
        """pika's ``AbstractIOServices`` over ``custom_ioloop``, or over the loop pika would take."""
        raise NotImplementedError

    @classmethod
    def create_connection(
        cls,
        connection_configs: Sequence[Parameters],
        on_done: Callable[[Any], None],
        custom_ioloop: Any = None,
        workflow: Any = None,
    ) -> Any:
        """See pika. ``workflow`` has its say, wherever the parameters lead."""
        if not all(isinstance(config, Parameters) for config in connection_configs):
            return super().create_connection(connection_configs, on_done, custom_ioloop, workflow)
        led = [destination(config) for config in connection_configs]
        if led and not any(here for _, here in led):
            return super().create_connection([config for config, _ in led], on_done, custom_ioloop, workflow)
        return workflows.start_workflow(cls, led, cls.services(custom_ioloop), workflow, on_done)


def destination(parameters: Parameters) -> tuple[Parameters, bool]:
    """Where ``parameters`` lead, as parameters, and whether that is this host (or nowhere: then the front says so)."""
    try:
        target = resolve(parameters)
    except TargetError:
        return parameters, True
    return (parameters, True) if isinstance(target, VhostTarget) else (target, False)


def vhost_of(parameters: Parameters) -> VhostTarget | None:
    """The vhost of this host where ``parameters`` lead; None: they lead elsewhere, or nowhere."""
    try:
        target = resolve(parameters)
    except TargetError:
        return None
    return target if isinstance(target, VhostTarget) else None
