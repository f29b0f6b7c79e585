"""Bar charts as SVG, from plain numbers.

Owns: the drawing. Must not know: what is measured, where pictures go.

Written by hand, a rectangle a bar: no plotting library is needed, and equal numbers make equal files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

#: A contender keeps its colour in every chart; others take the last ones in turn.
COLOURS = {"posix": "#2f6f4e", "sysv": "#8ab17d", "amqp": "#e07a5f", "posix_ipc": "#3d5a80", "sysv_ipc": "#98a6c1"}
OTHERS = ("#6d597a", "#b56576", "#7f7f7f")
#: Pixels: of a bar, between groups, left of the bars, of the bars, right of them for numbers.
BAR, GAP, LEFT, WIDE, RIGHT = 13, 12, 190, 470, 90
TOP, FOOT = 58, 30

#: Label of a group of bars -> contender -> value.
Groups = Mapping[str, Mapping[str, float]]


def number(value: float) -> str:
    """As short as it can be read."""
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    if value >= 1000:
        return f"{value / 1000:.3g}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ticks(low: float, high: float, log: bool) -> list[float]:
    """Round numbers along the axis."""
    if log:
        return [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    step = 10.0 ** math.floor(math.log10(high / 2))
    while high / step > 8:
        step *= 2 if high / step <= 16 else 5
    return [step * count for count in range(int(high / step) + 1)]


def bars(title: str, unit: str, groups: Groups, *, log: bool = False, line: float | None = None) -> str:
    """A chart of horizontal bars; ``line``: a value to compare with."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    values = [value for group in groups.values() for value in group.values() if value > 0]
    high = max(values, default=1.0)
    low = 0.0
    if log:
        low, high = 10.0 ** math.floor(math.log10(min(values, default=1.0))), 10.0 ** math.ceil(math.log10(high * 1.01))
    spare = iter(OTHERS * len(names))
    colours = {name: COLOURS.get(name) or next(spare) for name in names}

    def across(value: float) -> float:
        share = math.log(max(value, low) / low) / math.log(high / low) if log else value / high
        return LEFT + WIDE * share

    parts: list[str] = []
    height = TOP + sum(len(group) * BAR + GAP for group in groups.values())
    for tick in ticks(low, high, log):
        x = across(tick)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height}" stroke="#e3e3e3"/>')
        parts.append(_text(x, height + 14, number(tick), "middle", "#777"))
    y = TOP
    for label, group in groups.items():
        parts.append(_text(LEFT - 8, y + len(group) * BAR / 2 + 4, label, "end", "#222"))
        for name, value in group.items():
            width = max(across(value) - LEFT, 1)
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{colours[name]}">'
                f"<title>{escape(f'{label}, {name}: {number(value)} {unit}')}</title></rect>"
            )
            parts.append(_text(LEFT + width + 4, y + BAR - 4, number(value), "start", "#444"))
            y += BAR
        y += GAP
    if line is not None:
        x = across(line)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height}" stroke="#222" stroke-width="1.5"/>')
    parts.append(_text(10, 20, f"{title} ({unit}{', logarithmic' if log else ''})", "start", "#222", 14))
    parts += _legend(names, colours)
    wide, high_px = LEFT + WIDE + RIGHT, height + FOOT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high_px}" width="{wide}" height="{high_px}" '
        f'font-family="sans-serif" role="img">\n<title>{escape(title)}</title>\n'
        f'<rect width="{wide}" height="{high_px}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _legend(names: Sequence[str], colours: Mapping[str, str]) -> list[str]:
    parts, x = [], 10
    for name in names:
        parts.append(f'<rect x="{x}" y="30" width="10" height="10" fill="{colours[name]}"/>')
        parts.append(_text(x + 14, 39, name, "start", "#444"))
        x += 30 + 7 * len(name)
    return parts


def _text(x: float, y: float, text: str, anchor: str, colour: str, size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(text)}</text>'
    )
