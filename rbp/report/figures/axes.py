"""Draw the axes of a figure around its frame: grid, ticks with their texts, and labels."""

import math
from collections.abc import Sequence
from typing import Any

from rbp.report.figures.figure import Axis
from rbp.report.figures.marks import Frame
from rbp.report.figures.markup import cut, escape, short, width
from rbp.report.figures.scales import Categories, number, texts

SMALL, LABEL = 11, 12  # sizes of the fonts of ticks and labels
LINE = 15.0  # height of a line of text
EDGE = 8.0  # room around a figure
NAME_LENGTH = 22  # characters of a category's name; the whole name is shown on hover

Ticks = list[tuple[Any, str]]  # (value, text)


def ticks_of(axis: Axis, scale: Any, values: Sequence[Any]) -> Ticks:
    """Return the ticks of an axis whose series have these values."""
    if isinstance(scale, Categories):
        return [(name, name) for name in scale.names]
    if axis.at_values:
        return [(value, number(value)) for value in sorted(set(values))]
    ticks = scale.ticks()
    return list(zip(ticks, texts(ticks), strict=True))


def room_for_y(ticks: Ticks) -> float:
    """Return how wide the y axis with its label is."""
    return EDGE + LINE + 10 + max((width(text, SMALL) for _, text in ticks), default=0.0)


def y_axis(axis: Axis, frame: Frame, ticks: Ticks) -> list[str]:
    """Return the grid, texts and label of the y axis."""
    ys = [frame.down_to(value) for value, _ in ticks]
    lines = [f"M{short(frame.left)} {short(y)}h{short(frame.width)}" for y in ys]
    shown = [
        f'<text x="{short(frame.left - 6)}" y="{short(y + 4)}">{escape(text)}</text>'
        for y, (_, text) in zip(ys, ticks, strict=True)
    ]
    at = f"translate({short(EDGE + 7)} {short(frame.top + frame.height / 2)}) rotate(-90)"
    label = f'<text transform="{at}"{_LABEL}>{escape(axis.label)}</text>'
    return [_grid(lines), f'<g text-anchor="end">{"".join(shown)}</g>', label]


def x_axis(axis: Axis, frame: Frame, ticks: Ticks) -> tuple[list[str], float]:
    """Return the grid, texts and label of the x axis, and where they end."""
    names, bottom = isinstance(frame.x, Categories), frame.top + frame.height
    room = frame.width / max(1, len(ticks))
    turned = names and any(width(cut(text, NAME_LENGTH), SMALL) > room - 4 for _, text in ticks)
    shown, deep = _turned(frame, ticks, room) if turned else (_level(frame, ticks), LINE)
    xs = [] if names else [frame.right_of(value) for value, _ in ticks]
    grid = _grid([f"M{short(x)} {short(frame.top)}v{short(frame.height)}" for x in xs])
    line = f"M{short(frame.left)} {short(bottom)}h{short(frame.width)}"
    base = f'<path d="{line}" stroke="currentColor" opacity=".6"/>'
    at = f'x="{short(frame.left + frame.width / 2)}" y="{short(bottom + deep + LINE)}"'
    label = f"<text {at}{_LABEL}>{escape(axis.label)}</text>"
    return [grid, base, *shown, label], bottom + deep + LINE + EDGE


_LABEL = f' text-anchor="middle" font-size="{LABEL}"'


def _level(frame: Frame, ticks: Ticks) -> list[str]:
    """Return the texts of ticks side by side; one that would touch the one before it is left out."""
    shown, end = [], -math.inf
    for value, text in ticks:
        x, half = frame.right_of(value), width(text, SMALL) / 2
        if x - half > end:
            end = x + half + 3
            y = frame.top + frame.height + LINE - 1
            shown.append(f'<text x="{short(x)}" y="{short(y)}" text-anchor="middle">{escape(text)}</text>')
    return shown


def _turned(frame: Frame, ticks: Ticks, room: float) -> tuple[list[str], float]:
    """Return upright texts, as many as have room, and how high they are."""
    some = ticks[:: max(1, math.ceil(LABEL / room))]
    y = frame.top + frame.height + 6
    shown = []
    for value, text in some:
        at = f"translate({short(frame.right_of(value) + 4)} {short(y)}) rotate(-90)"
        whole = f"<title>{escape(text)}</title>" if len(text) > NAME_LENGTH else ""
        name = escape(cut(text, NAME_LENGTH))
        shown.append(f'<text transform="{at}" text-anchor="end">{name}{whole}</text>')
    return shown, 8 + max(width(cut(text, NAME_LENGTH), SMALL) for _, text in some)


def _grid(lines: list[str]) -> str:
    return f'<path d="{"".join(lines)}" stroke="currentColor" opacity=".15"/>' if lines else ""
