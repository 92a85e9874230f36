"""Draw a figure as SVG: the same text is a file for a paper and a part of the page.

Texts stay text, so that LaTeX and searches find them. Colours are plain attributes, which every program
reads; browsers take others on a dark screen. Elements have no ids, so that many figures fit on one page.
"""

from typing import Any

from rbp.report.figures import scales
from rbp.report.figures.axes import EDGE, LINE, SMALL, room_for_y, ticks_of, x_axis, y_axis
from rbp.report.figures.figure import Figure
from rbp.report.figures.marks import Frame, draw, draw_mark, sample
from rbp.report.figures.markup import escape, short, width, wrap
from rbp.report.figures.style import LIGHT, Style, dark_rules, styles

WIDTH, PLOT = 440.0, 210.0  # of the figure, and how high the area with the series is
TITLE = 14  # size of the title's font
_KEY = 30.0  # width of a sample in the legend


def draw_svg(figure: Figure) -> str:
    """Return a figure as SVG. Equal figures give equal text.

    Raises:
        ValueError: If there is nothing to draw, or a value is not finite.
    """
    x, y = _x_scale(figure), _y_scale(figure)
    look = styles([*figure.modes, *(series.mode for series in figure.series)])
    head, legend_top = _head(figure)
    legend, top = _legend(figure, look, legend_top)
    y_ticks = ticks_of(figure.y, y, [v for series in figure.series for v in series.y])
    x_ticks = ticks_of(figure.x, x, [v for series in figure.series for v in series.x])
    left = room_for_y(y_ticks)
    frame = Frame(left, top, WIDTH - left - EDGE - 4, PLOT, x, y)
    below, height = x_axis(figure.x, frame, x_ticks)
    mark = [draw_mark(figure.mark, figure.x, frame)] if figure.mark else []
    parts = [*head, *legend, *y_axis(figure.y, frame, y_ticks), *below, *mark, *draw(figure, frame, look)]
    return _document(figure, height, "\n".join(part for part in parts if part))


def _document(figure: Figure, height: float, body: str) -> str:
    ink, paper = LIGHT
    wide, high = short(WIDTH), short(height)
    label = escape(f"{figure.title}. {figure.subtitle}".rstrip(". "))
    about = escape(f"{figure.about} {figure.y.label} over {figure.x.label}.")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rbp" role="img" aria-label="{label}" '
        f'viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" color="{ink}" fill="currentColor" '
        f'font-family="system-ui, sans-serif" font-size="{SMALL}">\n<desc>{about}</desc>\n'
        f"<style>{dark_rules()}</style>\n"
        f'<rect class="paper" width="100%" height="100%" fill="{paper}"/>\n{body}\n</svg>\n'
    )


def _x_scale(figure: Figure) -> Any:
    values = [x for series in figure.series for x in series.x]
    if values and all(isinstance(x, str) for x in values):
        return scales.Categories(tuple(dict.fromkeys(values)))
    marked = [figure.mark.x] if figure.mark else []
    return scales.fit([*values, *marked], figure.x.log, figure.x.zero, figure.x.whole)


def _y_scale(figure: Figure) -> scales.Linear | scales.Log:
    values = [v for series in figure.series for v in series.y]
    scale = scales.fit(values, figure.y.log, figure.y.zero, figure.y.whole)
    ends = [v for series in figure.series for v in (*series.low, *series.high)]
    if isinstance(scale, scales.Log):
        # A band that reaches zero or below would have no end on the axis: it goes on to the frame.
        return scales.fit([*values, *(v for v in ends if v >= min(values) / 2)], log=True)
    return scales.fit([*values, *ends], False, figure.y.zero, figure.y.whole)


def _head(figure: Figure) -> tuple[list[str], float]:
    """Return the title and what the figure is of, and the base line of the first text below them."""
    y = EDGE + 11
    title = f'x="{short(EDGE)}" y="{short(y)}" font-size="{TITLE}" font-weight="600"'
    parts = [f"<text {title}>{escape(figure.title)}</text>"]
    for line in wrap(figure.subtitle, WIDTH - 2 * EDGE, SMALL) if figure.subtitle else ():
        y += LINE
        parts.append(f'<text x="{short(EDGE)}" y="{short(y)}" opacity=".8">{escape(line)}</text>')
    return parts, y + LINE + 3


def _legend(figure: Figure, look: dict[str, Style], y: float) -> tuple[list[str], float]:
    """Return the legend, an entry per label and as many in a row as fit, and where the frame below begins."""
    room, right = WIDTH - 2 * EDGE, WIDTH - EDGE
    entries = {series.label: series for series in reversed(figure.series) if series.look != "run"}
    x, parts = EDGE, []
    for label, series in reversed(entries.items()):
        lines = wrap(label, room - _KEY, SMALL)
        wide = _KEY + max(width(line, SMALL) for line in lines) + 12
        if x > EDGE and (x + wide > right or len(lines) > 1):
            x, y = EDGE, y + LINE
        parts.append(sample(series, look[series.mode], x, y - 4))
        at = ((short(x + _KEY), short(y + n * LINE), escape(line)) for n, line in enumerate(lines))
        parts += [f'<text x="{left}" y="{down}">{line}</text>' for left, down, line in at]
        x, y = x + wide, y + (len(lines) - 1) * LINE
    return parts, y + 14
