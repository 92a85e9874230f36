"""Compute figures over T, of costs, of firing rates and over time segments."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from rbp.report.compare import MODES, Comparison, family_label
from rbp.report.costs import Setup, setup, setup_label, short_labels
from rbp.report.figures.figure import Axis, Figure, Series
from rbp.report.figures.style import name
from rbp.report.read import Run
from rbp.report.statistics import summary

# T doubles more often than it grows by one, so that its axis is logarithmic, with the T that occur as ticks.
OVER_T = Axis("T (time steps)", log=True, at_values=True)
OVER_SEGMENTS = Axis("segments of time", log=True, at_values=True)
ACCURACY = Axis("test accuracy (%)")
STEP = Axis("training step (ms)", log=None, zero=True)
MEMORY = Axis("memory (MiB)", log=None, zero=True)


def sweeps_of(runs: Iterable[Run]) -> str:
    """Return the names of the sweeps of runs, as text."""
    return ", ".join(dict.fromkeys(run.sweep for run in runs))


def _of_family(family: list[Comparison]) -> dict[str, str]:
    """Return what a figure over T says that it is of."""
    label = family_label(family[0].family) if family else ""
    return {"of": label, "sweep": sweeps_of(run for c in family for run in c.runs)}


def _of_dial(comparisons: list[Comparison]) -> dict[str, str]:
    label = dial_label(dial_of(comparisons[0])) if comparisons else ""
    return {"of": label, "sweep": sweeps_of(run for c in comparisons for run in c.runs)}


def mean(mode: str, label: str, x: list[Any], values: list[list[float]], variant: int = 0) -> Series:
    """Return the mean of the values at each x, plus and minus one standard deviation if there are several."""
    pooled = [s for found in values if (s := summary(found)) is not None]
    means, spreads = [s.mean for s in pooled], [s.std or 0.0 for s in pooled]
    low = [m - s for m, s in zip(means, spreads, strict=True)]
    high = [m + s for m, s in zip(means, spreads, strict=True)]
    labels = [f"n={len(found)}" for found in values]
    return Series(mode, label, "mean", x, means, low, high, labels, variant)


def accuracy_over_T(family: list[Comparison]) -> Figure:
    """Plot the headline accuracy of finished runs over T."""
    series = []
    for mode in MODES:
        done = [(c.T, run) for c in family for run in c.done(mode).values() if run.accuracy is not None]
        series += _over_T(mode, name(mode), done, lambda run: 100 * (run.accuracy or 0.0))
    about = "Mean and standard deviation over seeds; a marker a run."
    return Figure("accuracy-T", "Accuracy over T", OVER_T, ACCURACY, about, series, **_of_family(family))


def seconds_over_T(family: list[Comparison]) -> Figure:
    """Plot the time of a training step (ms) over T."""
    series = _costs_over_T(family, "step_seconds", 1000.0)
    about = "Median synchronised training step of each run; lines join runs on one kind of machine only."
    return Figure("time-T", "Time over T", OVER_T, STEP, about, series, **_of_family(family))


def memory_over_T(family: list[Comparison]) -> Figure:
    """Plot the memory of a training step (MiB) over T."""
    series = _costs_over_T(family, "peak_memory_bytes", 2**-20)
    about = "GPU: most allocated in a step. CPU: kept for backward, parameters, gradients, optimizer state."
    return Figure("memory-T", "Memory over T", OVER_T, MEMORY, about, series, **_of_family(family))


def _costs_over_T(family: list[Comparison], key: str, unit: float) -> list[Series]:
    series = []
    for mode, label, variant, done in by_setup(family, key):
        series += _over_T(mode, label, done, lambda run: unit * (run.figure(key) or 0.0), variant)
    return series


_Group = tuple[str, str, int, list[tuple[int, Run]]]


def by_setup(family: list[Comparison], key: str) -> list[_Group]:
    """Group finished runs that have the figure `key` by gradient mode, kind of machine and path.

    Only runs of one group may be pooled.

    Returns:
        (gradient mode, label, variant, [(T, run), ...]) for each group.
    """
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
    """Return a marker for every (T, run), and a line through the means at each T."""
    if not done:
        return []
    by_T = {T: [value(run) for _, run in found] for T, found in groupby(done, key=lambda pair: pair[0])}
    labels = [run.name for _, run in done]
    points = Series(
        mode,
        label,
        "points",
        [T for T, _ in done],
        [value(run) for _, run in done],
        labels=labels,
        variant=variant,
    )
    return [mean(mode, label, list(by_T), list(by_T.values()), variant), points]


def firing_rates(comparison: Comparison) -> Figure:
    """Plot the firing rate of every layer of neurons after the last epoch."""
    series = []
    for mode in MODES:
        runs = [run for run in comparison.done(mode).values() if run.firing_rates]
        if not runs:
            continue
        layers = list(runs[0].firing_rates)
        values = [[r.firing_rates[layer] for r in runs if layer in r.firing_rates] for layer in layers]
        pooled = mean(mode, f"{name(mode)} (n={len(runs)})", layers, values)
        low = [max(0.0, value) for value in pooled.low]
        labels = [f"{layer}, {n}" for layer, n in zip(layers, pooled.labels, strict=True)]
        series.append(Series(mode, pooled.label, "bars", _short(layers), pooled.y, low, pooled.high, labels))
    y, of = Axis("firing rate", zero=True), {"of": comparison.label, "sweep": sweeps_of(comparison.runs)}
    about = "Spikes per neuron and step, test images, last epoch; bars: one standard deviation over seeds."
    return Figure("firing", "Firing rate by layer", Axis("layer"), y, about, series, **of)


def _short(layers: list[str]) -> list[str]:
    """Strip the common end of layer names: layer1.0.neuron and layer2.0.neuron become layer1 and layer2."""
    parts = [layer.split(".") for layer in layers]
    while all(len(names) > 1 for names in parts) and len({names[-1] for names in parts}) == 1 < len(parts):
        parts = [names[:-1] for names in parts]
    return [".".join(names) for names in parts]


def accuracy_over_cost(family: list[Comparison]) -> Figure:
    """Plot accuracy against the time of a training step (ms), one marker per run, all T together."""
    series = []
    for mode, label, variant, found in by_setup(family, "step_seconds"):
        done = [(T, run) for T, run in found if run.accuracy is not None]
        x = [1000 * (run.figure("step_seconds") or 0.0) for _, run in done]
        y = [100 * (run.accuracy or 0.0) for _, run in done]
        labels = [f"T={T}, {run.name}" for T, run in done]
        series += [Series(mode, label, "points", x, y, labels=labels, variant=variant)] if done else []
    about = "A marker a run, of every T; up and to the left is better."
    return Figure(
        "cost",
        "Accuracy against cost",
        Axis(STEP.label, log=None),
        ACCURACY,
        about,
        series,
        **_of_family(family),
    )


def accuracy_over_segments(comparisons: list[Comparison]) -> Figure:
    """Plot the headline accuracy over the number of time segments."""
    series = _over_segments(comparisons, lambda run: None if run.accuracy is None else 100 * run.accuracy)
    about = "Mean and standard deviation over seeds; a marker a run. BPTT has no segments: a level line."
    return Figure(
        "accuracy-k",
        "Accuracy over segments",
        OVER_SEGMENTS,
        ACCURACY,
        about,
        series,
        **_of_dial(comparisons),
    )


def seconds_over_segments(comparisons: list[Comparison]) -> Figure:
    """Plot the time of a training step (ms) over the number of time segments, on the most common setup."""
    kinds = Counter(setup(run) for c in comparisons for mode in MODES for run in c.done(mode).values())
    most = kinds.most_common(1)[0][0] if kinds else None
    series = _over_segments(comparisons, lambda run: _milliseconds(run) if setup(run) == most else None)
    about = f"Median synchronised training step of each run, on {setup_label(most) if most else 'none'}."
    return Figure("time-k", "Time over segments", OVER_SEGMENTS, STEP, about, series, **_of_dial(comparisons))


def _milliseconds(run: Run) -> float | None:
    seconds = run.figure("step_seconds")
    return None if seconds is None else 1000 * seconds


def _over_segments(comparisons: list[Comparison], value: Callable[[Run], float | None]) -> list[Series]:
    """Return BPTT's level, and a line each for coupled and uncoupled segments, both beginning at Rate-BP."""
    bptt = {run.name: v for c in comparisons for run in c.of("bptt") if (v := value(run)) is not None}
    ends = sorted({c.method.segments for c in comparisons})
    series = [mean("bptt", name("bptt"), ends, [list(bptt.values()) for _ in ends])] if bptt else []
    for variant, (coupled, label) in enumerate(((True, "coupled"), (False, "uncoupled"))):
        of = [c for c in comparisons if c.method.segments == 1 or c.method.coupled == coupled]
        if all(c.method.segments == 1 for c in of):
            continue
        runs = [(c.method.segments, run) for c in of for run in c.done("rate").values()]
        done = sorted((pair for pair in runs if value(pair[1]) is not None), key=lambda pair: pair[0])
        series += _over_T("rate", f"{name('rate')}, {label}", done, lambda run: value(run) or 0.0, variant)
    return series


