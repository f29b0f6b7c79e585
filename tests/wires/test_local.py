"""The local wire, between pika's real classes and a fake broker."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from pika import exceptions, spec

import haypile
from haypile.broker.errors import AMQPError, NotAllowed
from haypile.hay.errors import OutOfRoom, UnusableDirectory
from haypile.wires import lives
from tests.wires.fake_broker import FakeBroker


def in_child(work: Callable[[], object]) -> str:
    """What ``work`` raises, or returns, in a forked child."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            said = f"returned {work()!r}"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


# -- the handshake ------------------------------------------------------------------------------


def test_handshake(broker: FakeBroker) -> None:
    """pika hears what RabbitMQ would say, and the broker hears who it is."""
    parameters = haypile.ConnectionParameters(
        virtual_host="a/b",
        credentials=haypile.PlainCredentials("alice", "secret"),
        client_properties={"connection_name": "mine"},
    )
    with haypile.BlockingConnection(parameters) as connection:
        impl = connection._impl
        assert impl.server_properties["product"] == "haypile"
        assert connection.publisher_confirms_supported
        assert connection.basic_nack_supported
        assert connection.consumer_cancel_notify_supported
        assert connection.exchange_exchange_bindings_supported
        assert (impl.params.channel_max, impl.params.frame_max, impl.params.heartbeat) == (2047, 131072, 60)
        session = broker.session
        assert session.target.vhost == "a/b"
        assert session.options["user"] == "alice"
        assert session.options["client_properties"]["connection_name"] == "mine"
        assert session.options["info"]["pid"] == os.getpid()
    assert session.closed


def test_limits_are_negotiated_down(broker: FakeBroker) -> None:
    """As pika and RabbitMQ do."""
    parameters = haypile.ConnectionParameters(channel_max=7, frame_max=4096, heartbeat=3)
    with haypile.BlockingConnection(parameters) as connection:
        params = connection._impl.params
        assert (params.channel_max, params.frame_max, params.heartbeat) == (7, 4096, 3)
        for _ in range(7):
            connection.channel()
        with pytest.raises(exceptions.NoFreeChannels):
            connection.channel()


def test_heartbeats_are_answered(broker: FakeBroker) -> None:
    """A client that asks for heartbeats sees them, however late its loop turns."""
    with haypile.BlockingConnection(haypile.ConnectionParameters(heartbeat=1)) as connection:
        checker = connection._impl._heartbeat_checker
        for _ in range(3):
            checker._update_counters()
            checker._send_heartbeat()
            checker._check_heartbeat()
            assert not checker.connection_is_idle
        assert connection.is_open


def test_refusal_by_the_broker(broker: FakeBroker) -> None:
    """An AMQP error of the open becomes what pika makes of RabbitMQ's Close at this stage."""
    broker.refusal = NotAllowed("NOT_ALLOWED - access to vhost refused")
    with pytest.raises(exceptions.ProbableAccessDeniedError) as caught:
        haypile.BlockingConnection()
    assert "530" in str(caught.value)
    assert "access to vhost refused" in str(caught.value)


def test_unusable_directory(broker: FakeBroker) -> None:
    """The text names it and says what to do."""
    broker.refusal = UnusableDirectory("/here: belongs to somebody else; set HAYPILE_DIR")
    with pytest.raises(exceptions.AMQPConnectionError, match="/here: belongs to somebody else; set HAYPILE_DIR"):
        haypile.BlockingConnection()


def test_update_secret(connection: haypile.BlockingConnection) -> None:
    """Accepted."""
    connection.update_secret("new", "because")


# -- order and reentrancy -----------------------------------------------------------------------


def test_nothing_goes_up_while_pika_sends(broker: FakeBroker, connection: haypile.BlockingConnection) -> None:
    """A reply that the broker gives at once reaches pika after its bookkeeping."""
    impl = connection.channel()._impl
    seen: list[str] = []
    impl.add_callback(lambda frame: seen.append("reply"), [spec.Queue.DeclareOk])
    connection.process_data_events(0)
    impl.queue_declare("queue", callback=lambda frame: seen.append("callback"))
    assert seen == []
    connection.process_data_events(0)
    assert seen == ["reply", "callback"]


