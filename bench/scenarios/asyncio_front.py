"""AsyncioConnection beside BlockingConnection: the same work in turns, and the share that asyncio reaches."""

from __future__ import annotations

from bench.metrics import Sample, percentile
from bench.scenarios.scenario import Scale, Scenario, flow, ready
from bench.stage import PATIENCE, Program, Stage
from bench.transports import Transport

SIZE = "100"


def rate(scale: Scale, transport: Transport, front: str) -> float:
    """Messages a second from one process to another."""
    queue = transport.unique("through")
    with Stage() as stage:
        if front == "asyncio":
            consumer = transport.start(stage, "aio", "consume", "--queue", queue)
            producer = transport.start(stage, "aio", "produce", "--queue", queue, "--size", SIZE)
        else:
            consumer = transport.start(stage, "consume", "--queue", queue)
            producer = transport.start(stage, "produce", "--key", queue, "--size", SIZE)
        ready(consumer, producer)
        count = scale.pick(300, 12_000, 40_000)
        flow(transport, [producer], [consumer], count // 20)
        seconds = flow(transport, [producer], [consumer], count).seconds
        producer.close()
        consumer.close(delete=True)
    return count / seconds


def round_trip(scale: Scale, transport: Transport, front: str) -> float:
    """Median seconds of a request and its reply: two processes that sleep are woken."""
    queue = transport.unique("requests")
    with Stage() as stage:
        if front == "asyncio":
            server = transport.start(stage, "aio", "reply", "--queue", queue)
            client = transport.start(stage, "aio", "request", "--queue", queue, "--size", SIZE)
        else:
            server = transport.start(stage, "reply", "--queue", queue)
            client = transport.start(stage, "request", "--queue", queue, "--size", SIZE)
        ready(server, client)
        if front == "asyncio":
            server.tell("serve")
        count = scale.pick(50, 2_000, 10_000)
        for part in (count // 20, count):
            client.tell("ask", count=part)
            took = client.expect("answered", PATIENCE + part / 100)["seconds"]
        end(transport, stage, queue, server, front)
        client.close()
    return percentile(took, 0.5)


def end(transport: Transport, stage: Stage, queue: str, server: Program, front: str) -> None:
    """An empty request ends the server."""
    last = transport.start(stage, "produce", "--key", queue, "--size", "1")
    ready(last)
    last.tell("end", count=1)
    last.close()
    if front == "asyncio":
        server.close(delete=True)
    else:
        server.leave()


def sample(scale: Scale, transport: Transport) -> Sample:
    rates = {front: rate(scale, transport, front) for front in ("blocking", "asyncio")}
    trips = {front: round_trip(scale, transport, front) for front in ("blocking", "asyncio")}
    return {
        "rate": rates["asyncio"],
        "share": rates["asyncio"] / rates["blocking"],
        "p50": trips["asyncio"] * 1e6,
        "lag": trips["asyncio"] / trips["blocking"],
    }


SCENARIOS = (Scenario("asyncio", "AsyncioConnection: 1 to 1 auto-ack and round trip, 100 B", sample),)
