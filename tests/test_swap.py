"""haypile in the place of pika: ``haypile run``, ``haypile.install()``, and their way back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pika.adapters.blocking_connection as pikas_module
import pytest

import haypile

PROGRAM = """
import pika
connection = pika.BlockingConnection(pika.ConnectionParameters("localhost"))
print(type(connection).__module__, connection._impl.wire.target.vhost)
connection.close()
"""

#: What a program can see of how it was started.
SEEN = """
import os, sys
print(sys.argv[1:], __name__, os.path.basename(sys.argv[0]), os.path.basename(sys.path[0]), __file__ == sys.argv[0])
print([path for path in sys.path if "haypile" in path and path.endswith("site")], sys.flags.optimize)
"""


@pytest.fixture
def environment(state_directory: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of the programs, which is also ours."""
    for name in ("HAYPILE_URL", "HAYPILE_RUN"):
        monkeypatch.delenv(name, raising=False)
    return dict(os.environ)


def start(
    arguments: list[str], environment: dict[str, str], directory: Path, how: str = "run"
) -> subprocess.CompletedProcess[str]:
    """Run a command line behind ``python`` (how="python") or ``python -m haypile run``."""
    head = [sys.executable] if how == "python" else [sys.executable, "-m", "haypile", "run"]
    return subprocess.run(
        [*head, *arguments], env=environment, cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )


def script(directory: Path, text: str, name: str = "app.py") -> str:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


# -- haypile run --------------------------------------------------------------------------------


def test_run(environment: dict[str, str], tmp_path: Path) -> None:
    """A script, with and without a URL."""
    path = script(tmp_path, PROGRAM)
    assert start([path], environment, tmp_path).stdout == "haypile.fronts.blocking /\n"
    assert start(["--url", "posix:///v", path], environment, tmp_path).stdout == "haypile.fronts.blocking v\n"
    environment["HAYPILE_URL"] = "posix:///w"
    assert start([path], environment, tmp_path).stdout == "haypile.fronts.blocking w\n"
    assert start(["--url", "posix:///v", path], environment, tmp_path).stdout == "haypile.fronts.blocking v\n"


def test_the_launcher_does_without_pika(environment: dict[str, str]) -> None:
    """It becomes the program, which imports what it needs; a URL that is not plain is looked at more closely."""
    code = """
import sys
import haypile.launch as launch
from haypile.cli.main import main
launch.run = lambda arguments, url: print(arguments, url, "pika" in sys.modules)
for url in ("posix:///demo", "posix:///demo?durability=host"):
    main(["run", "--url", url, "-m", "program"], standalone_mode=False)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "['-m', 'program'] posix:///demo False",
        "['-m', 'program'] posix:///demo?durability=host True",
    ]


def test_run_module(environment: dict[str, str], tmp_path: Path) -> None:
    """``-m``, packages too."""
    script(tmp_path, PROGRAM, "thing.py")
    script(tmp_path, "", "package/__init__.py")
    script(tmp_path, PROGRAM, "package/__main__.py")
    for name in ("thing", "package"):
        assert start(["-m", name], environment, tmp_path).stdout == "haypile.fronts.blocking /\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["APP"],
        ["APP", "a", "--url", "x", "-m", "--help", "--", "-x"],
        ["-m", "app", "--version", "b"],
        ["-m", "missing"],
        ["missing.py"],
    ],
)
def test_program_sees_what_python_would_show(environment: dict[str, str], tmp_path: Path, arguments: list[str]) -> None:
    """argv, __name__, sys.path, __file__, errors, exit codes."""
    path = script(tmp_path, SEEN)
    arguments = [path if argument == "APP" else argument for argument in arguments]
    ours, pythons = (start(arguments, environment, tmp_path, how) for how in ("run", "python"))
    assert (ours.stdout, ours.returncode) == (pythons.stdout, pythons.returncode)
    assert ours.stderr == pythons.stderr


@pytest.mark.parametrize(
    "text",
    [
        "import sys; sys.exit(7)",
        "import sys; sys.exit('words')",
        "raise SystemExit",
        "import pika\n\ndef inner():\n    raise ValueError('x')\n\ninner()",
        "raise KeyboardInterrupt",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os; os._exit(3)",
        "def broken(:",
    ],
)
def test_ends_are_pythons(environment: dict[str, str], tmp_path: Path, text: str) -> None:
    """Exit codes, signals and tracebacks."""
    path = script(tmp_path, text)
    ours, pythons = (start([path], environment, tmp_path, how) for how in ("run", "python"))
    assert ours.returncode == pythons.returncode
    assert ours.stderr == pythons.stderr


def test_interpreter_flags_hold(environment: dict[str, str], tmp_path: Path) -> None:
    """``python -O -m haypile run`` runs the program with -O."""
    path = script(tmp_path, "import sys; print(sys.flags.optimize, sys.flags.dev_mode)")
    done = subprocess.run(
        [sys.executable, "-O", "-m", "haypile", "run", path],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1 False\n"


def test_interrupt(environment: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C reaches the program itself, asleep in pika's loop."""
    path = script(
        tmp_path,
        """
import pika
connection = pika.BlockingConnection()
channel = connection.channel()
channel.queue_declare("queue")
channel.basic_consume("queue", print)
try:
    print("ready", flush=True)
    channel.start_consuming()
except KeyboardInterrupt:
    channel.stop_consuming()
connection.close()
print("clean")
""",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "haypile", "run", path], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "clean\n"
    assert process.returncode == 0


