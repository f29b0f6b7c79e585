"""haypile's pytest plugin: fixtures ``haypile_vhost`` and ``pika_over_haypile``, and ``--haypile-transport``.

Owns: the options, the parametrisation, the fixtures' lives.
Must not know: how vhosts are made (``haypile.testing``).

It is loaded by every pytest run where haypile is installed, so it imports nothing before a test asks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from haypile.testing import FreshVhost, Vhosts

TRANSPORTS = ("posix", "sysv", "amqp")
URL_VARIABLE = "HAYPILE_TEST_AMQP_URL"
API_VARIABLE = "HAYPILE_TEST_AMQP_API"


def pytest_addoption(parser: pytest.Parser) -> None:
    """See pytest; the same for all hooks here."""
    group = parser.getgroup("haypile", "haypile: pika without a broker")
    group.addoption(
        "--haypile-transport",
        metavar="NAMES",
        help="run each test that uses haypile_vhost over these transports: posix, sysv, amqp (default: posix)",
    )
    group.addoption(
        "--haypile-amqp-url",
        metavar="URL",
        help=f"the RabbitMQ for amqp, which gets a fresh vhost a test (default: {URL_VARIABLE}, else pytest-docker's "
        "service rabbitmq)",
    )
    group.addoption(
        "--haypile-amqp-api",
        metavar="URL",
        help=f"its management API (default: {API_VARIABLE}, else port 15672 of its host, else rabbitmqctl)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The marker, and a check of the option."""
    config.addinivalue_line(
        "markers", "haypile_transports(*names): the test makes sense over these transports only"
    )
    unknown = set(asked(config)) - set(TRANSPORTS)
    if unknown:
        raise pytest.UsageError(f"--haypile-transport: unknown {', '.join(sorted(unknown))}; use posix, sysv, amqp")


def asked(config: pytest.Config) -> list[str]:
    """The transports that the option names; none when it is not given."""
    named: str = config.getoption("--haypile-transport") or ""
    return [name.strip() for name in named.split(",") if name.strip()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run a transport."""
    if "haypile_transport" not in metafunc.fixturenames:
        return
    names = asked(metafunc.config)
    marker = metafunc.definition.get_closest_marker("haypile_transports")
    if marker is not None:
        unknown = set(marker.args) - set(TRANSPORTS)
        if unknown:
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: haypile_transports: unknown {sorted(unknown)}")
        # Without the option: over the first of those the test names.
        names = [name for name in names if name in marker.args] if names else list(marker.args[:1])
        if not names:
            skipped = pytest.param("none", marks=pytest.mark.skip("not over the transports that were asked for"))
            metafunc.parametrize("haypile_transport", [skipped], indirect=True)
            return
    if names:
        metafunc.parametrize("haypile_transport", names, indirect=True)


@pytest.fixture
def haypile_transport(request: pytest.FixtureRequest) -> str:
    """The transport of this test: posix, sysv or amqp."""
    name: str = getattr(request, "param", "posix")
    return name


@pytest.fixture(scope="session")
def _haypile_vhosts(request: pytest.FixtureRequest) -> Iterator[Vhosts]:
    from haypile.testing import Vhosts  # noqa: PLC0415 - most runs never ask for it

    config = request.config
    url = config.getoption("--haypile-amqp-url") or os.environ.get(URL_VARIABLE)
    api = config.getoption("--haypile-amqp-api") or os.environ.get(API_VARIABLE)
    made = Vhosts(url, api)
    yield made
    made.close()


def _from_docker(request: pytest.FixtureRequest) -> tuple[str, str]:
    """AMQP and API addresses of pytest-docker's service rabbitmq."""
    import pika  # noqa: PLC0415 - as above

    services, host = request.getfixturevalue("docker_services"), request.getfixturevalue("docker_ip")
    url = f"amqp://guest:guest@{host}:{services.port_for('rabbitmq', 5672)}"

    def answers() -> bool:
        try:
            pika.BlockingConnection(pika.URLParameters(url)).close()
        except Exception:
            return False
        return True

    services.wait_until_responsive(timeout=120, pause=0.5, check=answers)
    return url, f"http://{host}:{services.port_for('rabbitmq', 15672)}"


@pytest.fixture
def haypile_vhost(
    request: pytest.FixtureRequest,
    haypile_transport: str,
    _haypile_vhosts: Vhosts,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FreshVhost]:
    """A fresh, private vhost (``haypile.testing.FreshVhost``), gone after the test whatever happens to it."""
    from haypile.testing import FreshVhost, NoRabbitMQ  # noqa: PLC0415 - as above

    vhosts = _haypile_vhosts
    if haypile_transport == "amqp" and not vhosts.amqp_url and request.config.pluginmanager.hasplugin("docker"):
        vhosts.amqp_url, vhosts.amqp_api = _from_docker(request)
    try:
        url = vhosts.make(haypile_transport, request.node.name)
    except NoRabbitMQ as error:
        pytest.fail(f"haypile: {error}", pytrace=False)
    clock = None
    if haypile_transport != "amqp":
        clock = vhosts.directory / f"clock-{url.partition('?')[0].rpartition('-')[2]}"
        monkeypatch.setenv("HAYPILE_TEST_CLOCK", str(clock))
    vhost = FreshVhost(haypile_transport, url, clock)
    yield vhost
    vhost.close()
    vhosts.remove(url)


@pytest.fixture
def pika_over_haypile(haypile_vhost: FreshVhost, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """pika, with every connection of this test in ``haypile_vhost``, by whatever name pika was imported.

    Python programs that the test starts are covered, too.
    """
    from haypile import launch, swap  # noqa: PLC0415 - as above

    for name, value in {**launch.environment(haypile_vhost.url), **haypile_vhost.environment}.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    before = swap.is_installed()
    swap.install()
    yield sys.modules["pika"]
    if not before:
        swap.uninstall()
