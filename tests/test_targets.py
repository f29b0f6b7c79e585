"""Where a connection goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import exceptions

import haypile
from haypile.broker.ports import VhostTarget
from haypile.targets import TargetError, base_directory, resolve, vhost_directory


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No URL, and a directory of our own."""
    monkeypatch.delenv("HAYPILE_URL", raising=False)
    monkeypatch.setenv("HAYPILE_DIR", str(tmp_path))


def local(parameters: pika.connection.Parameters) -> VhostTarget:
    target = resolve(parameters)
    assert isinstance(target, VhostTarget), parameters
    return target


# -- the host decides ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost",
        "localhost.",
        "localhost.localdomain",
        "ip6-localhost",
        "127.0.0.1",
        "127.1.2.3",
        "::1",
        "[::1]",
        "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
        "",
    ],
)
def test_this_machine(host: str) -> None:
    """By every name it is called."""
    target = local(haypile.ConnectionParameters(host, virtual_host="mine"))
    assert (target.transport, target.vhost, target.durability) == ("posix", "mine", "disk")


@pytest.mark.parametrize(
    "host", ["rabbit", "rabbit.example.com", "10.0.0.1", "128.0.0.1", "::2", "localhost.example.com", "127.0.0"]
)
def test_other_machines(host: str) -> None:
    """Their parameters are left alone."""
    parameters = haypile.ConnectionParameters(host, 5673, "v")
    assert resolve(parameters) is parameters


def test_no_parameters() -> None:
    """pika's defaults are this machine and the vhost /."""
    assert local(pika.connection.Parameters()).vhost == "/"


# -- a URL says it outright ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [haypile.URLParameters, pika.URLParameters])
@pytest.mark.parametrize("url", ["amqp://localhost", "amqp://guest:guest@127.0.0.1:5672/%2F", "amqps://localhost/x"])
def test_amqp_urls_are_rabbitmqs(kind: type, url: str) -> None:
    """On this machine, too."""
    parameters = kind(url)
    assert resolve(parameters) is parameters


@pytest.mark.parametrize(
    ("url", "vhost", "transport"),
    [
        ("posix:///", "/", "posix"),
        ("posix://", "/", "posix"),
        ("posix:///v", "v", "posix"),
        ("POSIX:///v", "v", "posix"),
        ("posix:///%2F", "/", "posix"),
        ("posix:///a%2Fb", "a/b", "posix"),
        ("posix:///sp%20ace", "sp ace", "posix"),
        ("posix:///gr%C3%BC%C3%9F", "grüß", "posix"),
        ("posix://localhost/v", "v", "posix"),
        ("posix://127.0.0.1:99/v", "v", "posix"),
        ("sysv:///v", "v", "sysv"),
    ],
)
def test_local_urls(url: str, vhost: str, transport: str) -> None:
    """Scheme, vhost."""
    parameters = haypile.URLParameters(url)
    assert parameters.virtual_host == vhost
    target = local(parameters)
    assert (target.vhost, target.transport) == (vhost, transport)


def test_options() -> None:
    """haypile's and pika's in one query."""
    parameters = haypile.URLParameters(
        "posix://alice@/v?durability=host&dir=/some/where&heartbeat=7&client_properties={'a':1}&channel_max=9"
    )
    target = local(parameters)
    assert (target.durability, target.directory) == ("host", Path("/some/where/posix/v"))
    assert (parameters.heartbeat, parameters.channel_max) == (7, 9)
    assert parameters.client_properties == {"a": 1}
    assert parameters.credentials.username == "alice"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("posix:///v?color=red", ["color", "durability"]),
        ("posix:///v?heartbeat=often", ["heartbeat", "often"]),
        ("posix:///v?durability=ram", ["durability", "'ram'", "disk, host"]),
        ("posix:///v?durability=disk&durability=host", ["durability", "once"]),
        ("posix:///v?dir=", ["dir is empty"]),
        ("posix:///v?group=no-such-group", ["no group 'no-such-group'"]),
        ("posix:///v?group=", ["no group ''"]),
        ("posix://rabbit/v", ["'rabbit'", "posix:///VHOST"]),
        ("posix://v", ["'v'", "posix:///VHOST"]),
        ("posix:///a/b", ["%2F"]),
        ("posix:////", ["%2F"]),
    ],
)
def test_local_urls_that_cannot_be(url: str, words: list[str]) -> None:
    """A pika connection error says what is wrong and what to write."""
    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        haypile.URLParameters(url)
    for word in words:
        assert word in str(caught.value)
        assert word in repr(caught.value)


def test_other_urls_are_pikas() -> None:
    """Including its error."""
    with pytest.raises(ValueError, match="Unexpected URL scheme"):
        haypile.URLParameters("ftp://localhost")


# -- HAYPILE_URL overrides both -----------------------------------------------------------------


