"""docs/compatibility.md, written from the results of a run.

Owns: the wording and layout of that page. Must not know: how programs are run.
"""

from __future__ import annotations

from itertools import groupby

from compat.running import Outcome, Program

HEAD = """# Compatibility

Written by `python -m compat --write`; do not edit. Each row is a plain pika program of `compat/programs/`,
run as its own processes on each transport. *same* means: what it printed (every reply, delivery with all
properties, exception with code and text), its exit code and what it left in its queues equal what the same
program did on RabbitMQ. A number points to an explanation below. What each did on a RabbitMQ 3.10 is
recorded in `compat/recorded/`: that is what it is compared with where the RabbitMQ at hand is of another version, or
lacks a plugin or setting.
"""


def markdown(
    programs: list[Program],
    transports: list[str],
    results: dict[str, dict[str, Outcome]],
    known: dict[str, dict[str, str]],
) -> str:
    """The page. ``transports[0]`` is the reference."""
    notes: list[str] = []
    parts = [HEAD]
    others = transports[1:]
    ordered = sorted(programs, key=lambda program: program.area)
    for area, rows in groupby(ordered, key=lambda program: program.area):
        parts.append(f"## {area}\n\n| what | program | {' | '.join(others)} |\n|---|---|{'---|' * len(others)}")
        for program in rows:
            cells = [_cell(program, transport, transports[0], results, known, notes) for transport in others]
            parts[-1] += f"\n| {title(program)} | `{program.name}` | {' | '.join(cells)} |"
        parts[-1] += "\n"
    if notes:
        listed = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1))
        parts.append(f"## Differences, explained\n\n{listed}\n")
    return "\n".join(parts)


def title(program: Program) -> str:
    """What a program shows, as its row says it."""
    return (program.title[:1].upper() + program.title[1:]).replace("|", "\\|")


def _cell(
    program: Program,
    transport: str,
    reference: str,
    results: dict[str, dict[str, Outcome]],
    known: dict[str, dict[str, str]],
    notes: list[str],
) -> str:
    outcomes = results[program.name]
    if outcomes[reference].same_as(outcomes[transport]):
        return "same"
    note = known.get(program.name, {}).get(transport)
    if note is None:
        return "**differs**"
    if note not in notes:
        notes.append(note)
    return f"differs ({notes.index(note) + 1})"
