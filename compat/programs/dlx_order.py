"""Dead letters: the order of x-death with three queues and more, and with entries a client made up."""

from _show import connect, fill, get_all, show, wait_count

connection = connect()
channel = connection.channel()
ring = ("one", "two", "three")
for queue, following in zip(ring, (*ring[1:], ring[0]), strict=True):
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": following}
    channel.queue_declare(queue, arguments=arguments)


def deaths(properties):
    return [
        (death.get("queue"), death.get("reason"), death.get("count"), death.get("more"))
        for death in properties.headers["x-death"]
    ]


def go_round(turns):
    for turn in range(turns):
        queue = ring[turn % 3]
        wait_count(channel, queue, 1)
        method, properties, body = channel.basic_get(queue)
        if turn:
            show(queue, *deaths(properties))
        channel.basic_reject(method.delivery_tag, requeue=False)
    wait_count(channel, ring[turns % 3], 1)
    for _, properties, body in get_all(channel, ring[turns % 3]):
        show("at last", body, *deaths(properties))


fill(channel, "one", "m")
go_round(9)
made_up = [
    {"queue": "elsewhere", "reason": "rejected", "count": 5, "more": 1},
    {"queue": "two", "reason": "rejected", "more": 2},
    {"queue": "two", "reason": "rejected", "more": 3},
    {"queue": "two", "reason": "expired", "count": 7, "more": 4},
]
fill(channel, "one", "made up", headers={"x-death": made_up})
go_round(5)
fill(channel, "one", "one entry", headers={"x-death": made_up[1:2]})
go_round(3)
fill(channel, "two", "no list", headers={"x-death": "text"})
method, _, _ = channel.basic_get("two")
channel.basic_reject(method.delivery_tag, requeue=False)
wait_count(channel, "three", 1)
show("no list", *deaths(channel.basic_get("three", auto_ack=True)[1]))
connection.close()
