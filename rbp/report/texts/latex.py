"""The table of a report for LaTeX, with the packages booktabs and siunitx."""

from collections.abc import Sequence

from rbp.report.comparison.settings import LACKS as NONE
from rbp.report.texts.table import WITH_MORE, Table, labelled_notes

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
    "µ": r"$\mu$",
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
    notes = [_comment(f"{label}: {note}") for label, note in labelled_notes(table)]
    rows = zip(table.rows, table.sure, strict=True)
    columns = "l" * left + "".join(_latex_column(table, n) for n in range(left, left + len(figures)))
    return "\n".join(
        [
            r"% \usepackage{booktabs,siunitx}",
            _comment(table.about),
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
    return table.figures[index - len(table.keys)] not in WITH_MORE


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


def _comment(text: str) -> str:
    return f"% {_one_line(text)}"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in _one_line(text))


def _one_line(text: str) -> str:
    """Return a text with spaces for what ends a line of LaTeX, or is no character to it."""
    return "".join(char if char.isprintable() else " " for char in text)
