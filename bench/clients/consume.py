"""Consume on command until an empty body comes.

With several consumers on a queue there are as many empty bodies as consumers: one that comes to a
consumer which has already stopped is published again, so that each gets its own.
Commands: ``consume``, ``close`` (delete).
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from bench.clients.talk import commands, connect, say


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--queue", required=True)
    parser.add_argument("--durable", action="store_true")
    parser.add_argument("--ttl", type=int, help="x-message-ttl of the queue, ms")
    parser.add_argument("--exchange", help="declared, and the queue bound to it by --key")
    parser.add_argument("--type", default="fanout")
    parser.add_argument("--key", default="")
    parser.add_argument("--ack", action="store_true", help="acknowledge each message")
    parser.add_argument("--prefetch", type=int, default=0)
    return parser.parse_args()


class Consumer:
    """The one channel and the queue it takes from."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.queue: str = options.queue
        self.exchange: str | None = options.exchange
        self.ack: bool = options.ack
        self.connection = connect()
        self.channel = self.connection.channel()
        arguments = {"x-message-ttl": options.ttl} if options.ttl else None
        self.channel.queue_declare(self.queue, durable=options.durable, arguments=arguments)
        if self.exchange:
            self.channel.exchange_declare(self.exchange, options.type)
            self.channel.queue_bind(self.queue, self.exchange, options.key)
        if options.prefetch:
            self.channel.basic_qos(prefetch_count=options.prefetch)
        self.count = 0
        self.ended = 0.0

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if self.ack:
            channel.basic_ack(method.delivery_tag)
        if body:
            self.count += 1
        elif self.ended:
            self.pass_on()
        else:
            self.ended = time.monotonic()
            pending = channel.basic_cancel(method.consumer_tag)
            for _method, _properties, extra in pending or ():
                if not extra:
                    self.pass_on()

    def pass_on(self) -> None:
        """Give an empty body to a consumer that still waits for its own."""
        self.channel.basic_publish("", self.queue, b"")

    def consume(self) -> None:
        """One phase: from ``basic_consume`` to the empty body."""
        self.count, self.ended = 0, 0.0
        cpu, start = time.process_time(), time.monotonic()
        self.channel.basic_consume(self.queue, self.on_message, auto_ack=not self.ack)
        say("consuming")
        self.channel.start_consuming()
        say("consumed", count=self.count, start=start, end=self.ended, cpu=time.process_time() - cpu)

    def close(self, delete: bool) -> None:
        if delete:
            self.channel.queue_delete(self.queue)
            if self.exchange:
                self.channel.exchange_delete(self.exchange)
        self.connection.close()


def main() -> None:
    consumer = Consumer(parse())
    say("ready")
    for command in commands():
        if command["do"] == "consume":
            consumer.consume()
        elif command["do"] == "close":
            consumer.close(command["delete"])
            break
    say("closed")


if __name__ == "__main__":
    main()
