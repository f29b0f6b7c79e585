"""An asyncio loop has its turn in the middle of what takes long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.stalls.measuring import measure
from tests.support.vhosts import Vhost

#: Messages: so many that doing it in one go would be nearly all the work there is.
MANY = 4000


UNACKED = ["dead-peer", "ack-all", "nack-all", "reject-all", "close-channel"]


@pytest.mark.parametrize("transport", ["posix", "sysv"])
@pytest.mark.parametrize("name", ["purge", "delete", "exclusive", "cancel", "policy", "expiry", *UNACKED])
def test_long_work_is_sliced(make_vhost: Callable[[str], Vhost], transport: str, name: str) -> None:
    """No callback does more than a part of it."""
    stalls = measure(name, make_vhost(transport).url, MANY)
    assert stalls.worked < stalls.work / 3, stalls.working
