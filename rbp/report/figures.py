"""What the figures show, as plain series that plotly (interactive.py) and matplotlib (svg.py) draw alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rbp.report.compare import MODES, Comparison
from rbp.report.costs import Setup, setup, short_labels
from rbp.report.read import Run
from rbp.report.statistics import summary
from rbp.report.style import name


@dataclass(frozen=True)
class Series:
    """What is drawn of a gradient mode. `look`: mean (line with a band or bars low..high), run (thin line),
    points (a marker a run) or bars. `told`: a text for each point, or one for all. `variant`: 0 but for
    further kinds of machine in the same figure."""

    mode: str
    label: str
    look: str
    x: Sequence[Any]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    told: Sequence[str] = ()
    variant: int = 0


@dataclass(frozen=True)
class Figure:
    """A figure's name (of its file), axes and series; `about` is its caption."""

    name: str
    title: str
    x_label: str
    y_label: str
    about: str
    series: list[Series] = field(default_factory=list)
    x_log: bool = False


def over_epochs(comparison: Comparison) -> Figure:
    """Test accuracy over epochs: mean and standard deviation over seeds, and a thin line a run."""
    series = []
    for mode in MODES:
        runs = [run for run in comparison.of(mode) if run.curve]
        for run in runs:
            epochs = sorted(run.curve)
            told = [f"{run.name}{'' if run.result else f' ({run.state})'}"]
            series.append(Series(mode, name(mode), "run", epochs, _percent(run.curve, epochs), told=told))
        # Runs on their way would make the mean jump where they end.
        pooled = [run for run in runs if run.result] or runs
        epochs = sorted(set.intersection(*(set(run.curve) for run in pooled))) if pooled else []
        by_epoch = [[100 * run.curve[epoch] for run in pooled] for epoch in epochs]
        label = f"{name(mode)} (n={len(pooled)})"
        series += [_mean(mode, label, epochs, by_epoch)] if epochs else []
    about = "Mean over seeds with a band of one standard deviation; thin: single runs."
    return Figure("epochs", "Accuracy over epochs", "epoch", "test accuracy (%)", about, series)


def _percent(curve: dict[int, float], epochs: list[int]) -> list[float]:
    return [100 * curve[epoch] for epoch in epochs]


def _mean(mode: str, label: str, x: list[Any], values: list[list[float]], variant: int = 0) -> Series:
    """Means of values at each x, with a standard deviation to both sides where there are several."""
    pooled = [s for found in values if (s := summary(found)) is not None]
    means, spreads = [s.mean for s in pooled], [s.std or 0.0 for s in pooled]
    low = [m - s for m, s in zip(means, spreads, strict=True)]
    high = [m + s for m, s in zip(means, spreads, strict=True)]
    told = [f"n={len(found)}" for found in values]
    return Series(mode, label, "mean", x, means, low, high, told, variant)


def accuracy_over_T(family: list[Comparison]) -> Figure:
    """The accuracy that counts over T, of done runs."""
    series = []
    for mode in MODES:
        done = [(c.T, run) for c in family for run in c.done(mode).values() if run.accuracy is not None]
        series += _over_T(mode, name(mode), done, lambda run: 100 * (run.accuracy or 0.0))
    about = "Mean and standard deviation over seeds; a marker a run."
    return Figure("accuracy-T", "Accuracy over T", "T (time steps)", "test accuracy (%)", about, series)


def seconds_over_T(family: list[Comparison]) -> Figure:
    """Time of a training step over T."""
    series = _costs_over_T(family, "step_seconds", 1000.0)
    about = "Median synchronised training step of each run; lines join runs on one kind of machine only."
    return Figure("time-T", "Time over T", "T (time steps)", "training step (ms)", about, series)


def memory_over_T(family: list[Comparison]) -> Figure:
    """Memory of a training step over T."""
    series = _costs_over_T(family, "peak_memory_bytes", 2**-20)
    about = "GPU: most allocated in a step. CPU: kept for backward, parameters, gradients, optimizer state."
    return Figure("memory-T", "Memory over T", "T (time steps)", "memory (MiB)", about, series)


def _costs_over_T(family: list[Comparison], key: str, unit: float) -> list[Series]:
    series = []
    for mode, label, variant, done in _by_setup(family, key):
        series += _over_T(mode, label, done, lambda run: unit * (run.figure(key) or 0.0), variant)
    return series


