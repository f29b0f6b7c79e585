"""SelectConnection: callbacks, in their order, on a RabbitMQ and here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pika import exceptions
from pika.adapters.select_connection import IOLoop as Loop
from pika.adapters.utils import connection_workflow

import haypile
from tests.support.vhosts import Vhost


class Program:
    """A callback program: each step is recorded, the last stops the loop."""

    def __init__(self, url: str) -> None:
        self.said: list[Any] = []
        self.connection = haypile.SelectConnection(
            haypile.URLParameters(url),
            on_open_callback=self.opened,
            on_open_error_callback=lambda c, error: self.end("open error", type(error).__name__),
            on_close_callback=lambda c, error: self.end("closed", *error.args),
        )

    def end(self, *words: Any) -> None:
        self.said.append(words)
        self.connection.ioloop.stop()

    def opened(self, connection: Any) -> None:
        self.said.append("open")
        connection.channel(on_open_callback=self.channel_open)

    def channel_open(self, channel: Any) -> None:
        raise NotImplementedError

    def run(self) -> list[Any]:
        loop = self.connection.ioloop
        loop.start()
        loop.close()
        return self.said


def test_publish_confirm_consume(vhost: Vhost) -> None:
    """Confirms, deliveries, acks and a clean close."""

    class Talk(Program):
        def channel_open(self, channel: Any) -> None:
            self.channel = channel
            self.confirmed = 0
            self.got: list[int] = []
            channel.confirm_delivery(self.confirm, callback=lambda frame: self.said.append("confirms"))
            channel.queue_declare("queue", callback=self.declared)

        def confirm(self, frame: Any) -> None:
            self.confirmed = frame.method.delivery_tag  # some are confirmed together
            self.done()

        def declared(self, frame: Any) -> None:
            self.said.append(("declared", frame.method.queue))
            self.channel.basic_qos(prefetch_count=3, callback=lambda frame: self.said.append("qos"))
            self.channel.basic_consume("queue", self.consume, callback=lambda frame: self.said.append("consuming"))
            for number in range(500):
                self.channel.basic_publish("", "queue", b"%d" % number)

        def consume(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self.got.append(int(body))
            channel.basic_ack(method.delivery_tag)
            self.done()

        def done(self) -> None:
            if len(self.got) == 500 and self.confirmed == 500 and self.connection.is_open:
                self.connection.close(200, "enough")

    talk = Talk(vhost.url)
    assert talk.run() == [
        "open",
        "confirms",
        ("declared", "queue"),
        "qos",
        "consuming",
        ("closed", 200, "enough"),
    ]
    assert talk.got == list(range(500))


def test_callbacks_do_not_run_inside_calls(vhost: Vhost) -> None:
    """Whatever the program calls returns before any callback of it runs."""

    class Nested(Program):
        inside = False

        def channel_open(self, channel: Any) -> None:
            self.inside = True
            channel.queue_declare("queue", callback=self.declared)
            channel.basic_consume("queue", self.consume, auto_ack=True)
            channel.basic_publish("", "queue", b"1")
            self.inside = False

        def declared(self, frame: Any) -> None:
            self.said.append(("declared", self.inside))

        def consume(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self.said.append((body, self.inside))
            self.inside = True
            if body == b"1":
                channel.basic_publish("", "queue", b"2")
            else:
                self.connection.close()
            self.inside = False

    assert Nested(vhost.url).run() == [
        "open",
        ("declared", False),
        (b"1", False),
        (b"2", False),
        ("closed", 200, "Normal shutdown"),
    ]


def test_a_conversation_with_itself_leaves_the_loop_its_turns(vhost: Vhost) -> None:
    """Confirm after confirm, for ever: timers and stop() are served all the same."""

    class Endless(Program):
        def channel_open(self, channel: Any) -> None:
            def again(frame: Any) -> None:
                if channel.is_open:
                    channel.basic_publish("", "nowhere", b"")

            channel.confirm_delivery(again)
            channel.basic_publish("", "nowhere", b"")
            self.connection.ioloop.call_later(0.02, lambda: self.connection.close())

    assert Endless(vhost.url).run() == ["open", ("closed", 200, "Normal shutdown")]


def test_channel_and_connection_errors(vhost: Vhost) -> None:
    """Close codes and texts reach the callbacks; pending calls are dropped."""

    class Wrong(Program):
        def channel_open(self, channel: Any) -> None:
            channel.add_on_close_callback(self.channel_closed)
            channel.queue_declare("missing", passive=True, callback=lambda frame: self.said.append("never"))
            channel.queue_declare("later", callback=lambda frame: self.said.append("never"))

        def channel_closed(self, channel: Any, reason: Exception) -> None:
            self.said.append(("channel", *reason.args))
            self.connection.channel(on_open_callback=self.again)

        def again(self, channel: Any) -> None:
            channel.basic_consume("missing", lambda *a: None, consumer_tag="tag")
            channel.add_on_close_callback(lambda ch, reason: self.connection.close(320, "I go"))

    said = Wrong(vhost.url).run()
    vhost_name = vhost.url.rpartition("/")[2]
    assert said == [
        "open",
        ("channel", 404, f"NOT_FOUND - no queue 'missing' in vhost '{vhost_name}'"),
        ("closed", 320, "I go"),
    ]


def test_close_while_opening(vhost: Vhost) -> None:
    """The open is aborted."""
    program = Program(vhost.url)
    program.connection.close()
    assert program.run() == [("open error", "ConnectionOpenAborted")]


def test_default_open_error_raises(make_vhost: Callable[[str], Vhost], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a callback the error comes out of the loop, as in pika."""
    vhost = make_vhost("posix")
    monkeypatch.setenv("HAYPILE_DIR", "/proc/nowhere")
    connection = haypile.SelectConnection(haypile.URLParameters(vhost.url))
    with pytest.raises(exceptions.AMQPConnectionError, match=r"/proc (is open to|belongs to)"):
        while True:
            connection.ioloop.process_timeouts()
    connection.ioloop.close()


