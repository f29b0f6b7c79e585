"""BlockingConnection: the same on a RabbitMQ and here."""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pika import exceptions
from pika.adapters import blocking_connection

import haypile
from tests.fronts.conftest import Connect
from tests.support.vhosts import Vhost

LONG = "x" * 256


class Odd:
    """Something that no AMQP field takes."""


def publish(**fields: Any) -> Callable[[Any], object]:
    """Publishing with these properties."""
    return lambda channel: channel.basic_publish("", "queue", b"body", haypile.BasicProperties(**fields))


#: Calls with values that pika cannot marshal, or takes as another type.
ODD_CALLS: dict[str, Callable[[Any], object]] = {
    "exchange too long": lambda channel: channel.basic_publish(LONG, "queue", b""),
    "routing key too long": lambda channel: channel.basic_publish("", LONG, b""),
    "exchange a number": lambda channel: channel.basic_publish(1, "queue", b""),
    "exchange a list": lambda channel: channel.basic_publish([], "queue", b""),
    "routing key None": lambda channel: channel.basic_publish("", None, b""),
    "body None": lambda channel: channel.basic_publish("", "queue", None),
    "body a number": lambda channel: channel.basic_publish("", "queue", 7),
    "body a list": lambda channel: channel.basic_publish("", "queue", [1]),
    "body bytearray": lambda channel: channel.basic_publish("", "queue", bytearray(b"x")),
    "properties a dict": lambda channel: channel.basic_publish("", "queue", b"", {"priority": 1}),
    "properties a number": lambda channel: channel.basic_publish("", "queue", b"", 7),
    "content type a number": publish(content_type=1),
    "content type a list": publish(content_type=[]),
    "content type too long": publish(content_type=LONG),
    "correlation id None": publish(correlation_id=None),
    "delivery mode a word": publish(delivery_mode="2"),
    "delivery mode too large": publish(delivery_mode=256),
    "delivery mode half": publish(delivery_mode=1.5),
    "priority negative": publish(priority=-1),
    "priority a word": publish(priority="high"),
    "timestamp a word": publish(timestamp="now"),
    "timestamp a date": publish(timestamp=datetime.datetime(2026, 1, 1)),
    "timestamp negative": publish(timestamp=-1),
    "headers a list": publish(headers=[1]),
    "headers a number": publish(headers=1),
    "header of an odd type": publish(headers={"odd": Odd}),
    "header key too long": publish(headers={LONG: 1}),
    "header key a number": publish(headers={1: 1}),
    "header a set": publish(headers={"set": {1}}),
    "header a huge number": publish(headers={"huge": 1 << 64}),
    "header a complex number": publish(headers={"complex": 1j}),
    "header odd inside": publish(headers={"deep": {"list": [{"odd": Odd}]}}),
    "expiration a number": publish(expiration=1000),
    "ack a word": lambda channel: channel.basic_ack("1"),
    "ack None": lambda channel: channel.basic_ack(None),
    "ack negative": lambda channel: channel.basic_ack(-1),
    "ack half": lambda channel: channel.basic_ack(0.5),
    "ack too large": lambda channel: channel.basic_ack(1 << 64),
    "nack a word": lambda channel: channel.basic_nack("1"),
    "reject a word": lambda channel: channel.basic_reject("1"),
    "reject too large": lambda channel: channel.basic_reject(1 << 64),
    "get a number": lambda channel: channel.basic_get(1),
    "get None": lambda channel: channel.basic_get(None),
    "get too long": lambda channel: channel.basic_get(LONG),
    "declare a number": lambda channel: channel.queue_declare(1),
    "declare too long": lambda channel: channel.queue_declare(LONG),
    "declare with an odd argument": lambda channel: channel.queue_declare("odd", arguments={"x-odd": Odd}),
    "declare with a list": lambda channel: channel.queue_declare("odd", arguments=[1]),
    "declare with bytes": lambda channel: channel.queue_declare(b"queue"),
    "bind with an odd argument": lambda channel: channel.queue_bind("queue", "amq.topic", "#", {"x": Odd}),
    "bind with a number": lambda channel: channel.queue_bind("queue", "amq.topic", 1),
    "bind with a long key": lambda channel: channel.queue_bind("queue", "amq.topic", LONG),
    "exchange type a number": lambda channel: channel.exchange_declare("odd", 7),
    "exchange type None": lambda channel: channel.exchange_declare("odd", None),
    "qos a word": lambda channel: channel.basic_qos(prefetch_count="1"),
    "qos too large": lambda channel: channel.basic_qos(prefetch_count=65536),
    "qos negative": lambda channel: channel.basic_qos(prefetch_count=-1),
    "consume without a callback": lambda channel: channel.basic_consume("queue", None),
    "consume with a number": lambda channel: channel.basic_consume(1, print),
    "consume with an odd argument": lambda channel: channel.basic_consume(
        "queue", print, consumer_tag="tag", arguments={"x": Odd}
    ),
}


