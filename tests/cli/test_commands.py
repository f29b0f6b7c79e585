"""Every command with every option, in this process: what it prints, where, and its exit code."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import haypile as pika
from haypile import launch
from haypile.admin.looking import COLUMNS
from haypile.cli import progress
from haypile.cli.main import COMMANDS, main
from tests.support.vhosts import Vhost

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "amqp://guest:guest@127.0.0.1:1/%2F"
#: Options that a person or another process has to be there for, and the test that has them.
ELSEWHERE = {
    "metrics --port": "tests/cli/test_metrics.py",
    "metrics --host": "tests/cli/test_metrics.py",
    "move --follow": "tests/links/test_move.py",
}
USED: set[str] = set()

Invoke = Callable[..., Result]


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its path."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, (*path, name))
    else:
        yield path, command


LEAVES = dict(leaves(main))


def note_use(arguments: tuple[str, ...]) -> None:
    """Remember which options of which command were given."""
    path = next((arguments[:size] for size in (2, 1) if arguments[:size] in LEAVES), None)
    if path is not None:
        USED.add(" ".join(path))
        given = {argument.partition("=")[0] for argument in arguments}
        for option in LEAVES[path].params:
            if given & {*option.opts, *option.secondary_opts}:
                USED.add(f"{' '.join(path)} {max(option.opts, key=len)}")


@pytest.fixture
def invoke(local_vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """Call the command in this process; what it changes in the process is undone."""
    loggers = [logging.getLogger(name) for name in ("", "haypile", "pika")]
    before = [(one, one.level, list(one.handlers)) for one in loggers]
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setenv("HAYPILE_URL", local_vhost.url)

    def call(*arguments: str, code: int = 0, given: str | bytes | None = None) -> Result:
        monkeypatch.setenv("HAYPILE_URL", local_vhost.url)
        note_use(arguments)
        result = CliRunner().invoke(main, list(arguments), input=given, prog_name="haypile")
        assert result.exit_code == code, (arguments, result.output, result.exception)
        assert result.stderr or code in (0, 3), arguments
        return result

    yield call
    for one, level, handlers in before:
        one.setLevel(level)
        one.handlers[:] = handlers
    for number, handler in signals.items():
        signal.signal(number, handler)


def objects(result: Result) -> list[Any]:
    """One JSON object a line."""
    return [json.loads(line) for line in result.stdout.splitlines()]


# -- each command -----------------------------------------------------------------------------------------------------


def test_topology(invoke: Invoke) -> None:
    assert invoke("declare", "queue", "tasks", "-a", "x-max-length=5", "--transient", "--auto-delete").output == ""
    assert "406 PRECONDITION_FAILED - inequivalent arg 'durable'" in invoke("declare", "queue", "tasks", code=1).stderr
    invoke("declare", "queue", "other", "--durable")
    invoke("declare", "exchange", "logs", "--type", "topic", "--transient", "--auto-delete", "--argument", "x=y")
    invoke("declare", "exchange", "inner", "-t", "fanout", "--durable")
    invoke("bind", "logs", "tasks", "--key", "a.#", "--argument", "n=1")
    invoke("bind", "logs", "inner", "--to-exchange", "--key", "b")
    (queue, *_) = [row for row in json.loads(invoke("list", "queues", "--json").stdout) if row["name"] == "tasks"]
    assert (queue["durable"], queue["auto_delete"], queue["arguments"]) == (False, True, {"x-max-length": 5})
    bound = [row for row in json.loads(invoke("list", "bindings", "--json").stdout) if row["source_name"]]
    assert [(row["destination_kind"], row["routing_key"], row["arguments"]) for row in bound] == [
        ("queue", "a.#", {"n": 1}),
        ("exchange", "b", {}),
    ]
    assert "in use" in invoke("delete", "exchange", "logs", "--if-unused", "--yes", code=1).stderr
    invoke("unbind", "logs", "inner", "--to-exchange", "--key", "b")
    invoke("unbind", "logs", "tasks", "--key", "a.#", "--argument", "n=1")
    names = [row["name"] for row in json.loads(invoke("list", "exchanges", "--json").stdout)]
    assert "logs" not in names, "auto-delete"
    invoke("publish", "tasks", "x")
    assert "not empty" in invoke("delete", "queue", "tasks", "--if-empty", "--yes", code=1).stderr
    assert invoke("purge", "tasks", "--yes").stdout == "1\n"
    assert invoke("delete", "queue", "tasks", "--if-unused", "--if-empty", "-y").stdout == "0\n"
    invoke("delete", "exchange", "inner", "--yes")


def test_messages(invoke: Invoke, tmp_path: Path) -> None:
    invoke("declare", "queue", "tasks")
    (tmp_path / "body").write_bytes(b"one\r\ntwo\n")
    invoke("publish", "tasks", "--file", str(tmp_path / "body"), "--lines", "--count", "2", "--persistent")
    invoke("publish", "tasks", "--exchange", "", "-H", "n=7", "-H", "s=x y", "--property", "priority=3", given="body")
    assert "Give BODY, or --file" in invoke("publish", "tasks", "x", "--lines", code=2).stderr
    assert "must be a number" in invoke("publish", "tasks", "x", "--property", "priority=a", code=2).stderr
    assert "'colour' is none of " in invoke("publish", "tasks", "x", "--property", "colour=a", code=2).stderr
    assert "no exchange 'none'" in invoke("publish", "tasks", "x", "-e", "none", code=1).stderr
    seen = objects(invoke("peek", "tasks", "--count", "10", "--json"))
    assert [row["body"] for row in seen] == ["one", "two", "one", "two", "body"]
    assert set(seen[0]) == {"exchange", "routing_key", "redelivered", "properties", "body"}
    assert seen[0]["properties"] == {"delivery_mode": 2}
    assert seen[4]["properties"] == {"headers": {"n": 7, "s": "x y"}, "priority": 3}
    assert invoke("peek", "tasks", "-n", "1").stdout == "one\n"
    assert [row["body"] for row in objects(invoke("get", "tasks", "--count", "2", "--json"))] == ["one", "two"]
    assert invoke("consume", "tasks", "--count", "1").stdout == "one\n"
    assert [row["body"] for row in objects(invoke("consume", "tasks", "--idle", "0.1", "--json"))] == ["two", "body"]
    assert invoke("get", "tasks", code=3).output == ""
    invoke("declare", "exchange", "logs", "--type", "topic")
    assert invoke("consume", "--exchange", "logs", "--key", "a", "--idle", "0.1").stdout == ""
    assert "Give QUEUE or --exchange" in invoke("consume", code=2).stderr
    invoke("publish", "tasks", given=b"\xff")
    assert objects(invoke("get", "tasks", "--all", "--json"))[0]["body_base64"] == "/w=="
    traced = invoke("trace", "--queue", "tasks", "--exchange", "", "--count", "1", "--idle", "0.1", "--json")
    assert (traced.stdout, traced.stderr) == ("", "tracing; Ctrl-C ends it.\n")


@pytest.mark.parametrize("what", sorted(COLUMNS))
def test_list(invoke: Invoke, local_vhost: Vhost, what: str) -> None:
    """All columns in JSON, an array even when nothing is there; chosen ones with --columns."""
    connection = pika.BlockingConnection(pika.URLParameters(local_vhost.url))
    channel = connection.channel()
    channel.queue_declare("tasks", auto_delete=True)
    channel.basic_consume("tasks", print)
    rows = json.loads(invoke("list", what, "--json").stdout)
    assert rows and all(tuple(row) == COLUMNS[what] for row in rows)
    first = COLUMNS[what][0]
    lines = invoke("list", what, "--columns", first).stdout.splitlines()
    assert lines == [first, *[str(row[first]) for row in rows]]
    assert "there is nothing called 'no such'" in invoke("list", what, "no such", code=1).stderr
    assert "--columns" in invoke("list", what, "-c", "no such", code=2).stderr
    connection.close()


def test_policies(invoke: Invoke, tmp_path: Path) -> None:
    invoke("policy", "set", "short", "^log", '{"max-length": 10}', "--priority", "3", "--apply-to", "queues")
    invoke("policy", "set", "bound", "", '{"max-length": 9}', "--operator")
    assert objects(invoke("policy", "list")) == [
        {"name": "short", "pattern": "^log", "apply-to": "queues", "definition": {"max-length": 10}, "priority": 3}
    ]
    assert [row["name"] for row in objects(invoke("policy", "list", "--operator"))] == ["bound"]
    assert "is not JSON" in invoke("policy", "set", "bad", "^", "{", code=2).stderr
    assert invoke("policy", "set", "bad", "(", "{}", code=1).stderr.startswith("Error: ")
    invoke("policy", "limits", '{"max-queues": 7}')
    assert objects(invoke("policy", "limits")) == [{"max-queues": 7}]
    kept = tmp_path / "kept.json"
    invoke("definitions", "export", str(kept))
    assert [one["name"] for one in json.loads(kept.read_text())["policies"]] == ["short"]
    invoke("policy", "clear", "short")
    invoke("policy", "clear", "bound", "--operator")
    assert "there is no policy 'short'" in invoke("policy", "clear", "short", code=1).stderr
    invoke("policy", "load", str(kept))
    assert [row["name"] for row in objects(invoke("policy", "list"))] == ["short"]


def test_definitions(invoke: Invoke, local_vhost: Vhost, tmp_path: Path) -> None:
    invoke("declare", "queue", "tasks")
    kept = tmp_path / "kept.json"
    invoke("definitions", "export", "--url", local_vhost.url, str(kept))
    known = json.loads(kept.read_text())
    assert [one["name"] for one in known["vhosts"]] == ["test1"]
    assert {"queues", "exchanges", "bindings", "policies", "parameters"} <= set(known)
    assert json.loads(invoke("definitions", "export", "--vhost", "test1").stdout) == known
    assert json.loads(invoke("definitions", "export", "--sysv").stdout)["queues"] == []
    done = invoke("definitions", "import", "--vhost", "test1", "--url", local_vhost.url, str(kept))
    assert done.stdout == "vhost 'test1': 0 exchanges, 1 queues, 0 bindings\n"
    assert done.stderr == ""
    assert "says nothing of a vhost 'x'" in invoke("definitions", "import", "-p", "x", str(kept), code=1).stderr
    invoke("delete", "queue", "tasks", "--yes")
    invoke("declare", "queue", "tasks", "--transient")
    assert "refused: vhost 'test1', queue 'tasks': 406" in invoke("definitions", "import", str(kept), code=1).stderr


def test_move(invoke: Invoke, tmp_path: Path) -> None:
    invoke("declare", "queue", "tasks")
    invoke("publish", "tasks", "x")
    (tmp_path / "none.json").write_text("{}")
    given = ("--to", "posix:///other", "--definitions", str(tmp_path / "none.json"))
    done = invoke("move", "tasks", "--from", "posix:///test1", *given)
    assert done.stdout == "1 messages moved from posix:///test1 to posix:///other\n"
    assert done.stderr == ""
    assert invoke("get", "tasks", "--url", "posix:///other").stdout == "x\n"
    assert "there is no queue 'none'" in invoke("move", "none", "--to", "posix:///other", code=1).stderr


def test_places(invoke: Invoke, tmp_path: Path) -> None:
    """vhosts, reset, doctor, metrics, top."""
    invoke("declare", "queue", "tasks")
    (row,) = json.loads(invoke("vhosts", "--json").stdout)
    assert set(row) == {"transport", "name", "connections", "directory"}
    assert invoke("vhosts").stdout.split()[:4] == ["transport", "name", "connections", "directory"]
    (row,) = json.loads(invoke("top", "--once", "--json", "--interval", "0.05", "--sort", "name").stdout)
    counts = {"name", "messages_ready", "messages_unacknowledged", "consumers", "in/s", "out/s", "acked/s"}
    assert set(row) == counts
    shown = invoke("top", "--once", "--interval", "0.05", "--filter", "none").stdout.split()
    assert set(shown) == counts
    assert "--json needs --once" in invoke("top", "--json", code=2).stderr
    assert 'rabbitmq_queue_messages{queue="tasks",vhost="test1"} 0.0' in invoke("metrics").stdout
    invoke("metrics", "--file", str(tmp_path / "out"))
    assert "rabbitmq_queues" in (tmp_path / "out").read_text()
    facts = json.loads(invoke("doctor", "--json").stdout)
    assert {"posix", "sysv", "store", "vhosts", "raise"} <= set(facts)
    assert "in order" in invoke("doctor", "--fix").stdout
    assert "removed vhost 'test1' and 0 kernel queues" in invoke("reset", "--yes", "--force").stderr
    assert json.loads(invoke("vhosts", "--json").stdout) == []


def test_routes_and_links(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "haypile.toml"
    file.write_text(f'[remotes.main]\nurl = "{NOWHERE}"\n[[routes]]\nmatch = "orders.*"\nto = "main"\n')
    routes = ("--routes", str(file))
    assert "1 remotes, 1 rules, 0 links" in invoke("routes", "check", *routes).stdout
    assert "main" in invoke("routes", "check", *routes, "--queue", "orders.new").stdout
    assert "x" in invoke("routes", "check", *routes, "--exchange", "x").stdout
    assert "/none: No such file" in invoke("routes", "check", "--routes", str(tmp_path / "none"), code=1).stderr
    assert "has no link 'none'" in invoke("link", "run", *routes, "--verbose", "none", code=1).stderr
    assert invoke("link", "status", "--json").stdout == ""
    assert "no link 'none' ever ran in vhost 'test1'" in invoke("link", "status", "none", code=1).stderr
    assert "no binding made a link 'none'" in invoke("link", "forget", "none", code=1).stderr


def test_run(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it hands to the launcher (tests/test_swap.py runs programs)."""
    called: list[Any] = []
    monkeypatch.setattr(launch, "run", lambda arguments, url: called.append((arguments, url)))
    invoke("run", "app.py", "--url", "its own")
    invoke("run", "--url", "sysv:///x", "-m", "app", "-v")
    assert called == [(["app.py", "--url", "its own"], None), (["-m", "app", "-v"], "sysv:///x")]
    assert "unknown scheme" in invoke("run", "--url", "http://x", "app.py", code=2).stderr
    assert "Missing argument" in invoke("run", code=2).stderr


