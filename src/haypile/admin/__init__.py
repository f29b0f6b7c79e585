"""Looking at vhosts of this host from outside a pika connection, and removing them.

Owns: what the command line, the metrics and the pytest plugin know of a vhost: rows for queues,
consumers and so on, messages without taking them, a vhost's removal.
Must not know: click, pytest, how anything is printed.
"""
