"""Compute figures of alignment: how far other modes' gradients are from BPTT's while networks train.

A run measures all modes at its own weights (`trainer.align_every`). So there is a line for each mode along
each method's training, with the look of the mode; hollow markers are of the second method and further ones.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rbp.alignment import ALL
from rbp.report.comparison.groups import Facet, Group
from rbp.report.comparison.settings import METHOD
from rbp.report.figures.figure import Axis, Figure, Series
from rbp.report.figures.series import mean, name_of, of_facet, x_axis
from rbp.report.figures.style import name
from rbp.report.read import Run
from rbp.runs.alignment import NOISE_FLOOR, at_common_epochs, is_bptt, layers, mean_of, shown_layer

EPOCHS = Axis("epoch", whole=True)
COSINE = Axis("cosine with BPTT's gradient")
DISTANCE = Axis("1 − cosine with BPTT's gradient", log=True)
NORM = Axis("norm / norm of BPTT's gradient")
ABOUT = (
    "At the same weights, training batches and random masks, the mean over batches; parameters whose "
    "gradient is 0 in truth are left out. Noise floor: the cosine between BPTT's gradients of two batches. "
    "A band is one standard deviation over seeds."
)

ROUNDING = 1e-6  # of 1 - cosine in float32, at least

Line = Mapping[str, Any]


def cosine_over_epochs(facet: Facet, x: float | None = None) -> Figure:
    """Plot the cosine of each mode's gradient with BPTT's along every method's training, all layers."""
    series = _over_epochs(facet, x, mean_of, floor=True)
    return Figure("alignment", "Alignment over epochs", EPOCHS, COSINE, ABOUT, series, **of_facet(facet, x))


def distance_over_epochs(facet: Facet, x: float | None = None) -> Figure:
    """Plot 1 - cosine, likewise, on a logarithmic axis: cosines near 1 lie apart there."""
    series = _over_epochs(facet, x, _distance, floor=True)
    about = (
        f"{ABOUT} Lower is nearer. What is not above {ROUNDING:g}, or not above the distance that BPTT "
        "itself shows as k = T at the same weights, is rounding and is left out."
    )
    of = of_facet(facet, x)
    return Figure("alignment-distance", "Distance over epochs", EPOCHS, DISTANCE, about, series, **of)


def norm_over_epochs(facet: Facet, x: float | None = None) -> Figure:
    """Plot the norm of each mode's gradient as a share of BPTT's, likewise."""
    series = _over_epochs(facet, x, _norm, floor=False)
    of = of_facet(facet, x)
    return Figure("alignment-norm", "Relative norm over epochs", EPOCHS, NORM, ABOUT, series, **of)


def cosine_by_layer(facet: Facet, x: float | None = None) -> Figure:
    """Plot the cosine of each layer's gradient with BPTT's at the last epoch that all seeds measured."""
    series = []
    for variant, group, runs in _measured(facet.at(x)):
        for mode in _modes([line for run in runs for line in run.alignment], floor=True):
            if common := at_common_epochs([run.alignment for run in runs], mode):
                epoch, lines = max(common.items())
                along = f", along {name_of(facet, group.value)}, epoch {epoch}"
                series += _by_layer(mode, lines, along, variant)
    about = f"{ABOUT} Layers from the input on, at the last epoch that all seeds measured."
    of = of_facet(facet, x)
    return Figure("alignment-layers", "Alignment by layer", Axis("layer"), COSINE, about, series, **of)


def of_line(line: Line, of: str) -> Figure:
    """Return the figure by layer of a single measurement.

    Args:
        line: A line of alignment.jsonl.
        of: What it is of, such as the name of a run.
    """
    about = ABOUT.partition(" A band")[0]
    of = f"{of}, epoch {line['epoch']}, T={line['T']}"
    series = [one for mode in _modes([line], floor=True) for one in _by_layer(mode, [line])]
    return Figure("alignment-layers", "Alignment by layer", Axis("layer"), COSINE, about, series, of)


def _by_layer(mode: str, lines: Sequence[Line], along: str | None = None, variant: int = 0) -> list[Series]:
    """Return the cosine of a mode by layer, the mean over lines of runs that differ in their seed.

    Args:
        mode: The mode.
        lines: Lines of alignment.jsonl, one a run, of the same network.
        along: What follows the mode's name in the legend, before the number of runs that have a layer; None:
            nothing does.
        variant: The variant of the series.
    """
    names = layers(lines)
    values = [[v for line in lines if (v := mean_of(line, mode, of)) is not None] for of in names]
    there = [(shown_layer(of), own) for of, own in zip(names, values, strict=True) if own]
    if not there:
        return []
    xs, ys = [of for of, _ in there], [own for _, own in there]
    n = _span([len(own) for own in ys])
    label = "" if along is None else f"{along} (n={n})"
    return [mean(mode, f"{name(METHOD, mode)}{label}", xs, ys, variant)]


