"""Plugins: x-recent-history gives the last messages to a queue that is bound later."""

from _show import attempt, bodies, connect, get_all, message, show

NEEDS = "x-recent-history"


def publish(channel, exchange, *texts):
    for body in texts:
        channel.basic_publish(exchange, f"k{body}", body.encode())


connection = connect()
for arguments in ({"x-recent-history-length": 0}, {"x-recent-history-length": -1}, {"x-recent-history-length": "2"}):
    attempt(f"declare {arguments}", connection.channel().exchange_declare, "bad", NEEDS, arguments=arguments)
    if not connection.is_open:
        connection = connect()
channel = connection.channel()
channel.exchange_declare("default", NEEDS)
channel.exchange_declare("two", NEEDS, arguments={"x-recent-history-length": 2})
channel.confirm_delivery()
numbers = [str(number) for number in range(25)]
publish(channel, "default", *numbers)
publish(channel, "two", "a", "b", "c")
for number, exchange in enumerate(("default", "two", "two")):
    queue = f"q{number}"
    channel.queue_declare(queue)
    channel.queue_bind(queue, exchange, "ignored")
    found = get_all(channel, queue)
    show(exchange, len(found), bodies(found))
    if found:
        show("as", message(*found[0]))
publish(channel, "two", "d")
show("goes on", bodies(get_all(channel, "q1")), bodies(get_all(channel, "q2")))
channel.queue_bind("q1", "two", "again")
show("another binding", bodies(get_all(channel, "q1")))
channel.exchange_declare("end", "fanout")
channel.queue_declare("behind")
channel.queue_bind("behind", "end")
channel.exchange_bind("end", "two")
show("an exchange bound", bodies(get_all(channel, "behind")))
for name in ("default", "two", "end"):
    channel.exchange_delete(name)
connection.close()
