"""report.html: one file that opens offline, with plotly's program, tables and values in it."""

import html
import json
from collections import Counter
from pathlib import Path
from typing import Any

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
from rbp.report.sections import facts_section, headline_section, runs_section, unfinished_section
from rbp.report.table import Line
from rbp.runs.status import STATES

HERE = Path(__file__).parent
FAMILY_FIGURES = (accuracy_over_T, seconds_over_T, memory_over_T, accuracy_over_cost)
STEP_FIGURES = (over_epochs, firing_rates)
DIAL_FIGURES = (accuracy_over_segments, seconds_over_segments)
# The browser itself then refuses whatever would leave the file.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_NO_FIGURES = (
    '<p class="warning">No figures: plotly is not installed where this was written. '
    "rbp report on a machine that has it writes them, from the same run folders.</p>"
)


def page(runs: list[Run], comparisons: list[Comparison], lines: list[Line], facts: Facts) -> str:
    """The whole page."""
    title = html.escape(f"BPTT and Rate-BP: {', '.join(facts.sweeps)}")
    by_family, program = families(comparisons), _plotly_program()
    body = [
        f"<h1>{title}</h1>",
        *(f"<p>{html.escape(about)}</p>" for about in facts.abouts),
        _counts(runs),
        *(f'<p class="warning">{html.escape(warning)}</p>' for warning in facts.warnings),
        headline_section(lines),
        _figures(by_family) if program else _NO_FIGURES,
        unfinished_section(runs),
        facts_section(facts),
        runs_section(runs),
        f'<p class="quiet">Written {html.escape(facts.written)}. '
        "The same command shows the runs as they are then.</p>",
        f'<script type="application/json" id="data">{_as_script(_data(by_family))}</script>',
        *(
            [f"<script>{code}</script>" for code in (program, (HERE / "page.js").read_text())]
            if program
            else []
        ),
    ]
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title}</title>'
        f"<style>{(HERE / 'page.css').read_text()}</style></head>"
    )
    return "\n".join([head, "<body>", *body, "</body></html>", ""])


def _counts(runs: list[Run]) -> str:
    count = Counter(run.state for run in runs)
    items = "".join(f'<li class="{s}">{count[s]} {s}</li>' for s in STATES if count[s])
    return f'<ul class="counts"><li>{len(runs)} runs</li>{items}</ul>'


def _figures(by_family: dict[Any, list[Comparison]]) -> str:
    most = max(by_family, key=lambda family: sum(len(c.runs) for c in by_family[family]))
    options = "".join(
        f'<option value="{i}"{" selected" * (family == most)}>{html.escape(family_label(family))}</option>'
        for i, family in enumerate(by_family)
    )
    first = next(iter(by_family.values()))
    over_T, of_one_T = [make(first) for make in FAMILY_FIGURES], [make(first[0]) for make in STEP_FIGURES]
    figures = "".join(map(_place, [of_one_T[0], *over_T, *of_one_T[1:]]))
    if dial := next(iter(dials(c for of in by_family.values() for c in of).values()), None):
        figures += "".join(_place(make(dial)) for make in DIAL_FIGURES)
    legend = ", ".join(f'<b class="{mode}">{name(mode)}</b>' for mode in MODES)
    return (
        f"<h2>Figures</h2><p class='quiet'>{legend}: the same colours everywhere. Hover shows the run.</p>"
        '<div class="controls">'
        f'<label>Comparison <select id="family" autocomplete="off">{options}</select></label>'
        '<label>T of curves and firing rates <select id="steps" autocomplete="off"></select></label></div>'
        f'<div class="figures">{figures}</div>'
    )


def _place(figure: Figure) -> str:
    return (
        f'<figure id="figure-{figure.name}"><h3>{figure.title}</h3><div class="plot"></div>'
        f"<figcaption>{figure.about}</figcaption></figure>"
    )


def _data(by_family: dict[Any, list[Comparison]]) -> list[dict[str, Any]]:
    """For each family its figures over T, and those of each T; over segments where some dial has them."""
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


def _named(figures: Any) -> dict[str, Any]:
    return {figure.name: as_plotly(figure) for figure in figures}


def _as_script(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it ends that."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plotly_program() -> str:
    """plotly's own program; "" where plotly is not installed, such as on a GPU host without a network."""
    try:
        import plotly
    except ImportError:
        return ""
    assert plotly.__file__ is not None
    return (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text()
