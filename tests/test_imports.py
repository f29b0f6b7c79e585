"""The house: imports go one way, and the broker touches no clock, socket or file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "haypile"

#: What each room may import of the others. A room that is not named here may import anything.
ALLOWED: dict[str, set[str]] = {
    "lanes": set(),
    "hay": set(),
    "broker": {"lanes", "hay"},
    "wires": {"broker", "lanes", "hay"},
    "launch": set(),
    "targets": {"broker", "launch"},
    "parameters": {"targets"},
    "routes": {"links", "parameters", "targets"},
    "definitions": {"broker"},
    "links": {"definitions", "wires", "broker"},
    "hybrid": {"links", "routes", "parameters", "wires", "broker", "targets"},
    "fronts": {"hybrid", "links", "routes", "wires", "broker", "targets"},
    "adapters": {"fronts"},
    "alias": set(),
    "admin": {"broker", "lanes", "hay", "targets"},
    "testing": {"admin", "broker", "fronts", "hay", "parameters", "targets"},
}
#: Modules of the standard library that the broker leaves to others.
UNTOUCHED = {"asyncio", "os", "select", "selectors", "socket", "subprocess", "threading", "time"}
#: Where it may all the same, and why.
EXCEPTIONS = {
    "broker/vhost.py": {"os", "threading"},  # shared by the threads of a process, forgotten by a forked child
    "broker/topology.py": {"threading"},  # one cache for the threads of a process
    "broker/routing.py": {"threading"},  # the type of that cache's lock
}


def modules() -> list[Path]:
    """All our source files."""
    return sorted(path for path in SRC.rglob("*.py") if path.parent.name != "site")


def imports(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Names of the modules that ``path`` imports at run time, with the statement."""
    tree = ast.parse(path.read_text())
    unseen: list[ast.AST] = [tree]
    while unseen:
        node = unseen.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", node
            if node.module == "haypile":
                yield from ((f"haypile.{alias.name}", node) for alias in node.names)
        unseen.extend(ast.iter_child_nodes(node))


def room(module: str) -> str:
    """The first part of a module's name below haypile."""
    return module.split(".")[1] if module.startswith("haypile.") else ""


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_imports_go_one_way(path: Path) -> None:
    """No room imports one above it."""
    own = path.relative_to(SRC).parts[0].removesuffix(".py")
    allowed = ALLOWED.get(own)
    if allowed is None:
        return
    for module, _ in imports(path):
        other = room(module)
        assert not other or other == own or other in allowed, f"{path.name} ({own}) imports {module}"


@pytest.mark.parametrize(
    "path", sorted((SRC / "broker").rglob("*.py")), ids=lambda path: str(path.relative_to(SRC))
)
def test_broker_leaves_the_machine_to_others(path: Path) -> None:
    """Clock, files, threads and sockets are handed to it."""
    excepted = EXCEPTIONS.get(str(path.relative_to(SRC)), set())
    found = {module.split(".")[0] for module, _ in imports(path)} & UNTOUCHED
    assert found <= excepted


def test_no_import_cycles() -> None:
    """Modules can be understood one after the other."""
    names = {path: ".".join(("haypile", *path.relative_to(SRC).with_suffix("").parts)) for path in modules()}
    known = {name.removesuffix(".__init__"): path for path, name in names.items()}
    graph = {
        name: {module for module, _ in imports(path) if module in known and module != name}
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for other in graph[name]:
            visit(other, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_imports_stand_at_the_top(path: Path) -> None:
    """Inside functions only what is optional may be imported."""
    tree = ast.parse(path.read_text())
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    line = path.read_text().splitlines()[node.lineno - 1]
                    assert "noqa: PLC0415" in line, f"{path.name}:{node.lineno} imports inside a function"
