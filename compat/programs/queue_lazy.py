"""Queues: lazy mode and other arguments that change nothing a program can see."""

from _show import attempt, bodies, connect, count, fill, get_all, show

connection = connect()
channel = connection.channel()
for number, arguments in enumerate(
    [
        {"x-queue-mode": "lazy"},
        {"x-queue-version": 2},
        {"x-queue-master-locator": "min-masters"},
        {"x-queue-type": "classic"},
    ]
):
    name = f"q{number}"
    attempt("declare", channel.queue_declare, name, durable=True, arguments=arguments)
    fill(channel, name, "a", "b", delivery_mode=2)
    show(f"{arguments}", count(channel, name), bodies(get_all(channel, name)))
    channel.queue_delete(name)
connection.close()
