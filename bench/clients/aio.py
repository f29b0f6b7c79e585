"""The clients of throughput and round trips once more, on an asyncio loop: ``aio ROLE --queue NAME``.

Same commands and events as ``produce``, ``consume``, ``reply`` and ``request``, so that what differs is the front.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from bench.clients.talk import commands, say

#: Publishes between two turns of the loop, as a program has it that does other work, too.
TURN = 100


class Client:
    """A connection with one channel, on a loop that turns while a command is carried out."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.queue: str = options.queue
        self.body = os.urandom(options.size)
        self.loop = asyncio.new_event_loop()
        self.channel: Any = self.wait(self.open())
        self.declared: str = self.ask(self.channel.queue_declare, self.queue).method.queue

    def wait(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def ask(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a method of the channel and wait for its reply."""
        return self.wait(self.asked(method, *arguments, **options))

    async def asked(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        reply = self.loop.create_future()
        method(*arguments, callback=reply.set_result, **options)
        return await reply

    async def open(self) -> Any:
        opened, channel = self.loop.create_future(), self.loop.create_future()
        parameters = pika.URLParameters(os.environ["AMQP_URL"])
        self.connection = AsyncioConnection(
            parameters,
            on_open_callback=opened.set_result,
            on_open_error_callback=lambda connection, error: opened.set_exception(error),
        )
        await opened
        self.connection.channel(on_open_callback=channel.set_result)
        return await channel

    def close(self, command: dict[str, Any]) -> None:
        if command.get("delete"):
            self.ask(self.channel.queue_delete, self.queue)
        closed = self.loop.create_future()
        self.connection.add_on_close_callback(lambda connection, error: closed.set_result(error))
        self.connection.close()
        self.wait(closed)


class Producer(Client):
    """Publishes, and ends with empty bodies."""

    async def publish(self, count: int, end: int) -> None:
        publish = self.channel.basic_publish
        cpu = time.process_time()
        marks = [time.monotonic()]
        done = 0
        for part in range(1, 11):
            while done < count * part // 10:
                publish("", self.queue, self.body)
                done += 1
                if not done % TURN:
                    await asyncio.sleep(0)
            marks.append(time.monotonic())
        self.end(end)
        await self.fence()
        say("published", marks=marks, spent=[], cpu=time.process_time() - cpu)

    async def fence(self) -> None:
        """Until all that was published has left: from here on nobody turns the loop."""
        await self.asked(self.channel.queue_declare, self.queue, passive=True)

    def end(self, count: int) -> None:
        for _ in range(count):
            self.channel.basic_publish("", self.queue, b"")

    def do(self, command: dict[str, Any]) -> None:
        if command["do"] == "publish":
            self.wait(self.publish(command["count"], command["end"]))
        else:
            self.end(command["count"])
            self.wait(self.fence())


class Consumer(Client):
    """Takes until an empty body comes."""

    async def consume(self) -> None:
        count = 0
        ended: asyncio.Future[float] = self.loop.create_future()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            nonlocal count
            if body:
                count += 1
            else:
                ended.set_result(time.monotonic())

        cpu, start = time.process_time(), time.monotonic()
        tag = self.channel.basic_consume(self.queue, on_message, auto_ack=True)
        say("consuming")
        end = await ended
        cpu = time.process_time() - cpu
        await self.asked(self.channel.basic_cancel, tag)
        say("consumed", count=count, start=start, end=end, cpu=cpu)

    def do(self, command: dict[str, Any]) -> None:
        self.wait(self.consume())


class Server(Client):
    """Answers each request with its own body, until an empty one comes."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self.channel.basic_consume(self.queue, self.on_request, auto_ack=True)

    def on_request(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if body:
            channel.basic_publish("", properties.reply_to, body)
        else:
            self.ended.set_result(None)

    def do(self, command: dict[str, Any]) -> None:
        self.wait(self.ended)


class Asker(Client):
    """Asks and waits for the answer, one at a time."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.answers = self.ask(self.channel.queue_declare, "", exclusive=True).method.queue
        self.channel.basic_consume(self.answers, self.on_answer, auto_ack=True)

    def on_answer(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.answered.set_result(None)

    async def round_trips(self, count: int) -> list[float]:
        properties = pika.BasicProperties(reply_to=self.answers)
        took: list[float] = []
        for _ in range(count):
            self.answered: asyncio.Future[None] = self.loop.create_future()
            start = time.perf_counter()
            self.channel.basic_publish("", self.queue, self.body, properties)
            await self.answered
            took.append(time.perf_counter() - start)
        return took

    def do(self, command: dict[str, Any]) -> None:
        cpu = time.process_time()
        took = self.wait(self.round_trips(command["count"]))
        say("answered", seconds=took, cpu=time.process_time() - cpu)


ROLES = {"produce": Producer, "consume": Consumer, "reply": Server, "request": Asker}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--size", type=int, default=1)
    options = parser.parse_args()
    client: Any = ROLES[options.role](options)
    say("ready")
    for command in commands():
        if command["do"] == "close":
            client.close(command)
            break
        client.do(command)
    say("closed")


if __name__ == "__main__":
    main()
