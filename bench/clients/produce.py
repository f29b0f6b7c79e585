"""Publish on command: bodies of one size to one exchange, confirmed or not.

An empty body marks the end of a phase; consumers stop taking when they meet one.
Commands: ``publish`` (count, end, depth), ``end`` (count), ``close``.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import cycle, islice
from typing import Any

import pika

from bench.clients.talk import commands, connect, say


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--exchange", default="")
    parser.add_argument("--key", required=True, help="routing key; {} becomes 0, 1, … keys-1 in turn")
    parser.add_argument("--keys", type=int, default=1)
    parser.add_argument("--size", type=int, required=True, help="bytes of a body")
    parser.add_argument("--confirm", action="store_true")
    parser.add_argument("--persistent", action="store_true")
    parser.add_argument("--expiration", help="of each message, ms")
    parser.add_argument("--mandatory", action="store_true")
    parser.add_argument("--queue", help="declare it first, and ask its depth after each phase")
    parser.add_argument("--durable", action="store_true")
    return parser.parse_args()


class Producer:
    """The one channel and what it publishes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.connection = connect()
        self.channel = self.connection.channel()
        if options.queue:
            self.channel.queue_declare(options.queue, durable=options.durable)
        if options.confirm:
            self.channel.confirm_delivery()
        self.body = os.urandom(options.size)
        self.keys = [options.key.format(number) for number in range(options.keys)]
        mode = pika.DeliveryMode.Persistent if options.persistent else pika.DeliveryMode.Transient
        self.properties = pika.BasicProperties(delivery_mode=mode, expiration=options.expiration)

    def publish(self, count: int, end: int, depth: int) -> None:
        """``count`` bodies then ``end`` empty ones; reports the time at each tenth, and the CPU.

        Then waits until the queue, if it is named, is at least ``depth`` deep.
        """
        publish, options = self.channel.basic_publish, self.options
        exchange, body, properties, mandatory = (
            options.exchange,
            self.body,
            self.properties,
            options.mandatory,
        )
        keys = cycle(self.keys)
        spent = [time.process_time()]
        marks = [time.monotonic()]
        for part in range(10):
            for key in islice(keys, count * (part + 1) // 10 - count * part // 10):
                publish(exchange, key, body, properties, mandatory)
            marks.append(time.monotonic())
            spent.append(time.process_time())
        self.end(end)
        facts: dict[str, Any] = {}
        if options.queue:
            # RabbitMQ answers before it has counted what is on its way, so ask until all is there.
            facts["depth"] = self.depth()
            while facts["depth"] < depth:
                facts["depth"] = self.depth()
        facts["synced"] = time.monotonic()
        say("published", marks=marks, spent=spent, cpu=time.process_time() - spent[0], **facts)

    def depth(self) -> int:
        count: int = self.channel.queue_declare(self.options.queue, passive=True).method.message_count
        return count

    def end(self, count: int) -> None:
        for _ in range(count):
            self.channel.basic_publish(self.options.exchange, self.keys[0], b"", self.properties)


def main() -> None:
    producer = Producer(parse())
    say("ready")
    for command in commands():
        if command["do"] == "publish":
            producer.publish(command["count"], command["end"], command.get("depth", 0))
        elif command["do"] == "end":
            producer.end(command["count"])
        elif command["do"] == "close":
            break
    producer.connection.close()
    say("closed")


if __name__ == "__main__":
    main()
