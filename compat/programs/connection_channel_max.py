"""Connections: no more channels than were agreed on; numbers are used again."""

from _show import attempt, connect, show

connection = connect(channel_max=3)
channels = [connection.channel() for _ in range(3)]
show("numbers", [channel.channel_number for channel in channels])
attempt("one too many", connection.channel)
channels[1].close()
show("again", connection.channel().channel_number)
connection.close()
connection = connect()
show("chosen number", connection.channel(channel_number=77).channel_number)
show("next", connection.channel().channel_number)
connection.close()
attempt("too big", connect().channel, 70000)
