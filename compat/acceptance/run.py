"""pika's own acceptance suite over each transport.

    python -m compat acceptance FOLDER [--transport posix,sysv,amqp] [-k EXPRESSION]

FOLDER is a checkout of pika (``git clone --branch 1.4.4 https://github.com/pika/pika``): its suite is run, and its
pika, so that both are of one version. Nothing of it is copied or changed.

Owns: how the suite is started, and what of it is left out where (``excluded.json``).
Must not know: the suite's tests.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from tests.support import rabbitmq
from tests.support.vhosts import local_vhost, make_state_directory, remove_state_directory

import haypile

HERE = Path(__file__).resolve().parent
EXCLUDED = HERE / "excluded.json"
#: Seconds that one test may take.
LIMIT = 60


class Exclusion(TypedDict, total=False):
    """Why some tests are left out, and on which transports."""

    reason: str
    transports: list[str]
    #: Versions of pika: from the first on, and before the second.
    since: str
    before: str


def exclusions() -> dict[str, Exclusion]:
    """Pattern of test ids -> why they are left out."""
    found: dict[str, Exclusion] = json.loads(EXCLUDED.read_text())
    return found


def version_of(folder: Path) -> str:
    """Version of the pika in ``folder``."""
    for name in ("pyproject.toml", "setup.py"):
        path = folder / name
        found = re.search(r"^\s*version\s*=\s*['\"]([^'\"]+)", path.read_text(), re.M) if path.exists() else None
        if found:
            return found[1]
    raise SystemExit(f"{folder} does not say which version of pika it is; name a checkout of pika")


def left_out(transport: str, version: str) -> list[str]:
    """Patterns of what is not run there."""
    return [
        pattern
        for pattern, exclusion in exclusions().items()
        if transport in exclusion["transports"]
        and number(exclusion.get("since", "0")) <= number(version) < number(exclusion.get("before", "999"))
    ]


def number(version: str) -> list[int]:
    """``version`` as something that can be compared."""
    return [int(part) for part in re.findall(r"\d+", version)]


@contextmanager
def environment(transport: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Where connections go, and what the suite's process needs to get there.

    The URLs name no vhost: the suite's own choice counts, as it looks at that, too.
    """
    if transport != "amqp":
        directory = make_state_directory()
        try:
            vhost = local_vhost(transport, directory, "acceptance")
            yield f"{transport}:///", vhost.environment
        finally:
            remove_state_directory(directory)
        return
    broker = rabbitmq.get_broker()
    try:
        # The suite compares the host with its own word for it.
        yield broker.url.replace("@127.0.0.1:", "@localhost:").rstrip("/"), {}
    finally:
        broker.close()


def run(folder: Path, transport: str, expression: str) -> int:
    """Run the suite over ``transport``; returns pytest's exit code."""
    suite = sorted(str(path.relative_to(folder)) for path in folder.glob("tests/acceptance/*_test*.py"))
    # Those speak to a connection class of pika's next version, which haypile does not have.
    suite = [path for path in suite if "thread_safe" not in path]
    patterns = left_out(transport, version_of(folder))
    files = {pattern.partition("::")[0] for pattern in patterns if pattern.endswith(".py::*")}
    suite = [path for path in suite if Path(path).name not in files]
    if not suite:
        raise SystemExit(f"{folder} has no tests/acceptance; name a checkout of pika")
    with environment(transport) as (url, more):
        command = [sys.executable, "-m", "haypile", "run", "--url", url, "-m", "pytest", "-q", "--tb=short"]
        command += ["-p", "only_broker", "-p", "no:cacheprovider", "-o", "addopts=", f"--timeout={LIMIT}", *suite]
        if expression:
            command += ["-k", expression]
        paths = [folder, HERE / "plugin", Path(haypile.__file__).parents[1]]
        more["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        more["COMPAT_EXCLUDED"] = json.dumps([pattern for pattern in patterns if not pattern.endswith(".py::*")])
        kept = {name: value for name, value in os.environ.items() if name not in ("HAYPILE_URL", "PYTHONPATH")}
        return subprocess.run(command, cwd=folder, env=kept | more, check=False).returncode


def main(argv: list[str]) -> int:
    """Returns the exit code: 0 when all passes on every transport."""
    parser = argparse.ArgumentParser(prog="python -m compat acceptance", description="run pika's own acceptance suite")
    parser.add_argument("folder", type=Path, help="a checkout of pika")
    parser.add_argument("--transport", default="posix,sysv,amqp")
    parser.add_argument("-k", dest="expression", default="", help="only tests that match, as pytest's -k")
    options = parser.parse_args(argv)
    folder = options.folder.resolve()
    failed: list[str] = []
    # Within a test run there is a server that others use, too.
    lent = rabbitmq.DIRECTORY_VARIABLE in os.environ
    try:
        for transport in options.transport.split(","):
            print(f"pika {version_of(folder)}'s acceptance suite over {transport}", flush=True)
            if run(folder, transport, options.expression):
                failed.append(transport)
    finally:
        if not lent:
            rabbitmq.stop_own_server()
    print(f"failed over {', '.join(failed)}" if failed else "passed")
    return 1 if failed else 0