CHILDREN = """
import multiprocessing, os, subprocess, sys
import pika

def child(queue):
    connection = pika.BlockingConnection()
    queue.put(type(connection).__module__)
    connection.close()

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        print(method, queue.get(timeout=30), flush=True)
        process.join()
    code = "import pika; c = pika.BlockingConnection(); print(type(c).__module__, flush=True); c.close()"
    for command in ([sys.executable, "-c", code], ["sh", "-c", f"exec '{sys.executable}' -c '{code}'"]):
        subprocess.run(command, check=True)
    subprocess.run([sys.executable, "-I", "-c", "import sys; print('isolated', 'haypile' in sys.modules)"], check=True)
"""


def test_children(environment: dict[str, str], tmp_path: Path) -> None:
    """Whatever way they are started, but for those that ask to be left alone (-I)."""
    done = start([script(tmp_path, CHILDREN)], environment, tmp_path)
    ours = "haypile.fronts.blocking"
    assert done.stdout.splitlines() == [
        f"fork {ours}",
        f"spawn {ours}",
        f"forkserver {ours}",
        ours,
        ours,
        "isolated False",
    ], done.stderr


def test_names_imported_in_every_way(environment: dict[str, str], tmp_path: Path) -> None:
    """Ours under each of its names, and still pika's kind."""
    text = """
from pika import BlockingConnection, SelectConnection, URLParameters
from pika.adapters import BlockingConnection as second, SelectConnection as other
from pika.adapters.blocking_connection import BlockingConnection as third, BlockingChannel
from pika.adapters.select_connection import SelectConnection as another
from pika.connection import URLParameters as more
import pika, haypile
assert BlockingConnection is second is third is haypile.BlockingConnection is pika.BlockingConnection
assert SelectConnection is other is another is haypile.SelectConnection
assert URLParameters is more is haypile.URLParameters
connection = BlockingConnection(URLParameters("posix:///x"))
assert isinstance(connection, pika.BlockingConnection)
assert isinstance(connection.channel(), BlockingChannel)
connection.close()
class Mine(pika.BlockingConnection):
    pass
mine = Mine()
assert mine._impl.wire is not None
mine.close()
print("ok")
"""
    done = start([script(tmp_path, text)], environment, tmp_path)
    assert done.stdout == "ok\n", done.stderr


def test_programs_without_pika_pay_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    """Nothing of haypile or pika is imported, nothing stays on sys.path."""
    text = """
import sys
print([name for name in sys.modules if name.split(".")[0] in ("haypile", "pika", "asyncio", "importlib.util")])
print([path for path in sys.path if path.rstrip("/").endswith("haypile/site")])
"""
    assert start([script(tmp_path, text)], environment, tmp_path).stdout == "[]\n[]\n"


def test_looking_for_pika_is_not_importing_it(environment: dict[str, str], tmp_path: Path) -> None:
    """``importlib.util.find_spec`` first, the import later."""
    text = (
        "import importlib.util; assert importlib.util.find_spec('pika'); import sys; assert 'pika' not in sys.modules\n"
    )
    assert start([script(tmp_path, text + PROGRAM)], environment, tmp_path).stdout == "haypile.fronts.blocking /\n"


def test_sitecustomize_of_the_user_is_loaded(environment: dict[str, str], tmp_path: Path) -> None:
    """Once, and its failure is reported as Python does."""
    script(tmp_path / "site", "print('customized')\nimport sys; sys.mark = 1", "sitecustomize.py")
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "site"), environment.get("PYTHONPATH", "")])
    path = script(tmp_path, "import sys, sitecustomize; print(sys.mark, sitecustomize.__file__)\n" + PROGRAM)
    lines = start([path], environment, tmp_path).stdout.splitlines()
    # Once for the command, once for the program.
    assert lines[-3:] == [
        "customized",
        f"1 {tmp_path}/site/sitecustomize.py",
        "haypile.fronts.blocking /",
    ]
    script(tmp_path / "site", "raise ValueError('mine')", "sitecustomize.py")
    done = start([path], environment, tmp_path)
    assert "Error in sitecustomize" in done.stderr
    assert "ValueError: mine" in done.stderr


