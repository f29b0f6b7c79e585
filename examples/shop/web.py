"""The shop's web service: POST /orders takes an order as JSON, GET / says how many wait.

python web.py [PORT]        202: the order is safe with the broker; 503: it is not, try again
"""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import orders

import haypile as pika


class Shop(HTTPServer):
    """One connection to the broker for all requests, made again when it is lost."""

    connection = channel = None

    def broker(self):
        """The channel. Raises pika.exceptions.AMQPError."""
        if self.connection is None or self.connection.is_closed or self.channel.is_closed:
            self.connection, self.channel = orders.connect()
            self.channel.confirm_delivery()
        return self.channel

    def service_actions(self):
        """Between requests: answer the broker's heartbeats."""
        try:
            if self.connection is not None and self.connection.is_open:
                self.connection.process_data_events()
        except pika.exceptions.AMQPError:
            print("The broker is gone; the next order connects again", flush=True)


class Page(BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self):
        """An order."""
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self.server.broker().basic_publish(
                "", "orders", json.dumps(order).encode(), pika.BasicProperties(delivery_mode=2), mandatory=True
            )
        except pika.exceptions.AMQPError as error:
            self.reply(503, {"error": type(error).__name__})
        else:
            self.reply(202, {"accepted": order["number"]})

    def do_GET(self):
        """What waits."""
        try:
            channel = self.server.broker()
            names = ("orders", "orders.retry", "orders.failed")
            found = {name: channel.queue_declare(name, passive=True).method.message_count for name in names}
        except pika.exceptions.AMQPError as error:
            self.reply(503, {"error": type(error).__name__})
        else:
            self.reply(200, found)

    def reply(self, status, content):
        """JSON."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_):
        """Quiet."""


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
with Shop(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), Page) as shop:
    shop.broker()
    print(f"Listening on http://127.0.0.1:{shop.server_port}", flush=True)
    try:
        shop.serve_forever()
    except KeyboardInterrupt:
        print("Interrupted")
    finally:
        if shop.connection.is_open:
            shop.connection.close()
