"""Length limits: reject-publish and reject-publish-dlx, with and without confirms."""

from _show import attempt, bodies, connect, count, get_all, message, send, show, wait_count

connection = connect()
channel = connection.channel()
channel.queue_declare("q", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
send(channel, "q", "a", "b", "c")
wait_count(channel, "q", 2)
show("without confirms", bodies(get_all(channel, "q")))
confirming = connection.channel()
confirming.confirm_delivery()
for body in "abc":
    attempt(body, confirming.basic_publish, "", "q", body.encode())
show("kept", bodies(get_all(channel, "q")))
attempt("room again", confirming.basic_publish, "", "q", b"d")
channel.queue_declare("dead")
channel.queue_declare(
    "dlx",
    arguments={
        "x-max-length": 1,
        "x-overflow": "reject-publish-dlx",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    },
)
for body in "abc":
    attempt(body, confirming.basic_publish, "", "dlx", body.encode())
wait_count(channel, "dead", 2)
for found in get_all(channel, "dead"):
    show("dead", message(*found))
channel.queue_declare("bytes", arguments={"x-max-length-bytes": 5, "x-overflow": "reject-publish"})
for body in ("aaa", "bbb", "c"):
    attempt(body, confirming.basic_publish, "", "bytes", body.encode())
show("bytes", bodies(get_all(channel, "bytes")))
channel.queue_declare("fan1", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
channel.queue_declare("fan2")
for name in ("fan1", "fan2"):
    channel.queue_bind(name, "amq.fanout")
attempt("both take it", confirming.basic_publish, "amq.fanout", "", b"1")
attempt("one refuses", confirming.basic_publish, "amq.fanout", "", b"2")
show("counts", count(channel, "fan1"), count(channel, "fan2"))
for name in ("q", "dead", "dlx", "bytes", "fan1", "fan2"):
    channel.queue_delete(name)
connection.close()
