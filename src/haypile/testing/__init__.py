"""Vhosts for tests: fresh, private, and gone afterwards.

Owns: what the pytest plugin (``pytest_haypile``) hands out; it can be used without pytest, too.
Must not know: pytest.
"""

from haypile.testing.vhost import FreshVhost, Tap
from haypile.testing.vhosts import NoRabbitMQ, Vhosts

__all__ = ["FreshVhost", "NoRabbitMQ", "Tap", "Vhosts"]
