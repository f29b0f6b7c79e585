"""Dead letters: going round several queues: counts, order of x-death, cycles cut."""

from _show import connect, fill, get_all, message, show, wait_count

connection = connect()
channel = connection.channel()
channel.queue_declare("work", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "wait"})
channel.queue_declare(
    "wait", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work", "x-message-ttl": 80}
)
fill(channel, "work", "retry me")
for turn in range(3):
    wait_count(channel, "work", 1)
    found = channel.basic_get("work")
    show(f"turn {turn}", message(*found))
    channel.basic_reject(found[0].delivery_tag, requeue=False)
wait_count(channel, "work", 1)
show("last", message(*channel.basic_get("work", auto_ack=True)))
channel.queue_declare(
    "round",
    arguments={"x-message-ttl": 60, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "about"},
)
channel.queue_declare(
    "about",
    arguments={"x-message-ttl": 60, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "round"},
)
fill(channel, "round", "circle without rejection")
wait_count(channel, "round", 0)
wait_count(channel, "about", 1)
wait_count(channel, "about", 0)
connection.sleep(0.2)
show("dropped", get_all(channel, "round"), get_all(channel, "about"))
channel.queue_declare("self", arguments={"x-dead-letter-exchange": "", "x-max-length": 1})
fill(channel, "self", "1", "2")
wait_count(channel, "self", 1)
show("to itself", [message(*found) for found in get_all(channel, "self")])
for name in ("work", "wait", "round", "about", "self"):
    channel.queue_delete(name)
connection.close()