def test_deliveries_keep_their_order_with_replies(broker: FakeBroker, connection: haypile.BlockingConnection) -> None:
    """ConsumeOk, what was delivered during handle, what before_sleep delivers."""
    channel = connection.channel()
    got: list[bytes] = []

    def at_once(number: int, method: Any, properties: Any, body: bytes) -> bool:
        if isinstance(method, spec.Basic.Consume):
            broker.session.outbox.method(number, spec.Basic.ConsumeOk(method.consumer_tag))
            broker.session.deliver(number, method.consumer_tag, b"1")
            broker.session.waiting.append((number, method.consumer_tag, b"2"))
            return True
        return False

    broker.session.on_handle = at_once
    channel.basic_consume("queue", lambda ch, method, properties, body: got.append(body), auto_ack=True)
    connection.process_data_events(0)
    connection.process_data_events(0)
    assert got == [b"1", b"2"]


def test_a_reply_unread_is_seen_by_the_next_call(broker: FakeBroker, connection: haypile.BlockingConnection) -> None:
    """As with RabbitMQ, where the answer to a publish is not there yet when the call returns."""
    channel = connection.channel()

    def refuse(number: int, method: Any, properties: Any, body: bytes) -> bool:
        if isinstance(method, spec.Basic.Publish):
            broker.session.outbox.method(number, spec.Channel.Close(404, "NOT_FOUND - no exchange", 60, 40))
        return isinstance(method, spec.Basic.Publish)

    broker.session.on_handle = refuse
    channel.basic_publish("missing", "", b"")
    assert channel.is_open
    with pytest.raises(exceptions.ChannelClosedByBroker) as caught:
        channel.basic_publish("missing", "", b"")
    assert caught.value.args == (404, "NOT_FOUND - no exchange")
    assert channel.is_closed
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.basic_publish("missing", "", b"")


@pytest.mark.parametrize("call", ["basic_get", "basic_ack", "queue_declare", "basic_publish"])
def test_connection_close_by_the_broker(broker: FakeBroker, connection: haypile.BlockingConnection, call: str) -> None:
    """Its code and text arrive in whatever call comes next."""
    channel = connection.channel()
    arguments: dict[str, tuple[Any, ...]] = {
        "basic_get": ("queue",),
        "basic_ack": (1,),
        "queue_declare": ("queue",),
        "basic_publish": ("", "queue", b""),
    }
    channel.basic_publish("", "queue", b"")
    broker.session.outbox.method(0, spec.Connection.Close(320, "CONNECTION_FORCED - shutdown", 0, 0))
    broker.session.on_handle = lambda *arguments: True
    with pytest.raises(exceptions.ConnectionClosedByBroker) as caught:
        for _ in range(2):  # a call that waits for nothing leaves it to the next
            getattr(channel, call)(*arguments[call])
    assert caught.value.args == (320, "CONNECTION_FORCED - shutdown")
    assert connection.is_closed
    assert broker.session.closed


def test_blocked_and_unblocked(broker: FakeBroker, connection: haypile.BlockingConnection) -> None:
    """Notices of channel 0 reach the callbacks."""
    seen: list[str] = []
    connection.add_on_connection_blocked_callback(lambda c, frame: seen.append(frame.method.reason))
    connection.add_on_connection_unblocked_callback(lambda c, frame: seen.append("unblocked"))
    broker.session.outbox.method(0, spec.Connection.Blocked("low on memory"))
    connection.process_data_events(0)
    broker.session.outbox.method(0, spec.Connection.Unblocked())
    connection.process_data_events(0)
    assert seen == ["low on memory", "unblocked"]


