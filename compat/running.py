"""Running one program on one transport, and seeing what it left.

Owns: the processes of a program, their time limit, the list of programs, and their recorded outcomes on a RabbitMQ.
Must not know: which results should be equal.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.support.vhosts import Vhost

from compat.left import PROGRAMS, Lookers

RECORDED = PROGRAMS.parent / "recorded"
#: Seconds a program may take.
LIMIT = 60.0
#: Whoever runs programs closes them in the end.
LOOKERS = Lookers()


@dataclass(frozen=True)
class Program:
    """One file of ``programs/``: its docstring reads ``Area: what it shows.``"""

    name: str
    path: Path
    area: str
    title: str
    queues: tuple[str, ...]
    #: ``DEFINITIONS``: policies and limits of its vhost, as in a definitions file, without the vhost's name.
    definitions: dict[str, Any] | None = None
    #: ``NEEDS``: an exchange type that RabbitMQ has by a plugin, "consumer_timeout=MS" (one for a whole server), or
    #: "firehose".
    needs: str | None = None

    @property
    def record(self) -> Path:
        """Where its recorded outcome is."""
        return RECORDED / f"{self.name}.json"


@dataclass(frozen=True)
class Outcome:
    """What a program did: printed lines, exit code, last words on stderr, and what it left in its queues."""

    output: str
    code: int | None
    errors: str
    left: str
    #: Session files and kernel queues still there when no connection was: none of this may ever be.
    litter: tuple[str, ...] = ()

    def same_as(self, other: Outcome) -> bool:
        """Whether nobody could tell the two apart. stderr may differ: tracebacks hold file names."""
        mine, others = (self.output, self.code, self.left), (other.output, other.code, other.left)
        return mine == others and not self.litter and not other.litter

    def write(self, path: Path) -> None:
        """Record it."""
        path.parent.mkdir(exist_ok=True)
        kept = {name: value for name, value in asdict(self).items() if name not in ("errors", "litter")}
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """A recorded one."""
        return cls(errors="", **json.loads(path.read_text()))

    def report(self) -> str:
        """The whole outcome as text, for showing differences."""
        ended = "did not end in time" if self.code is None else f"exit code {self.code}"
        errors = "\n".join(self.errors.splitlines()[-8:]) if self.code != 0 else ""
        parts = (self.output.rstrip(), ended, errors, self.left.rstrip(), *self.litter)
        return "\n".join(part for part in parts if part)


def _queue_names(tree: ast.Module) -> tuple[str, ...]:
    """The queues a program declares by a literal name."""
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "queue_declare":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value:
                names[first.value] = None
    return tuple(names)


def _constant(tree: ast.Module, name: str) -> Any:
    """The value of a module's literal constant, None without one."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    return None


def load(path: Path) -> Program:
    """Read what a program says of itself."""
    tree = ast.parse(path.read_text())
    area, _, title = (ast.get_docstring(tree) or "").replace("\n", " ").partition(": ")
    definitions, needs = _constant(tree, "DEFINITIONS"), _constant(tree, "NEEDS")
    return Program(path.stem, path, area, title.rstrip("."), _queue_names(tree), definitions, needs)


def programs() -> list[Program]:
    """Every program, in the order of their names."""
    return [load(path) for path in sorted(PROGRAMS.glob("*.py")) if not path.name.startswith("_")]


def run(program: Program, vhost: Vhost) -> Outcome:
    """Run a program to its end on a fresh vhost, then look into its queues."""
    output, errors, code = _process(vhost, program.path)
    left = LOOKERS.look(vhost, program.queues) if program.queues or vhost.transport != "amqp" else ""
    return Outcome(output, code, errors, left)


def _process(vhost: Vhost, path: Path) -> tuple[str, str, int | None]:
    process = subprocess.Popen(
        vhost.command(path),
        env=vhost.process_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LIMIT)
        return output, errors, process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its workers too
        output, errors = process.communicate()
        return output, errors, None
