"""Compute figures over the key on the x axis (or by compared value), of costs, and of firing rates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rbp.report.comparison.costs import Setup, setup, short_labels
from rbp.report.comparison.groups import Facet, Group
from rbp.report.comparison.settings import CHUNK, as_text
from rbp.report.comparison.statistics import summary
from rbp.report.figures.figure import Axis, Figure, Series
from rbp.report.figures.style import name
from rbp.report.read import Run

ACCURACY = Axis("test accuracy (%)")
STEP = Axis("training step (ms)", log=None, zero=True)
MEMORY = Axis("memory (MiB)", log=None, zero=True)
# Keys that double more often than they grow by one.
_DOUBLING = {"T": "T (time steps)", "grad_mode.segments": "segments of time", CHUNK: "time steps in memory"}


def x_axis(facet: Facet) -> Axis:
    """Return the x axis of a figure over the facet's key, with the values that occur as ticks.

    Where there is no such key, the compared values stand side by side.
    """
    if facet.x_key is None:
        return Axis(facet.compare)
    key = facet.x_key
    return Axis(_DOUBLING.get(key, key), log=True if key in _DOUBLING else None, at_values=True)


def of_facet(facet: Facet, x: float | None = None) -> dict[str, Any]:
    """Return what a figure of a facet says that it is of.

    Args:
        facet: The facet.
        x: The place on the x axis; None if the figure is of all.
    """
    at = "" if x is None else f"{facet.x_key}={as_text(x)}"
    sweeps = ", ".join(dict.fromkeys(run.sweep for run in facet.runs))
    return {"of": ", ".join(filter(None, (facet.of, at))), "sweep": sweeps, "modes": facet.values}


def name_of(facet: Facet, value: str) -> str:
    """Return the name of a compared value, with the optimizer's keys that were chosen for it alone."""
    groups = _of_value(facet, value)
    besides = [group.beside for group in groups]
    tuned = [(key, of) for key, of in (besides[0] if besides else {}).items() if key.startswith("optimizer.")]
    same = [f"{key}={of}" for key, of in tuned if all(beside.get(key) == of for beside in besides)]
    at = [f"{facet.x_key}={as_text(groups[0].x)}"] if facet.changes_with_x and groups else []
    return ", ".join([name(facet.compare, value), *same, *at])


def place(facet: Facet, x: float | None, value: str) -> Any:
    """Return where a value stands on the x axis of a facet; None if it has no place there."""
    if facet.x_key is not None:
        return x
    return name(facet.compare, value).removeprefix(f"{facet.compare}=")


def mean(mode: str, label: str, x: list[Any], values: list[list[float]], variant: int = 0) -> Series:
    """Return the mean of the values at each x, plus and minus one standard deviation if there are several."""
    pooled = [s for found in values if (s := summary(found)) is not None]
    means, spreads = [s.mean for s in pooled], [s.std or 0.0 for s in pooled]
    low = [m - s for m, s in zip(means, spreads, strict=True)]
    high = [m + s for m, s in zip(means, spreads, strict=True)]
    labels = [f"n={len(found)}" for found in values]
    return Series(mode, label, "mean", x, means, low, high, labels, variant)


def accuracy_over_x(facet: Facet) -> Figure:
    """Plot the headline accuracy of finished runs."""
    series = []
    for value in facet.values:
        done = [(place(facet, g.x, value), run) for g in _of_value(facet, value) for run in g.done.values()]
        measured = [(x, 100 * a, run) for x, run in done if (a := run.accuracy) is not None]
        series += _over_x(facet, value, name_of(facet, value), measured)
    about = "Mean and standard deviation over seeds; a marker a run."
    return _figure(facet, "accuracy", "Accuracy", ACCURACY, about, series)


def seconds_over_x(facet: Facet) -> Figure:
    """Plot the time of a training step (ms)."""
    about = "Median synchronised training step of each run; lines join runs on one kind of machine only."
    return _figure(facet, "time", "Time", STEP, about, _costs_over_x(facet, "step_seconds", 1000.0))


def memory_over_x(facet: Facet) -> Figure:
    """Plot the memory of a training step (MiB)."""
    about = "GPU: most allocated in a step. CPU: kept for backward, parameters, gradients, optimizer state."
    return _figure(
        facet, "memory", "Memory", MEMORY, about, _costs_over_x(facet, "peak_memory_bytes", 2**-20)
    )


def _figure(facet: Facet, kind: str, title: str, y: Axis, about: str, series: list[Series]) -> Figure:
    key, over = (facet.x_key, "over") if facet.x_key else (facet.compare, "by")
    return Figure(
        f"{kind}-{key}", f"{title} {over} {key}", x_axis(facet), y, about, series, **of_facet(facet)
    )


def _of_value(facet: Facet, value: str) -> list[Group]:
    return [group for group in facet.groups if group.value == value]


