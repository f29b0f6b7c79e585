"""Connections: two connections of one process talk to each other."""

from _show import bodies, collect, connect, count, show, until

first, second = connect(), connect()
one, two = first.channel(), second.channel()
one.queue_declare("between")
seen = collect(two, "between", auto_ack=True)
for number in range(20):
    one.basic_publish("", "between", str(number).encode())
until(second, lambda: len(seen) == 20)
show("seen", bodies(seen))
show("count", count(one, "between"))
second.close()
show("after close", count(one, "between"))
one.queue_delete("between")
first.close()
