"""Queues: streams are another kind of thing, and are refused with a clear error."""

from _show import attempt, connect

connection = connect()
for number, (options, more) in enumerate(
    (
        ({"durable": True}, {}),
        ({"durable": False}, {}),
        ({"durable": True, "exclusive": True}, {}),
        ({"durable": True}, {"x-max-age": "1D"}),
        ({"durable": True}, {"x-max-priority": 3}),
    )
):
    arguments = {"x-queue-type": "stream", **more}
    name = f"s{number}"
    attempt(f"{options} {more}", connection.channel().queue_declare, name, arguments=arguments, **options)
    if not connection.is_open:
        connection = connect()
    attempt("delete", connection.channel().queue_delete, name)
connection.close()
