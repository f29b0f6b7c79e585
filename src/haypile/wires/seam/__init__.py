"""Every private name of pika that haypile touches.

Owns: the cut through pika, right above its frames (four methods of ``pika.connection.Connection`` are
overridden, the rest is called), and pika's blocking calls where they can do without its callbacks.
``tests/wires/test_seam.py`` checks each name (``private``) and its signature against the installed pika, so that a
new release breaks this folder and that test, loudly. pika 1.3.2 and 1.4 are alike in all of them.
Must not know: AMQP's meaning, the broker.

What is overridden for speed does what pika's own code does, step by step; whatever is not the plain case
goes to pika's code.
"""
