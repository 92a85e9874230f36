"""Draw figures as SVG files for a paper, with matplotlib, without a browser or a display."""

import textwrap
from pathlib import Path
from typing import Any

from rbp.report.figures.series import Figure, Series
from rbp.report.figures.style import DASHES, MARKERS, colour

WIDTH, HEIGHT, LEGEND_LINE = 4.2, 3.0, 0.17  # inches: half a page wide, plus the legend below
LABEL_WIDTH = 56  # characters per line of the legend
_HOLLOW = ("D", "^", "*", "P")


def draw(figure: Figure, title: str, file: Path) -> None:
    """Write a figure to an SVG file, with texts as text (not paths), so that LaTeX and searches find them."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # no display, and no global state
    from matplotlib.figure import Figure as Canvas

    # A fixed salt and no date, so that the same runs give the same bytes. No math parsing, so that a `$` in a
    # name does not start a formula.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rbp", "text.parse_math": False}):
        canvas = Canvas(figsize=(WIDTH, HEIGHT), layout="constrained")
        FigureCanvasSVG(canvas)
        axes = canvas.subplots()
        _draw_all(axes, figure)
        axes.set(xlabel=figure.x_label, ylabel=figure.y_label)
        axes.set_title(title, fontsize="small")
        axes.grid(color="#e6e6e6", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if labels := axes.get_legend_handles_labels()[1]:
            narrow = max(map(len, labels)) > LABEL_WIDTH // 2
            canvas.legend(
                loc="outside lower center", frameon=False, fontsize="small", ncols=1 if narrow else 2
            )
            canvas.set_figheight(HEIGHT + LEGEND_LINE * len(labels) / (1 if narrow else 2))
        canvas.savefig(file, metadata={"Date": None})


def _draw_all(axes: Any, figure: Figure) -> None:
    shown: set[str] = set()
    bars = [series for series in figure.series if series.look == "bars"]
    for series in figure.series:
        label = None
        if series.look != "run" and series.label not in shown:
            label = textwrap.fill(series.label, LABEL_WIDTH)
            shown.add(series.label)
        if series.look == "bars":
            _draw_bars(axes, series, label, bars.index(series), len(bars))
        else:
            _draw(axes, series, label)
    if figure.name == "epochs":
        axes.xaxis.get_major_locator().set_params(integer=True)
    if figure.name.endswith(("-T", "-k")):
        axes.set_xticks(sorted({x for series in figure.series for x in series.x}))
    if figure.name in ("time-T", "time-k", "memory-T", "firing"):
        axes.set_ylim(0, None)


def _draw(axes: Any, series: Series, label: str | None) -> None:
    paint = colour(series.mode)
    dash = ":" if series.variant else DASHES.get(series.mode, ("", ":"))[1]
    if series.look == "run":
        axes.plot(series.x, series.y, dash, color=paint, linewidth=0.6, alpha=0.45)
    elif series.look == "points":
        marker = MARKERS.get(series.mode, ("", "x"))[1]
        marker = _HOLLOW[(series.variant - 1) % len(_HOLLOW)] if series.variant else marker
        face = "none" if series.variant else paint
        axes.plot(series.x, series.y, marker, color=paint, markerfacecolor=face, ms=4, alpha=0.7, label=label)
    else:
        axes.plot(series.x, series.y, dash, color=paint, linewidth=1.6, label=label)
        axes.fill_between(series.x, series.low, series.high, color=paint, alpha=0.18, linewidth=0)


def _draw_bars(axes: Any, series: Series, label: str | None, index: int, count: int) -> None:
    width = 0.8 / count
    places = [i + (index - (count - 1) / 2) * width for i in range(len(series.x))]
    above = [high - y for y, high in zip(series.y, series.high, strict=True)]
    below = [y - low for y, low in zip(series.y, series.low, strict=True)]
    spreads = [below, above]
    axes.bar(places, series.y, width, color=colour(series.mode), yerr=spreads, ecolor="#777777", label=label)
    turned = 90 if len(series.x) > 6 else 0
    axes.set_xticks(range(len(series.x)), series.x, rotation=turned, fontsize="small")
