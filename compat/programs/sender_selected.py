"""Messages: CC and BCC headers add routing keys; BCC is taken out."""

import pika
from _show import connect, get_all, message, probe, show

connection = connect()
channel = connection.channel()
channel.exchange_declare("e", "direct")
for name in ("a", "b", "c"):
    channel.queue_declare(name)
    channel.queue_bind(name, "e", name)


def send(label, headers, key="a", exchange="e"):
    other = connection.channel()
    returned = []
    other.add_on_return_callback(lambda c, m, p, b: returned.append(message(m, p, b)))
    other.basic_publish(exchange, key, label.encode(), pika.BasicProperties(headers=headers), mandatory=True)
    probe(label, other, "a")
    connection.process_data_events(0.05)
    for found in returned:
        show("  returned", found)
    for name in ("a", "b", "c"):
        for found in get_all(channel, name):
            show(f"  {name}", message(*found))


send("CC", {"CC": ["b", "c"]})
send("BCC", {"BCC": ["b"], "other": 1})
send("both", {"CC": ["b"], "BCC": ["c"]})
send("same key twice", {"CC": ["a", "a"]})
send("only CC routes", {"CC": ["b"]}, key="nowhere")
send("none routes", {"CC": ["nowhere too"]}, key="nowhere")
send("none routes, BCC", {"BCC": ["nowhere too"]}, key="nowhere")
send("default exchange", {"CC": ["b"]}, exchange="")
send("not a list", {"CC": "b"})
send("not a list, BCC", {"BCC": 5})
send("list of numbers", {"CC": [1, 2]})
send("empty list", {"CC": []})
for name in ("a", "b", "c"):
    channel.queue_delete(name)
channel.exchange_delete("e")
connection.close()
