"""Exchanges: redeclaring must be equivalent, field by field."""

from _show import attempt, connect

connection = connect()
connection.channel().exchange_declare("e", "direct", durable=False, auto_delete=False)
connection.channel().exchange_declare("d", "topic", durable=True, arguments={"x-mine": 1})


def again(label, *args, **kwargs):
    attempt(label, connection.channel().exchange_declare, *args, **kwargs)


again("same", "e", "direct")
again("type", "e", "fanout")
again("durable", "e", "direct", durable=True)
again("auto_delete", "e", "direct", auto_delete=True)
again("internal", "e", "direct", internal=True)
again("two differences", "e", "fanout", durable=True)
again("unknown argument added", "e", "direct", arguments={"x-other": 2})
again("alternate added", "e", "direct", arguments={"alternate-exchange": "x"})
again("argument gone", "d", "topic", durable=True)
again("argument changed", "d", "topic", durable=True, arguments={"x-mine": 2})
again("passive ignores fields", "e", "topic", passive=True, durable=True)
again("passive absent", "nothing", passive=True)
again("unknown type of an existing one", "e", "strange")
connection = connect()
again("empty type", "e", "")
connection = connect()
connection.channel().exchange_delete("e")
connection.channel().exchange_delete("d")
connection.close()
