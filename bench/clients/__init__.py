"""Plain pika programs that do the work which is measured.

Each says ``import pika`` and nothing of haypile's: the same file runs over a RabbitMQ, and under
``haypile run`` over kernel queues. They speak with the runner in JSON lines over stdin and stdout
(``talk``), so nobody ever sleeps to wait for another.
"""
