"""Queues: arguments of the wrong type or value are refused, unknown ones are kept."""
from _show import attempt, connect

CASES = [
    {"x-message-ttl": -1}, {"x-message-ttl": "1000"}, {"x-message-ttl": 1.5}, {"x-message-ttl": 4294967296},
    {"x-message-ttl": 4294967295}, {"x-message-ttl": 0}, {"x-message-ttl": True}, {"x-message-ttl": None},
    {"x-expires": 0}, {"x-expires": -5}, {"x-expires": "5"}, {"x-expires": 4294967296}, {"x-expires": 60000},
    {"x-max-length": -1}, {"x-max-length": "5"}, {"x-max-length": 0}, {"x-max-length": 2.0},
    {"x-max-length-bytes": -1}, {"x-max-length-bytes": "x"}, {"x-max-length-bytes": 100},
    {"x-overflow": "drop-head"}, {"x-overflow": "reject-publish"}, {"x-overflow": "reject-publish-dlx"},
    {"x-overflow": "drop-tail"}, {"x-overflow": 5},
    {"x-max-priority": -1}, {"x-max-priority": 0}, {"x-max-priority": 255}, {"x-max-priority": 256},
    {"x-max-priority": "5"}, {"x-max-priority": 2.5},
    {"x-dead-letter-exchange": 5}, {"x-dead-letter-exchange": "x"}, {"x-dead-letter-routing-key": "k"},
    {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "k"},
    {"x-dead-letter-exchange": "x", "x-dead-letter-routing-key": 5}, {"x-dead-letter-strategy": "at-least-once"},
    {"x-single-active-consumer": True}, {"x-single-active-consumer": "yes"}, {"x-single-active-consumer": 1},
    {"x-queue-mode": "lazy"}, {"x-queue-mode": "default"}, {"x-queue-mode": "eager"}, {"x-queue-mode": 5},
    {"x-queue-type": "classic"}, {"x-queue-type": "quorum"}, {"x-queue-type": "strange"}, {"x-queue-type": 5},
    {"x-queue-version": 1}, {"x-queue-version": 2}, {"x-queue-version": 3}, {"x-queue-version": "2"},
    {"x-queue-master-locator": "client-local"}, {"x-queue-master-locator": "nowhere"},
    {"x-queue-master-locator": 5}, {"x-delivery-limit": 5}, {"x-max-in-memory-length": 5}, {"x-max-age": "1D"},
    {"x-quorum-initial-group-size": 3}, {"x-cancel-on-ha-failover": True}, {"x-cancel-on-ha-failover": "x"},
    {"x-anything": [1, "two", {"three": 3}]}, {"": 1}, {"no x": 1}, {"x-ha-policy": "all"},
]
connection = connect()
for number, arguments in enumerate(CASES):
    attempt(f"{arguments}", connection.channel().queue_declare, f"q{number}", arguments=arguments)
    if not connection.is_open:
        connection = connect()
    attempt("delete", connection.channel().queue_delete, f"q{number}")
connection.close()
