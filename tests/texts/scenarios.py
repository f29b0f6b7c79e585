"""What is asked to learn RabbitMQ's codes, texts and corners: method by method.

A scenario is a list of steps; a step is ``(connection, method)`` or ``(connection, method, properties,
body)``, with connections 0 and 1. Each scenario starts with two fresh connections and an empty vhost.
"""

from __future__ import annotations

from tests.texts.basic import BASIC
from tests.texts.exchanges import EXCHANGES
from tests.texts.plugins import PLUGINS
from tests.texts.queues import QUEUES
from tests.texts.routing import ROUTING

#: With every RabbitMQ, and with one that has the plugins rabbitmq_consistent_hash_exchange,
#: rabbitmq_random_exchange and rabbitmq_recent_history_exchange.
PLAIN = {**EXCHANGES, **QUEUES, **BASIC, **ROUTING}
SCENARIOS = {**PLAIN, **PLUGINS}
