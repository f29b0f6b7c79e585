"""Policies: an alternate exchange by policy; the exchange's own argument goes before it."""

from _show import attempt, bodies, connect, get_all, show

DEFINITIONS = {
    "policies": [
        {"name": "rest", "pattern": "^main", "apply-to": "exchanges", "definition": {"alternate-exchange": "rest"}},
        {"name": "not", "pattern": "^bare", "apply-to": "queues", "definition": {"message-ttl": 100}},
    ]
}

connection = connect()
channel = connection.channel()
for name in ("rest", "own"):
    channel.exchange_declare(name, "fanout")
    channel.queue_declare(f"{name}-queue")
    channel.queue_bind(f"{name}-queue", name)
channel.exchange_declare("main", "direct")
channel.exchange_declare("main-own", "direct", arguments={"alternate-exchange": "own"})
channel.exchange_declare("bare", "direct")
channel.confirm_delivery()
for exchange in ("main", "main-own", "bare"):
    attempt(f"publish {exchange}", channel.basic_publish, exchange, "k", exchange.encode(), mandatory=True)
show("rest", bodies(get_all(channel, "rest-queue")))
show("own", bodies(get_all(channel, "own-queue")))
attempt("redeclare", channel.exchange_declare, "main", "direct")
arguments = {"alternate-exchange": "rest"}
attempt("the policy's", connection.channel().exchange_declare, "main", "direct", arguments=arguments)
connection.close()
