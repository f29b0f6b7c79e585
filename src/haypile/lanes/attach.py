"""Opening a kernel queue that some other program owns.

Owns: the choice of the module for its kind, of which only the one that is used must work here.
Must not know: AMQP; records.
"""

from __future__ import annotations

from haypile.lanes.errors import LaneError
from haypile.lanes.foreign import SYSV, Address, ForeignLane


def open_foreign(address: Address) -> ForeignLane:
    """The queue at ``address``, made if it is not there and has sizes.

    Raises ``NotThere``, ``NotAllowed``, ``LaneError`` when it cannot be made or used.
    """
    try:
        if address.kind == SYSV:
            from haypile.lanes.foreign_sysv import open_sysv  # noqa: PLC0415 - sysv_ipc may be absent

            return open_sysv(address)
        from haypile.lanes.foreign_posix import open_posix  # noqa: PLC0415 - posix_ipc may be absent

        return open_posix(address)
    except ImportError as error:
        raise LaneError(f"{address}: message queues of this kind are not to be had here ({error})") from error
