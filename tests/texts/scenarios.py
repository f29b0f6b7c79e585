"""What is asked to learn RabbitMQ's codes, texts and corners: method by method.

A scenario is a list of steps; a step is ``(connection, method)`` or ``(connection, method, properties,
body)``, with connections 0 and 1. Each scenario starts with two fresh connections and an empty vhost.
"""

from __future__ import annotations

from tests.texts.basic import BASIC
from tests.texts.exchanges import EXCHANGES
from tests.texts.queues import QUEUES
from tests.texts.routing import ROUTING

SCENARIOS = {**EXCHANGES, **QUEUES, **BASIC, **ROUTING}
