"""What a scenario is, and the phase most of them share: producers publish, consumers take, all is counted.

Owns: ``Scenario``, ``Scale``, ``flow`` and ``one_to_one``. Must not know: any one scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from bench.metrics import Sample
from bench.stage import PATIENCE, Program, ProgramError, Stage
from bench.transports import Transport

#: Rates below this are taken for a hang: a phase may last PATIENCE plus its messages at this rate.
SLOWEST = 500.0


@dataclass(frozen=True)
class Scale:
    """How much work to do."""

    name: str
    rounds: int

    def pick(self, smoke: int, quick: int, full: int) -> int:
        """The count for this scale."""
        return {"smoke": smoke, "quick": quick, "full": full}[self.name]


#: A rival measures itself without pika: ``rival(scale)``.
Rival = Callable[[Scale], Sample]


@dataclass(frozen=True)
class Scenario:
    """One kind of work, the same on every contender.

    ``sample`` runs it once over a transport. ``rivals`` are other ways to do it, by name.
    ``rounds`` caps the repetitions of what takes long.
    """

    name: str
    title: str
    sample: Callable[[Scale, Transport], Sample]
    rivals: Mapping[str, Rival] = field(default_factory=dict)
    rounds: int = 99
    #: Many processes or much setting up: once is enough with ``--quick``.
    heavy: bool = False

    def repetitions(self, scale: Scale) -> int:
        """How often it is run."""
        return 1 if self.heavy and scale.name == "quick" else min(self.rounds, scale.rounds)


class Flow(NamedTuple):
    """What one phase took."""

    seconds: float
    publish_seconds: float
    published: int
    delivered: int
    cpu: float | None
    tenths: list[float]

    def sample(self) -> dict[str, float | list[float]]:
        """Rates and CPU of the phase. The rate counts deliveries, the CPU is per delivery."""
        facts: dict[str, float | list[float]] = {
            "rate": self.delivered / self.seconds,
            "publish_rate": self.published / self.publish_seconds,
        }
        if self.cpu is not None:
            facts["cpu"] = self.cpu / self.delivered * 1e6
        return facts


def flow(
    transport: Transport,
    producers: Sequence[Program],
    consumers: Sequence[Program],
    count: int,
    copies: int = 1,
) -> Flow:
    """Publish ``count`` messages and wait until the consumers have had ``copies`` of each.

    ``copies`` is 1 when the consumers share a queue and their number when each has its own.
    """
    patience = PATIENCE + count * copies / SLOWEST
    for consumer in consumers:
        consumer.tell("consume")
        consumer.expect("consuming")
    before = transport.helper_cpu()
    # One producer ends the phase itself. Of several, nobody knows who is last: one is told later.
    ends = 1 if copies == len(consumers) else len(consumers)
    for number, producer in enumerate(producers):
        share = count * (number + 1) // len(producers) - count * number // len(producers)
        producer.tell("publish", count=share, end=ends if len(producers) == 1 else 0)
    published = [producer.expect("published", patience) for producer in producers]
    if len(producers) > 1:
        producers[0].tell("end", count=ends)
    consumed = [consumer.expect("consumed", patience) for consumer in consumers]
    after = transport.helper_cpu()

    delivered = sum(answer["count"] for answer in consumed)
    if delivered != count * copies:
        raise ProgramError(f"{transport.name}: {delivered} messages came of {count * copies}")
    start = min(answer["marks"][0] for answer in published)
    marks = published[0]["marks"]
    cpu = None
    if before is not None and after is not None:
        cpu = after - before + sum(answer["cpu"] for answer in (*published, *consumed))
    return Flow(
        seconds=max(answer["end"] for answer in consumed) - start,
        publish_seconds=max(answer["marks"][-1] for answer in published) - start,
        published=count,
        delivered=delivered,
        cpu=cpu,
        tenths=[later - sooner for sooner, later in pairwise(marks)],
    )


def one_to_one(transport: Transport, consume: Sequence[str], produce: Sequence[str], count: int) -> Sample:
    """``count`` messages from one producer to one consumer, by a queue of their own; after a twentieth to warm up.

    ``consume`` and ``produce``: what else the two clients are told.
    """
    queue = transport.unique("through")
    with Stage() as stage:
        consumer = transport.start(stage, "consume", "--queue", queue, *consume)
        producer = transport.start(stage, "produce", "--key", queue, *produce)
        ready(consumer, producer)
        flow(transport, [producer], [consumer], count // 20)
        measured = flow(transport, [producer], [consumer], count).sample()
        producer.close()
        consumer.close(delete=True)
    return measured


def ready(*programs: Program) -> None:
    """Wait until each has connected."""
    for program in programs:
        program.expect("ready")
