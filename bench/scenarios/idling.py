"""What a connection costs while nothing happens: memory, CPU and wake-ups."""

from __future__ import annotations

import os
import signal
import time

from bench import procfs
from bench.metrics import Sample
from bench.scenarios.scenario import Scale, Scenario
from bench.stage import Stage
from bench.transports import Transport


def sample_memory(scale: Scale, transport: Transport) -> Sample:
    """Resident memory over a process that has only imported pika."""
    with Stage() as stage:
        plain = transport.start_plain(stage, "idle")
        program = transport.start(stage, "idle")
        plain.expect("imported")
        program.expect("imported")
        base = procfs.memory(plain.pid)
        program.tell("connect")
        program.expect("connected")
        connected = procfs.memory(program.pid)
        program.tell("consume")
        program.expect("consuming")
        consuming = procfs.memory(program.pid)
        os.kill(program.pid, signal.SIGINT)
        program.close()
        plain.close()
    return {
        "connection": (connected.resident - base.resident) / procfs.MEGABYTE,
        "connection_own": (connected.own - base.own) / procfs.MEGABYTE,
        "consumer": (consuming.resident - base.resident) / procfs.MEGABYTE,
    }


def sample_cpu(scale: Scale, transport: Transport) -> Sample:
    """CPU and wake-ups of a consumer that has nothing to do, over some seconds."""
    with Stage() as stage:
        program = transport.start(stage, "idle")
        program.expect("imported")
        program.tell("connect")
        program.expect("connected")
        program.tell("consume")
        program.expect("consuming")
        cpu, wakes, start = procfs.cpu_seconds(program.pid), procfs.wake_ups(program.pid), time.monotonic()
        # The one sleep of the bench: the span that is measured.
        time.sleep(scale.pick(100, 5_000, 5_000) / 1e3)
        took = time.monotonic() - start
        cpu, wakes = procfs.cpu_seconds(program.pid) - cpu, procfs.wake_ups(program.pid) - wakes
        os.kill(program.pid, signal.SIGINT)
        program.close()
    return {"idle_cpu": cpu / took * 100, "wakes": wakes / took}


SCENARIOS = (
    Scenario("idle-memory", "memory of an idle connection", sample_memory),
    Scenario("idle-cpu", "an idle consumer over 5 s", sample_cpu, rounds=1),
)
