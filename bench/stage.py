"""The processes of one measurement: started, spoken with, and gone afterwards.

Owns: child processes and the runner's end of the line protocol of ``clients.talk``.
Must not know: what is measured or over what.

Invariant: when a ``Stage`` is left, no process it started is alive. Each wait has a deadline.
Processes are ended by their own id only, politely first (their stdin closes).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

#: Seconds a program may take for one answer unless told otherwise.
PATIENCE = 60.0
#: Seconds a program may take to go by itself after its last event.
LEAVING = 10.0


class ProgramError(Exception):
    """A measured program died, was late, or said something else than expected."""


class Program:
    """One measured process and its conversation."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = " ".join(arguments)
        # A file, not a pipe: nobody reads it while the program runs.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=dict(environment),
        )
        self._unread = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, do: str, **facts: Any) -> None:
        """Send a command."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **facts}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise ProgramError(f"{self.name}: gone before it was told {do}\n{self._said()}") from error

    def expect(self, event: str, patience: float = PATIENCE) -> dict[str, Any]:
        """The next event, which must be ``event``. Raises ``ProgramError`` when it is not, or late."""
        answer: dict[str, Any] = json.loads(self._line(event, patience))
        if answer["event"] != event:
            raise ProgramError(f"{self.name}: {answer} instead of {event}")
        return answer

    def _line(self, event: str, patience: float) -> bytes:
        assert self.process.stdout is not None
        deadline = time.monotonic() + patience
        fd = self.process.stdout.fileno()
        while b"\n" not in self._unread:
            if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ProgramError(f"{self.name}: no {event} in {patience:.0f} s\n{self._said()}")
            chunk = os.read(fd, 1 << 16)
            if not chunk:
                raise ProgramError(f"{self.name}: ended before {event}\n{self._said()}")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-4000:]

    def close(self, **facts: Any) -> None:
        """Tell it to close, and see it off."""
        self.tell("close", **facts)
        self.leave()

    def leave(self) -> None:
        """Wait for the last event and the end of the process."""
        self.expect("closed")
        code = self.process.wait(LEAVING)
        if code:
            raise ProgramError(f"{self.name}: exit status {code}\n{self._said()}")

    def end(self) -> None:
        """Have it gone, whatever it does."""
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(LEAVING)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._errors.close()


class Stage:
    """The programs of one measurement."""

    def __init__(self) -> None:
        self._programs: list[Program] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self._programs:
            program.end()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Program:
        program = Program(arguments, environment)
        self._programs.append(program)
        return program
