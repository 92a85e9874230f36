"""Draw series into a frame: lines with bands, thin lines, markers and bars, each with its values on hover."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from rbp.report.figures.figure import Axis, Figure, Mark, Series
from rbp.report.figures.markup import escape, short, titled
from rbp.report.figures.scales import Categories, number
from rbp.report.figures.style import DOTTED, HOLLOW, Style

MARKED = 12  # points of a line that each have a visible marker; a longer line has one at its end
RADIUS, SMALL = 4.0, 2.8  # of markers, and of those of single runs
# Opacity of the bars of each style, and dashes of their outlines.
BARS = (
    (0.85, ""),
    (0.3, ""),
    (0.0, ""),
    (0.6, "3 2"),
    (0.15, "3 2"),
    (0.0, "3 2"),
    (0.45, "1 2"),
    (0.0, "1 2"),
)
_WIDE = 0.8  # share of a category that its bars take


class Scale(Protocol):
    """Any scale (see rbp.report.figures.scales)."""

    def place(self, value: Any) -> float:
        """Return where a value lies, as a share of the axis."""


@dataclass(frozen=True)
class Frame:
    """The area that series are drawn in, with the scales of its axes."""

    left: float
    top: float
    width: float
    height: float
    x: Scale
    y: Scale

    def right_of(self, value: Any) -> float:
        """Return the x coordinate of a value, within the frame."""
        share = self.x.place(value)
        return self.left + self.width * (0.0 if share < 0 else 1.0 if share > 1 else share)

    def down_to(self, value: float) -> float:
        """Return the y coordinate of a value, within the frame."""
        share = self.y.place(value)
        return self.top + self.height * (1.0 if share < 0 else 0.0 if share > 1 else 1.0 - share)


def draw(figure: Figure, frame: Frame, styles: dict[str, Style]) -> Iterable[str]:
    """Yield the elements of every series of a figure, over columns that tell the values of long lines."""
    bars = [series for series in figure.series if series.look == "bars"]
    yield _columns(figure, frame)
    for series in figure.series:
        style = styles[series.mode]
        tell = _teller(figure, series)
        if series.look == "bars":
            place = bars.index(series), len(bars)
            shapes = _bars(series, frame, place, style, tell)
        elif series.look == "run":
            shapes = _run(series, frame, style, tell)
        elif series.look == "points":
            shapes = _points(series, frame, style, tell)
        else:
            shapes = _mean(series, frame, style, tell)
        yield f"{_group(style)}{''.join(shapes)}</g>"


def draw_mark(mark: Mark, axis: Axis, frame: Frame) -> str:
    """Return the line of a mark over the height of the frame, its text upright beside it."""
    x, end = frame.right_of(mark.x), frame.left + frame.width
    beside = x + 12 if x + 16 < end else x - 5
    line = f'<path d="M{short(x)} {short(frame.top)}v{short(frame.height)}" stroke="currentColor"'
    at = f"translate({short(beside)} {short(frame.top + frame.height - 6)}) rotate(-90)"
    shape = (
        f'{line} stroke-dasharray="{DOTTED}" opacity=".8"/><text transform="{at}">{escape(mark.text)}</text>'
    )
    return f"<g><title>{escape(f'{mark.text}: {axis.short} {number(mark.x)}')}</title>{shape}</g>"


def sample(series: Series, style: Style, x: float, y: float) -> str:
    """Return what stands beside a label of the legend, 24 wide from x and centred at y.

    Args:
        series: The first series with the label.
        style: Its style.
        x: Left end.
        y: Middle.
    """
    if series.look == "bars":
        shape = f'<path d="M{short(x + 4)} {short(y - 5)}h16v10h-16z"{_bar_look(style)}/>'
    else:
        middle = marker(_shape(series, style), x + 12, y, RADIUS, bool(series.variant))
        line = f'<path d="M{short(x)} {short(y)}h24"{_line(series, style, 2)}/>'
        shape = middle if series.look == "points" else line + middle
    return f"{_group(style)}{shape}</g>"


def _group(style: Style) -> str:
    return f'<g class="{style.css}" color="{style.colour}" fill="currentColor">'


def marker(shape: str, x: float, y: float, radius: float, hollow: bool = False) -> str:
    """Return a marker of any shape: a circle or one of _SHAPES."""
    look = ' class="paper" fill="#fff" stroke="currentColor" stroke-width="1.5"' if hollow else ""
    if shape == "circle":
        return f'<circle cx="{short(x)}" cy="{short(y)}" r="{short(radius)}"{look}/>'
    corners = "".join(
        f"{short(x + radius * right)} {short(y + radius * down)} " for right, down in _SHAPES[shape]
    )
    return f'<path d="M{corners.rstrip()}z"{look}/>'


# Corners of each shape, in units of the radius.
_SHAPES = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    "triangle": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
    "down": ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
    "bar": ((-1.4, -0.45), (1.4, -0.45), (1.4, 0.45), (-1.4, 0.45)),
    "star": ((0, -1.5), (0.4, -0.4), (1.5, 0), (0.4, 0.4), (0, 1.5), (-0.4, 0.4), (-1.5, 0), (-0.4, -0.4)),
    "cross": (
        *((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4)),
        *((0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
    ),
}
_PASSED = ' pointer-events="none"'  # what lies below answers to the pointer
_Tell = Callable[[int], str]


def _teller(figure: Figure, series: Series) -> _Tell:
    """Return a function from a point's index to the text that it shows on hover."""
    each = len(series.labels) == len(series.x)

    def tell(n: int) -> str:
        label = series.labels[n if each else 0] if series.labels else ""
        return (
            f"{series.label}\n{_at(figure, series.x[n])}: {_value(series, n)}{f', {label}' if label else ''}"
        )

    return tell


