"""Which figures a report has: per family those over T, and per T those of one comparison."""

from collections.abc import Iterator
from dataclasses import dataclass

from rbp.report.compare import Comparison, family_label
from rbp.report.figures.curves import losses, over_epochs, over_time
from rbp.report.figures.figure import Figure
from rbp.report.figures.series import (
    accuracy_over_cost,
    accuracy_over_segments,
    accuracy_over_T,
    dial_of,
    dials,
    families,
    firing_rates,
    memory_over_T,
    seconds_over_segments,
    seconds_over_T,
)

FAMILY_FIGURES = (accuracy_over_T, seconds_over_T, memory_over_T, accuracy_over_cost)
STEP_FIGURES = (over_epochs, over_time, losses, firing_rates)
DIAL_FIGURES = (accuracy_over_segments, seconds_over_segments)


@dataclass(frozen=True)
class FigureSet:
    """The figures of comparisons that differ only in T; figures without any series are left out.

    Attributes:
        label: What all of them are of.
        over_T: Figures of all T together.
        of_T: Figures of each T.
    """

    label: str
    over_T: list[Figure]
    of_T: dict[int, list[Figure]]

    @property
    def figures(self) -> list[Figure]:
        """All figures."""
        return [*self.over_T, *(figure for figures in self.of_T.values() for figure in figures)]


def figure_sets(comparisons: list[Comparison]) -> Iterator[FigureSet]:
    """Yield the figures of each family, those with the most runs first; the caller may stop early."""
    over_segments = dials(comparisons)

    def of_one_T(c: Comparison) -> list[Figure]:
        dial = over_segments.get(dial_of(c))
        return [*(make(c) for make in STEP_FIGURES), *(make(dial) for make in DIAL_FIGURES if dial)]

    by_family = families(comparisons)
    for family in sorted(by_family, key=lambda family: -sum(len(c.runs) for c in by_family[family])):
        members = by_family[family]
        yield FigureSet(
            label=family_label(family),
            over_T=_drawable([make(members) for make in FAMILY_FIGURES]),
            of_T={c.T: _drawable(of_one_T(c)) for c in members},
        )


def _drawable(figures: list[Figure]) -> list[Figure]:
    return [figure for figure in figures if figure.series]
