"""The table of a report as text: the same cells on the page, in Markdown and in LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass

from rbp.report.comparison.axes import Axes
from rbp.report.comparison.costs import Cost
from rbp.report.comparison.groups import Facet, Group
from rbp.report.comparison.rows import Published, Row, tested
from rbp.report.comparison.settings import LACKS as NONE
from rbp.report.comparison.settings import as_text, shown
from rbp.report.comparison.statistics import Paired, Summary

ENERGY = ("energy (µJ)", "mean")
# Title of each column of figures, and the heading that it stands below in a table with grouped columns.
FIGURES = (
    ("test accuracy (%)", "mean"),
    ("test accuracy (%)", "difference [95 % CI]"),
    ("training step (ms)", "mean"),
    ("training step (ms)", "ratio"),
    ("memory (MiB)", "mean"),
    ("memory (MiB)", "ratio"),
    ("firing rate", "mean"),
    ENERGY,
    ("published (%)", "mean"),
    ("published (%)", "our last epoch"),
    ("published (%)", "our best epoch"),
)
# Those that are more than a plain number: with a count or an interval beside it.
WITH_MORE = (*FIGURES[:2], *FIGURES[-2:])


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
    columns, values = cells_of_keys([(row.facet, row.group) for row in rows], axes)
    found = [figures(row) for row in rows]
    kept = [n for n in range(len(FIGURES)) if n == 0 or any(texts[n] != NONE for texts in found)]
    texts = tuple((*own, *(of[n] for n in kept)) for own, of in zip(values, found, strict=True))
    notes = tuple("; ".join(dict.fromkeys(row.notes)) for row in rows)
    sure = tuple(row.sure for row in rows)
    return Table(columns, tuple(FIGURES[n] for n in kept), texts, notes, sure, about(rows, axes))


def cells_of_keys(
    groups: Sequence[tuple[Facet, Group]], axes: Axes
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return the keys in which groups differ, the compared one last, and the texts of each group's values."""
    compared, x = shown(axes.compare), shown(axes.x) if axes.x and axes.x != axes.compare else None
    keys = dict.fromkeys(key for facet, _ in groups for key in facet.setting)
    beside = dict.fromkeys(key for _, group in groups for key in group.beside)
    columns = (*keys, *([x] if x else []), *beside, compared)
    cells = []
    for facet, group in groups:
        known = facet.setting | group.beside | {compared: group.value}
        known |= {x: as_text(group.x)} if x and group.x is not None else {}
        cells.append([known.get(key, NONE) for key in columns])
    return columns, cells


def about(rows: Sequence[Row], axes: Axes) -> str:
    """Return what the figures of a table are."""
    text = "Mean ± standard deviation over n seeds."
    if any(row.energy is not None for row in rows):
        text += (
            " energy: of the synaptic operations of an image, arithmetic alone (Horowitz 2014, 45 nm, fp32)."
        )
    if any(row.published is not None for row in rows):
        text += (
            " published: as the paper has it, beside our last epoch and our best one, too good where "
            "the test set chose it."
        )
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
    energy = NONE if row.energy is None else three_digits(row.energy.mean)
    firing = NONE if row.firing is None else f"{row.firing.mean:.3f}"
    return [
        accuracy(row.accuracy),
        difference(row.difference),
        *of_cost(row.seconds, 1000.0),
        *of_cost(row.memory, 2**-20),
        firing,
        energy,
        *_published(row.published),
    ]


def _published(found: Published | None) -> list[str]:
    if found is None:
        return [NONE] * 3
    return [f"{100 * found.accuracy:.2f}", accuracy(found.last), accuracy(found.best)]


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


def of_cost(found: Cost, unit: float) -> list[str]:
    """Return a cost's mean in another unit, and its ratio to the base's."""
    mean = NONE if found.mean is None else three_digits(unit * found.mean.mean)
    return [mean, NONE if found.ratio is None else f"{found.ratio:.2f}"]


def three_digits(value: float) -> str:
    """Return a number with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def labelled_notes(table: Table) -> list[tuple[str, str]]:
    """Return the label of each row that has a note, and the note."""
    found = zip(table.rows, table.notes, strict=True)
    return [(_label(table.keys, row), note) for row, note in found if note]


def _label(keys: Sequence[str], row: Sequence[str]) -> str:
    pairs = zip(keys, row, strict=False)  # the figures follow
    return " ".join(f"{key}={value}" for key, value in pairs if value != NONE)