def test_reconnect_on_close(vhost: Vhost) -> None:
    """A new connection on the old one's loop, from the close callback."""
    loop = Loop()
    said: list[str] = []

    def connect() -> None:
        haypile.SelectConnection(
            haypile.URLParameters(vhost.url), on_open_callback=opened, on_close_callback=closed, custom_ioloop=loop
        )

    def opened(connection: Any) -> None:
        said.append("open")
        connection.close()

    def closed(connection: Any, error: Exception) -> None:
        said.append("closed")
        if len(said) < 6:
            connect()
        else:
            loop.stop()

    connect()
    loop.start()
    loop.close()
    assert said == ["open", "closed"] * 3


# -- create_connection --------------------------------------------------------------------------


def outcome(configs: list[Any], loop: Loop | None = None, **options: Any) -> Any:
    """What ``create_connection`` reports."""
    loop = loop or Loop()
    results: list[Any] = []

    def done(result: Any) -> None:
        results.append(result)
        loop.stop()

    haypile.SelectConnection.create_connection(configs, done, custom_ioloop=loop, **options)
    assert not results, "reported before the loop turned"
    loop.start()
    (result,) = results
    if not isinstance(result, BaseException):
        result.add_on_close_callback(lambda connection, error: loop.stop())
        result.close()
        loop.start()
    loop.close()
    return result


#: Nobody listens on port 1.
NOWHERE = "amqp://guest:guest@127.0.0.1:1/%2F?socket_timeout=1"


def test_configurations_are_tried_in_turn(vhost: Vhost) -> None:
    """The first that works is taken, wherever the others lead."""
    good = haypile.URLParameters(vhost.url)
    bad = haypile.URLParameters(NOWHERE)
    for configs in ([good], [bad, good], [bad, bad, good], [good, bad]):
        connection = outcome(configs)
        assert isinstance(connection, haypile.SelectConnection)
        with_list = haypile.BlockingConnection(configs)
        assert with_list.is_open
        with_list.close()