def outcome(call: Callable[[Any], object], connection: haypile.BlockingConnection) -> tuple[str, str]:
    """What it raises on a channel of ``connection``, and whether all works afterwards."""
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        call(channel)
        said = "nothing raised"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    after = "closed"
    if channel.is_open:
        channel.basic_publish("", "queue", b"after")
        after = "open, publishes"
        channel.close()
    return said, after


@pytest.mark.rabbitmq
def test_what_cannot_be_marshalled(make_vhost: Callable[[str], Vhost]) -> None:
    """The same exception, at the same call, and nothing is sent."""
    seen: dict[str, dict[str, tuple[str, str]]] = {}
    for transport in ("amqp", "posix"):
        with haypile.BlockingConnection(haypile.URLParameters(make_vhost(transport).url)) as connection:
            connection.channel().queue_declare("queue")
            seen[transport] = {name: outcome(call, connection) for name, call in ODD_CALLS.items()}
            left = connection.channel().queue_declare("queue", passive=True).method.message_count
            seen[transport]["messages"] = (str(left), "")
    assert seen["posix"] == seen["amqp"]


@pytest.mark.parametrize("number", [0, 65536, 70000])
def test_channel_numbers_out_of_range(connect: Connect, number: int) -> None:
    """pika cannot marshal them; 0 means the next free one."""
    connection = connect()
    if number:
        with pytest.raises(Exception, match=r"ushort|'H'"):
            connection.channel(number)
        connection._impl._channels.clear()  # pika leaves it half open
    else:
        assert connection.channel(number).channel_number == 1


def test_text_as_bytes(connect: Connect) -> None:
    """Names that pika takes as bytes, too."""
    channel = connect().channel()
    channel.queue_declare("queue")
    channel.queue_bind("queue", "amq.direct", b"key")
    channel.basic_publish(b"amq.direct", b"key", "text")
    method, _, body = channel.basic_get("queue", auto_ack=True)
    assert (method.exchange, method.routing_key, body) == ("amq.direct", "key", b"text")


def test_text_bodies_and_properties_stay_the_callers(connect: Connect) -> None:
    """A str body is encoded; the properties object that was published can be changed and used again."""
    channel = connect().channel()
    channel.queue_declare("queue")
    properties = haypile.BasicProperties(headers={"n": 1}, correlation_id="a")
    channel.basic_publish("", "queue", "grüß", properties)
    properties.headers["n"] = 2
    properties.correlation_id = "b"
    channel.basic_publish("", "queue", b"", properties)
    got = [channel.basic_get("queue", auto_ack=True) for _ in range(2)]
    assert [body for _, _, body in got] == ["grüß".encode(), b""]
    assert [(p.headers, p.correlation_id) for _, p, _ in got] == [({"n": 1}, "a"), ({"n": 2}, "b")]
    got[0][1].headers["n"] = 9
    assert got[1][1].headers == {"n": 2}


def test_closed_channel_raises_as_pika_does(connect: Connect) -> None:
    """The quick calls leave it to pika."""
    connection = connect()
    channel = connection.channel()
    channel.close()
    calls: list[Callable[[], object]] = [
        lambda: channel.basic_publish("", "queue", b""),
        lambda: channel.basic_ack(1),
        lambda: channel.queue_declare("queue"),
    ]
    for call in calls:
        with pytest.raises(exceptions.ChannelWrongStateError, match="Channel is closed"):
            call()
    connection.close()
    with pytest.raises(exceptions.ChannelWrongStateError):
        channel.basic_publish("", "queue", b"")
    with pytest.raises(exceptions.ConnectionWrongStateError):
        connection.channel()
    with pytest.raises(exceptions.ConnectionWrongStateError, match="called on closed connection"):
        connection.close()


