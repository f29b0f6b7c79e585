"""What the fronts of all loops share.

Owns: deciding where a connection goes before pika's own constructor runs, and whether its parameters can
be left to pika's workflow.
Must not know: any loop, the broker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pika.connection import Parameters

from haypile.broker.ports import VhostTarget
from haypile.fronts.attempt import Attempt
from haypile.targets import TargetError, resolve
from haypile.wires.local import LocalWire
from haypile.wires.seam import Seam


class Front(Seam):
    """A mixin in front of one of pika's connection classes; its parameters say where it leads."""

    #: Longest wait for room in a lane, seconds: other work of the loop waits too.
    patience = 0.0005

    def __init__(self, parameters: Parameters | None = None, *args: Any, **kwargs: Any) -> None:
        """See pika. Raises ``targets.TargetError`` for parameters that lead nowhere."""
        if parameters is None:
            parameters = Parameters()
        if isinstance(parameters, Parameters):
            target = resolve(parameters)
            if isinstance(target, VhostTarget):
                self.wire = self.make_wire(target)
            else:
                parameters = target
        super().__init__(parameters, *args, **kwargs)

    def make_wire(self, target: VhostTarget) -> LocalWire:
        """The wire to ``target``."""
        return LocalWire(self, target, self.watch, self.unwatch, patience=self.patience)

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
        """See pika. When one of the parameters leads to this host, ``workflow`` is not used."""
        try:
            targets = [resolve(config) for config in connection_configs]
        except TargetError:
            targets = []
        if targets and not any(isinstance(target, VhostTarget) for target in targets):
            return cls.create_remote(connection_configs, on_done, custom_ioloop, workflow)
        attempt = Attempt(cls, cls.services(custom_ioloop), connection_configs, on_done)
        attempt.begin()
        return attempt

    @classmethod
    def create_remote(
        cls,
        configs: Sequence[Parameters],
        on_done: Callable[[Any], None],
        custom_ioloop: Any,
        workflow: Any = None,
    ) -> Any:
        """pika's own ``create_connection``, with each of ``configs`` led to where it goes."""
        led = [resolve(config) for config in configs]
        return super().create_connection(led, on_done, custom_ioloop, workflow)
