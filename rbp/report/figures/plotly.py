"""Convert figures to plain values for plotly, which the page passes to Plotly.react."""

import html
import textwrap
from typing import Any

from rbp.report.figures.series import Figure, Series
from rbp.report.figures.style import DASHES, HOLLOW, MARKERS, OTHER, colour

_AXIS = {"gridcolor": "#e6e6e6", "linecolor": "#888888", "zeroline": False, "automargin": True}

SHORT_RUN = 12  # epochs; on longer axes plotly puts ticks at whole epochs by itself
LABEL_WIDTH = 36  # characters per line of the legend, which fit on a phone


def plotly(figure: Figure) -> dict[str, Any]:
    """Return title, caption, `data` and `layout` of a figure.

    Labels of series and points are escaped, since plotly interprets HTML tags in them.
    """
    drawn, shown = [], set()
    for series in figure.series:
        legend = series.label not in shown and series.look != "run"
        shown |= {series.label} if legend else set()
        drawn += _traces(series, legend)
    x_axis = {**_AXIS, "title": {"text": figure.x_label}}
    if figure.name == "firing":
        x_axis["type"] = "category"
    elif figure.name.endswith(("-T", "-k")):
        x_axis |= {"tickmode": "array", "tickvals": sorted({x for s in figure.series for x in s.x})}
    elif figure.name == "epochs" and max((max(s.x) for s in figure.series), default=0) <= SHORT_RUN:
        x_axis["dtick"] = 1
    y_axis = {**_AXIS, "title": {"text": figure.y_label}}
    if figure.name in ("time-T", "time-k", "memory-T", "firing"):
        y_axis["rangemode"] = "tozero"
    layout = {
        "xaxis": x_axis,
        "yaxis": y_axis,
        "margin": {"l": 56, "r": 12, "t": 8, "b": 48},
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#222222"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "barmode": "group",
    }
    return {"title": figure.title, "about": figure.about, "data": drawn, "layout": layout}


def _traces(series: Series, legend: bool) -> list[dict[str, Any]]:
    paint = colour(series.mode)
    base: dict[str, Any] = {
        "x": list(series.x),
        "y": _rounded(series.y),
        "name": "<br>".join(map(html.escape, textwrap.wrap(series.label, LABEL_WIDTH))),
        "legendgroup": html.escape(series.label),
        "showlegend": legend,
    }
    if series.look == "run":
        labels = html.escape(series.labels[0])
        line = {"color": paint, "width": 0.8, "dash": _dash(series)}
        hover = f"{labels}<br>epoch %{{x}}: %{{y:.2f}}<extra></extra>"
        return [base | {"mode": "lines", "line": line, "opacity": 0.45, "hovertemplate": hover}]
    texts = {"text": [html.escape(text) for text in series.labels]}
    hover = "%{text}<br>%{x}: %{y:.4g}<extra>" + html.escape(series.label) + "</extra>"
    if series.look == "bars":
        bar = {"type": "bar", "marker": {"color": paint}, "error_y": _errors(series), "textposition": "none"}
        bar["hovertemplate"] = hover
        return [base | texts | bar]
    if series.look == "points":
        marker = {"color": paint, "symbol": _symbol(series), "size": 8, "opacity": 0.7}
        return [base | texts | {"mode": "markers", "marker": marker, "hovertemplate": hover}]
    line = {"color": paint, "width": 2.5, "dash": _dash(series)}
    return [
        *_band(series, base, paint),
        base | texts | {"mode": "lines", "line": line, "hovertemplate": hover},
    ]


def _band(series: Series, base: dict[str, Any], paint: str) -> list[dict[str, Any]]:
    """Return the area between low and high, or nothing if low equals high everywhere."""
    if all(low == high for low, high in zip(series.low, series.high, strict=True)):
        return []
    there_and_back = [*series.x, *list(series.x)[::-1]]
    return [
        {
            "x": there_and_back,
            "y": _rounded([*series.high, *list(series.low)[::-1]]),
            "legendgroup": base["legendgroup"],
            "fill": "toself",
            "fillcolor": paint + "2e",
            "line": {"width": 0},
            "mode": "lines",
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]


def _errors(series: Series) -> dict[str, Any]:
    above = [high - y for y, high in zip(series.y, series.high, strict=True)]
    below = [y - low for y, low in zip(series.y, series.low, strict=True)]
    arrays = {"array": _rounded(above), "arrayminus": _rounded(below), "symmetric": False}
    return {"type": "data", **arrays, "visible": any(above), "color": OTHER}


def _symbol(series: Series) -> str:
    if series.variant:
        return HOLLOW[(series.variant - 1) % len(HOLLOW)]
    return MARKERS.get(series.mode, ("x", "x"))[0]


def _dash(series: Series) -> str:
    return "dot" if series.variant else DASHES.get(series.mode, ("dot", ":"))[0]


def _rounded(values: Any) -> list[float]:
    """Round to six significant digits, which is more than a figure shows and keeps the page small."""
    return [float(f"{value:.6g}") for value in values]
