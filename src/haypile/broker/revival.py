"""A new store filled with what its journal has: the first to connect after a boot does it.

Owns: how durable topology and persistent messages come back.
Must not know: files, locks, and how the store gets into its place (``hay.store``).

As in RabbitMQ, exclusive and non-durable things are gone, messages that were in a consumer's hands come
back redelivered, and a queue with x-expires begins to wait anew. Queues keep their numbers and get
new gate slots; records get the new store's nonce.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING

from haypile.broker import due, rows
from haypile.broker.aside import HELD_BACK, renew
from haypile.broker.entities import Queue
from haypile.broker.message import ORDER
from haypile.broker.queue import EXPIRING, MS, NO_LOOK, UNUSED_UNTIL
from haypile.broker.taken import REDELIVERED
from haypile.hay.clock import start_after
from haypile.hay.due import first_due, put_due
from haypile.hay.gates import HEADER_WORDS, QUEUE, SLOT_WORDS
from haypile.hay.layout import JOURNALED, NOTED

if TYPE_CHECKING:
    from haypile.hay.base import Contents
    from haypile.hay.store import Hay
    from haypile.hay.txn import WriteTxn

LOGGER = logging.getLogger("haypile")

#: Messages put back in one transaction.
BATCH = 10_000


def revive(hay: Hay, contents: Contents) -> None:
    """Fill ``hay`` with ``contents``; nobody else uses it yet."""
    queues = {}
    with hay.write() as txn:
        for kind, number in contents.ids():
            txn.raise_id(kind, number)
        for key, value in contents.rows():
            if key[:1] == rows.QUEUE:
                slot = hay.gates.allocate(txn)
                value = rows.with_slot(value, slot)
                queue = Queue(key[1:].decode(), rows.decode_queue(value))
                hay.gates.words[HEADER_WORDS + SLOT_WORDS * slot + QUEUE] = queue.id
                txn.raise_id("queue", queue.id)
                queues[queue.id] = queue
            txn.put_row(key, value)
    count = put_back(hay, contents, queues)
    with hay.write() as txn:
        note_times(hay, txn, queues)
    LOGGER.info("%s: %d durable queues and %d messages are back", hay.directory.parent, len(queues), count)


def put_back(hay: Hay, contents: Contents, queues: dict[int, Queue]) -> int:
    """Put the messages back; how many there are. Nothing published from now on sorts before them."""
    latest = session = count = 0
    words = hay.gates.words
    messages = contents.messages()
    while batch := list(islice(messages, BATCH)):
        with hay.write() as txn:
            for kept in batch:
                if kept.queue not in queues and kept.queue != HELD_BACK:
                    continue
                record = kept.record
                record = renew(record, hay.nonce) if kept.queue == HELD_BACK else hay.nonce + record[len(hay.nonce) :]
                txn.put(
                    kept.queue,
                    kept.order,
                    record,
                    flags=JOURNALED | NOTED | REDELIVERED if kept.held else JOURNALED,
                    deliveries=kept.deliveries,
                    expires=kept.expires,
                    weight=kept.weight,
                )
                _, time, publisher = ORDER.unpack(kept.order)
                if kept.queue != HELD_BACK:
                    latest = max(latest, time)
                    if kept.expires:
                        words[HEADER_WORDS + SLOT_WORDS * queues[kept.queue].slot + EXPIRING] = NO_LOOK
                session = max(session, publisher)
                count += 1
    with hay.write() as txn:
        txn.raise_id("session", session)
        start_after(hay, txn, latest)
    return count


def note_times(hay: Hay, txn: WriteTxn, queues: dict[int, Queue]) -> None:
    """When somebody must look at what is back: see ``due``."""
    words = hay.gates.words
    for queue in queues.values():
        base = HEADER_WORDS + SLOT_WORDS * queue.slot
        head = txn.head(queue.id)
        if head is not None and head.expires:
            put_due(txn, head.expires, due.HEAD, queue.id)
        if queue.args.expires is not None:
            words[base + UNUSED_UNTIL] = until = hay.now() + queue.args.expires * MS
            put_due(txn, until, due.UNUSED, queue.id)
    held_back = txn.head(HELD_BACK)
    if held_back is not None:
        put_due(txn, ORDER.unpack(held_back.order)[1], due.HELD_BACK, 0)
    hay.gates.due = first_due(txn)