_Group = tuple[str, str, int, list[tuple[int, Run]]]


def _by_setup(family: list[Comparison], key: str) -> list[_Group]:
    """Done runs with the figure `key`, and their T, by what may be pooled: each gradient mode's, on one kind
    of machine and one path; with a label and the number of the variant."""
    found: dict[str, dict[Setup, list[tuple[int, Run]]]] = {mode: {} for mode in MODES}
    for c in family:
        for mode in MODES:
            for run in c.done(mode).values():
                if run.figure(key) is not None:
                    found[mode].setdefault(setup(run), []).append((c.T, run))
    kinds = list(dict.fromkeys(of[0] for setups in found.values() for of in setups))
    machines = dict(zip(kinds, short_labels(kinds), strict=True)) if kinds else {}
    groups = []
    for mode, setups in found.items():
        paths = list(dict.fromkeys(of[1] for of in setups))
        for of, done in setups.items():
            label = ", ".join(filter(None, (name(mode), machines[of[0]], of[1])))
            groups.append((mode, label, kinds.index(of[0]) + len(kinds) * paths.index(of[1]), done))
    return groups


def _over_T(
    mode: str, label: str, done: list[tuple[int, Run]], value: Callable[[Run], float], variant: int = 0
) -> list[Series]:
    """A marker for every (T, run), and a line through their means."""
    if not done:
        return []
    by_T = {T: [value(run) for _, run in found] for T, found in groupby(done, key=lambda pair: pair[0])}
    told = [run.name for _, run in done]
    points = Series(
        mode,
        label,
        "points",
        [T for T, _ in done],
        [value(run) for _, run in done],
        told=told,
        variant=variant,
    )
    return [_mean(mode, label, list(by_T), list(by_T.values()), variant), points]


def firing_rates(comparison: Comparison) -> Figure:
    """Firing rate of every layer of neurons after the last epoch."""
    series = []
    for mode in MODES:
        runs = [run for run in comparison.done(mode).values() if run.firing_rates]
        if not runs:
            continue
        layers = list(runs[0].firing_rates)
        values = [[r.firing_rates[layer] for r in runs if layer in r.firing_rates] for layer in layers]
        mean = _mean(mode, f"{name(mode)} (n={len(runs)})", layers, values)
        low = [max(0.0, value) for value in mean.low]
        told = [f"{layer}, {n}" for layer, n in zip(layers, mean.told, strict=True)]
        series.append(Series(mode, mean.label, "bars", _short(layers), mean.y, low, mean.high, told))
    about = "Spikes per neuron and step, test images, last epoch; bars: one standard deviation over seeds."
    return Figure("firing", "Firing rate by layer", "layer", "firing rate", about, series)


def _short(layers: list[str]) -> list[str]:
    """Names of layers without what all end in: layer1.0.neuron and layer2.0.neuron are layer1 and layer2."""
    parts = [layer.split(".") for layer in layers]
    while all(len(names) > 1 for names in parts) and len({names[-1] for names in parts}) == 1 < len(parts):
        parts = [names[:-1] for names in parts]
    return [".".join(names) for names in parts]


def accuracy_over_cost(family: list[Comparison]) -> Figure:
    """Accuracy against the time of a training step: a marker a run, all T together."""
    series = []
    for mode, label, variant, found in _by_setup(family, "step_seconds"):
        done = [(T, run) for T, run in found if run.accuracy is not None]
        x = [1000 * (run.figure("step_seconds") or 0.0) for _, run in done]
        y = [100 * (run.accuracy or 0.0) for _, run in done]
        told = [f"T={T}, {run.name}" for T, run in done]
        series += [Series(mode, label, "points", x, y, told=told, variant=variant)] if done else []
    about = "A marker a run, of every T; up and to the left is better."
    return Figure("cost", "Accuracy against cost", "training step (ms)", "test accuracy (%)", about, series)


def families(comparisons: list[Comparison]) -> dict[tuple[str, str, str, str], list[Comparison]]:
    """Comparisons that differ in T alone, together, in its order."""
    found: dict[tuple[str, str, str, str], list[Comparison]] = {}
    for comparison in comparisons:
        found.setdefault(comparison.family, []).append(comparison)
    return found