def test_returned_messages_in_confirm_mode(connect: Connect) -> None:
    """UnroutableError carries the message."""
    channel = connect().channel()
    channel.confirm_delivery()
    properties = haypile.BasicProperties(headers={"a": 1})
    with pytest.raises(exceptions.UnroutableError) as caught:
        channel.basic_publish("", "nobody", b"body", properties, mandatory=True)
    (returned,) = caught.value.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert (returned.properties.headers, returned.body) == ({"a": 1}, b"body")
    channel.basic_publish("", "nobody", b"body")


def test_returned_messages_without_confirms(connect: Connect) -> None:
    """They reach the callback from process_data_events."""
    connection = connect()
    channel = connection.channel()
    got: list[bytes] = []
    channel.add_on_return_callback(lambda ch, method, properties, body: got.append(body))
    for number in range(3):
        channel.basic_publish("", "nobody", b"%d" % number, mandatory=True)
    while len(got) < 3:
        connection.process_data_events(None)
    assert got == [b"0", b"1", b"2"]


def test_nacked_publish(connect: Connect) -> None:
    """NackError, from a queue that takes no more."""
    channel = connect().channel()
    channel.confirm_delivery()
    channel.queue_declare("short", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.basic_publish("", "short", b"1")
    with pytest.raises(exceptions.NackError) as caught:
        channel.basic_publish("", "short", b"2")
    assert caught.value.messages == []


def test_callbacks_do_not_nest(connect: Connect) -> None:
    """Deliveries that come while a callback calls are dispatched after it."""
    connection = connect()
    channel = connection.channel()
    channel.queue_declare("queue")
    order: list[str] = []

    def consume(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        order.append(f"begin {body.decode()}")
        if body == b"1":
            channel.basic_publish("", "queue", b"2")
            channel.queue_declare("queue", passive=True)
            with pytest.raises(exceptions.ReentrancyError):
                channel.start_consuming()
        order.append(f"end {body.decode()}")
        if body == b"2":
            channel.stop_consuming()

    channel.basic_publish("", "queue", b"1")
    channel.basic_consume("queue", consume, auto_ack=True)
    channel.start_consuming()
    assert order == ["begin 1", "end 1", "begin 2", "end 2"]


def test_a_callback_that_raises(connect: Connect) -> None:
    """Its exception comes out of start_consuming; the connection goes on with what comes next."""
    channel = connect().channel()
    channel.queue_declare("queue")
    got: list[bytes] = []

    def consume(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        if body == b"bad":
            raise ZeroDivisionError("mine")
        got.append(body)
        channel.stop_consuming()

    channel.basic_publish("", "queue", b"bad")
    channel.basic_consume("queue", consume, auto_ack=True)
    with pytest.raises(ZeroDivisionError, match="mine"):
        channel.start_consuming()
    channel.basic_publish("", "queue", b"good")
    channel.start_consuming()
    assert got == [b"good"]


def test_several_connections_consume_from_one_another(connect: Connect) -> None:
    """In one thread, turned by hand."""
    ping, pong = connect(), connect()
    here, there = ping.channel(), pong.channel()
    for name in ("ping", "pong"):
        here.queue_declare(name)
    got: list[bytes] = []
    there.basic_consume("ping", lambda c, m, p, body: there.basic_publish("", "pong", body + b"!"), auto_ack=True)
    here.basic_consume("pong", lambda c, m, p, body: got.append(body), auto_ack=True)
    for number in range(20):
        here.basic_publish("", "ping", b"%d" % number)
        while len(got) <= number:
            pong.process_data_events(0)
            ping.process_data_events(0)
    assert got == [b"%d!" % number for number in range(20)]


def test_threads_each_with_a_connection(connect: Connect) -> None:
    """A consumer thread that acknowledges through add_callback_threadsafe, and publishers."""
    connection = connect()
    channel = connection.channel()
    channel.queue_declare("queue")
    channel.basic_qos(prefetch_count=10)
    got: list[bytes] = []

    def consume(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        def work() -> None:
            got.append(body)
            connection.add_callback_threadsafe(lambda: settle(method.delivery_tag))

        workers.append(threading.Thread(target=work))
        workers[-1].start()

    def settle(tag: int) -> None:
        channel.basic_ack(tag)
        if len(got) == 60:
            channel.stop_consuming()

    def produce(number: int) -> None:
        mine = others[number].channel()
        for count in range(20):
            mine.basic_publish("", "queue", b"%d.%d" % (number, count))

    workers: list[threading.Thread] = []
    others = [connect() for _ in range(3)]
    producers = [threading.Thread(target=produce, args=(number,)) for number in range(3)]
    channel.basic_consume("queue", consume)
    for thread in producers:
        thread.start()
    channel.start_consuming()
    for thread in producers + workers:
        thread.join()
    assert sorted(got) == sorted(b"%d.%d" % (n, c) for n in range(3) for c in range(20))
    assert channel.queue_declare("queue", passive=True).method.message_count == 0


def test_timers(connect: Connect) -> None:
    """call_later, remove_timeout, sleep, process_data_events with a limit."""
    connection = connect()
    seen: list[str] = []
    connection.call_later(0.02, lambda: seen.append("second"))
    connection.call_later(0.01, lambda: seen.append("first"))
    gone = connection.call_later(0.01, lambda: seen.append("never"))
    connection.remove_timeout(gone)
    start = time.monotonic()
    connection.sleep(0.05)
    assert time.monotonic() - start >= 0.05
    assert seen == ["first", "second"]
    start = time.monotonic()
    connection.process_data_events(time_limit=0.05)
    assert 0.04 < time.monotonic() - start < 10


def test_kinds(connect: Connect) -> None:
    """isinstance holds both ways people check; names in texts are pika's."""
    connection = connect()
    channel = connection.channel()
    assert isinstance(connection, blocking_connection.BlockingConnection)
    assert isinstance(connection, haypile.BlockingConnection)
    assert isinstance(channel, blocking_connection.BlockingChannel)
    assert repr(channel).startswith("<BlockingChannel impl=<Channel number=1 OPEN conn=<SelectConnection OPEN ")


def test_killed_in_a_forked_child(connect: Connect, vhost: Vhost) -> None:
    """A child that opens its own connection beside the parent's leaves the parent's alone."""
    connection = connect()
    channel = connection.channel()
    channel.queue_declare("queue")
    pid = os.fork()
    if not pid:
        try:
            with haypile.BlockingConnection(haypile.URLParameters(vhost.url)) as own:
                own.channel().basic_publish("", "queue", b"from the child")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    _, _, body = channel.basic_get("queue", auto_ack=True)
    assert body == b"from the child"


@pytest.mark.parametrize("count", [3, 150])
def test_unacknowledged_messages_of_a_deleted_queue(connect: Connect, count: int) -> None:
    """They go with the queue, when the channel closes; those of another one go back."""
    other = connect()
    channel = connect().channel()
    for name in ("gone", "stays"):
        channel.queue_declare(name)
        for _ in range(count):
            channel.basic_publish("", name, b"")
        got: list[bytes] = []
        channel.basic_consume(name, lambda c, m, p, body, got=got: got.append(body))
        while len(got) < count:
            channel.connection.process_data_events(None)
    other.channel().queue_delete("gone")
    channel.close()
    assert other.channel().queue_declare("stays", passive=True).method.message_count == count


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_a_stream_whose_loop_turns_needs_no_look_at_timers_beside(
    transport: str, make_vhost: Callable[[str], Vhost], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliveries that come without the loop let it turn once a millisecond; a sleep is such a turn."""
    url = haypile.URLParameters(make_vhost(transport).url)
    with haypile.BlockingConnection(url) as connection, haypile.BlockingConnection(url) as other:
        channel, publisher, got = connection.channel(), other.channel(), []
        channel.queue_declare("q")
        channel.basic_consume("q", lambda *a: got.append(a[3]), auto_ack=True)
        wire: Any = connection._impl.wire
        looks: list[float] = []
        look = wire.look

        def counted() -> None:
            looks.append(time.monotonic())
            look()

        monkeypatch.setattr(wire, "look", counted)
        before, rung = time.monotonic(), threading.Event()
        wire.connection.ioloop.call_later(0, rung.set)
        while not rung.is_set():
            wire.sleep()
        assert wire._looked >= before
        wire._looked = time.monotonic() + 60
        publisher.basic_publish("", "q", b"x")
        wire.breathe()
        assert not looks
        wire._looked = 0.0
        wire.breathe()
        assert len(looks) == 1
        while not got:
            connection.process_data_events(1)
