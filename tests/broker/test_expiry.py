"""A long queue expires in parts: the loop gets its turn, and nobody waits long for the lock."""

from __future__ import annotations

import gc
import time

from pika.adapters.blocking_connection import BlockingChannel

from haypile.broker import message
from haypile.broker.due import SLICE
from haypile.broker.session import Session
from haypile.hay.store import Hay

MANY = 40_000


def the_session() -> Session:
    """The one that is open."""
    (found,) = [one for one in gc.get_objects() if isinstance(one, Session) and not one.closed]
    return found


def test_a_long_queue_expires_in_parts(channel: BlockingChannel) -> None:
    channel.queue_declare("q", arguments={"x-message-ttl": 60_000})
    session = the_session()
    handle = session.handle_for(session.vhost.topology.queues["q"])
    hay = session.vhost.hay
    over = hay.now() + 500_000_000
    with hay.write() as txn:
        for _ in range(MANY):
            at = session.publisher.now()
            record = message.encode(session.nonce, at, session.id, message.encode_prefix("", "q"), b"", b"x", 0, 0)
            txn.put(handle.id, message.ORDER.pack(255, at, session.id), record, expires=over)
        late = message.ORDER.pack(255, session.publisher.now(), session.id)
        txn.put(handle.id, late, record, expires=over + 60_000_000_000)
        handle.close_gate()
        handle.mark_expiring()
        session.due.note_head(txn, handle)
    while hay.now() <= over:
        time.sleep(0.01)
    # In this thread's processor time: other work on the machine does not count.
    begun, turns, longest = time.thread_time(), 0, 0.0
    while hay.count_now(handle.id) > 1:
        turn = time.thread_time()
        session.on_timer()
        longest = max(longest, time.thread_time() - turn)
        turns += 1
    assert MANY / (time.thread_time() - begun) > 50_000
    assert turns > 1 and longest < 10 * SLICE / 1e9
    assert channel.queue_declare("q", passive=True).method.message_count == 1


def test_expire_takes_what_is_over_and_no_more(hay: Hay) -> None:
    small, large = b"x", b"x" * 5000
    with hay.write() as txn:
        for number, expires in enumerate((1, 1, 2, 0, 1)):
            txn.put(7, bytes(12) + bytes((number,)), large if number == 1 else small, expires=expires)
        txn.put(8, bytes(13), small, expires=1)
    with hay.write() as txn:
        assert txn.expire(7, 1, 1) == 1
        assert txn.expire(7, 1, 10) == 1
        assert txn.expire(7, 2, 10) == 1
        assert txn.expire(7, 9, 10) == 0
        assert txn.count(7) == (2, 2)
    with hay.read() as reading:
        assert reading.count(7) == (2, 2)
        assert reading.count(8) == (1, 1)
    with hay.write() as txn:
        assert txn.expire(8, 9, 10) == 1, "and the end of the store is reached"
        assert txn.expire(7, 99, 10) == 0, "not the one without a time"
        assert txn.expire(9, 99, 10) == 0


def test_a_program_that_only_asks_sees_what_is_due(channel: BlockingChannel) -> None:
    arguments = {"x-message-ttl": 30, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
    channel.queue_declare("wait", arguments=arguments)
    channel.queue_declare("q")
    channel.basic_publish("", "wait", b"x")
    deadline = time.monotonic() + 3
    while (found := channel.basic_get("q", auto_ack=True)[2]) is None:  # no turn of the loop between these
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found == b"x"
