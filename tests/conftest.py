"""Fixtures for every test: a RabbitMQ, fresh vhosts, and the check that nothing is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from tests.support import apart, leaks, rabbitmq
from tests.support.kernel_queues import KernelQueues
from tests.support.node import Node
from tests.support.vhosts import (
    Vhost,
    local_vhost,
    make_state_directory,
    remove_state_directory,
    state_environment,
)

Server = TypeVar("Server", rabbitmq.Broker, Node)

#: Transports of this machine that exist so far.
LOCAL_TRANSPORTS = ("posix", "sysv")

#: Everyday runs, CI, and the long one: pytest --hypothesis-profile=NAME.
settings.register_profile("default", max_examples=15, stateful_step_count=25)
settings.register_profile("ci", max_examples=25, stateful_step_count=30, derandomize=True)
settings.register_profile("nightly", max_examples=1000, stateful_step_count=60)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """``-n NUMBER`` keeps tests of one group (``xdist_group``) in one worker."""
    if config.getoption("numprocesses", None) and config.getoption("dist") == "no":
        config.option.dist = "loadgroup"


def pytest_configure(config: pytest.Config) -> None:
    """Whoever owns the run owns the private RabbitMQ too; xdist's workers inherit where it lives, and go apart."""
    if hasattr(config, "workerinput"):
        leaks.apart = apart.go_apart()
    else:
        rabbitmq.own_directory()
        if config.getoption("tx", None):
            apart.make_room()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background: the programs that tests end by Ctrl-C would inherit that they do not.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing of a private RabbitMQ outlives the run."""
    if not hasattr(config, "workerinput"):
        rabbitmq.stop_own_server()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs a server is marked, so that ``-m 'not rabbitmq'`` runs without; one worker starts the node."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "rabbitmq_broker" in fixtures or "node" in fixtures:
            item.add_marker("rabbitmq")
        if "node" in fixtures:
            item.add_marker(pytest.mark.xdist_group("node"))


# -- RabbitMQ ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    """The file pytest-docker starts: the one users have."""
    os.environ.setdefault("HAYPILE_AMQP_PORT", "0")  # any free port
    os.environ.setdefault("HAYPILE_MANAGEMENT_PORT", "0")
    return str(Path(__file__).resolve().parents[1] / "docker-compose.yml")


def _responds(url: str) -> bool:
    import pika

    try:
        pika.BlockingConnection(pika.URLParameters(url)).close()
    except Exception:
        return False
    return True


@pytest.fixture(scope="session")
def _rabbitmq_or_reason(request: pytest.FixtureRequest) -> Iterator[rabbitmq.Broker | str]:
    def by_docker() -> tuple[str, str]:
        services = request.getfixturevalue("docker_services")
        host = request.getfixturevalue("docker_ip")
        url = f"amqp://guest:guest@{host}:{services.port_for('rabbitmq', 5672)}"
        services.wait_until_responsive(timeout=120, pause=0.5, check=lambda: _responds(url))
        return url, f"http://{host}:{services.port_for('rabbitmq', 15672)}"

    try:
        broker = rabbitmq.get_broker(by_docker)
    except rabbitmq.NoRabbitMQ as error:
        yield f"no RabbitMQ: {error}"
        return
    yield broker
    broker.close()


def _given(found: Server | str) -> Server:
    """What was found; the reason why there is none skips the test, in CI it fails it."""
    if isinstance(found, str):
        if rabbitmq.in_ci():
            pytest.fail(found, pytrace=False)
        pytest.skip(found)
    return found


@pytest.fixture
def rabbitmq_broker(_rabbitmq_or_reason: rabbitmq.Broker | str) -> rabbitmq.Broker:
    """A real RabbitMQ. Without one the test is skipped, in CI it fails."""
    return _given(_rabbitmq_or_reason)


@pytest.fixture(scope="session")
def _node_or_reason() -> Iterator[Node | str]:
    try:
        node = Node()
    except rabbitmq.NoRabbitMQ as error:
        yield str(error)
        return
    yield node
    node.close()


@pytest.fixture
def node(_node_or_reason: Node | str) -> Iterator[Node]:
    """A RabbitMQ that a test may stop, kill and block. It is up when the test begins, and again when it ends."""
    made = _given(_node_or_reason)
    yield made
    made.start()


@pytest.fixture
def rabbitmq_followed(rabbitmq_broker: rabbitmq.Broker) -> rabbitmq.Broker:
    """A real RabbitMQ of the version that haypile follows, for comparisons of everything it says."""
    if not rabbitmq_broker.followed:
        pytest.skip(f"compares with RabbitMQ {rabbitmq.FOLLOWED}, this one is {rabbitmq_broker.version}")
    return rabbitmq_broker


# -- vhosts --------------------------------------------------------------------------------------------------


@pytest.fixture
def state_directory(monkeypatch: pytest.MonkeyPatch, _kernel_queues: KernelQueues) -> Iterator[Path]:
    """HAYPILE_DIR of this test, removed after it. A session file or a lane left then fails the test."""
    directory = make_state_directory()
    for name, value in state_environment(directory).items():
        monkeypatch.setenv(name, value)
    yield directory
    found = leaks.wait_until_gone(lambda: leaks.in_state(directory, _kernel_queues))
    remove_state_directory(directory)
    if found:
        pytest.fail("the test left behind:\n  " + "\n  ".join(found), pytrace=False)


@pytest.fixture
def make_vhost(request: pytest.FixtureRequest) -> Callable[[str], Vhost]:
    """Makes fresh vhosts: ``make_vhost("posix")``, ``make_vhost("amqp")``."""
    made = 0

    def make(transport: str) -> Vhost:
        nonlocal made
        made += 1
        if transport == "amqp":
            followed = request.node.get_closest_marker("followed") is not None
            broker: rabbitmq.Broker = request.getfixturevalue("rabbitmq_followed" if followed else "rabbitmq_broker")
            return Vhost("amqp", broker.vhost_url(broker.fresh_vhost()), {})
        directory: Path = request.getfixturevalue("state_directory")
        return local_vhost(transport, directory, f"test{made}")

    return make


@pytest.fixture(params=[*LOCAL_TRANSPORTS, pytest.param("amqp", marks=pytest.mark.rabbitmq)])
def vhost(request: pytest.FixtureRequest, make_vhost: Callable[[str], Vhost]) -> Vhost:
    """A fresh vhost, on every transport in turn."""
    return make_vhost(request.param)


# -- leaks ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _kernel_queues() -> Iterator[KernelQueues]:
    queues = KernelQueues()
    yield queues
    queues.close()


@pytest.fixture(autouse=True)
def no_leaks(
    request: pytest.FixtureRequest, _kernel_queues: KernelQueues, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Fails a test that leaves a descriptor, a child process or a kernel queue behind."""
    broker = None
    if "rabbitmq" in {mark.name for mark in request.node.iter_markers()}:
        broker = request.getfixturevalue("_rabbitmq_or_reason")  # started now: it is none of the test's
    helpers = {queues.pid for queues in [_kernel_queues.helper] if queues}
    if isinstance(broker, rabbitmq.Broker):
        helpers |= broker.helpers
    before = leaks.look(_kernel_queues)
    yield
    logged = [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    found = leaks.wait_until_gone(lambda: leaks.left_behind(before, leaks.look(_kernel_queues), helpers), logged)
    if found:
        pytest.fail("the test left behind:\n  " + "\n  ".join(found), pytrace=False)
