"""``haypile doctor``: the kernel's limits, what haypile makes of them, and what dead processes left.

Owns: the command's options and what it prints.
Must not know: how limits are read, what leftovers are (``haypile.doctor``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import click

from haypile import targets
from haypile.cli.place import failures
from haypile.cli.progress import progress


@click.command(short_help="Kernel limits, what fits them, what dead processes left.")
@click.option("--fix", "clean", is_flag=True, help="Clean what dead processes of yours left.")
@click.option("--json", "as_json", is_flag=True, help="For another program.")
def doctor(clean: bool, as_json: bool) -> None:
    """Show the kernel's limits for message queues, how many queues fit, how to raise each limit, and leftovers.

    Exit status 1 when something is left over, or cannot be looked at.
    """
    from haypile.doctor import leftovers, limits, raising  # noqa: PLC0415 - they import the broker

    base = targets.base_directory()
    facts = limits.as_dict(base)
    with failures():
        found = leftovers.look(base)
    if clean:
        dirty = [one for one in found if one.leftovers and not one.problem]
        with progress("cleaning", len(dirty)) as bar:
            for one in dirty:
                bar.step(note=one.vhost)
                leftovers.fix(base, one)
    wrong = any(one.problem or (one.leftovers and not one.fixed) for one in found)
    if as_json:
        facts["vhosts"] = [vars(one) for one in found]
        facts["raise"] = [advice._asdict() for advice in raising.ADVICE]
        click.echo(json.dumps(facts, indent=2))
    else:
        for line in (*kernel(facts), *room(facts["store"]), *left(found), *advice_lines(raising.ADVICE)):
            click.echo(line)
    if wrong:
        raise SystemExit(1)


def number(value: int | None, unit: str = "") -> str:
    """As people read it."""
    if value is None:
        return "cannot be read here"
    return "unlimited" if value == -1 else f"{value:,}{unit}"


def line(name: str, text: str) -> str:
    """A fact."""
    return f"  {name:<26}{text}"


def count(value: int, noun: str) -> str:
    """``1 lane``, ``2 lanes``."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def kernel(facts: dict[str, Any]) -> Iterator[str]:
    """Both kinds of queues."""
    posix, sysv = facts["posix"], facts["sysv"]
    yield "POSIX message queues (posix:///)"
    if posix["missing"]:
        yield line("NOT USABLE", posix["missing"])
    yield line("fs.mqueue.msg_max", number(posix["msg_max"], " messages in a queue"))
    yield line("fs.mqueue.msgsize_max", number(posix["msgsize_max"], " bytes in a message"))
    yield line("fs.mqueue.queues_max", number(posix["queues_max"], " queues in this IPC namespace"))
    hard = number(posix["msgqueue_hard"])
    yield line("RLIMIT_MSGQUEUE", f"{number(posix['msgqueue'], ' bytes')} for a user's queues (hard limit: {hard})")
    if posix["queues"] is None:
        yield line("in use", "cannot be seen: /dev/mqueue is not mounted (mount -t mqueue none /dev/mqueue)")
    else:
        yield line("in use", f"{count(posix['queues'], 'queue')}, {posix['own_queues']:,} of them yours")
    for fit in posix["fitting"]:
        what = f"{fit['maxmsg']} x {fit['msgsize']} bytes"
        yield line("would fit, all of", f"{what:<18} {count(fit['queues'], 'queue')}")
    for fit in posix["haypile"]:
        what = f"{fit['maxmsg']} x {fit['msgsize']} bytes"
        yield line("haypile would make", f"{what:<18} {count(fit['lanes'], 'lane')}")
    yield line("", "one lane for each queue with consumers; further queues work through shared memory, more slowly")
    yield ""
    yield "System V message queues (sysv:///)"
    if sysv["missing"]:
        yield line("NOT USABLE", sysv["missing"])
    yield line("kernel.msgmnb", number(sysv["msgmnb"], " bytes in a queue"))
    yield line("kernel.msgmax", number(sysv["msgmax"], " bytes in a message"))
    yield line("kernel.msgmni", number(sysv["msgmni"], " queues in this IPC namespace"))
    if sysv["queues"] is not None:
        yield line("in use", f"{count(sysv['queues'], 'queue')}, {sysv['own_queues']:,} of them yours")
    lane = sysv["lane"]
    if lane["bytes"]:
        few, many = lane["messages_of_5000_bytes"], lane["messages_of_100_bytes"]
        yield line("a lane holds", f"{many:,} messages of 100 bytes, or {few:,} of 5000")
    yield ""


def room(store: dict[str, Any]) -> Iterator[str]:
    """Where stores are."""
    yield "Stores"
    yield line("directory", store["directory"])
    if store["size"] is not None:
        free, size = store["free"] / 2**20, store["size"] / 2**20
        yield line("room", f"{free:,.0f} MiB free of {size:,.0f} MiB")
    yield line("descriptors", f"{number(store['descriptors'])} (hard limit: {number(store['descriptors_hard'])})")
    yield ""


def left(found: list[Any]) -> Iterator[str]:
    """What dead processes left."""
    yield "Vhosts"
    if not found:
        yield line("", "none yet")
    for one in found:
        name = one.directory if one.half_removed else f"{one.transport}:///{quote(one.vhost, safe='')}"
        yield line(name, state(one))
        for session in one.dead:
            who = f"session {session['session']}" + (f" of process {session['pid']}" if "pid" in session else "")
            yield line("", f"{who} ended without closing" + (": cleaned" if one.fixed else ""))
        for title, names in (("kernel queue without a queue", one.stray_lanes), ("litter", one.litter)):
            for name in names:
                yield line("", f"{title}: {name}" + (": removed" if one.fixed else ""))
        if one.aside:
            yield line("", f"{count(one.aside, 'file')} put aside for you to look at: {one.directory}/aside")
    if any(one.leftovers and not one.fixed and not one.problem for one in found):
        yield line("", "clean it: haypile doctor --fix")
    yield ""


def state(one: Any) -> str:
    """One vhost in a few words."""
    if one.problem:
        return str(one.problem)
    if one.half_removed:
        return "its removal was interrupted" + (": removed" if one.fixed else "")
    if one.other_boot:
        return "its store is from before the last boot" + (": begun anew" if one.fixed else "")
    order = "something is left over" if one.leftovers and not one.fixed else "in order"
    return f"{count(one.living, 'connection')}, {order}"


def advice_lines(advice: tuple[Any, ...]) -> Iterator[str]:
    """How to raise the limits."""
    yield "To raise limits (what each is good for: docs/kernel-limits.md)"
    for one in advice:
        yield f"  For {one.where}:"
        for command in one.commands:
            yield f"    {command}"
        if one.note:
            yield f"    # {one.note}"