def test_environment_leads_everything_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other hosts and amqp URLs, too; a vhost in it counts for all, else each keeps its own."""
    everything = [
        haypile.ConnectionParameters("rabbit", virtual_host="v"),
        haypile.ConnectionParameters("localhost", virtual_host="v"),
        haypile.URLParameters("amqp://rabbit/v"),
        haypile.URLParameters("posix:///v"),
    ]
    for url, vhost in [("posix:///w?durability=host", "w"), ("posix:///", "v"), ("posix:///%2F", "/")]:
        monkeypatch.setenv("HAYPILE_URL", url)
        assert [local(one).vhost for one in everything] == [vhost] * 4
        assert {local(one).durability for one in everything} == {"host" if "host" in url else "disk"}


def test_environment_leads_everything_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the URL does not say stays as the program has it."""
    monkeypatch.setenv("HAYPILE_URL", "amqp://rabbit:5673")
    mine = haypile.ConnectionParameters(
        "localhost",
        virtual_host="v",
        heartbeat=7,
        credentials=haypile.PlainCredentials("alice", "secret"),
        client_properties={"connection_name": "mine"},
    )
    led: Any = resolve(mine)
    assert (led.host, led.port, led.virtual_host, led.heartbeat) == ("rabbit", 5673, "v", 7)
    assert led.credentials.username == "alice"
    assert led.client_properties == {"connection_name": "mine"}
    assert (mine.host, mine.port) == ("localhost", 5672)

    monkeypatch.setenv("HAYPILE_URL", "amqps://bob:pw@rabbit/w?heartbeat=9")
    led = resolve(mine)
    assert (led.host, led.port, led.virtual_host, led.heartbeat) == ("rabbit", 5671, "w", 9)
    assert led.ssl_options is not None
    assert (led.credentials.username, led.credentials.password) == ("bob", "pw")
    led = resolve(haypile.URLParameters("posix:///x"))
    assert led.host == "rabbit"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rabbit", ["unknown scheme", "posix:///VHOST", "amqp://"]),
        ("ftp://x", ["unknown scheme 'ftp'", "posix:///VHOST", "amqp://"]),
        ("posix:v", ["unknown scheme", "posix:///VHOST"]),
        ("posix://[v", ["not a URL"]),
        ("amqp://rabbit/v?color=red", ["HAYPILE_URL", "color"]),
        ("posix:///" + "x" * 256, ["longer than 255 bytes"]),
        ("posix:///a%00b", ["NUL"]),
    ],
)
def test_environment_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch, url: str, words: list[str]) -> None:
    """Every kind of connection says so."""
    monkeypatch.setenv("HAYPILE_URL", url)
    for connect in (haypile.BlockingConnection, haypile.SelectConnection):
        with pytest.raises(exceptions.AMQPConnectionError) as caught:
            connect(haypile.ConnectionParameters("rabbit"))
        assert isinstance(caught.value, TargetError)
        for word in words:
            assert word in str(caught.value)


def test_passwords_stay_out_of_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of HAYPILE_URL may end in a log."""
    monkeypatch.setenv("HAYPILE_URL", "amqp://alice:s3cret@rabbit/v?color=red")
    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        resolve(haypile.ConnectionParameters())
    assert "s3cret" not in str(caught.value)


# -- directories --------------------------------------------------------------------------------


def test_base_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """HAYPILE_DIR, else the runtime directory, else shared memory."""
    monkeypatch.chdir("/tmp")
    monkeypatch.setenv("HAYPILE_DIR", "here")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert base_directory() == Path("/tmp/here")
    monkeypatch.setenv("HAYPILE_DIR", "~/there")
    assert base_directory() == Path.home() / "there"
    monkeypatch.delenv("HAYPILE_DIR")
    assert base_directory() == Path("/run/user/7/haypile")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert base_directory() == Path(f"/dev/shm/haypile-{os.getuid()}")


BASE = Path("/base")
names = st.text(
    alphabet=st.one_of(st.sampled_from("./~%\\ aA0é"), st.characters(exclude_categories=["Cs"])), max_size=60
).filter(lambda name: "\0" not in name and len(name.encode()) <= 255)


@given(names, names, st.sampled_from(["posix", "sysv"]))
def test_two_vhosts_never_meet(one: str, other: str, transport: str) -> None:
    """One directory for each name, none inside another, none outside the base, all names short."""
    mine, others = vhost_directory(BASE, one, transport), vhost_directory(BASE, other, transport)
    assert (mine == others) == (one == other)
    if one != other:
        assert mine not in others.parents
    assert mine.is_relative_to(BASE / transport)
    assert os.path.normpath(mine) == str(mine)
    assert all(len(part) <= 255 and part.isascii() for part in mine.parts)


@pytest.mark.parametrize("length", [1, 66, 67, 100, 200, 201, 255])
def test_long_names(length: int) -> None:
    """A name whose encoding is too long for one directory goes on in the next."""
    seen = {vhost_directory(BASE, letter * length) for letter in ("a", "/", "~", ".")}
    seen |= {vhost_directory(BASE, "a" * (length - 1) + letter) for letter in "bcd"}
    assert len(seen) == 7
    for path in seen:
        assert all(len(part) <= 255 for part in path.parts)


@pytest.mark.parametrize("name", [".", "..", "", "/", "a/../b", "~", "%2F"])
def test_names_that_a_file_system_reads_otherwise(name: str) -> None:
    """They work like any other."""
    path = vhost_directory(BASE, name)
    assert path.parent == BASE / "posix"
    assert path.name not in (".", "..", "")


@pytest.mark.parametrize("name", ["a\0b", "x" * 256, "é" * 128, "\ud800"])
def test_names_that_cannot_be(name: str) -> None:
    """A connection error."""
    with pytest.raises(TargetError):
        vhost_directory(BASE, name)


@pytest.mark.parametrize(
    ("variable", "of", "unit"),
    [("HAYPILE_LOOK", "look", "micro"), ("HAYPILE_CONSUMER_TIMEOUT", "consumer_timeout", "milli")],
)
def test_numbers_from_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str, of: str, unit: str) -> None:
    here = haypile.ConnectionParameters("localhost")
    default = getattr(local(here), of)
    assert default > 0
    for said, meant in (("0", 0), ("250", 250), ("", default)):
        monkeypatch.setenv(variable, said)
        assert getattr(local(here), of) == meant
    for wrong in ("-1", "soon", "1.5"):
        monkeypatch.setenv(variable, wrong)
        with pytest.raises(TargetError, match=f"{variable} is '{wrong}', but must be a number of {unit}seconds"):
            local(here)
