"""Render report.html: one file that works offline, with plotly's JavaScript, tables and values in it."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rbp.report import sections
from rbp.report.compare import MODES, Comparison, family_label
from rbp.report.facts import Facts
from rbp.report.figures.plotly import plotly as as_plotly
from rbp.report.figures.series import (
    Figure,
    accuracy_over_cost,
    accuracy_over_segments,
    accuracy_over_T,
    dial_of,
    dials,
    families,
    firing_rates,
    memory_over_T,
    over_epochs,
    seconds_over_segments,
    seconds_over_T,
)
from rbp.report.figures.style import name
from rbp.report.read import Run
from rbp.report.table import Line
from rbp.runs.status import STATES

HERE = Path(__file__).parent
FAMILY_FIGURES = (accuracy_over_T, seconds_over_T, memory_over_T, accuracy_over_cost)
STEP_FIGURES = (over_epochs, firing_rates)
DIAL_FIGURES = (accuracy_over_segments, seconds_over_segments)


def page(runs: list[Run], comparisons: list[Comparison], lines: list[Line], facts: Facts) -> str:
    """Return the whole page as HTML.

    Args:
        runs: The runs to show.
        comparisons: Comparisons of these runs.
        lines: Headline table, one line per comparison.
        facts: Facts about all runs.
    """
    by_family, counts = families(comparisons), Counter(run.state for run in runs)
    sizes = [sum(len(c.runs) for c in members) for members in by_family.values()]
    return _template().render(
        title=f"BPTT and Rate-BP: {', '.join(facts.sweeps)}",
        style=(HERE / "page.css").read_text("utf-8"),
        script=(HERE / "page.js").read_text("utf-8"),
        program=_plotly_program(),
        facts=facts,
        runs=runs,
        counts={state: counts[state] for state in STATES if counts[state]},
        modes={mode: name(mode) for mode in MODES},
        headline=sections.headline(lines),
        families=[family_label(family) for family in by_family],
        largest_family=sizes.index(max(sizes)),
        figures=_figures(by_family),
        unfinished=sections.unfinished(runs),
        sweeps=sections.sweeps(facts),
        all_runs=sections.all_runs(runs),
        data=_data(by_family),
    )


def _template() -> Any:
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template("page.html")


def _figures(by_family: dict[Any, list[Comparison]]) -> list[Figure]:
    """Return one figure for each place on the page; the page fills them for the chosen family and T."""
    first = next(iter(by_family.values()))
    over_T, of_one_T = [make(first) for make in FAMILY_FIGURES], [make(first[0]) for make in STEP_FIGURES]
    dial = next(iter(dials(c for of in by_family.values() for c in of).values()), None)
    over_segments = [make(dial) for make in DIAL_FIGURES] if dial else []
    return [of_one_T[0], *over_T, *of_one_T[1:], *over_segments]


def _data(by_family: dict[Any, list[Comparison]]) -> list[dict[str, Any]]:
    """Return the figures of each family: those over T, and those of each T.

    The latter include the figures over time segments if any comparisons differ only in their segments.
    """
    found = dials(c for of in by_family.values() for c in of)

    def of_one_T(c: Comparison) -> dict[str, Any]:
        over_segments = [make(found.get(dial_of(c), [])) for make in DIAL_FIGURES] if found else []
        return _named([*(make(c) for make in STEP_FIGURES), *over_segments])

    return [
        {
            "figures": _named(make(members) for make in FAMILY_FIGURES),
            "steps": {c.T: of_one_T(c) for c in members},
        }
        for members in by_family.values()
    ]


def _named(figures: Iterable[Figure]) -> dict[str, Any]:
    return {figure.name: as_plotly(figure) for figure in figures}


def _plotly_program() -> str:
    """Return plotly's JavaScript; "" if plotly is not installed, such as on a GPU host without a network."""
    try:
        import plotly
    except ImportError:
        return ""
    assert plotly.__file__ is not None
    return (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text("utf-8")
