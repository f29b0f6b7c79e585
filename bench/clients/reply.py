"""Answer each request with its own body until an empty one comes."""

from __future__ import annotations

import argparse
from typing import Any

from bench.clients.talk import connect, say


def on_request(channel: Any, method: Any, properties: Any, body: bytes) -> None:
    if not body:
        channel.stop_consuming()
        return
    channel.basic_publish("", properties.reply_to, body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--queue", required=True)
    options = parser.parse_args()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(options.queue)
    channel.basic_consume(options.queue, on_request, auto_ack=True)
    say("ready")
    channel.start_consuming()
    channel.queue_delete(options.queue)
    connection.close()
    say("closed")


if __name__ == "__main__":
    main()
