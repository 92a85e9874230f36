"""The tables of the page as HTML. Whatever comes from a config or a message is escaped here."""

import html
from collections.abc import Collection, Iterable, Sequence

from rbp.report.compare import MODES
from rbp.report.facts import Facts, Sweep
from rbp.report.figures.style import name
from rbp.report.read import Run
from rbp.report.table import Line, cut
from rbp.report.texts import ABOUT, FIGURES, cells, titles


def headline_section(lines: list[Line]) -> str:
    """The headline table; the reason for a blank is in a line below."""
    rows = "".join(_line(line, lines) for line in lines)
    groups = (("test accuracy (%)", 3), ("training step (ms)", 3), ("memory (MiB)", 3))
    starts = titles(lines)[: -len(FIGURES)]
    first = "".join(f'<th class="start" rowspan="2">{title}</th>' for title in starts)
    first += "".join(f'<th class="group" colspan="{width}">{title}</th>' for title, width in groups)
    modes = "".join(f'<th class="{mode}">{name(mode)}</th>' for mode in MODES)
    second = f"{modes}<th>difference [95 % CI]</th>" + f"{modes}<th>ratio</th>" * 2
    return (
        '<h2>Side by side</h2><div class="scroll"><table id="headline">'
        f"<thead><tr>{first}</tr><tr>{second}</tr></thead><tbody>{rows}</tbody></table></div>"
        f'<p class="quiet">{ABOUT} Bold: the interval of the difference leaves zero out.</p>'
    )


def _line(line: Line, lines: list[Line]) -> str:
    texts = cells(line, lines)
    starts = len(texts) - len(FIGURES)
    noted = " noted" if line.notes else ""
    sure = line.difference is not None and line.difference.beyond_spread
    row = ""
    for index, (title, text) in enumerate(zip(titles(lines), texts, strict=True)):
        bold = " sure" if sure and index == starts + 2 else ""
        look = f'class="{"start" if index < starts else "figure"}{bold}{noted}"'
        row += f'<td {look} data-title="{html.escape(title)}">{html.escape(text)}</td>'
    notes = html.escape("; ".join(line.notes))
    below = f'<tr><td class="note" colspan="{len(texts)}">{notes}</td></tr>' if notes else ""
    return f"<tr>{row}</tr>{below}"


def unfinished_section(runs: list[Run]) -> str:
    """Runs that are not done, and why."""
    waiting = [run for run in runs if run.result is None]
    if not waiting:
        return ""
    rows = [
        (run.name, run.state, _epoch(run), _latest(run), cut(run.error or "", 300))
        for run in sorted(waiting, key=lambda run: (run.state, run.name))
    ]
    heads = ("run", "state", "epoch", "test acc so far", "reason")
    return "<h2>Not done</h2>" + _table("unfinished", heads, rows, wrapped={4})


def _epoch(run: Run) -> str:
    return f"{run.epoch} of {run.epochs}" if run.epochs else str(run.epoch)


def _latest(run: Run) -> str:
    return f"{100 * run.curve[max(run.curve)]:.2f} %" if run.curve else ""


def facts_section(facts: Facts) -> str:
    """What was run."""
    parts = ["<h2>What was run</h2>"]
    parts += [_sweep(sweep) for sweep in facts.sweeps.values()]
    listed = (("machine", facts.machines), ("code", facts.code))
    parts += [
        "<dl>"
        + "".join(
            f"<dt>{title}</dt><dd>{html.escape(what)} ({count} run{'s' * (count != 1)})</dd>"
            for title, found in listed
            for what, count in found.items()
        )
        + "</dl>"
    ]
    return "\n".join(parts)


def _sweep(sweep: Sweep) -> str:
    states = ", ".join(f"{count} {state}" for state, count in sweep.states.items())
    wall = (
        "" if sweep.seconds is None else f"; {duration(sweep.seconds)} from first start to last sign of life"
    )
    busy = f"; {duration(sweep.busy)} of training and evaluation" if sweep.busy else ""
    varied = "".join(
        f"<dt>{html.escape(key)}</dt><dd>{html.escape(cut(', '.join(values), 400))}</dd>"
        for key, values in sweep.varied.items()
    )
    return (
        f"<h3>{html.escape(sweep.name)}</h3><p>{html.escape(f'{sweep.folder}: {states}{wall}{busy}')}</p>"
        f"<dl>{varied}</dl><details><summary>configuration</summary>"
        f"<pre>{html.escape(sweep.config)}</pre></details>"
    )


def runs_section(runs: list[Run]) -> str:
    """Every run in a line, folded away."""
    heads = (
        "run",
        "sweep",
        "state",
        "epoch",
        "test acc (%)",
        "best (%)",
        "step (ms)",
        "MiB",
        "firing",
        "took",
    )
    figures = (
        ("test_acc", 100, ".2f"),
        ("best_test_acc", 100, ".2f"),
        ("step_seconds", 1000, ",.4g"),
        ("peak_memory_bytes", 2**-20, ",.4g"),
        ("firing_rate", 1, ".3f"),
    )
    rows = []
    for run in runs:
        values = [(run.figure(key), unit, form) for key, unit, form in figures]
        shown = ["" if value is None else format(unit * value, form) for value, unit, form in values]
        seconds = run.figure("seconds")
        took = "" if seconds is None else duration(seconds)
        rows.append((run.name, run.sweep, run.state, _epoch(run), *shown, took))
    table = _table("runs", heads, rows)
    return f"<h2>All runs</h2><details><summary>{len(runs)} runs</summary>{table}</details>"


def _table(
    ident: str, heads: Sequence[str], rows: Iterable[Iterable[str]], wrapped: Collection[int] = ()
) -> str:
    """A table of escaped texts; the first three columns and those that wrap begin at the left."""
    look = {i: "wrap" if i in wrapped else "start" if i < 3 else "" for i, _ in enumerate(heads)}
    head = "".join(f'<th class="{"start" if look[i] else ""}">{title}</th>' for i, title in enumerate(heads))
    body = "".join(f"<tr>{_row(row, look)}</tr>" for row in rows)
    table = f'<table id="{ident}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _row(texts: Iterable[str], look: dict[int, str]) -> str:
    return "".join(f'<td class="{look[i]}">{html.escape(text)}</td>' for i, text in enumerate(texts))


def duration(seconds: float) -> str:
    """For instance 45 s, 3 min 13 s, 5 h 2 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
