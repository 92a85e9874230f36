"""Compute figures of training: accuracy and loss over epochs, and accuracy over time."""

from collections.abc import Callable

from rbp.report.comparison.costs import on_one_machine
from rbp.report.comparison.groups import Facet
from rbp.report.figures.figure import Axis, Figure, Series
from rbp.report.figures.series import ACCURACY, by_setup, mean, name_of, of_facet
from rbp.report.read import LOSSES, Run

EPOCHS = Axis("epoch", whole=True)
SECONDS = Axis("seconds of training", zero=True)
NORM = Axis("norm of the gradients", log=None, zero=True)
LOSS = Axis("loss", log=None, zero=True)


def over_epochs(facet: Facet, x: float | None = None) -> Figure:
    """Plot test accuracy over epochs: mean and standard deviation over seeds, and a thin line per run."""
    series = []
    for group in facet.at(x):
        label = name_of(facet, group.value)
        runs = [run for run in group.runs if run.curve]
        for run in runs:
            epochs = sorted(run.curve)
            labels = [f"{run.name}{'' if run.result else f' ({run.state})'}"]
            percent = _percent(run, epochs)
            series.append(Series(group.value, label, "run", epochs, percent, labels=labels))
        curve = lambda run: {n: 100 * a for n, a in run.curve.items()}  # noqa: E731
        series += _means(group.value, label, runs, curve)
    about = "Mean over seeds with a band of one standard deviation; thin: single runs."
    return Figure("epochs", "Accuracy over epochs", EPOCHS, ACCURACY, about, series, **of_facet(facet, x))


def losses(facet: Facet, x: float | None = None) -> Figure:
    """Plot the losses over epochs that the runs record: training, validation and test."""
    series = []
    for group in facet.at(x):
        for variant, kind in enumerate(LOSSES):
            runs = [run for run in group.runs if kind in run.losses]
            label = f"{name_of(facet, group.value)}, {kind.removesuffix('_loss')}"
            series += _means(group.value, label, runs, lambda run, kind=kind: run.losses[kind], variant)  # type: ignore[misc]
    about = "Mean over seeds with a band of one standard deviation."
    return Figure("loss", "Loss over epochs", EPOCHS, LOSS, about, series, **of_facet(facet, x))


def gradient_norms(facet: Facet, x: float | None = None) -> Figure:
    """Plot the norm of the gradients over epochs, the mean over the recorded steps of each."""
    series = []
    for group in facet.at(x):
        runs = [run for run in group.runs if run.gradient_norms]
        series += _means(group.value, name_of(facet, group.value), runs, lambda run: run.gradient_norms)
    about = (
        "L2 norm of all gradients together before clipping, the mean over the recorded steps of an epoch "
        "(trainer.log_every); mean over seeds with a band of one standard deviation."
    )
    return Figure("gradient", "Gradient norm over epochs", EPOCHS, NORM, about, series, **of_facet(facet, x))


def over_time(facet: Facet, x: float | None = None) -> Figure:
    """Plot test accuracy over the time spent on training, of finished runs, kinds of machine apart."""
    series = []
    for value, label, variant, found in by_setup(facet, facet.at(x), "seconds"):
        runs = [run for _, run in found if run.curve.keys() & run.elapsed.keys() and on_one_machine(run)]
        for run in runs:
            epochs = _timed(run)
            times = [run.elapsed[epoch] for epoch in epochs]
            percent = _percent(run, epochs)
            series.append(Series(value, label, "run", times, percent, labels=[run.name], variant=variant))
        shared = sorted(set.intersection(*(set(_timed(run)) for run in runs))) if runs else []
        if shared:
            times = [sum(run.elapsed[epoch] for run in runs) / len(runs) for epoch in shared]
            by_epoch = [[100 * run.curve[epoch] for run in runs] for epoch in shared]
            series.append(mean(value, f"{label} (n={len(runs)})", times, by_epoch, variant))
    about = (
        "Training alone, without evaluation. Each epoch's mean accuracy stands at its mean time; thin: runs."
    )
    of = of_facet(facet, x)
    return Figure("accuracy-time", "Accuracy over time", SECONDS, ACCURACY, about, series, **of)


def _percent(run: Run, epochs: list[int]) -> list[float]:
    return [100 * run.curve[epoch] for epoch in epochs]


def _means(
    value: str, label: str, runs: list[Run], curve: Callable[[Run], dict[int, float]], variant: int = 0
) -> list[Series]:
    """Return the mean of the runs' curves at the epochs that they share."""
    # Unfinished runs are left out of the mean, which would jump where they end.
    curves = [curve(run) for run in runs if run.result] or [curve(run) for run in runs]
    epochs = sorted(set.intersection(*(set(found) for found in curves))) if curves else []
    by_epoch = [[found[epoch] for found in curves] for epoch in epochs]
    return [mean(value, f"{label} (n={len(curves)})", epochs, by_epoch, variant)] if epochs else []


def _timed(run: Run) -> list[int]:
    return sorted(run.curve.keys() & run.elapsed.keys())
