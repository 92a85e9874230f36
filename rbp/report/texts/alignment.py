"""The third table of a report: how far other modes' gradients are from BPTT's, first and last."""

from collections.abc import Mapping, Sequence
from typing import Any

from rbp.alignment import ALL
from rbp.report.comparison.axes import Axes
from rbp.report.comparison.groups import Facet, Group
from rbp.report.comparison.settings import LACKS as NONE
from rbp.report.comparison.statistics import summary
from rbp.report.texts.table import Table, cells_of_keys
from rbp.runs.alignment import NOISE_FLOOR, at_common_epochs, is_bptt, mean_of

FIGURES = (
    ("cosine", "first"),
    ("cosine", "last"),
    ("norm", "first"),
    ("norm", "last"),
    ("noise floor", "first"),
    ("noise floor", "last"),
)
ABOUT = (
    "How far gradients are from BPTT's along the training of each method, all layers together: at the first "
    "and the last of the epochs that all n seeds measured (trainer.align_every), mean ± standard deviation. "
    "cosine: with BPTT's gradient at the same weights, batch and random masks; norm: as a share of its norm; "
    "noise floor: the cosine between BPTT's gradients of two batches."
)


def alignment_table(facets: Sequence[Facet], axes: Axes) -> Table | None:
    """Return the table as text; None if no finished run measured its alignment."""
    groups = [(facet, group) for facet in facets for group in facet.groups]
    found = [(facet, group, mode) for facet, group in groups for mode in _modes(group)]
    if not found:
        return None
    columns, keys = cells_of_keys([(facet, group) for facet, group, _ in found], axes)
    rows = tuple(
        (*own, mode, *_cells(group, mode)) for own, (_, group, mode) in zip(keys, found, strict=True)
    )
    no = (False,) * len(rows)
    return Table((*columns, "gradient of", "epochs", "n"), FIGURES, rows, ("",) * len(rows), no, ABOUT)


def _modes(group: Group) -> list[str]:
    lines = [line for run in group.done.values() for line in run.alignment]
    return list(dict.fromkeys(mode for line in lines for mode in line["modes"] if not is_bptt(mode, line)))


def _cells(group: Group, mode: str) -> list[str]:
    """Return the texts of one row: its epochs, the number of seeds, and the columns of FIGURES."""
    common = at_common_epochs([run.alignment for run in group.done.values()], mode)
    if not common:
        return ["none in common", *[NONE] * (1 + len(FIGURES))]
    ends = [common[min(common)], common[max(common)]]
    of_mode = [_over_seeds(lines, mode, of) for of in ("cosine", "norm") for lines in ends]
    floor = [_over_seeds(lines, NOISE_FLOOR, "cosine") for lines in ends]
    epochs = ", ".join(str(epoch) for epoch in dict.fromkeys((min(common), max(common))))
    return [epochs, str(len(ends[0])), *of_mode, *floor]


def _over_seeds(lines: Sequence[Mapping[str, Any]], mode: str, figure: str) -> str:
    found = summary(v for line in lines if (v := mean_of(line, mode, ALL, figure)) is not None)
    if found is None:
        return NONE
    return f"{found.mean:.4f}" + ("" if found.std is None else f" ± {found.std:.4f}")
