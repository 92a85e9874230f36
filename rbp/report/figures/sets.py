"""Which figures a report has: per facet those of all places on the x axis, and those of each place on it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rbp.report.comparison.axes import choose_axes
from rbp.report.comparison.groups import Facet, group_runs
from rbp.report.comparison.settings import METHOD, as_text, is_number, unfolded
from rbp.report.figures.alignment import (
    cosine_by_layer,
    cosine_over_epochs,
    cosine_over_x,
    distance_over_epochs,
    norm_over_epochs,
)
from rbp.report.figures.curves import gradient_norms, losses, over_epochs, over_time
from rbp.report.figures.figure import Figure
from rbp.report.figures.over_t import accuracy_over_energy, accuracy_over_t
from rbp.report.figures.series import (
    accuracy_over_cost,
    accuracy_over_x,
    firing_rates,
    memory_over_x,
    seconds_over_x,
)
from rbp.report.read import Run

OVER_X = (accuracy_over_x, seconds_over_x, memory_over_x)
OF_ONE = (
    *(over_epochs, over_time, losses, gradient_norms, accuracy_over_t, firing_rates),
    *(cosine_over_epochs, distance_over_epochs, norm_over_epochs, cosine_by_layer),
)


@dataclass(frozen=True)
class FigureSet:
    """The figures of a facet; figures without any series are left out.

    Attributes:
        label: What all of them are of.
        x_key: The key on the x axis; None if there is none.
        over_x: Figures of all places on the x axis together.
        of_x: Figures of each place, by its value; "" if there are none to tell apart.
    """

    label: str
    x_key: str | None
    over_x: list[Figure]
    of_x: dict[str, list[Figure]]

    @property
    def figures(self) -> list[Figure]:
        """All figures."""
        return [*self.over_x, *(figure for figures in self.of_x.values() for figure in figures)]


def figure_sets(facets: Sequence[Facet]) -> Iterator[FigureSet]:
    """Yield the figures of each facet, those with the most runs first; the caller may stop early."""
    for facet in sorted(facets, key=lambda facet: -len(facet.runs)):
        several = len({group.value for group in facet.groups}) > 1
        over_x = [make(facet) for make in OVER_X] if facet.x_key or several else []
        places: list[float | None] = [None] if facet.changes_with_x or not facet.xs else [*facet.xs]
        yield FigureSet(
            label=facet.of,
            x_key=None if places == [None] else facet.x_key,
            over_x=_drawable(
                [*over_x, accuracy_over_cost(facet), accuracy_over_energy(facet), cosine_over_x(facet)]
            ),
            of_x={"" if x is None else as_text(x): _drawable(_of_one(facet, x)) for x in places},
        )


def _of_one(facet: Facet, x: float | None) -> list[Figure]:
    """Return the figures of one place on the x axis, with those over each number of the gradient mode."""
    figures = [make(facet, x) for make in OF_ONE]
    runs = [run for group in facet.at(x) for run in group.runs]
    for key in _numbers_of_mode(runs) if facet.compare == METHOD else ():
        if key != facet.x_key:
            for of in group_runs(runs, choose_axes(runs, METHOD, x=key)):
                figures += [_within(facet, make(_of_all(facet, x, of))) for make in OVER_X]
    return figures


def _numbers_of_mode(runs: Sequence[Run]) -> list[str]:
    """Return the keys of the gradient mode with several numbers, such as the segments of time."""
    found = []
    for key in dict.fromkeys(key for run in runs for key in run.mode_keys):
        modes = unfolded(runs, key)
        values = {
            as_text(v): v for run in runs if run.grad_mode in modes if (v := run.mode_keys[key]) is not None
        }
        if len(values) > 1 and all(map(is_number, values.values())):
            found.append(key)
    return found


def _of_all(facet: Facet, x: float | None, of: Facet) -> Facet:
    """Return a facet of a part of the runs, with what all of these share."""
    at = {} if x is None else {facet.x_key or "": as_text(x)}
    return replace(of, shared=facet.shared | facet.setting | at)


def _within(facet: Facet, figure: Figure) -> Figure:
    """Return a figure whose values have the looks that they have in the facet's other figures."""
    return replace(figure, modes=tuple(dict.fromkeys((*facet.values, *figure.modes))))


def _drawable(figures: list[Figure]) -> list[Figure]:
    return [figure for figure in figures if figure.series]
