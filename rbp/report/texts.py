"""Format the table as text (the same cells for page, Markdown and LaTeX), and all runs as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rbp.report.axes import Axes
from rbp.report.costs import KIND, Cost
from rbp.report.paths import shown_path
from rbp.report.read import AXES, Run
from rbp.report.rows import Row, tested
from rbp.report.settings import LACKS as NONE
from rbp.report.settings import as_text, shown
from rbp.report.statistics import Paired, Summary

# Title of each column of figures, and the heading that it stands below in a table with grouped columns.
FIGURES = (
    ("test accuracy (%)", "mean"),
    ("test accuracy (%)", "difference [95 % CI]"),
    ("training step (ms)", "mean"),
    ("training step (ms)", "ratio"),
    ("memory (MiB)", "mean"),
    ("memory (MiB)", "ratio"),
    ("firing rate", "mean"),
)


@dataclass(frozen=True)
class Table:
    """The table of a report as text.

    Attributes:
        keys: The keys that differ, the titles of the first columns; the compared key is the last of them.
        figures: Those of FIGURES that some row has.
        rows: The cells of each row: the values of `keys`, then those of `figures`.
        notes: For each row, what is missing and why; "" if nothing is.
        sure: For each row, whether its difference is beyond chance.
        about: What the figures are, in a sentence or two.
    """

    keys: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    sure: tuple[bool, ...]
    about: str

    @property
    def titles(self) -> list[str]:
        """The titles of all columns, each in full."""
        return [*self.keys, *(group if of == "mean" else f"{group}: {of}" for group, of in self.figures)]

    @property
    def difference(self) -> int | None:
        """The index of the column of differences; None if there is none."""
        return len(self.keys) + self.figures.index(FIGURES[1]) if FIGURES[1] in self.figures else None


def as_table(rows: Sequence[Row], axes: Axes) -> Table:
    """Return the table as text. A column of a key stands there only if the key differs."""
    compared = shown(axes.compare)
    x = [shown(axes.x)] if axes.x and axes.x != axes.compare else []
    keys = dict.fromkeys(key for row in rows for key in row.facet.setting)
    beside = dict.fromkeys(key for row in rows for key in row.group.beside)
    columns = (*keys, *x, *beside, compared)
    found = [figures(row) for row in rows]
    kept = [n for n in range(len(FIGURES)) if n == 0 or any(texts[n] != NONE for texts in found)]
    values = [_values(row, columns, compared, x) for row in rows]
    texts = tuple((*own, *(of[n] for n in kept)) for own, of in zip(values, found, strict=True))
    notes = tuple("; ".join(dict.fromkeys(row.notes)) for row in rows)
    sure = tuple(row.sure for row in rows)
    return Table(columns, tuple(FIGURES[n] for n in kept), texts, notes, sure, about(rows, axes))


def _values(row: Row, columns: Sequence[str], compared: str, x: list[str]) -> list[str]:
    known = row.facet.setting | row.group.beside | {compared: row.group.value}
    known |= {key: as_text(row.group.x) for key in x if row.group.x is not None}
    return [known.get(key, NONE) for key in columns]


def about(rows: Sequence[Row], axes: Axes) -> str:
    """Return what the figures of a table are."""
    text = "Mean ± standard deviation over n seeds."
    if all(row.difference is None for row in rows):
        return text
    text += (
        f" difference: to {shown(axes.compare)}={axes.base}, over pairs of equal seed, in points; ratio: to "
        "the same, on one kind of machine only."
    )
    if (count := tested(rows)) > 1:
        return (
            f"{text} Bold: beyond chance at 5 % over all {count} differences (Holm); each interval is for "
            "its own difference alone."
        )
    return f"{text} Bold: the interval of the difference leaves zero out."


def figures(row: Row) -> list[str]:
    """Return the texts of one row in the columns of FIGURES."""
    firing = NONE if row.firing is None else f"{row.firing.mean:.3f}"
    return [
        accuracy(row.accuracy),
        difference(row.difference),
        *_cost(row.seconds, 1000.0),
        *_cost(row.memory, 2**-20),
        firing,
    ]


def accuracy(found: Summary | None) -> str:
    """Return an accuracy in per cent, such as "98.90 ± 0.30 (n=3)"."""
    if found is None:
        return NONE
    spread = "" if found.std is None else f" ± {100 * found.std:.2f}"
    return f"{100 * found.mean:.2f}{spread} (n={found.n})"


def difference(found: Paired | None) -> str:
    """Return a difference in percentage points with its interval, such as "+0.10 [−0.20, +0.40]".

    A single pair and equal differences have no interval: "one pair" or "no spread" stands in its place.
    """
    if found is None:
        return NONE
    if found.low is None or found.high is None:
        return f"{_signed(found.mean)} [{'one pair' if found.n == 1 else 'no spread'}]"
    return f"{_signed(found.mean)} [{_signed(found.low)}, {_signed(found.high)}]"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def _cost(found: Cost, unit: float) -> list[str]:
    mean = NONE if found.mean is None else _three(unit * found.mean.mean)
    return [mean, NONE if found.ratio is None else f"{found.ratio:.2f}"]


def _three(value: float) -> str:
    """Format with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown, with the notes below it."""
    left, of_difference = len(table.keys), table.difference
    rule = ["---"] * left + ["---:"] * len(table.figures)
    marks = str.maketrans({"<": "&lt;", "&": "&amp;", "\n": " ", **{c: f"\\{c}" for c in "\\|*_`[!~$"}})
    rows = [
        [
            f"**{text.translate(marks)}**" if sure and index == of_difference else text.translate(marks)
            for index, text in enumerate(row)
        ]
        for row, sure in zip(table.rows, table.sure, strict=True)
    ]
    lines = [[title.translate(marks) for title in table.titles], rule, *rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = [f"- {label}: {note}".translate(marks) for label, note in labelled_notes(table)]
    return "\n".join([text, "", table.about.translate(marks), *(["", *notes] if notes else []), ""])


def labelled_notes(table: Table) -> list[tuple[str, str]]:
    """Return the label of each row that has a note, and the note."""
    found = zip(table.rows, table.notes, strict=True)
    return [(_label(table.keys, row), note) for row, note in found if note]


def _label(keys: Sequence[str], row: Sequence[str]) -> str:
    pairs = zip(keys, row, strict=False)  # the figures follow
    return " ".join(f"{key}={value}" for key, value in pairs if value != NONE)


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "…": r"\dots{}",
    "\n": " ",
    **{char: f"\\{char}" for char in "%$#&_"},
}


def latex(table: Table) -> str:
    """Return the table for LaTeX with the packages booktabs and siunitx, with the notes as comments.

    Columns are grouped by the figure that they show, and numbers aligned at their decimal points.
    """
    left, figures = len(table.keys), table.figures
    groups = list(dict.fromkeys(group for group, _ in figures))
    spans = [sum(of == group for of, _ in figures) for group in groups]
    ends = [left + sum(spans[: n + 1]) for n in range(len(spans))]
    heads = [rf"\multicolumn{{{span}}}{{c}}{{{_latex(g)}}}" for g, span in zip(groups, spans, strict=True)]
    rules = [
        rf"\cmidrule(lr){{{end - span + 1}-{end}}}" for end, span in zip(ends, spans, strict=True) if span > 1
    ]
    titles = [*map(_latex, table.keys), *(f"{{{_latex(of)}}}" if of != "mean" else "" for _, of in figures)]
    notes = [f"% {label}: {note}".replace("\n", " ") for label, note in labelled_notes(table)]
    rows = zip(table.rows, table.sure, strict=True)
    columns = "l" * left + "".join(_latex_column(table, n) for n in range(left, left + len(figures)))
    return "\n".join(
        [
            r"% \usepackage{booktabs,siunitx}",
            f"% {table.about}".replace("\n", " "),
            *notes,
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join([*[""] * left, *heads]) + r" \\",
            *([" ".join(rules)] if rules else []),
            " & ".join(titles) + r" \\",
            r"\midrule",
            *(" & ".join(_latex_row(row, table, sure)) + r" \\" for row, sure in rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _latex_column(table: Table, index: int) -> str:
    """Return the type of a column: numbers at their decimal points, with room for the longest of them."""
    if not _is_number(table, index):
        return "r"
    parts = [row[index].replace(",", "").partition(".") for row in table.rows if row[index] != NONE]
    before, after = (max((len(part[n]) for part in parts), default=0) for n in (0, 2))
    return f"S[table-format={max(1, before)}{f'.{after}' if after else ''}]"


def _is_number(table: Table, index: int) -> bool:
    """Whether a column has plain numbers; accuracies have counts beside them, and differences intervals."""
    return table.figures[index - len(table.keys)] not in FIGURES[:2]


def _latex_row(row: Sequence[str], table: Table, sure: bool) -> list[str]:
    cells = [_latex(text) for text in row]
    if cells[0].startswith(("[", "*")):  # which the end of the row above would take for its own
        cells[0] = f"{{{cells[0]}}}"
    if sure and table.difference is not None:
        cells[table.difference] = rf"\textbf{{{cells[table.difference]}}}"
    for index in range(len(table.keys), len(row)):
        if _is_number(table, index):
            cells[index] = "{--}" if row[index] == NONE else row[index].replace(",", "")
    return cells


def _latex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)


_CSV_RUN = (
    *("sweep", "name", "state", "error", "epoch", "epochs", "dataset", "arch", *AXES),
    *("segments", "coupled"),
)
_CSV_ACCURACY = (
    "test_acc",
    "best_test_acc",
    "headline_acc",
    "val_acc",
    "train_loss",
    "firing_rate",
    "params",
)
_CSV_COST = ("step_seconds", "images_per_second", "seconds_per_epoch", "peak_memory_bytes", "seconds")
_CSV_RESULT = (*_CSV_ACCURACY, *_CSV_COST)
_CSV_MACHINE = (*KIND, "kernels", "driver")


def results_csv(runs: list[Run]) -> str:
    """Return one CSV row per run, with numbers as in result.json and the keys that decide the result."""
    other_settings = sorted({key for run in runs for key in run.other_settings})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        [*_CSV_RUN, *_CSV_RESULT, *_CSV_MACHINE, "code_version", "code_hash", *other_settings, "folder"]
    )
    for run in runs:
        result = run.result or {}
        row = [getattr(run, key) for key in _CSV_RUN]
        row += [result.get(key) for key in _CSV_RESULT] + [run.machine.get(key) for key in _CSV_MACHINE]
        row += [
            run.code.get("version"),
            run.code.get("hash"),
            *(run.other_settings.get(key) for key in other_settings),
        ]
        writer.writerow([_no_formula(value) for value in [*row, shown_path(run.folder)]])
    return stream.getvalue()


def _no_formula(value: Any) -> Any:
    """Prefix text that a spreadsheet would evaluate with an apostrophe."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )
