"""Compute figures of alignment: how far other modes' gradients are from BPTT's while networks train.

A run measures all modes at its own weights (`trainer.align_every`). So there is a line for each mode along
each method's training, with the look of the mode; hollow markers are of the second method and further ones.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rbp.report.comparison.groups import Facet, Group
from rbp.report.comparison.settings import METHOD
from rbp.report.figures.figure import Axis, Figure, Series
from rbp.report.figures.series import mean, name_of, of_facet, x_axis
from rbp.report.figures.style import name
from rbp.report.read import Run
from rbp.runs.alignment import ALL, NOISE_FLOOR, is_bptt, layers, mean_of, shown_layer

EPOCHS = Axis("epoch", whole=True)
COSINE = Axis("cosine with BPTT's gradient")
DISTANCE = Axis("1 − cosine with BPTT's gradient", log=True)
NORM = Axis("norm / norm of BPTT's gradient")
ABOUT = (
    "At the same weights, training batches and random masks, the mean over batches; parameters whose "
    "gradient is 0 in truth are left out. Noise floor: the cosine between BPTT's gradients of two batches. "
    "A band is one standard deviation over seeds."
)

ROUNDING = 1e-6  # of 1 - cosine in float32

Line = Mapping[str, Any]


def cosine_over_epochs(facet: Facet, x: float | None = None) -> Figure:
    """Plot the cosine of each mode's gradient with BPTT's along every method's training, all layers."""
    series = _over_epochs(facet, x, mean_of, floor=True)
    return Figure("alignment", "Alignment over epochs", EPOCHS, COSINE, ABOUT, series, **of_facet(facet, x))


def distance_over_epochs(facet: Facet, x: float | None = None) -> Figure:
    """Plot 1 - cosine, likewise, on a logarithmic axis: cosines near 1 lie apart there."""
    series = _over_epochs(facet, x, _distance, floor=True)
    about = f"{ABOUT} Lower is nearer; what is below {ROUNDING:g} counts as rounding and is left out."
    of = of_facet(facet, x)
    return Figure("alignment-distance", "Distance over epochs", EPOCHS, DISTANCE, about, series, **of)


def norm_over_epochs(facet: Facet, x: float | None = None) -> Figure:
    """Plot the norm of each mode's gradient as a share of BPTT's, likewise."""
    series = _over_epochs(facet, x, _norm, floor=False)
    of = of_facet(facet, x)
    return Figure("alignment-norm", "Relative norm over epochs", EPOCHS, NORM, ABOUT, series, **of)


def cosine_by_layer(facet: Facet, x: float | None = None) -> Figure:
    """Plot the cosine of each layer's gradient with BPTT's at the last epoch that was measured."""
    series = []
    for variant, group, runs in _measured(facet.at(x)):
        lasts = [run.alignment[-1] for run in runs]
        label = _along(facet, group, len(runs))
        series += by_layer(lasts, label, variant)
    about = f"{ABOUT} Layers from the input on, at the last epoch that was measured."
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
    return Figure(
        "alignment-layers", "Alignment by layer", Axis("layer"), COSINE, about, by_layer([line]), of
    )


def by_layer(lines: Sequence[Line], along: str = "", variant: int = 0) -> list[Series]:
    """Return the cosine of each mode by layer, the mean over lines of runs that differ in their seed.

    Args:
        lines: Lines of alignment.jsonl, one a run, of the same network.
        along: What follows the mode's name in the legend.
        variant: The variant of the series.
    """
    names = layers(lines[0])
    found = []
    for mode in _modes(lines, floor=True):
        values = [[v for line in lines if (v := mean_of(line, mode, of)) is not None] for of in names]
        there = [(shown_layer(of), own) for of, own in zip(names, values, strict=True) if own]
        if there:
            xs, ys = [of for of, _ in there], [own for _, own in there]
            found.append(mean(mode, f"{name(METHOD, mode)}{along}", xs, ys, variant))
    return found


def cosine_over_x(facet: Facet) -> Figure:
    """Plot the cosine of each mode's gradient with BPTT's over the key on the x axis, all layers.

    It is that of the last epoch that was measured.
    """
    series = []
    placed = [group for group in facet.groups if group.x is not None]
    for variant, value in enumerate(dict.fromkeys(group.value for group in placed)):
        groups = [group for group in placed if group.value == value]
        lasts = [(group.x, run.alignment[-1]) for group in groups for run in _runs(group)]
        label = f", along {name_of(facet, value)}"
        for mode in _modes([line for _, line in lasts], floor=True):
            by_x: dict[Any, list[float]] = {}
            for at, line in lasts:
                if not is_bptt(mode, line) and (cosine := mean_of(line, mode)) is not None:
                    by_x.setdefault(at, []).append(cosine)
            if by_x:
                text = f"{name(METHOD, mode)}{label}"
                series.append(mean(mode, text, list(by_x), list(by_x.values()), variant))
    about = f"{ABOUT} At the last epoch that was measured."
    key = facet.x_key or ""
    of = of_facet(facet)
    return Figure(f"alignment-{key}", f"Alignment over {key}", x_axis(facet), COSINE, about, series, **of)


def _distance(line: Line, mode: str) -> float | None:
    cosine = mean_of(line, mode)
    return None if cosine is None or 1 - cosine < ROUNDING else 1 - cosine


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
