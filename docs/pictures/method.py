"""A drawing of Rate-BP: spikes forward through all time steps, rates and their gradient back."""

import random

from docs.pictures.schemes import colours, write

STEPS, NEURONS = 8, 4
WIDTH, HEIGHT = 880, 372
ABOUT = "Rate-based backpropagation: spikes forward through all time steps, rates and their gradient back"
FORWARD = "Forward: spikes of all T steps, without a graph; nothing of them is kept"
BACKWARD = "Backward: one rate per neuron, with a graph; memory of one step"
_NOTE = 'text-anchor="middle" font-size="12" opacity=".85"'  # of small texts below or above something
_LAYERS = ((250, "layer 1"), (520, "layer 2"))  # x of each layer of neurons
_FIRING = ((0.2, 0.7, 0.4, 0.9), (0.5, 0.15, 0.8, 0.35))  # chance of a spike, of each neuron


def make() -> None:
    """Draw it."""
    write("method", _drawing(dark=False), _drawing(dark=True))


def _drawing(dark: bool) -> str:
    look = colours(dark)
    draw = random.Random(3)
    trains = [[[draw.random() < chance for _ in range(STEPS)] for chance in layer] for layer in _FIRING]
    parts = [
        _band(14, 150, look["bptt"], FORWARD),
        _band(204, 150, look["rate"], BACKWARD),
    ]
    parts += [_box(44, 66, "input", "T steps"), _box(44, 256, "its mean", "over time")]
    for (x, name), layer in zip(_LAYERS, trains, strict=True):
        parts += _raster(x, layer, look["bptt"], name)
        parts += _rates(x, layer, look["rate"])
    parts += [_box(770, 66, "output", "T steps"), _box(770, 256, "mean", "loss L")]
    for left, right, weight in ((128, 240, "W₁"), (398, 510, "W₂"), (668, 766, "W₃")):
        parts.append(_arrow(left, 92, right, 92, colour=look["bptt"], text=weight, below=-8))
        parts.append(_arrow(left, 268, right, 268, colour=look["rate"], text=weight, below=-8))
        parts.append(_arrow(right, 298, left, 298, colour=look["rate"], text="g", below=16, dashed=True))
    for x in (320, 590):
        parts.append(_arrow(x, 152, x, 202, colour=look["ink"], text="mean over t: r, e", beside=True))
    body = "\n".join(parts)
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    ink = f'color="{look["ink"]}" fill="currentColor" font-family="system-ui, sans-serif" font-size="14"'
    ground = f'<rect width="100%" height="100%" fill="{look["paper"]}"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{ABOUT}" {size} {ink}>\n'
        f"{ground}\n{body}\n</svg>\n"
    )


def _band(y: int, height: int, colour: str, text: str) -> str:
    size = f'x="8" y="{y}" width="{WIDTH - 16}" height="{height}" rx="8"'
    return (
        f'<rect {size} fill="{colour}" fill-opacity=".09" stroke="{colour}" stroke-opacity=".5"/>'
        f'<text x="22" y="{y + 22}" font-weight="600">{text}</text>'
    )


def _box(x: int, y: int, first: str, second: str) -> str:
    middle = x + 38
    return (
        f'<rect x="{x}" y="{y}" width="76" height="52" rx="6" fill="none" stroke="currentColor" '
        f'opacity=".6"/>'
        f'<text x="{middle}" y="{y + 23}" text-anchor="middle">{first}</text>'
        f'<text x="{middle}" y="{y + 41}" {_NOTE}>{second}</text>'
    )


def _raster(x: int, layer: list[list[bool]], colour: str, name: str) -> list[str]:
    """Return a layer's spikes: a row for each neuron, a stroke for each spike."""
    parts = [f'<text x="{x + 70}" y="58" {_NOTE}>spikes, {name}</text>']
    for row, train in enumerate(layer):
        y = 74 + 19 * row
        parts.append(f'<path d="M{x} {y}h140" stroke="currentColor" opacity=".3"/>')
        strokes = "".join(f"M{x + 10 + 17 * t} {y}v-13" for t, spike in enumerate(train) if spike)
        parts.append(f'<path d="{strokes}" stroke="{colour}" stroke-width="3"/>')
    return parts


def _rates(x: int, layer: list[list[bool]], colour: str) -> list[str]:
    """Return a layer's rates: a bar for each neuron."""
    parts = [f'<text x="{x + 70}" y="338" {_NOTE}>rates r, and e = dr/dc</text>']
    for row, train in enumerate(layer):
        y, rate = 244 + 19 * row, sum(train) / len(train)
        for width, opacity in ((140.0, 0.15), (140 * rate, 1)):
            size = f'width="{width:g}" height="11" rx="2"'
            parts.append(f'<rect x="{x}" y="{y}" {size} fill="{colour}" fill-opacity="{opacity}"/>')
    return parts


def _arrow(
    *ends: int, colour: str, text: str, below: int = 0, dashed: bool = False, beside: bool = False
) -> str:
    """Return an arrow from x1, y1 to x2, y2 with a text above, below or beside it."""
    x1, y1, x2, y2 = ends
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    right, down = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
    tip = "".join(
        f"M{x2} {y2}l{-9 * right + 5 * side * down} {5 * side * right - 9 * down}" for side in (-1, 1)
    )
    x, y, anchor = (x1 + 9, y2 - 14, "start") if beside else ((x1 + x2) // 2, y1 + below, "middle")
    return (
        f'<path d="M{x1} {y1}L{x2} {y2}" stroke="{colour}" stroke-width="2"{dash}/>'
        f'<path d="{tip}" stroke="{colour}" stroke-width="2" fill="none"/>'
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="13">{text}</text>'
    )