def _span(numbers: Sequence[int]) -> str:
    """Return the range of numbers as text."""
    least, most = min(numbers), max(numbers)
    return f"{least}" if least == most else f"{least} to {most}"


def cosine_over_x(facet: Facet) -> Figure:
    """Plot the cosine of each mode's gradient with BPTT's over the key on the x axis, all layers.

    It is that of the last epoch that all seeds measured.
    """
    series, epochs = [], []
    placed = [group for group in facet.groups if group.x is not None]
    for variant, value in enumerate(dict.fromkeys(group.value for group in placed)):
        groups = [group for group in placed if group.value == value]
        courses = {group.x: [run.alignment for run in _runs(group)] for group in groups}
        label = f", along {name_of(facet, value)}"
        for mode in _modes([line for of_x in courses.values() for own in of_x for line in own], floor=True):
            lasts = {
                at: max(c.items()) for at, of_x in courses.items() if (c := at_common_epochs(of_x, mode))
            }
            lasts = {at: last for at, last in lasts.items() if not is_bptt(mode, last[1][0])}
            if lasts:
                values = [[mean_of(line, mode) or 0.0 for line in lines] for _, lines in lasts.values()]
                made = mean(mode, f"{name(METHOD, mode)}{label}", list(lasts), values, variant)
                at_epochs = [epoch for epoch, _ in lasts.values()]
                told = [f"epoch {at}, {n}" for at, n in zip(at_epochs, made.labels, strict=True)]
                series.append(replace(made, labels=told))
                epochs += at_epochs
    about = f"{ABOUT} At the last epoch that all seeds measured" + (f": {_span(epochs)}." if epochs else ".")
    key = facet.x_key or ""
    of = of_facet(facet)
    return Figure(f"alignment-{key}", f"Alignment over {key}", x_axis(facet), COSINE, about, series, **of)


def _distance(line: Line, mode: str) -> float | None:
    cosine = mean_of(line, mode)
    return None if cosine is None or 1 - cosine <= _rounding(line) else 1 - cosine


def _rounding(line: Line) -> float:
    """Return the distance that is rounding: what BPTT itself, as k = T, shows at the same weights."""
    own = [mean_of(line, mode) for mode in line["modes"] if is_bptt(mode, line)]
    return max([ROUNDING, *(abs(1 - cosine) for cosine in own if cosine is not None)])


def _norm(line: Line, mode: str) -> float | None:
    return mean_of(line, mode, ALL, "norm")


def _over_epochs(
    facet: Facet, x: float | None, value: Callable[[Line, str], float | None], floor: bool
) -> list[Series]:
    found = []
    for variant, group, runs in _measured(facet.at(x)):
        for mode in _modes([line for run in runs for line in run.alignment], floor):
            curves = [_curve(run, mode, value) for run in runs]
            epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
            values = [[curve[epoch] for curve in curves] for epoch in epochs]
            label = f"{name(METHOD, mode)}{_along(facet, group, len(runs))}"
            found += [mean(mode, label, epochs, values, variant)] if epochs else []
    return found


def _curve(run: Run, mode: str, value: Callable[[Line, str], float | None]) -> dict[int, float]:
    values = {line["epoch"]: value(line, mode) for line in run.alignment}
    return {epoch: found for epoch, found in values.items() if found is not None}


def _measured(groups: Sequence[Group]) -> Iterator[tuple[int, Group, list[Run]]]:
    """Yield a number, the group and its runs of every group that has measurements."""
    found = [(group, runs) for group in groups if (runs := _runs(group))]
    return ((number, group, runs) for number, (group, runs) in enumerate(found))


def _runs(group: Group) -> list[Run]:
    """Return the runs with measurements; only finished ones if there are any, as a mean would jump."""
    measured = [run for run in group.runs if run.alignment]
    return [run for run in measured if run.result] or measured


def _modes(lines: Sequence[Line], floor: bool) -> list[str]:
    """Return the modes of lines but BPTT itself; with the noise floor, if asked, first."""
    modes = dict.fromkeys(mode for line in lines for mode in line["modes"] if not is_bptt(mode, line))
    return [*([NOISE_FLOOR] if floor and lines else []), *modes]


def _along(facet: Facet, group: Group, runs: int) -> str:
    return f", along {name_of(facet, group.value)} (n={runs})"
