"""The topology of a vhost as one process knows it: exchanges, queues, bindings, consumers.

Owns: the cache of topology rows, kept up to date from the store's change log.
Must not know: methods, sessions of this process, lanes' kernel side, messages.

Invariants:

* One ``Queue`` object per queue id, changed in place for as long as the queue lives, so that a
  handle may keep it. After its deletion it shows what it last was (lane, consumers), ``deleted``.
* Looking at ``exchanges``, ``queues`` and ``by_id`` and a warm ``route`` take no lock. Everything
  else happens under one.
* What a write transaction changed through ``write`` shows at once, to its own next steps above all.
  When that transaction is rolled back, the next ``sync`` reads all rows anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from haypile.broker import rows
from haypile.broker.entities import Exchange, Queue, Route
from haypile.broker.exchanges import PREDECLARED
from haypile.broker.policies import Policies
from haypile.broker.routing import Routes
from haypile.broker.rows import Binding, ConsumerKey, Destination
from haypile.hay.store import Hay
from haypile.hay.txn import ReadTxn, WriteTxn

__all__ = ["Exchange", "Queue", "Route", "Topology"]

#: The exchange of the firehose (``firehose``).
FIREHOSE = "amq.rabbitmq.trace"

#: In which order kinds of rows are taken in when all are read anew, and in which forgotten: queues
#: before what hangs on them, for a deleted queue keeps its last lane and consumers.
_RULES = (rows.POLICY, rows.OPERATOR, rows.LIMITS, rows.HISTORY)
_TAKE_IN = (*_RULES, rows.EXCHANGE, rows.QUEUE, rows.BINDING, rows.LANE, rows.CONSUMER, rows.ACTIVE)
_FORGET = (rows.BINDING, rows.QUEUE, rows.LANE, rows.CONSUMER, rows.ACTIVE, rows.EXCHANGE, *_RULES)


class Topology:
    """The cache. One per process and vhost; safe for several threads."""

    def __init__(self, hay: Hay, vhost: str) -> None:
        self.hay = hay
        self.vhost = vhost
        #: Version of the rows that the cache shows.
        self.version = -1
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, Queue] = {}
        self.by_id: dict[int, Queue] = {}
        #: Called with each queue that went, once that is committed; under locks, so be brief.
        self.on_queue_deleted: list[Callable[[Queue], None]] = []
        #: By session: called with each queue whose ``args`` are new; under locks, perhaps for a transaction
        #: that is rolled back (then again).
        self.on_rules_changed: dict[int, Callable[[Queue], None]] = {}
        self.policies = Policies()
        #: Something is bound to the firehose.
        self.traced = False
        #: Bindings by what they lead to.
        self.bound_to: dict[Destination, dict[bytes, Binding]] = {}
        #: Consumers (queue id and key) and exclusive queues (ids) by session.
        self.consumers_of: dict[int, dict[tuple[int, ConsumerKey], None]] = {}
        self.exclusive_to: dict[int, set[int]] = {}
        self._lock = threading.RLock()
        self._rows: dict[bytes, bytes] = {}
        self._bindings: dict[bytes, Binding] = {}
        self._uncommitted = False
        #: Queues that went and were not announced; ids made by the transaction under way.
        self._gone: list[Queue] = []
        self._created: set[int] = set()
        self.routes = Routes(vhost, self.exchanges, self.queues, self._lock)
        self.route = self.routes.route
        self.forward = self.routes.forward
        for name, kind, internal in PREDECLARED:
            self.exchanges[name] = Exchange(name, rows.ExchangeRow(kind, True, False, internal, {}))

    @property
    def epoch(self) -> int:
        """Moves when a ``lasting`` route ceased to hold: whoever keeps routes looks at it."""
        return self.routes.epoch

    # -- keeping up -----------------------------------------------------------------------------

    def sync(self, txn: ReadTxn | None = None) -> list[Queue]:
        """Take in what other processes changed; returns the queues that went since.

        Give it the open transaction where there is one: a write transaction must have called this
        before it changes rows.
        """
        if not self._uncommitted:
            known = txn is None or (isinstance(txn, WriteTxn) and txn.shows_page)
            if known and self.version == self.hay.gates.version:
                return []
        elif self._writing():
            # A transaction of this process, still open: what it changed is here already.
            return []
        if txn is not None:
            return self._catch_up(txn)
        # Beginning to read may wait for a writer, and that one for our lock: so not under it.
        with self.hay.read() as reading:
            return self._catch_up(reading)

    def _writing(self) -> bool:
        """Whether the transaction whose changes show here is still open; else it was rolled back."""
        writer = self.hay.write()
        return writer.active and self._committed in writer.on_commit

    def _catch_up(self, txn: ReadTxn) -> list[Queue]:
        with self._lock:
            version = txn.version
            if self._uncommitted:
                if self._writing():
                    return []
                changes = None
            elif version <= self.version:
                return []
            else:
                changes = txn.changes(self.version) if self.version >= 0 else None
            if changes is None:
                self._take_all(dict(txn.rows()))
            else:
                for _, key, value in changes:
                    self._apply(key, value)
            self.version = version
            self._uncommitted = False
            return self._announce()

    def write(self, txn: WriteTxn, key: bytes, value: bytes | None) -> None:
        """Set (None: delete) a row, and show the change here at once.

        ``sync(txn)`` must have been called in this transaction.
        """
        with self._lock:
            if value is None:
                if key not in self._rows:
                    return
                txn.delete_row(key)
            else:
                txn.put_row(key, value)
            if rows.is_durable(key, value or self._rows[key]):
                txn.note_row(key)
            if not self._uncommitted:
                self._uncommitted = True
                txn.on_commit.append(self._committed)
            self._apply(key, value)
            self.version = txn.version

    def _committed(self) -> None:
        self._uncommitted = False
        self._announce()

    def _announce(self) -> list[Queue]:
        """Tell the listeners which queues went."""
        gone, self._gone = self._gone, []
        self._created.clear()
        for queue in gone:
            for listener in list(self.on_queue_deleted):
                listener(queue)
        return gone

    def _take_all(self, fresh: dict[bytes, bytes]) -> None:
        """Go from the rows we know to ``fresh`` by their differences."""
        known = self._rows
        # After a rollback: the queues that the transaction deleted live on, as the same objects.
        deleted = {queue.id: queue for queue in self._gone} if self._uncommitted else {}
        self._gone = []
        changed = {key for key, value in known.items() if fresh.get(key) != value}
        come = {key for key, value in fresh.items() if known.get(key) != value}
        # An exchange made anew under its name has lost the bindings it had here.
        renewed = {key[1:].decode() for key in changed & come if key[:1] == rows.EXCHANGE}
        if renewed:
            again = {key for key, binding in self._bindings.items() if binding.source in renewed}
            changed |= again
            come |= again & fresh.keys()
        for kind in _FORGET:
            for key in [key for key in changed if key[:1] == kind]:
                self._apply(key, None)
        for kind in _TAKE_IN:
            keys = [key for key in fresh if key in come and key[:1] == kind]
            if kind == rows.BINDING:
                # As they came: some exchange types care.
                keys.sort(key=fresh.__getitem__)
            for key in keys:
                queue = deleted.pop(rows.decode_queue(fresh[key]).id, None) if kind == rows.QUEUE else None
                if queue is not None:
                    self._rows[key] = fresh[key]
                    self._revive(queue)
                else:
                    self._apply(key, fresh[key])
        gone = [queue for queue in self._gone if queue.id not in self._created]
        self._gone = [*deleted.values(), *gone]

    def _apply(self, key: bytes, value: bytes | None) -> None:
        """One changed row."""
        if value is not None:
            self._rows[key] = value
        elif self._rows.pop(key, None) is None:
            return
        kind = key[:1]
        if kind == rows.QUEUE:
            self._apply_queue(key[1:].decode(), value)
        elif kind == rows.BINDING:
            self._apply_binding(key, value)
        elif kind == rows.CONSUMER:
            self._apply_consumer(key, value)
        elif kind == rows.EXCHANGE:
            self._apply_exchange(key[1:].decode(), value)
        elif kind in (rows.POLICY, rows.OPERATOR, rows.LIMITS):
            self._apply_policy(key, value)
        elif kind in (rows.LANE, rows.ACTIVE):
            queue = self.by_id.get(rows.queue_of(key))
            if queue is None:
                return
            if kind == rows.LANE:
                queue.lane = None if value is None else rows.decode_lane(value)
            else:
                queue.active = None if value is None else rows.decode_holder(value)

    # -- one kind of row each -------------------------------------------------------------------

    def _apply_policy(self, key: bytes, value: bytes | None) -> None:
        policies = self.policies
        if key == rows.LIMITS:
            policies.limits = {} if value is None else rows.decode_table(value, 0)
            return
        known = policies.ordinary if key[:1] == rows.POLICY else policies.operator
        if value is None:
            known.pop(key[1:].decode(), None)
        else:
            known[key[1:].decode()] = rows.decode_policy(key, value)
        for queue in self.by_id.values():
            if queue.apply(policies.for_queue(queue.name, queue.args.type)):
                for listener in list(self.on_rules_changed.values()):
                    listener(queue)
        for exchange in self.exchanges.values():
            before = exchange.alternate
            if exchange.apply(policies.for_exchange(exchange.name)):
                self._lead(before, exchange)

    def _lead(self, before: str | None, exchange: Exchange) -> None:
        """The alternate of ``exchange`` was ``before``."""
        if before is not None:
            self.routes.feed(before, exchange.name, -1)
        if exchange.alternate is not None:
            self.routes.feed(exchange.alternate, exchange.name, 1)
        self.routes.drop(exchange.name, None)

    def _apply_exchange(self, name: str, value: bytes | None) -> None:
        old = self.exchanges.pop(name, None)
        if old is not None and old.alternate is not None:
            self.routes.feed(old.alternate, name, -1)
        if value is not None:
            self.exchanges[name] = exchange = Exchange(name, rows.decode_exchange(value))
            exchange.apply(self.policies.for_exchange(name))
            if exchange.alternate is not None:
                self.routes.feed(exchange.alternate, name, 1)
        self.routes.drop(name, None)

    def _apply_queue(self, name: str, value: bytes | None) -> None:
        old = self.queues.get(name)
        if value is None:
            if old is not None:
                self._forget_queue(old)
            return
        row = rows.decode_queue(value)
        if old is not None:
            if old.id == row.id:
                return
            self._forget_queue(old)
        self._remember_queue(Queue(name, row))

    def _remember_queue(self, queue: Queue) -> None:
        queue.deleted = False
        if self._uncommitted:
            self._created.add(queue.id)
        queue.apply(self.policies.for_queue(queue.name, queue.args.type))
        self.by_id[queue.id] = queue
        self.queues[queue.name] = queue
        if queue.exclusive_owner:
            self.exclusive_to.setdefault(queue.exclusive_owner, set()).add(queue.id)
        for key in queue.consumers:
            self.consumers_of.setdefault(key[0], {})[(queue.id, key)] = None
        self.routes.drop("", queue.name)

    def _forget_queue(self, queue: Queue) -> None:
        queue.deleted = True
        del self.queues[queue.name]
        del self.by_id[queue.id]
        owned = self.exclusive_to.get(queue.exclusive_owner)
        if owned is not None:
            owned.discard(queue.id)
            if not owned:
                del self.exclusive_to[queue.exclusive_owner]
        for key in queue.consumers:
            self._forget_consumer(queue.id, key)
        self.routes.drop("", queue.name)
        self._gone.append(queue)

    def _revive(self, queue: Queue) -> None:
        """A queue was not deleted after all; what hangs on it comes from its rows."""
        known = self._rows
        queue.consumers = {
            key: row for key, row in queue.consumers.items() if rows.consumer_key(queue.id, *key) in known
        }
        lane, active = known.get(rows.lane_key(queue.id)), known.get(rows.active_key(queue.id))
        queue.lane = None if lane is None else rows.decode_lane(lane)
        queue.active = None if active is None else rows.decode_holder(active)
        self._remember_queue(queue)

    def _apply_binding(self, key: bytes, value: bytes | None) -> None:
        old = self._bindings.pop(key, None)
        if old is not None:
            self._attach(old, -1)
        if value is not None:
            binding = self._bindings[key] = rows.decode_binding(key, value)
            self._attach(binding, 1)

    def _attach(self, binding: Binding, step: int) -> None:
        """A binding came (1) or went (-1)."""
        leading = self.bound_to.setdefault(binding.destination, {})
        if step > 0:
            leading[binding.id] = binding
        else:
            leading.pop(binding.id, None)
            if not leading:
                del self.bound_to[binding.destination]
        if not binding.destination.is_queue:
            self.routes.feed(binding.destination.name, binding.source, step)
        source = self.exchanges.get(binding.source)
        if source is not None:
            if step > 0:
                source.bindings[binding.id] = binding
                source.router.add(binding)
            elif source.bindings.pop(binding.id, None) is not None:
                source.router.remove(binding)
            self.routes.drop(binding.source, source.router.touches(binding))
            if binding.source == FIREHOSE and self.traced != bool(source.bindings):
                self.traced = bool(source.bindings)
                # Who keeps routes keeps with them what is to be copied.
                self.routes.epoch += 1

    def _apply_consumer(self, key: bytes, value: bytes | None) -> None:
        number, consumer = rows.split_consumer_key(key)
        queue = self.by_id.get(number)
        if queue is None:
            return
        consumers = dict(queue.consumers)
        if value is None:
            consumers.pop(consumer, None)
            self._forget_consumer(number, consumer)
        else:
            consumers[consumer] = rows.decode_consumer(key, value)
            self.consumers_of.setdefault(consumer[0], {})[(number, consumer)] = None
        queue.consumers = dict(sorted(consumers.items(), key=lambda item: item[1].since))

    def _forget_consumer(self, queue: int, key: ConsumerKey) -> None:
        of_session = self.consumers_of.get(key[0])
        if of_session is not None:
            of_session.pop((queue, key), None)
            if not of_session:
                del self.consumers_of[key[0]]
