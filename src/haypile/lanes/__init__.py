"""Kernel queues: the fast way of a message from one process to another.

Owns: queues of the kernel, their limits, and the landing that makes receiving safe.
Must not know: AMQP, the store.

``lane.Lane`` is what every kind offers, ``posix`` the first kind; ``errors`` is all that goes wrong.
"""
