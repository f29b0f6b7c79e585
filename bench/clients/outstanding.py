"""Publish with confirms through pika's asynchronous connection, up to so many awaited at a time.

Commands: ``publish`` (count), ``close``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

import pika

from bench.clients.talk import say


class Publisher:
    """One SelectConnection; callbacks lead from one step to the next."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.body = os.urandom(options.size)
        mode = pika.DeliveryMode.Persistent if options.persistent else pika.DeliveryMode.Transient
        self.properties = pika.BasicProperties(delivery_mode=mode)
        self.left = self.tag = 0
        self.awaited: set[int] = set()
        self.start = self.cpu = 0.0
        self.failure: BaseException | str | None = None
        self.connection = pika.SelectConnection(
            pika.URLParameters(os.environ["AMQP_URL"]),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self.on_channel),
            on_open_error_callback=lambda connection, error: self.fail(error),
            on_close_callback=lambda connection, error: connection.ioloop.stop(),
        )

    def fail(self, error: BaseException | str) -> None:
        self.failure = error
        self.connection.ioloop.stop()

    def on_channel(self, channel: Any) -> None:
        self.channel = channel
        channel.confirm_delivery(self.on_confirm, callback=lambda frame: self.on_confirming())

    def on_confirming(self) -> None:
        say("ready")
        self.next_command()

    def next_command(self) -> None:
        # Blocks the loop between phases; nothing is measured then.
        command = json.loads(sys.stdin.readline() or '{"do": "close"}')
        if command["do"] == "close":
            self.connection.close()
            return
        self.left = command["count"]
        self.start, self.cpu = time.monotonic(), time.process_time()
        self.fill()

    def fill(self) -> None:
        publish, options = self.channel.basic_publish, self.options
        while self.left and len(self.awaited) < options.outstanding:
            publish("", options.key, self.body, self.properties)
            self.left -= 1
            self.tag += 1
            self.awaited.add(self.tag)

    def on_confirm(self, frame: Any) -> None:
        method = frame.method
        if method.NAME != "Basic.Ack":
            self.fail(f"not confirmed: {method}")
            return
        if method.multiple:
            self.awaited = {tag for tag in self.awaited if tag > method.delivery_tag}
        else:
            self.awaited.discard(method.delivery_tag)
        if self.left:
            self.fill()
        elif not self.awaited:
            took, cpu = time.monotonic() - self.start, time.process_time() - self.cpu
            say("published", seconds=took, cpu=cpu)
            self.connection.ioloop.call_later(0, self.next_command)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--key", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--persistent", action="store_true")
    parser.add_argument("--outstanding", type=int, default=100)
    publisher = Publisher(parser.parse_args())
    publisher.connection.ioloop.start()
    if publisher.failure is not None:
        sys.exit(str(publisher.failure))
    say("closed")


if __name__ == "__main__":
    main()