def test_nested_run(environment: dict[str, str], tmp_path: Path) -> None:
    """A program run by haypile runs another: the folder is on the path once."""
    inner = script(tmp_path, PROGRAM + "import os; print(os.environ['PYTHONPATH'].count('haypile/site'))", "inner.py")
    outer = script(
        tmp_path,
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-m', 'haypile', 'run', '--url', 'posix:///in', {inner!r}])",
    )
    assert start([outer], environment, tmp_path).stdout == "haypile.fronts.blocking in\n1\n"


def test_other_interpreters_are_left_alone(environment: dict[str, str], tmp_path: Path) -> None:
    """A pika where haypile is not installed stays as it is."""
    script(tmp_path / "lib", "class BlockingConnection: pass", "pika/__init__.py")
    text = f"""
import os, subprocess, sys
site = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path.endswith("site")][0]
environment = dict(os.environ, PYTHONPATH=site + os.pathsep + {str(tmp_path / "lib")!r})
code = "import pika; print(pika.BlockingConnection.__module__)"
subprocess.run([sys.executable, "-S", "-c", "import sitecustomize;" + code], env=environment, check=True)
"""
    done = start([script(tmp_path, text)], environment, tmp_path)
    assert done.stdout == "pika\n", done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--url", "ftp://x", "app.py"], "unknown scheme 'ftp'"),
        (["--url", "posix:///v?color=red", "app.py"], "unknown option 'color'"),
        (["--uri", "posix:///v", "app.py"], "No such option"),
        ([], "Missing argument 'PROGRAM'"),
    ],
)
def test_usage_errors(environment: dict[str, str], tmp_path: Path, arguments: list[str], words: str) -> None:
    """Said by the command, with exit code 2."""
    done = start(arguments, environment, tmp_path)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())


def test_version_and_help(environment: dict[str, str], tmp_path: Path) -> None:
    """``haypile --version``, ``--help``."""
    for arguments, words in ((["--version"], f"haypile, version {haypile.__version__}"), (["--help"], "run")):
        done = subprocess.run(
            [sys.executable, "-m", "haypile", *arguments], capture_output=True, text=True, check=True, env=environment
        )
        assert words in done.stdout


# -- haypile.install() --------------------------------------------------------------------------


@pytest.fixture
def installed(environment: dict[str, str]) -> Iterator[Any]:
    """``install``, undone after the test."""
    yield haypile.install
    haypile.uninstall()


def test_install_and_uninstall(installed: Any) -> None:
    """In this process, as often as one likes."""
    before = pika.BlockingConnection, pika.SelectConnection, pika.URLParameters
    assert haypile.BlockingConnection not in before
    for _ in range(2):
        haypile.install()
        assert pika.BlockingConnection is pikas_module.BlockingConnection is haypile.BlockingConnection
        assert pika.URLParameters is pika.connection.URLParameters is haypile.URLParameters
    haypile.uninstall()
    haypile.uninstall()
    assert (pika.BlockingConnection, pika.SelectConnection, pika.URLParameters) == before


def test_install_with_a_url(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections go there; afterwards the environment is what it was."""
    monkeypatch.setenv("HAYPILE_URL", "posix:///before")
    installed("posix:///mine")
    installed("posix:///tests")
    with pika.BlockingConnection(pika.ConnectionParameters("rabbit")) as connection:
        assert connection._impl.wire.target.vhost == "tests"
    haypile.uninstall()
    assert os.environ["HAYPILE_URL"] == "posix:///before"


def test_names_imported_before(installed: Any) -> None:
    """A module that said ``from pika import BlockingConnection`` before ``install()`` gets ours, too."""
    early, select, parameters = pika.BlockingConnection, pika.SelectConnection, pika.URLParameters

    class Early(early):  # type: ignore[misc, valid-type]
        pass

    installed()
    with early() as connection:
        assert type(connection) is haypile.BlockingConnection
        assert isinstance(connection, early)
    with early(parameters("posix:///x")) as connection:
        assert connection._impl.wire.target.vhost == "x"
    with Early() as connection:
        assert connection._impl.wire is not None
    made = select(on_open_callback=lambda c: c.close(), on_close_callback=lambda c, error: c.ioloop.stop())
    assert isinstance(made, haypile.SelectConnection)
    made.ioloop.start()
    made.ioloop.close()
    haypile.uninstall()
    with pytest.raises(ValueError, match="Unexpected URL scheme"):
        parameters("posix:///x")
    plain = object.__new__(early)
    assert type(early.__new__(early)) is type(plain) is early
