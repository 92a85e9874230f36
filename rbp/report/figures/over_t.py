"""Compute figures of the network's time steps: accuracy over t, and accuracy against energy."""

from rbp.report.comparison.groups import Facet
from rbp.report.comparison.settings import as_text
from rbp.report.figures.figure import Axis, Figure, Mark, Series
from rbp.report.figures.series import ACCURACY, mean, name_of, of_facet
from rbp.report.read import Run

STEPS = Axis("t (time steps)", whole=True)
ENERGY = Axis("energy per image (µJ)", log=None)
ARITHMETIC = (
    "Energy of synaptic operations, of arithmetic alone, without memory traffic: 4.6 pJ a MAC, 0.9 pJ an "
    "addition (Horowitz 2014, 45 nm, fp32)."
)


def accuracy_over_t(facet: Facet, x: float | None = None) -> Figure:
    """Plot the test accuracy of the mean of the outputs so far, after t = 1, ..., T steps."""
    series = []
    for group in facet.at(x):
        curves = [run.acc_over_t for run in group.done.values() if run.acc_over_t]
        if not curves:
            continue
        ts = list(range(1, max(map(len, curves)) + 1))
        by_t = [[100 * curve[t - 1] for curve in curves if t <= len(curve)] for t in ts]
        series.append(mean(group.value, f"{name_of(facet, group.value)} (n={len(curves)})", ts, by_t))
    about = (
        "Of the mean of the outputs after t of the T steps, last epoch; mean over seeds with a band of one "
        "standard deviation."
    )
    return Figure("over-t", "Accuracy over t", STEPS, ACCURACY, about, series, **of_facet(facet, x))


def accuracy_over_energy(facet: Facet) -> Figure:
    """Plot accuracy against the energy of an image (µJ), a marker per run, with the ANN's energy as a mark.

    Both are those of the last epoch, whatever the headline accuracy is.
    """
    series, shown = [], []
    for value in facet.values:
        done = [
            (group.x, run)
            for group in facet.groups
            if group.value == value
            for run in group.done.values()
            if "energy_uj" in run.energy and run.figure("test_acc") is not None
        ]
        if not done:
            continue
        shown += [run for _, run in done]
        energies = [run.energy["energy_uj"] for _, run in done]
        accuracies = [100 * (run.figure("test_acc") or 0.0) for _, run in done]
        at = [f"{facet.x_key}={as_text(x)}, " if x is not None else "" for x, _ in done]
        labels = [f"{place}{run.name}" for place, (_, run) in zip(at, done, strict=True)]
        series.append(Series(value, name_of(facet, value), "points", energies, accuracies, labels=labels))
    about = f"A marker a run, last epoch; up and to the left is better. {ARITHMETIC}{_missing(shown)}"
    return Figure(
        *("energy", "Accuracy against energy", ENERGY, ACCURACY, about, series),
        **of_facet(facet),
        mark=_as_ann(shown),
    )


def _as_ann(runs: list[Run]) -> Mark | None:
    """Return the energy of the runs' network as an ANN; None if there are several or it is unknown."""
    energies = {run.energy.get("ann_energy_uj") for run in runs}
    (only,) = energies if len(energies) == 1 else (None,)
    return None if only is None else Mark(only, f"as an ANN: {only:.3g} µJ")


def _missing(runs: list[Run]) -> str:
    names = list(dict.fromkeys(name for run in runs for name in run.not_counted))
    return f" Not counted: {', '.join(names)}." if names else ""
