"""The store of a vhost: what kernel queues cannot hold, and who holds what.

Owns: everything on disk or in shared memory below a vhost's directory.
Must not know: AMQP, kernel queues.

``store.Hay`` is the way in; ``sessions`` tells who lives; ``errors`` is all that goes wrong.
"""
