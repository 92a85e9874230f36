"""What a report computes of run folders, before it is written: its runs, facets, rows and table."""

from pathlib import Path

from rbp.report.comparison.axes import choose_axes
from rbp.report.comparison.groups import Facet, deduplicate, group_runs
from rbp.report.comparison.rows import Row, rows
from rbp.report.read import Run, read_runs
from rbp.report.texts.table import Table, as_table


def shown_runs(*paths: Path) -> list[Run]:
    """The runs that a report of these folders shows."""
    return deduplicate(read_runs(list(paths))[0])[0]


def facets(*paths: Path, **asked: str) -> list[Facet]:
    """Its facets; asked: compare, base and x."""
    runs = shown_runs(*paths)
    return group_runs(runs, choose_axes(runs, **asked))


def facet(*paths: Path, **asked: str) -> Facet:
    """Its only facet."""
    (found,) = facets(*paths, **asked)
    return found


def compared(*paths: Path, **asked: str) -> list[Row]:
    """The rows of its table."""
    return rows(facets(*paths, **asked))


def table(*paths: Path, **asked: str) -> Table:
    """Its table as text."""
    runs = shown_runs(*paths)
    axes = choose_axes(runs, **asked)
    return as_table(rows(group_runs(runs, axes)), axes)