def test_all_fail(state_directory: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each error is in the report, the last one is what a blocking connection raises."""
    monkeypatch.setenv("HAYPILE_DIR", "/proc/nowhere")
    local, remote = haypile.URLParameters("posix:///x"), haypile.URLParameters(NOWHERE)
    failed = outcome([remote, local])
    assert isinstance(failed, connection_workflow.AMQPConnectionWorkflowFailed)
    assert [type(error).__name__ for error in failed.exceptions] == [
        "AMQPConnectorSocketConnectError",
        "AMQPConnectorAMQPHandshakeError",
    ]
    with pytest.raises(exceptions.AMQPConnectionError, match=r"/proc (is open to|belongs to)"):
        haypile.BlockingConnection([remote, local])
    with pytest.raises(exceptions.AMQPConnectionError) as caught:
        haypile.BlockingConnection([local, remote])
    assert "ConnectionRefusedError" in repr(caught.value)


def test_attempts_are_repeated(monkeypatch: pytest.MonkeyPatch, state_directory: object) -> None:
    """As often as the last of the parameters says, after its pause."""
    monkeypatch.setenv("HAYPILE_DIR", "/proc/nowhere")
    local = haypile.URLParameters("posix:///x?connection_attempts=3&retry_delay=0.01")
    failed = outcome([haypile.URLParameters(NOWHERE), local])
    assert len(failed.exceptions) == 6


def test_one_vhost_that_cannot_be(vhost: Vhost) -> None:
    """It does not keep the others from being tried."""
    bad = haypile.ConnectionParameters("localhost", virtual_host="x" * 300)
    good = haypile.URLParameters(vhost.url)
    assert isinstance(outcome([bad, good]), haypile.SelectConnection)
    failed = outcome([bad])
    assert "longer than 255 bytes" in str(failed.exceptions[0].exception)
    with pytest.raises(exceptions.AMQPConnectionError, match="longer than 255 bytes"):
        haypile.BlockingConnection(bad)


@pytest.mark.parametrize("moment", ["before", "connecting", "pausing"])
def test_abort(vhost: Vhost, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reported as pika's workflow does."""
    loop = Loop()
    results: list[Any] = []
    url = vhost.url
    if moment == "pausing":
        url = NOWHERE + "&connection_attempts=2&retry_delay=60"

    def done(result: Any) -> None:
        results.append(result)
        loop.stop()

    configs = [haypile.URLParameters(url)]
    if moment == "pausing" and vhost.transport != "amqp":
        monkeypatch.setenv("HAYPILE_DIR", "/proc/nowhere")
        configs = [haypile.URLParameters(vhost.url + "?connection_attempts=2&retry_delay=60")]
    attempt = haypile.SelectConnection.create_connection(configs, done, custom_ioloop=loop)
    assert isinstance(attempt, connection_workflow.AbstractAMQPConnectionWorkflow)
    if moment == "before":
        attempt.abort()
    else:
        loop.call_later(0 if moment == "connecting" else 0.1, attempt.abort)
    loop.start()
    loop.close()
    assert [type(result).__name__ for result in results] == ["AMQPConnectionWorkflowAborted"]
    with pytest.raises(connection_workflow.AMQPConnectorWrongState):
        attempt.abort()


def test_bad_arguments() -> None:
    """As pika's."""
    empty: list[Any] = [[], ()]
    for configs in empty:
        with pytest.raises(ValueError, match="empty"):
            haypile.SelectConnection.create_connection(configs, print)
        with pytest.raises(ValueError, match="non-empty sequence"):
            haypile.BlockingConnection(configs)
    with pytest.raises(ValueError, match="Expected instance of Parameters"):
        haypile.SelectConnection("localhost")
