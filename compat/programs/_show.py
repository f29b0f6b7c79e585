"""What every program here shares: connecting as any pika program would, and printing what it sees.

Plain pika and nothing else. Whatever differs from run to run without meaning anything (times, generated
names) is masked, so that two runs on the same transport print the same.
"""

import datetime
import os
import re
import time

import pika
import pika.exceptions

PLACE = re.compile(r"params=<\w+ [^>]*>")
VHOST = re.compile(r"vhost '[^']*'")
GENERATED = re.compile(r"amq\.(gen|ctag|rabbitmq\.reply-to)[-.][\w./+=-]+|ctag\d+\.[0-9a-f]{32}")


def mask(text):
    """Replaces generated queue names and consumer tags, and the name and place of the vhost."""
    text = PLACE.sub("params=<...>", text)
    return GENERATED.sub(lambda found: f"<{found[1] or 'ctag'}>", VHOST.sub("vhost <vhost>", text))


def connect(**changes):
    """A connection as the environment says, with other parameters where asked for."""
    parameters = pika.URLParameters(os.environ["AMQP_URL"])
    for name, value in changes.items():
        setattr(parameters, name, value)
    return pika.BlockingConnection(parameters)


def show(label, *values):
    """Prints one line."""
    print(mask(f"{label}:" + "".join(f" {text(value)}" for value in values)), flush=True)


def text(value):
    """A value in words that are the same everywhere."""
    if isinstance(value, str):
        return value
    if isinstance(value, BaseException):
        return describe_error(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={text_in(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(text_in(item) for item in value) + "]"
    if isinstance(value, pika.BasicProperties):
        return text(properties_of(value))
    if isinstance(value, bytes) and len(value) > 80:
        return f"{len(value)} bytes, sum {sum(value[:: max(1, len(value) // 5000)])}"
    return repr(value)


def text_in(value):
    """A value inside another: its type shows, too."""
    if isinstance(value, datetime.datetime):
        return "<time>"
    return repr(value) if isinstance(value, str) else text(value)


def describe_error(error):
    """Class, code and text of an exception, with what returned messages it holds."""
    name = type(error).__name__
    if isinstance(error, (pika.exceptions.ChannelClosed, pika.exceptions.ConnectionClosed)):
        return f"{name} {error.reply_code} {error.reply_text}"
    if isinstance(error, pika.exceptions.UnsupportedAMQPFieldException):
        return f"{name} {type(error.args[-1]).__name__}"  # the rest is what had been encoded so far
    messages = getattr(error, "messages", None)
    if messages is not None:
        held = [f"{m.method.reply_code} {m.method.reply_text} {m.body!r}" for m in messages]
        return f"{name} {held}"
    return f"{name} {error}"


def attempt(label, call, *args, **kwargs):
    """Calls and prints the result, or the exception. Returns the result."""
    try:
        result = call(*args, **kwargs)
    except Exception as error:
        show(label, error)
        return None
    show(label, reply(result))
    return result


def reply(result):
    """A method's reply in words."""
    method = getattr(result, "method", result)
    if isinstance(result, tuple) and len(result) == 3:
        return message(*result)
    name = getattr(method, "NAME", None)
    if name is None:
        return result if isinstance(result, (str, int, list, bool, type(None))) else type(result).__name__
    fields = dict(vars(method))
    return f"{name} {text(fields)}"


def properties_of(properties):
    """The properties that are set."""
    return {key: value for key, value in vars(properties).items() if value is not None}


def message(method, properties, body):
    """A delivered, fetched or returned message with all that came with it."""
    if method is None:
        return "no message"
    fields = dict(vars(method))
    return f"{method.NAME} {text(fields)} {text(properties)} {text(body)}"


def count(channel, queue):
    """Messages and consumers of a queue, by passive declaration, once they stay the same.

    RabbitMQ's queues answer this question before they look at messages that came earlier.
    """
    answers = []
    while len(answers) < 4 or len(set(answers[-4:])) > 1:
        declared = channel.queue_declare(queue, passive=True).method
        answers.append(f"{declared.message_count} messages, {declared.consumer_count} consumers")
        channel.connection.process_data_events(0.01)
    return answers[-1]


def probe(label, channel, queue="q"):
    """Says whether a channel still answers, or why not."""
    try:
        channel.queue_declare(queue, passive=True)
        show(label, "fine")
    except Exception as error:
        show(label, error)


def until(connection, condition, seconds=15):
    """Turns the connection's loop until the condition holds; says so if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            show("gave up waiting")
            return False
        connection.process_data_events(0.02)
    return True


def settle(connection, seen, quiet=0.25):
    """Turns the loop until nothing has been added to ``seen`` for a while: for showing that no more comes."""
    size, since = len(seen), time.monotonic()
    while time.monotonic() - since < quiet:
        connection.process_data_events(0.02)
        if len(seen) != size:
            size, since = len(seen), time.monotonic()


def collect(channel, queue, into=None, **options):
    """Consumes into a list of (method, properties, body)."""
    seen = [] if into is None else into
    channel.basic_consume(queue, lambda _c, method, props, body: seen.append((method, props, body)), **options)
    return seen


def bodies(seen):
    """The bodies of collected messages, as text."""
    return [body.decode() for _, _, body in seen]


def get_all(channel, queue):
    """Takes what is ready, acknowledged at once; for looking at the end."""
    found = []
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return found
        found.append((method, properties, body))


def wait_count(channel, queue, messages, seconds=15):
    """Polls until the queue has that many messages ready."""
    deadline = time.monotonic() + seconds
    while channel.queue_declare(queue, passive=True).method.message_count != messages:
        if time.monotonic() > deadline:
            show("gave up waiting", queue, count(channel, queue))
            return
        channel.connection.process_data_events(0.01)


def send(channel, queue, *texts, **properties):
    """Publishes texts to a queue by the default exchange."""
    for body in texts:
        channel.basic_publish("", queue, body.encode(), pika.BasicProperties(**properties))


def fill(channel, queue, *texts, **properties):
    """Publishes texts to a queue and returns when it has them: by a channel of its own, with confirms."""
    with channel.connection.channel() as filling:
        filling.confirm_delivery()
        send(filling, queue, *texts, **properties)