def test_blocked_connection_timeout(broker: FakeBroker) -> None:
    """pika's own timer ends the connection."""
    connection = haypile.BlockingConnection(haypile.ConnectionParameters(blocked_connection_timeout=0.05))
    broker.session.outbox.method(0, spec.Connection.Blocked("low on memory"))
    with pytest.raises(exceptions.ConnectionBlockedTimeout):
        connection.process_data_events(None)
    assert broker.session.closed


# -- failures of the vhost ----------------------------------------------------------------------


@pytest.mark.parametrize("call", ["basic_publish", "basic_ack", "basic_get", "queue_declare", "confirmed"])
def test_a_vhost_that_fails_is_a_lost_stream(
    broker: FakeBroker, connection: haypile.BlockingConnection, call: str
) -> None:
    """Whatever call meets it raises what pika raises for a lost connection, with the reason."""
    channel = connection.channel()
    if call == "confirmed":
        channel.confirm_delivery()
    broker.session.failure = OutOfRoom("/dev/shm is full; free some of it")
    arguments: dict[str, tuple[Any, ...]] = {"basic_ack": (1,), "basic_get": ("q",), "queue_declare": ("q",)}
    with pytest.raises(exceptions.StreamLostError, match="vhost '/' failed: /dev/shm is full; free some of it"):
        getattr(channel, call if call != "confirmed" else "basic_publish")(*arguments.get(call, ("", "q", b"")))
    assert connection.is_closed
    assert channel.is_closed
    assert broker.session.closed
    with pytest.raises(exceptions.ConnectionWrongStateError):
        connection.process_data_events(None)


def test_a_vhost_that_fails_while_the_loop_turns(broker: FakeBroker, connection: haypile.BlockingConnection) -> None:
    """The same for who only waits."""
    broker.session.failure = OSError(28, "No space left on device")
    broker.session.ring()
    with pytest.raises(exceptions.StreamLostError, match="No space left on device"):
        connection.process_data_events(None)


def test_amqp_errors_pass_through_nobody(broker: FakeBroker, connection: haypile.BlockingConnection) -> None:
    """A session turns them into Close itself; one that comes out is a bug and is seen as it is."""
    channel = connection.channel()
    broker.session.failure = NotAllowed("a bug")
    with pytest.raises(AMQPError):
        channel.queue_declare("queue")
    broker.session.failure = None


# -- the loop -----------------------------------------------------------------------------------


def test_add_callback_threadsafe_wakes_a_sleeper(broker: FakeBroker, connection: haypile.BlockingConnection) -> None:
    """From another thread, while this one sleeps in the loop."""
    seen: list[int] = []
    asleep = broker.session.sleeps

    def call() -> None:
        while broker.session.sleeps == asleep:  # it is about to sleep
            pass
        connection.add_callback_threadsafe(lambda: seen.append(threading.get_ident()))

    thread = threading.Thread(target=call)
    thread.start()
    while not seen:
        connection.process_data_events(None)
    thread.join()
    assert seen == [threading.get_ident()]