def _costs_over_x(facet: Facet, key: str, unit: float) -> list[Series]:
    series = []
    for value, label, variant, done in by_setup(facet, facet.groups, key):
        measured = [(place(facet, x, value), unit * (run.figure(key) or 0.0), run) for x, run in done]
        series += [_above_zero(made) for made in _over_x(facet, value, label, measured, variant)]
    return series


def _above_zero(series: Series) -> Series:
    """Return a series whose band ends at zero, below which there is no time and no memory."""
    return replace(series, low=[max(0.0, value) for value in series.low])


_Measured = list[tuple[Any, float, Run]]  # place on the x axis, value, run


def _over_x(facet: Facet, value: str, label: str, measured: _Measured, variant: int = 0) -> list[Series]:
    """Return a marker for every run, and a line through the means at each x.

    What has no place on the axis, such as BPTT over segments of time, is a level across it.
    """
    placed = [(x, y, run) for x, y, run in measured if x is not None]
    if not placed:
        levels, xs = [y for _, y, _ in measured], facet.xs
        return [mean(value, label, xs, [levels] * len(xs), variant)] if levels and xs else []
    by_x: dict[Any, list[float]] = {}
    for x, y, _ in sorted(placed, key=lambda found: found[0]):
        by_x.setdefault(x, []).append(y)
    each, values = [x for x, _, _ in placed], [y for _, y, _ in placed]
    names = [run.name for _, _, run in placed]
    points = Series(value, label, "points", each, values, labels=names, variant=variant)
    return [mean(value, label, list(by_x), list(by_x.values()), variant), points]


def by_setup(
    facet: Facet, groups: Sequence[Group], key: str
) -> list[tuple[str, str, int, list[tuple[float | None, Run]]]]:
    """Group finished runs that have the figure `key` by compared value, kind of machine and path.

    Only runs of one group may be pooled.

    Returns:
        (compared value, label, variant, [(x, run), ...]) for each group.
    """
    found: dict[str, dict[Setup, list[tuple[float | None, Run]]]] = {value: {} for value in facet.values}
    for group in groups:
        for run in group.done.values():
            if run.figure(key) is not None:
                found[group.value].setdefault(setup(run), []).append((group.x, run))
    kinds = list(dict.fromkeys(of[0] for setups in found.values() for of in setups))
    machines = dict(zip(kinds, short_labels(kinds), strict=True)) if kinds else {}
    made = []
    for value, setups in found.items():
        paths = list(dict.fromkeys(of[1] for of in setups))
        for of, done in setups.items():
            label = ", ".join(filter(None, (name_of(facet, value), machines[of[0]], of[1])))
            made.append((value, label, kinds.index(of[0]) + len(kinds) * paths.index(of[1]), done))
    return made


def firing_rates(facet: Facet, x: float | None = None) -> Figure:
    """Plot the firing rate of every layer of neurons after the last epoch."""
    series = []
    for group in facet.at(x):
        runs = [run for run in group.done.values() if run.firing_rates]
        if not runs:
            continue
        layers = list(runs[0].firing_rates)
        values = [[r.firing_rates[layer] for r in runs if layer in r.firing_rates] for layer in layers]
        pooled = mean(group.value, f"{name_of(facet, group.value)} (n={len(runs)})", layers, values)
        low = [max(0.0, value) for value in pooled.low]
        labels = [f"{layer}, {n}" for layer, n in zip(layers, pooled.labels, strict=True)]
        series.append(
            Series(group.value, pooled.label, "bars", _short(layers), pooled.y, low, pooled.high, labels)
        )
    y = Axis("firing rate", zero=True)
    about = "Spikes per neuron and step, test images, last epoch; bars: one standard deviation over seeds."
    return Figure("firing", "Firing rate by layer", Axis("layer"), y, about, series, **of_facet(facet, x))


def _short(layers: list[str]) -> list[str]:
    """Strip the common end of layer names: layer1.0.neuron and layer2.0.neuron become layer1 and layer2."""
    parts = [layer.split(".") for layer in layers]
    while all(len(names) > 1 for names in parts) and len({names[-1] for names in parts}) == 1 < len(parts):
        parts = [names[:-1] for names in parts]
    return [".".join(names) for names in parts]


def accuracy_over_cost(facet: Facet) -> Figure:
    """Plot accuracy against the time of a training step (ms), one marker per run."""
    series = []
    for value, label, variant, found in by_setup(facet, facet.groups, "step_seconds"):
        done = [(x, run) for x, run in found if run.accuracy is not None]
        times = [1000 * (run.figure("step_seconds") or 0.0) for _, run in done]
        accuracies = [100 * (run.accuracy or 0.0) for _, run in done]
        at = [f"{facet.x_key}={as_text(x)}, " if x is not None else "" for x, _ in done]
        labels = [f"{place}{run.name}" for place, (_, run) in zip(at, done, strict=True)]
        series += (
            [Series(value, label, "points", times, accuracies, labels=labels, variant=variant)]
            if done
            else []
        )
    about = "A marker a run; up and to the left is better."
    axis = Axis(STEP.label, log=None)
    return Figure("cost", "Accuracy against cost", axis, ACCURACY, about, series, **of_facet(facet))