def _at(figure: Figure, x: Any) -> str:
    return f"{figure.x.short} {x if isinstance(x, str) else number(x)}"


def _value(series: Series, n: int) -> str:
    """Return a point's value with the ends of its band, such as "91.2 (90.9 to 91.5)"."""
    ends = f" ({number(series.low[n])} to {number(series.high[n])})" if series.low else ""
    return f"{number(series.y[n])}{ends}"


def _shape(series: Series, style: Style) -> str:
    return HOLLOW[(series.variant - 1) % len(HOLLOW)] if series.variant else style.marker


def _line(series: Series, style: Style, thickness: float) -> str:
    dash = DOTTED if series.variant else style.dash
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f' fill="none" stroke="currentColor" stroke-width="{thickness}"{dashes}'


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + " ".join(f"{short(x)} {short(y)}" for x, y in points)


def _places(series: Series, frame: Frame) -> list[tuple[float, float]]:
    return [(frame.right_of(x), frame.down_to(y)) for x, y in zip(series.x, series.y, strict=True)]


def _run(series: Series, frame: Frame, style: Style, tell: _Tell) -> list[str]:
    """Return a thin line that ends in a dot; both tell the run and its last value."""
    places = _places(series, frame)
    line = f'<path d="{_path(places)}"{_line(series, style, 0.8)}/>' if len(places) > 1 else ""
    dot = marker("circle", *places[-1], 2)
    return [f'<g opacity=".55"><title>{escape(tell(len(places) - 1))}</title>{line}{dot}</g>']


def _points(series: Series, frame: Frame, style: Style, tell: _Tell) -> list[str]:
    shape, hollow = _shape(series, style), bool(series.variant)
    places = enumerate(_places(series, frame))
    return [
        '<g opacity=".7">',
        *(titled(marker(shape, *at, SMALL, hollow), tell(n)) for n, at in places),
        "</g>",
    ]


def _mean(series: Series, frame: Frame, style: Style, tell: _Tell) -> list[str]:
    """Return a band and a line with markers; a single point has an error bar and a marker."""
    places, shape = _places(series, frame), _shape(series, style)
    lows, highs = [frame.down_to(v) for v in series.low], [frame.down_to(v) for v in series.high]
    found = []
    if len(places) > 1:
        xs = [x for x, _ in places]
        if any(low != high for low, high in zip(series.low, series.high, strict=True)):
            around = [*zip(xs, highs, strict=True), *reversed(list(zip(xs, lows, strict=True)))]
            found.append(f'<path d="{_path(around)}z" opacity=".16"{_PASSED}/>')
        found.append(f'<path d="{_path(places)}"{_line(series, style, 2)}{_PASSED}/>')
    else:
        found += [_whisker(x, low, high) for (x, _), low, high in zip(places, lows, highs, strict=True)]
    marked = enumerate(places) if len(places) <= MARKED else [(len(places) - 1, places[-1])]
    return found + [titled(marker(shape, *at, RADIUS, bool(series.variant)), tell(n)) for n, at in marked]


def _columns(figure: Figure, frame: Frame) -> str:
    """Return an invisible column for each x of the lines with many points, which tells their values there."""
    lines = [series for series in figure.series if series.look == "mean" and len(series.x) > MARKED]
    told: dict[Any, list[str]] = {}
    for series in lines:
        for n, x in enumerate(series.x):
            told.setdefault(x, []).append(f"{series.label}: {_value(series, n)}")
    if not told:
        return ""
    xs = sorted(told, key=frame.right_of)  # names too, in the order of the axis
    places = [frame.right_of(x) for x in xs]
    edges = [frame.left, *((a + b) / 2 for a, b in pairwise(places)), frame.left + frame.width]
    found = []
    for x, (left, right) in zip(xs, pairwise(edges), strict=True):
        text = escape("\n".join((_at(figure, x), *told[x])))
        wide = short(right - left)
        outline = f"M{short(left)} {short(frame.top)}h{wide}v{short(frame.height)}h-{wide}z"
        found.append(f'<path d="{outline}"><title>{text}</title></path>')
    return f'<g fill="none" pointer-events="all">{"".join(found)}</g>'


def _bars(series: Series, frame: Frame, place: tuple[int, int], style: Style, tell: _Tell) -> list[str]:
    """Return the bars of a series in its `place` among several."""
    assert isinstance(frame.x, Categories), "bars stand over names"
    index, count = place
    part = frame.width / len(frame.x.names)
    wide, bottom, found = part * _WIDE / count, frame.top + frame.height, []
    for n, (name, value) in enumerate(zip(series.x, series.y, strict=True)):
        left, top = frame.right_of(name) - part * _WIDE / 2 + index * wide, frame.down_to(value)
        outline = f"M{short(left)} {short(bottom)}V{short(top)}h{short(wide)}V{short(bottom)}z"
        found.append(titled(f'<path d="{outline}"{_bar_look(style)}/>', tell(n)))
        if series.high and series.high[n] != series.low[n]:
            found.append(
                _whisker(left + wide / 2, frame.down_to(series.low[n]), frame.down_to(series.high[n]))
            )
    return found


def _bar_look(style: Style) -> str:
    opacity, dashes = BARS[style.number - 1]
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f' fill="currentColor" fill-opacity="{opacity}" stroke="currentColor"{dash}'


def _whisker(x: float, low: float, high: float) -> str:
    """Return an error bar between two y coordinates."""
    if low == high:
        return ""
    caps = f"M{short(x - 3)} {short(high)}h6M{short(x - 3)} {short(low)}h6"
    return f'<path d="M{short(x)} {short(low)}V{short(high)}{caps}" stroke="currentColor" opacity=".8"/>'