def test_timers_have_their_turn_while_deliveries_keep_coming(
    broker: FakeBroker, connection: haypile.BlockingConnection
) -> None:
    """A flood must not starve call_later, callbacks of other threads, or other descriptors."""
    channel = connection.channel()
    session = broker.session
    seen: list[str] = []

    def flood(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        session.waiting.append((1, method.consumer_tag, b"again"))
        if len(set(seen)) == 3:
            channel.stop_consuming()
            session.waiting.clear()

    tag = channel.basic_consume("queue", flood, auto_ack=True)
    session.waiting.append((1, tag, b"first"))
    connection.call_later(0, lambda: seen.append("timer"))
    connection.add_callback_threadsafe(lambda: seen.append("callback"))
    read, write = os.pipe()
    os.write(write, b"!")
    loop = connection._impl.ioloop
    loop.add_handler(read, lambda fd, events: seen.append("descriptor"), loop.READ)
    channel.start_consuming()
    assert set(seen) == {"timer", "callback", "descriptor"}
    loop.remove_handler(read)
    os.close(read)
    os.close(write)


def test_a_session_that_wants_another_look_gets_it(broker: FakeBroker, connection: haypile.BlockingConnection) -> None:
    """``Outbox.soon`` from within ``before_sleep``: the loop must not block first."""
    session = broker.session
    looks = 0

    def before_sleep() -> None:
        nonlocal looks
        looks += 1
        if looks < 3:
            session.outbox.soon()
        else:
            session.outbox.method(0, spec.Connection.Blocked("done"))

    session.before_sleep = before_sleep  # type: ignore[method-assign]
    seen: list[str] = []
    connection.add_on_connection_blocked_callback(lambda c, frame: seen.append(frame.method.reason))
    connection.process_data_events(None)
    assert seen == ["done"]
    assert looks == 3


# -- fork and garbage ---------------------------------------------------------------------------


def test_a_forked_child_gets_a_clear_error(broker: FakeBroker, connection: haypile.BlockingConnection) -> None:
    """Whatever it calls; and the parent goes on."""
    channel = connection.channel()
    channel.confirm_delivery()
    works: list[Callable[[], object]] = [
        lambda: channel.basic_publish("", "queue", b""),
        lambda: channel.basic_ack(1),
        lambda: channel.basic_get("queue"),
        lambda: channel.queue_declare("queue"),
        lambda: connection.process_data_events(None),
        connection.channel,
        connection.close,
    ]
    text = f"this connection belongs to the parent process {os.getpid()}; open a new one in the forked child"
    for work in works:
        assert in_child(work) == f"ConnectionWrongStateError: {text}"
    channel.basic_publish("", "queue", b"still here")
    assert broker.session.asked[-1][3] == b"still here"
    assert not broker.session.closed


def test_a_child_that_drops_the_connection_harms_nobody(
    broker: FakeBroker, connection: haypile.BlockingConnection
) -> None:
    """Not by forgetting it, nor at its end."""

    def forget() -> object:
        session = broker.sessions.pop()
        connection.__dict__.clear()
        gc.collect()
        lives._at_exit()
        return session.closed

    assert in_child(forget) == "returned False"
    connection.process_data_events(0)
    assert not broker.session.closed


def test_a_dropped_connection_gives_back_what_it_holds(broker: FakeBroker) -> None:
    """As a socket that is not referred to any more is closed."""
    connection = haypile.BlockingConnection()
    channel = connection.channel()
    closings = broker.sessions.pop().closings
    alive = weakref.ref(connection)
    del connection, channel
    gc.collect()
    deadline = time.monotonic() + 10
    while not closings and time.monotonic() < deadline:
        time.sleep(0.001)
    assert closings
    gc.collect()  # since Python 3.15 who is brought back to be closed is alive for weak references, too
    assert alive() is None


def test_a_dropped_connection_is_not_closed_where_the_collector_runs(broker: FakeBroker) -> None:
    """This thread may be in a transaction, or hold the lock that closing waits for."""
    connection = haypile.BlockingConnection()
    closings = broker.sessions.pop().closings
    with lives._reaping:
        del connection
        gc.collect()
        assert not closings
    lives._at_exit()
    assert closings


def test_a_dropped_connection_waits_for_a_safe_moment(
    broker: FakeBroker, connection: haypile.BlockingConnection
) -> None:
    """The collector may run inside a transaction of another connection."""
    dropped = haypile.BlockingConnection()
    closings = broker.sessions.pop().closings
    del dropped
    gc.collect()
    assert not closings
    connection.process_data_events(0)
    assert closings


def test_sessions_end_with_the_process(broker: FakeBroker, connection: haypile.BlockingConnection) -> None:
    """Nothing is left for others to clean up."""
    lives._at_exit()
    assert broker.session.closed
    with pytest.raises(exceptions.StreamLostError):
        connection._impl.wire.fail(OSError("gone"))
        connection.process_data_events(0)
