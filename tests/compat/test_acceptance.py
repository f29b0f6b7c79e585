"""The runner of pika's acceptance suite, on a suite of its own making."""

from __future__ import annotations

import json
from pathlib import Path

import pika
import pytest
from compat.acceptance import run as acceptance

#: A suite that sees where its connections went.
SUITE = """
import pika
import pytest


@pytest.mark.parametrize("n", range(2))
def test_broker(n):
    with pika.BlockingConnection(pika.ConnectionParameters("localhost", 5672)) as connection:
        assert connection._impl.server_properties["product"] == PRODUCT
        connection.channel().queue_declare("", exclusive=True)


def test_closed_port():
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", 1))


def test_excluded():
    raise AssertionError("run all the same")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Looks like a checkout of pika."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "pika"\nversion = "1.4.9"\n')
    (tmp_path / "pika").symlink_to(Path(pika.__file__).parent)
    suite = tmp_path / "tests" / "acceptance"
    suite.mkdir(parents=True)
    (suite / "small_test.py").write_text(SUITE.replace("PRODUCT", '"haypile"'))
    exclude(tmp_path, monkeypatch, "small_test.py::test_excluded")
    return tmp_path


def exclude(folder: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, **limits: str) -> None:
    excluded = folder / "excluded.json"
    excluded.write_text(json.dumps({pattern: {"transports": ["posix", "sysv"], "reason": "", **limits}}))
    monkeypatch.setattr(acceptance, "EXCLUDED", excluded)


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_passes(folder: Path, transport: str) -> None:
    """Its broker is haypile, its closed ports stay closed."""
    assert acceptance.main([str(folder), "--transport", transport]) == 0


def test_failures_are_told(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By the exit code and by name."""
    suite = folder / "tests" / "acceptance" / "small_test.py"
    suite.write_text(SUITE.replace("PRODUCT", '"RabbitMQ"'))
    assert acceptance.main([str(folder), "--transport", "posix"]) == 1
    assert "test_broker[1]" in capfd.readouterr().out


@pytest.mark.parametrize(("limits", "code"), [({"since": "1.4"}, 0), ({"since": "1.5"}, 1), ({"before": "1.4"}, 1)])
def test_versions(folder: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, str], code: int) -> None:
    """An exclusion may be for some versions of pika."""
    exclude(folder, monkeypatch, "small_test.py::test_excluded", **limits)
    assert acceptance.main([str(folder), "--transport", "posix"]) == code


def test_exclusion_of_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """It would hide what it once was for."""
    exclude(folder, monkeypatch, "small_test.py::test_forgotten")
    assert acceptance.main([str(folder), "--transport", "posix"]) == 1
    assert "excluded.json is out of date" in "".join(capfd.readouterr())


def test_each_exclusion_has_its_reason() -> None:
    """In a sentence."""
    for pattern, exclusion in acceptance.exclusions().items():
        assert exclusion["reason"].endswith("."), pattern
        assert set(exclusion["transports"]) <= {"posix", "sysv", "amqp"}, pattern


def test_not_a_checkout(tmp_path: Path) -> None:
    """A clear word."""
    with pytest.raises(SystemExit, match="name a checkout of pika"):
        acceptance.main([str(tmp_path)])
