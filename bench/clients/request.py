"""Ask and wait for the answer, one at a time, as in RabbitMQ's RPC tutorial.

Commands: ``ask`` (count), ``close``.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import pika

from bench.clients.talk import commands, connect, say


class Client:
    """A channel with its own queue for answers."""

    def __init__(self, queue: str, size: int) -> None:
        self.queue = queue
        self.body = os.urandom(size)
        self.connection = connect()
        self.channel = self.connection.channel()
        answers: str = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.basic_consume(answers, self.on_answer, auto_ack=True)
        self.properties = pika.BasicProperties(reply_to=answers)
        self.answer: bytes | None = None

    def on_answer(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.answer = body

    def ask(self, count: int) -> list[float]:
        """Seconds of each of ``count`` round trips."""
        publish, wait = self.channel.basic_publish, self.connection.process_data_events
        took: list[float] = []
        for _ in range(count):
            self.answer = None
            start = time.perf_counter()
            publish("", self.queue, self.body, self.properties)
            while self.answer is None:
                wait(time_limit=None)
            took.append(time.perf_counter() - start)
        return took


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--queue", required=True)
    parser.add_argument("--size", type=int, required=True)
    options = parser.parse_args()
    client = Client(options.queue, options.size)
    say("ready")
    for command in commands():
        if command["do"] == "ask":
            cpu = time.process_time()
            took = client.ask(command["count"])
            say("answered", seconds=took, cpu=time.process_time() - cpu)
        elif command["do"] == "close":
            break
    client.connection.close()
    say("closed")


if __name__ == "__main__":
    main()