def test_the_command_itself(invoke: Invoke) -> None:
    assert invoke("--version").stdout == f"haypile, version {pika.__version__}\n"
    invoke("-v", "vhosts")
    assert logging.getLogger("haypile").level == logging.INFO
    invoke("-vv", "vhosts")
    assert logging.getLogger("haypile").level == logging.DEBUG
    assert "No such command 'nope'" in invoke("nope", code=2).stderr


# -- what all have in common ----------------------------------------------------------------------------------------


#: What AMQP has no way for.
LOCAL_ONLY = {
    ("list", "queues"): "rabbitmqctl list_queues",
    ("list", "exchanges"): "rabbitmqctl list_exchanges",
    ("list", "bindings"): "rabbitmqctl list_bindings",
    ("list", "consumers"): "rabbitmqctl list_consumers",
    ("list", "connections"): "rabbitmqctl list_connections",
    ("top",): "management",
    ("metrics",): "rabbitmq_prometheus",
    ("reset", "--yes"): "rabbitmqctl delete_vhost",
    ("policy", "set", "a", "b", "{}"): "rabbitmqctl set_policy",
    ("policy", "clear", "a"): "rabbitmqctl set_policy",
    ("policy", "list"): "list_policies",
    ("policy", "limits"): "rabbitmqctl set_policy",
    ("definitions", "export"): "rabbitmqctl export_definitions",
    ("link", "status"): "name the vhost here",
    ("link", "forget", "a"): "name the vhost here",
}
#: What connects to wherever --url says.
CONNECTING = (
    ("publish", "a", "b"),
    ("get", "a"),
    ("consume", "a"),
    ("peek", "a"),
    ("trace",),
    ("declare", "queue", "a"),
    ("declare", "exchange", "a"),
    ("bind", "a", "b"),
    ("unbind", "a", "b"),
    ("purge", "a", "--yes"),
    ("delete", "queue", "a", "--yes"),
    ("delete", "exchange", "a", "--yes"),
    ("list", "queues", "a"),
)


