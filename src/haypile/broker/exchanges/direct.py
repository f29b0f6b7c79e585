"""The direct exchange: a binding matches its own key.

Owns and must not know: as ``base``.
"""

from __future__ import annotations

from haypile.broker.exchanges.base import Keyed


class Direct(Keyed):
    """``direct``."""

    type = "direct"
