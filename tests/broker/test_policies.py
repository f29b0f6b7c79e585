"""Policies: which holds, how it is merged, and that queues follow at once, in every process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions
import pytest
from click.testing import CliRunner
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

import haypile
from haypile.broker.arguments import QueueArguments
from haypile.broker.policies import (
    InvalidPolicy,
    Policies,
    Policy,
    check_limits,
    from_definitions,
    limits_from_definitions,
    make_policy,
    merge,
)
from haypile.cli.main import main
from tests.support.vhosts import Vhost

Connect = Callable[[], BlockingConnection]
QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture
def policy(posix: Vhost) -> Callable[..., str]:
    """``haypile policy``, in this process (which takes what it changes from the store as any other)."""

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["policy", arguments[0], "--url", posix.url, *arguments[1:]])
        assert result.exit_code == 0, result.output
        return result.output

    return run


def wait_for(condition: Callable[[], Any], connection: BlockingConnection) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        connection.process_data_events(0.05)


# -- rules -----------------------------------------------------------------------------------------------------


def test_the_highest_priority_wins_and_policies_of_another_type_do_not_count() -> None:
    policies = Policies()
    for one in (
        Policy("a", "^q", {"max-length": 1}),
        Policy("b", "q", {"max-length": 2}, 5),
        Policy("c", "q", {"delivery-limit": 2}, 9, "queues"),
        Policy("d", "q", {"alternate-exchange": "e"}, 7, "exchanges"),
    ):
        policies.ordinary[one.name] = one
    assert policies.for_queue("q", "classic") == {"max-length": 2}
    assert policies.for_queue("q", "quorum") == {"delivery-limit": 2}
    assert policies.for_queue("r", "classic") == {}
    assert policies.for_exchange("xq") == {"alternate-exchange": "e"}
    assert policies.for_exchange("") == {}
    assert policies.for_queue("amq.rabbitmq.reply-to.q", "classic") == {}


def test_operators_take_the_smaller_number() -> None:
    policies = Policies()
    policies.ordinary["a"] = Policy("a", "", {"max-length": 1, "message-ttl": 9, "overflow": "drop-head"})
    policies.operator["a"] = Policy("a", "", {"max-length": 5, "message-ttl": 5, "expires": 5})
    merged = {"max-length": 1, "message-ttl": 5, "expires": 5, "overflow": "drop-head"}
    assert policies.for_queue("q", "classic") == merged


@pytest.mark.parametrize(
    ("own", "definition", "field", "value"),
    [
        ({}, {"message-ttl": 5}, "message_ttl", 5),
        ({"x-message-ttl": 9}, {"message-ttl": 5}, "message_ttl", 5),
        ({"x-message-ttl": 3}, {"message-ttl": 5}, "message_ttl", 3),
        ({"x-dead-letter-exchange": "own"}, {"dead-letter-exchange": "x"}, "dead_letter_exchange", "own"),
        ({}, {"dead-letter-exchange": "x"}, "dead_letter_exchange", "x"),
        ({"x-overflow": "reject-publish"}, {"overflow": "drop-head"}, "overflow", "reject-publish"),
        (QUORUM | {"x-overflow": "reject-publish"}, {"overflow": "drop-head"}, "overflow", "drop-head"),
        (QUORUM | {"x-expires": 1}, {"expires": 2}, "expires", 2),
        ({"x-expires": 1}, {"expires": 2}, "expires", 1),
    ],
)
def test_arguments_and_policies(own: dict[str, Any], definition: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(merge(QueueArguments.parse(own), definition, own), field) == value


@pytest.mark.parametrize(
    ("pattern", "definition", "options", "text"),
    [
        ("", {}, {}, "no policy provided"),
        ("", [], {}, "definition must be a dictionary: []"),
        ("", {"nothing": 1}, {}, "'nothing' is not a recognised policy setting"),
        ("", {"overflow": "drop-head"}, {"operator": True}, "'overflow' is not a recognised policy setting"),
        ("", {"max-length": -1}, {}, "-1 is not a valid maximum length"),
        ("", {"message-ttl": "1"}, {}, '<<"1">> is not a valid message TTL'),
        ("", {"expires": 0}, {}, "0 is not a valid queue expiry"),
        ("", {"expires": 1}, {"apply_to": "q"}, "apply-to 'q' unrecognised; should be 'queues', 'exchanges' or 'all'"),
        ("(", {"expires": 1}, {}, "'(' is no regular expression"),
    ],
)
def test_policies_rabbitmq_would_refuse(pattern: str, definition: Any, options: Any, text: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        make_policy("p", pattern, definition, **options)
    assert str(caught.value).startswith(text)


def test_definitions_of_a_rabbitmq() -> None:
    definitions = {
        "policies": [
            {
                "vhost": "/",
                "name": "p",
                "pattern": "a",
                "definition": {"expires": 1},
                "priority": 3,
                "apply-to": "queues",
            },
            {"vhost": "other", "name": "q", "pattern": "a", "definition": {"expires": 1}},
        ],
        "parameters": [
            {
                "component": "operator_policy",
                "vhost": "/",
                "name": "o",
                "value": {"pattern": "b", "definition": {"max-length": 1}},
            },
            {"component": "vhost-limits", "vhost": "/", "name": "limits", "value": {"max-queues": 3}},
        ],
    }
    assert from_definitions(definitions, "/") == [
        (False, Policy("p", "a", {"expires": 1}, 3, "queues")),
        (True, Policy("o", "b", {"max-length": 1})),
    ]
    assert limits_from_definitions(definitions, "/") == {"max-queues": 3}
    assert limits_from_definitions(definitions, "other") is None


@pytest.mark.parametrize("wrong", [[], {"policies": [{}]}])
def test_what_is_no_definitions(wrong: Any) -> None:
    with pytest.raises(InvalidPolicy):
        from_definitions(wrong, "/")


@pytest.mark.parametrize("wrong", [[], {"max-queues": "3"}, {"max-cars": 3}])
def test_what_is_no_limits(wrong: Any) -> None:
    with pytest.raises(InvalidPolicy):
        check_limits(wrong)


# -- queues ----------------------------------------------------------------------------------------------------


def test_queues_follow_at_once(channel: BlockingChannel, policy: Callable[..., str]) -> None:
    channel.queue_declare("q")
    for number in range(5):
        channel.basic_publish("", "q", b"%d" % number)
    policy("set", "p", "^q$", '{"max-length": 2}')
    assert channel.queue_declare("q", passive=True).method.message_count == 2
    channel.basic_publish("", "q", b"5")
    assert [channel.basic_get("q", auto_ack=True)[2] for _ in range(3)] == [b"4", b"5", None]
    policy("clear", "p")
    for number in range(5):
        channel.basic_publish("", "q", b"%d" % number)
    assert channel.queue_declare("q", passive=True).method.message_count == 5


def test_a_queue_with_consumers_leaves_its_lane_and_gets_it_back(connect: Connect, policy: Callable[..., str]) -> None:
    consumers, publisher = connect(), connect().channel()
    channel, got = consumers.channel(), []
    channel.queue_declare("q")
    channel.basic_qos(prefetch_count=1)

    def take(_: Any, method: Any, __: Any, body: bytes) -> None:
        got.append((method.delivery_tag, body))

    channel.basic_consume("q", take)

    def settle_one(body: bytes) -> None:
        wait_for(lambda: got and got[-1][1] == body, consumers)
        channel.basic_ack(got[-1][0])

    for number in range(8):
        publisher.basic_publish("", "q", b"%d" % number)
    wait_for(lambda: got, consumers)
    policy("set", "p", "q", '{"max-length": 3}')
    for number in range(8, 12):
        publisher.basic_publish("", "q", b"%d" % number)
    assert publisher.queue_declare("q", passive=True).method.message_count == 3
    for number in (0, 9, 10, 11):
        settle_one(b"%d" % number)
    policy("clear", "p")
    for number in range(12, 40):
        publisher.basic_publish("", "q", b"%d" % number)
    for number in range(12, 40):
        settle_one(b"%d" % number)


def test_dead_letters_and_expiry_by_policy(channel: BlockingChannel, policy: Callable[..., str]) -> None:
    policy("set", "p", "^t", '{"message-ttl": 30, "dead-letter-exchange": "dlx"}', "--apply-to", "queues")
    channel.exchange_declare("dlx", "fanout")
    for queue in ("dead", "t1"):
        channel.queue_declare(queue)
    channel.queue_bind("dead", "dlx")
    channel.basic_publish("", "t1", b"x")
    for _, properties, body in channel.consume("dead", inactivity_timeout=3):
        assert (properties.headers["x-first-death-reason"], body) == ("expired", b"x")
        break
    channel.cancel()
    policy("set", "e", "^t", '{"expires": 50}', "--priority", "1")
    channel.connection.sleep(0.3)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.queue_declare("t1", passive=True)


def test_alternate_exchanges_by_policy(channel: BlockingChannel, policy: Callable[..., str]) -> None:
    channel.exchange_declare("x", "direct")
    channel.exchange_declare("ae", "fanout")
    channel.queue_declare("q")
    channel.queue_bind("q", "ae")
    channel.basic_publish("x", "k", b"lost")
    policy("set", "p", "^x$", '{"alternate-exchange": "ae"}', "--apply-to", "exchanges")
    channel.basic_publish("x", "k", b"found")
    assert channel.basic_get("q", auto_ack=True)[2] == b"found"
    policy("clear", "p")
    channel.basic_publish("x", "k", b"lost")
    assert channel.basic_get("q", auto_ack=True)[2] is None


# -- limits ----------------------------------------------------------------------------------------------------


def test_limits_of_a_vhost(posix: Vhost, connect: Connect, policy: Callable[..., str]) -> None:
    channel = connect().channel()
    policy("limits", '{"max-queues": 1, "max-connections": 1}')
    assert json.loads(policy("limits")) == {"max-connections": 1, "max-queues": 1}
    channel.queue_declare("q")
    channel.queue_declare("q")
    vhost = posix.url.rpartition("/")[2]
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
        channel.queue_declare("r")
    text = f"PRECONDITION_FAILED - cannot declare queue 'r': queue limit in vhost '{vhost}' (1) is reached"
    assert (refused.value.reply_code, refused.value.reply_text) == (406, text)
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError, match=r"connection limit \(1\) is reached"):
        connect()
    policy("limits", "{}")
    connect().channel().queue_declare("r")


def test_whoever_does_not_acknowledge_loses_the_channel(posix: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAYPILE_CONSUMER_TIMEOUT", "200")
    connection = haypile.BlockingConnection(haypile.URLParameters(posix.url))
    channel, closed = connection.channel(), []
    channel._impl.add_on_close_callback(lambda _, reason: closed.append(reason))
    channel.queue_declare("q")
    channel.basic_publish("", "q", b"x")
    channel.basic_publish("", "q", b"y")
    channel.basic_ack(channel.basic_get("q")[0].delivery_tag)
    connection.sleep(1.3)
    assert not closed
    channel.basic_get("q")
    wait_for(lambda: closed, connection)
    assert (closed[0].reply_code, closed[0].reply_text) == (
        406,
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 200 ms. "
        "This timeout value can be configured, see consumers doc guide to learn more",
    )
    assert connection.channel().basic_get("q", auto_ack=True)[0].redelivered
    connection.close()