@pytest.mark.parametrize("arguments", LOCAL_ONLY, ids=" ".join)
def test_what_amqp_has_no_way_for(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    """One line on standard error that names the way there is, and nothing is tried."""
    done = invoke(*arguments, "--url", NOWHERE, code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("Error: AMQP has no way to ") and done.stderr.count("\n") == 1
    assert LOCAL_ONLY[arguments] in done.stderr
    assert "unknown scheme 'http'" in invoke(*arguments, "--url", "http://x/y", code=2).stderr


@pytest.mark.parametrize("arguments", CONNECTING, ids=" ".join)
def test_nobody_there(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments, "--url", NOWHERE, code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert "refused" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("purge", "tasks"), ("delete", "queue", "tasks"), ("delete", "exchange", "logs"), ("reset",)],
    ids=" ".join,
)
def test_destructive_ones_ask(invoke: Invoke, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can answer --yes is needed; an answer other than y changes nothing."""
    invoke("declare", "queue", "tasks")
    invoke("declare", "exchange", "logs")
    invoke("publish", "tasks", "x")
    assert "Nobody is there to ask: say --yes" in invoke(*arguments, code=2).stderr
    # What click's runner puts in the place of standard input is no terminal.
    monkeypatch.setattr("haypile.cli.place.there_is_somebody", lambda: True)
    assert "[y/N]" in invoke(*arguments, given="n\n", code=1).output
    assert invoke("peek", "tasks").stdout == "x\n"
    assert "logs" in invoke("list", "exchanges").stdout
    invoke(*arguments, given="y\n")


def test_vhost_where_the_url_does_not_say(invoke: Invoke) -> None:
    invoke("declare", "queue", "tasks", "--url", "posix:///", "--vhost", "named")
    assert [row["name"] for row in json.loads(invoke("vhosts", "--json").stdout)] == ["named"]
    assert "tasks" in invoke("list", "queues", "-p", "named", "--url", "posix:///").stdout


# -- completion -------------------------------------------------------------------------------------------------------

#: Shell: what its script sets, and how it tells the words.
SHELLS = {
    "bash": {"COMP_WORDS": "haypile de", "COMP_CWORD": "1"},
    "zsh": {"COMP_WORDS": "haypile de", "COMP_CWORD": "1"},
    "fish": {"COMP_WORDS": "haypile ", "COMP_CWORD": "de"},
}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion(shell: str, invoke: Invoke) -> None:
    script = invoke("completion", shell).stdout
    assert f"_HAYPILE_COMPLETE={shell}_complete" in script
    environment = {**os.environ, **SHELLS[shell], "_HAYPILE_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "haypile"], env=environment, capture_output=True, text=True, check=False
    )
    for command in COMMANDS:
        assert (command in done.stdout.replace(",", "\n").split()) is command.startswith("de"), (command, done)


def test_completion_in_a_shell(tmp_path: Path, invoke: Invoke) -> None:
    """bash, with the script as it is printed."""
    bash = shutil.which("bash")
    assert bash is not None
    (tmp_path / "haypile").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m haypile "$@"\n')
    (tmp_path / "haypile").chmod(0o755)
    (tmp_path / "script").write_text(invoke("completion", "bash").stdout)
    asked = (
        f". {tmp_path}/script; COMP_WORDS=(haypile list con); COMP_CWORD=2; "
        "_haypile_completion haypile; echo ${COMPREPLY[@]}"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "-c", asked], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert sorted(done.stdout.split()) == ["connections", "consumers"], done.stderr


# -- progress ---------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("length", [3, None])
def test_progress_is_shown_to_a_person_once_it_takes_long(length: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(stream: io.StringIO, **options: bool) -> str:
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.progress("working", length, **options) as bar:
            for _ in range(3):
                bar.step(note="a note")
        return stream.getvalue()

    assert work(Terminal()) == "", "it took no second"
    monkeypatch.setattr(progress, "PATIENCE", 0)
    monkeypatch.setattr(progress, "PAUSE", 0)
    shown = work(Terminal())
    assert "working" in shown and "3" in shown and "a note" in shown
    assert work(io.StringIO()) == "", "no terminal"
    assert work(Terminal(), quiet=True) == ""


# -- the end ---------------------------------------------------------------------------------------------------------


def test_every_command_and_option_is_in_a_test(request: pytest.FixtureRequest) -> None:
    """By what the tests above called; --url and --vhost are the same for all."""
    known = {name for name in globals() if name.startswith("test_")}
    here = {item.originalname for item in request.session.items if isinstance(item, pytest.Function)}
    if "PYTEST_XDIST_WORKER" in os.environ or not known <= here:
        return  # not all of this file runs in this process
    missing = []
    for path, command in LEAVES.items():
        name = " ".join(path)
        options = [max(one.opts, key=len) for one in command.params if isinstance(one, click.Option)]
        wanted = [name, *(f"{name} {one}" for one in options if one not in ("--url", "--vhost"))]
        missing += [one for one in wanted if one not in USED and one not in ELSEWHERE]
    assert not missing
    for one, file in ELSEWHERE.items():
        assert one.rpartition(" ")[2] in (ROOT / file).read_text(), one
