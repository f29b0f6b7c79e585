"""A program that knows only posix_ipc: it makes a kernel queue and sends raw readings with priorities."""

import sys

import posix_ipc

queue = posix_ipc.MessageQueue(sys.argv[1], posix_ipc.O_CREX, max_messages=4, max_message_size=256)
try:
    for number in range(10):
        queue.send(b"reading %d" % number, priority=number % 3)
    print(" [x] Sent 10 readings", flush=True)
    sys.stdin.readline()
finally:
    queue.unlink()
