"""Setting and clearing policies and limits.

Owns: their rows' changes.
Must not know: who follows them.
"""

from __future__ import annotations

from haypile.broker import rows
from haypile.broker.declare.context import Context
from haypile.broker.policies import Policy


def set_policy(ctx: Context, policy: Policy, *, operator: bool = False) -> None:
    """Add ``policy``, in the place of one with its name."""
    kind = rows.OPERATOR if operator else rows.POLICY
    ctx.put(rows.policy_key(kind, policy.name), rows.encode_policy(policy))


def clear_policy(ctx: Context, name: str, *, operator: bool = False) -> bool:
    """Take a policy out; False when there is none."""
    key = rows.policy_key(rows.OPERATOR if operator else rows.POLICY, name)
    if ctx.txn.row(key) is None:
        return False
    ctx.put(key, None)
    return True


def set_limits(ctx: Context, limits: dict[str, int]) -> None:
    """The vhost has these limits from now on."""
    ctx.put(rows.LIMITS, rows.encode_table(limits) if limits else None)