SegmentSweep = tuple[str, str, int, str, str]


def dials(comparisons: Iterable[Comparison]) -> dict[SegmentSweep, list[Comparison]]:
    """Group comparisons that differ only in their time segments, if they have several segment counts."""
    found: dict[SegmentSweep, list[Comparison]] = {}
    for c in comparisons:
        found.setdefault(dial_of(c), []).append(c)
    return {dial: of for dial, of in found.items() if len({c.method.segments for c in of}) > 1}


def dial_of(c: Comparison) -> SegmentSweep:
    """Return the fields shared by comparisons that differ only in their time segments."""
    return c.dataset, c.arch, c.T, c.step_mode, c.setting


def dial_label(dial: SegmentSweep) -> str:
    """Return a dial as text, such as "digits, digits_cnn, T=4, step mode m, neuron=lif"."""
    dataset, arch, T, step_mode, setting = dial
    return ", ".join(filter(None, (dataset, arch, f"T={T}", f"step mode {step_mode}", setting)))


def families(comparisons: list[Comparison]) -> dict[tuple[str, str, str, str], list[Comparison]]:
    """Group comparisons that differ only in T, keeping their order."""
    found: dict[tuple[str, str, str, str], list[Comparison]] = {}
    for comparison in comparisons:
        found.setdefault(comparison.family, []).append(comparison)
    return found
