"""Render report.html: one file that works offline, with figures, tables and values in it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rbp.report import sections
from rbp.report.comparison.axes import Axes
from rbp.report.comparison.groups import Facet
from rbp.report.comparison.settings import METHOD, shown
from rbp.report.facts import Facts
from rbp.report.figures.figure import Figure, Series
from rbp.report.figures.sets import FigureSet, figure_sets
from rbp.report.figures.style import name
from rbp.report.figures.svg import draw_svg
from rbp.report.read import Run
from rbp.report.texts.table import Table
from rbp.runs.status import STATES

HERE = Path(__file__).parent
IN_TITLE = 5  # values of which a title names each
FIGURES_SIZE = 3_000_000  # characters of figures from which on no further ones are put on the page


@dataclass(frozen=True)
class Shown:
    """A figure on the page.

    Attributes:
        name: Kind of figure.
        file: Name of the file that it is saved as, without suffix.
        about: Caption.
        svg: The figure as SVG.
        points: Its points as JSON, of which page.js makes a CSV.
    """

    name: str
    file: str
    about: str
    svg: str
    points: str


@dataclass(frozen=True)
class Choice:
    """The figures of one facet to choose: those over the key on the x axis, and those of each place on it."""

    label: str
    x_key: str
    over_x: list[Shown]
    of_x: dict[str, list[Shown]]
    left: int  # places on the x axis for which there was no room


def page(
    runs: list[Run],
    facets: list[Facet],
    axes: Axes,
    table: Table,
    further: Mapping[str, Table],
    facts: Facts,
) -> str:
    """Return the whole page as HTML.

    Args:
        runs: The runs to show.
        facets: These runs in the groups that are compared.
        axes: What is compared.
        table: The table of the report.
        further: Further tables, by the name of their file without suffix.
        facts: Facts about all runs.
    """
    counts = Counter(run.state for run in runs)
    choices = _choices(facets)
    return _template().render(
        title=f"{_title(facets, axes)}: {', '.join(facts.sweeps)}",
        style=(HERE / "page.css").read_text("utf-8"),
        script=(HERE / "page.js").read_text("utf-8"),
        facts=facts,
        runs=runs,
        counts={state: counts[state] for state in STATES if counts[state]},
        headline=sections.figures_of(table),
        further={name: sections.figures_of(one) for name, one in further.items()},
        shared=sections.shared(runs, axes),
        choices=choices,
        x_key=shown(axes.x) if axes.x else "",
        facets=len(facets),
        drawn=any(choice.over_x or any(choice.of_x.values()) for choice in choices),
        unfinished=sections.unfinished(runs),
        sweeps=sections.sweeps(facts),
        all_runs=sections.all_runs(runs),
        over_t=any(run.acc_over_t or run.energy for run in runs),
    )


def _title(facets: list[Facet], axes: Axes) -> str:
    """Return what is compared, such as "BPTT and Rate-BP" or "neuron=lif,lif_hard"."""
    values = facets[0].values
    if axes.compare != METHOD:
        some = values if len(values) <= IN_TITLE else [*values[: IN_TITLE - 1], "…", values[-1]]
        beside = f" with {facets[0].x_key}" if any(facet.changes_with_x for facet in facets) else ""
        return f"{shown(axes.compare)}={','.join(some)}{beside}"
    *names, last = [name(METHOD, value) for value in values]
    if len(names) >= IN_TITLE:
        return f"{len(values)} gradient modes"
    return f"{', '.join(names)} and {last}" if names else last


def _template() -> Any:
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html")


def _choices(facets: list[Facet]) -> list[Choice]:
    """Return the figures of as many facets as the page has room for, the largest first."""
    choices: list[Choice] = []
    room = FIGURES_SIZE
    for found in figure_sets(facets):
        if room < 0:
            break
        choices.append(_choice(found, room))
        room -= sum(map(_size, (choices[-1].over_x, *choices[-1].of_x.values())))
    return choices


def _choice(found: FigureSet, room: int) -> Choice:
    """Return the figures of one facet: of all places on the x axis, or the last for which there is room."""
    over_x = [_show(figure) for figure in found.over_x]
    of_x: dict[str, list[Shown]] = {}
    room -= _size(over_x)
    for x, figures in reversed(found.of_x.items()):
        if of_x and room < 0:
            break
        of_x[x] = [_show(figure) for figure in figures]
        room -= _size(of_x[x])
    left = len(found.of_x) - len(of_x)
    return Choice(found.label, found.x_key or "", over_x, dict(reversed(of_x.items())), left)


def _size(shown_now: list[Shown]) -> int:
    return sum(len(figure.svg) + len(figure.points) for figure in shown_now)


def _show(figure: Figure) -> Shown:
    points = f"[{','.join(map(_columns, figure.series))}]"
    # Within a script element only its end tag and the start of a comment mean anything.
    return Shown(figure.name, figure.stem, figure.about, draw_svg(figure), points.replace("<", "\\u003c"))


def _columns(series: Series) -> str:
    """Return label, look, x, y, low, high and labels of a series as JSON."""
    labels = list(dict.fromkeys(series.labels))
    numbers = [_numbers(values) for values in (series.x, series.y, series.low, series.high)]
    texts = [json.dumps(series.label), json.dumps(series.look)]
    return f"[{','.join([*texts, *numbers, json.dumps(labels if len(labels) == 1 else series.labels)])}]"


def _numbers(values: Sequence[Any]) -> str:
    """Return numbers, or names, as JSON; numbers with seven digits, which is more than a figure shows."""
    if any(isinstance(value, str) for value in values):
        return json.dumps(values)
    return f"[{','.join([f'{value:.7g}' for value in values])}]"  # three times as fast as json.dumps
