"""Format the headline table as text (the same cells for page, Markdown and LaTeX), and all runs as CSV."""

import csv
import io
from typing import Any

from rbp.report.compare import MODES
from rbp.report.costs import KIND, Costs
from rbp.report.figures.style import name
from rbp.report.paths import shown_path
from rbp.report.read import AXES, Run
from rbp.report.statistics import Paired, Summary
from rbp.report.table import Line

NONE = "–"
HEADS = ("data set", "network", "T", "step mode", "also")
FIGURES = (
    *(f"{name(mode)} test acc (%)" for mode in MODES),
    "difference (points) [95 % CI]",
    *(f"{name(mode)} step (ms)" for mode in MODES),
    "step time ratio",
    *(f"{name(mode)} memory (MiB)" for mode in MODES),
    "memory ratio",
)


def titles(lines: list[Line]) -> list[str]:
    """Return the titles of the columns of `cells`; "also" is included only if any comparison needs it."""
    return [*_heads(lines), *FIGURES]


def cells(line: Line, lines: list[Line]) -> list[str]:
    """Return the texts of one line, in the columns of `titles(lines)`."""
    c = line.comparison
    also = [c.differs or NONE] if "also" in _heads(lines) else []
    return [c.dataset, c.arch, str(c.T), c.step_mode, *also, *figures(line)]


def figures(line: Line) -> list[str]:
    """Return the texts of one line in the columns of FIGURES."""
    return [
        *(accuracy(line.accuracy.get(mode)) for mode in MODES),
        difference(line.difference),
        *_costs(line.seconds, 1000.0),
        *_costs(line.memory, 2**-20),
    ]


def _heads(lines: list[Line]) -> list[str]:
    differs = any(line.comparison.differs for line in lines)
    return [head for head in HEADS if head != "also" or differs]


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


def _costs(found: Costs, unit: float) -> list[str]:
    means = [_three(unit * s.mean) if (s := found.by_mode.get(mode)) else NONE for mode in MODES]
    return [*means, NONE if found.ratio is None else f"{found.ratio:.2f}"]


def _three(value: float) -> str:
    """Format with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def markdown(lines: list[Line]) -> str:
    """Return the table in GitHub's Markdown, with the notes below it."""
    left = len(_heads(lines))
    rule = ["---"] * left + ["---:"] * len(FIGURES)
    rows = [titles(lines), rule, *(cells(line, lines) for line in lines)]
    marks = str.maketrans({"<": "&lt;", "&": "&amp;", "\n": " ", **{c: f"\\{c}" for c in "\\|*_`[!~$"}})
    text = "\n".join("| " + " | ".join(cell.translate(marks) for cell in row) + " |" for row in rows)
    notes = [f"- {line.comparison.label}: {note}".translate(marks) for line in lines for note in line.notes]
    return "\n".join([text, "", ABOUT, *(["", *notes] if notes else []), ""])


ABOUT = (
    "Mean ± standard deviation over n seeds; difference: Rate-BP − BPTT over pairs of equal seed; "
    "ratio: Rate-BP / BPTT, on one kind of machine only."
)
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


def latex(lines: list[Line]) -> str:
    """Return the table for LaTeX with the package booktabs, with the notes as comments."""
    rows = [[_latex(cell) for cell in cells(line, lines)] for line in lines]
    notes = [f"% {line.comparison.label}: {note}".replace("\n", " ") for line in lines for note in line.notes]
    columns = "l" * len(_heads(lines)) + "r" * len(FIGURES)
    body = [" & ".join(row) + r" \\" for row in rows]
    head = " & ".join(map(_latex, titles(lines))) + r" \\"
    start = [f"% {ABOUT}", *notes, rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*start, *body, r"\bottomrule", r"\end{tabular}", ""])


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
