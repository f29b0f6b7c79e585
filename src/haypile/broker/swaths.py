"""Queues that nobody consumes: their youngest messages may be in their publisher's swath (``hay.swath``).

Owns: which queues a session lays messages for, and that who looks at such a queue finds them in the store.
Must not know: what is looked for, how a message is published.

The word of a queue's gate names the one session that may lay messages for it. That session asks the word after each
message, as a publisher does with a lane's generation: where it is another one by now, it brings home what it laid. Who
looks at the queue gathers what that session has laid, for whatever queues. Of one publisher, and of several that know
of each other, nothing is given out before what was published earlier: the store sorts by time.

Invariants:

* The word changes under the write lock alone. Nobody consumes a queue whose word names a session: the first consumer
  has the word say ``GATHERING``, so that nothing is laid any more, and ``SHUT`` once all is in the store.
* Whoever takes, counts or removes messages of a queue gathers first (``Moving.drain``).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from haypile.broker import message
from haypile.broker.message import FLAGS_AT
from haypile.broker.queue import DRAINED, GATHERING, LAYING, SHUT
from haypile.hay import swath
from haypile.hay.errors import OutOfRoom
from haypile.hay.gates import HEADER_WORDS, SLOT_WORDS
from haypile.hay.layout import JOURNALED
from haypile.hay.places import file_mode

if TYPE_CHECKING:
    from pathlib import Path

    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session
    from haypile.hay.reading import ReadTxn
    from haypile.hay.txn import WriteTxn

#: So many messages to a queue without consumers, one by one, are a backlog; and so many more after a vain try.
BACKLOG, IN_VAIN = 16, 1000

#: The low bits of a word that names a session.
_STATE, _SHIFT = 7, 3
#: Ids of sessions are u32 (``Writing.next_id``).
_LAST = 0xFFFF_FFFF


class Swaths:
    """One session's."""

    __slots__ = ("own", "session", "word")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.own: swath.Swath | None = None
        #: What the gate of a queue says while we may lay messages for it.
        self.word = session.id << _SHIFT | LAYING

    # -- our own ----------------------------------------------------------------------------

    def begin(self, txn: WriteTxn, handle: QueueHandle) -> None:
        """A message has been put into the queue by way of the store: perhaps those that follow need not be."""
        if handle.swath is not None:
            if handle.words[handle.base] != handle.laying:
                txn.on_commit.append(functools.partial(self._end, handle, self.session.id))
            return
        if self.session.sliced or not handle.plain or handle.queue.lane is not None or handle.has_consumers():
            return
        handle.stored += 1
        if handle.stored < BACKLOG or handle.words[handle.base] > DRAINED or handle.queue.deleted:
            return
        if self.own is None:
            handle.stored = BACKLOG - IN_VAIN
            path = self._path(self.session.id)
            try:
                self.own = swath.Swath(path, file_mode(path.parent))
            except OutOfRoom:
                return
        txn.on_commit.append(functools.partial(self._take_over, handle))

    def _take_over(self, handle: QueueHandle) -> None:
        handle.swath, handle.laying, handle.stored = self.own, self.word, 0
        handle.words[handle.base] = self.word

    def bring_home(self, txn: WriteTxn) -> None:
        """What we have laid goes into the store."""
        if self.own is not None:
            self._gather(txn, self.session.id)

    def leave(self, txn: WriteTxn) -> None:
        """The session is over."""
        if self.own is None:
            return
        self._gather(txn, self.session.id)
        swath.forget(txn, self.session.id)
        for handle in self.session.handles.values():
            if handle.laying:
                txn.on_commit.append(functools.partial(self._end, handle, self.session.id))

    def close(self) -> None:
        """Let go of the memory."""
        own, self.own = self.own, None
        if own is not None:
            own.close()

    # -- anybody's --------------------------------------------------------------------------

    def gather(self, txn: WriteTxn, handle: QueueHandle, *, end: bool = False) -> None:
        """Have in the store what was laid for the queue; ``end``: and nothing is to be laid any more."""
        words, base = handle.words, handle.base
        owner = laid_by(words[base])
        if owner:
            if end:
                words[base] = owner << _SHIFT | GATHERING
                txn.on_commit.append(functools.partial(self._end, handle, owner))
            self._gather(txn, owner)
        if handle.swath is not None and owner != self.session.id:
            # Laid when the word had just become another one.
            handle.swath, handle.laying = None, 0
            self.bring_home(txn)

    def inherit(self, txn: WriteTxn, dead: int) -> None:
        """What a dead session has laid goes into the store."""
        if not self._path(dead).exists():
            return
        self._gather(txn, dead)
        swath.forget(txn, dead)
        gates = self.session.vhost.hay.gates
        for queue in self.session.vhost.topology.by_id.values():
            gates.ensure(queue.slot)
            base = HEADER_WORDS + SLOT_WORDS * queue.slot
            if laid_by(gates.words[base]) == dead:
                txn.on_commit.append(functools.partial(shut, gates.words, base, dead))

    def lying(self, reading: ReadTxn, handle: QueueHandle) -> int:
        """How many messages of the queue are laid and not in the store. Without the write lock: about so many."""
        owner = laid_by(handle.words[handle.base])
        if not owner:
            return 0
        return sum(queue == handle.id for queue, _ in swath.lying(self._path(owner), reading, owner)[1])

    def has(self, handle: QueueHandle) -> bool:
        """Whether there may be a message of the queue that is laid and not in the store. Without the write lock."""
        if not laid_by(handle.words[handle.base]):
            return False
        with self.session.vhost.hay.read() as reading:
            return self.lying(reading, handle) > 0

    def _gather(self, txn: WriteTxn, owner: int) -> None:
        session, own = self.session, self.own if owner == self.session.id else None
        if own is not None and not own.holds:
            return
        upto, laid = swath.own_lying(own, txn, owner) if own else swath.lying(self._path(owner), txn, owner)
        runs: dict[int, list[bytes]] = {}
        for number, record in laid:
            runs.setdefault(number, []).append(record)
        for number, run in runs.items():
            queue = session.vhost.topology.by_id.get(number)
            if queue is None or queue.deleted:
                continue
            handle = session.handle_for(queue)
            journals = session.publisher.journals if handle.durable else 0
            rows = []
            for record in run:
                if record.startswith(session.nonce) and len(record) >= message.HEADER_SIZE:
                    flags = JOURNALED if record[FLAGS_AT] & journals else 0
                    rows.append((message.order_of(record), record, flags))
                else:
                    session.set_aside(queue.name, record)
            handle.close_gate()
            txn.put_run(number, rows)
            if handle.has_consumers():
                txn.on_commit.append(functools.partial(session.wake, handle))
        if laid:
            swath.note_gathered(txn, owner, upto)
        if own is not None:
            txn.on_commit.append(functools.partial(own.start_anew, upto))

    def _end(self, handle: QueueHandle, owner: int) -> None:
        shut(handle.words, handle.base, owner)
        if owner == self.session.id:
            handle.swath, handle.laying = None, 0

    def _path(self, session: int) -> Path:
        return self.session.vhost.hay.peers.path(session, ".swath")


def laid_by(word: int) -> int:
    """The session that a gate's word names; 0: none."""
    owner = word >> _SHIFT
    # A word that nobody wrote may name any number.
    return owner if word & _STATE > DRAINED and owner <= _LAST else 0


def shut(words: memoryview, base: int, owner: int) -> None:
    """All that ``owner`` laid for a queue is in the store. Under the write lock, after the commit."""
    if laid_by(words[base]) == owner:
        words[base] = SHUT
