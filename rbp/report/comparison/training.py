"""Compute what it takes to reach the same accuracy, and how large the gradients are on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from rbp.report.comparison.costs import Cost, cost, on_one_machine
from rbp.report.comparison.groups import Facet, Group
from rbp.report.comparison.statistics import Summary, paired_ratio, summary
from rbp.report.read import Run

ROUNDING = 1e-9  # the mean of equal accuracies may be a little more than each


@dataclass(frozen=True)
class Training:
    """The course of training of one group of runs.

    Attributes:
        facet: The facet of the group.
        group: The runs.
        norm: Norm of the gradients, the mean over a run's recorded steps; None if none is recorded.
        target: The accuracy in [0, 1] to be reached: the smallest mean of those that are compared; None if
            there is nothing to compare.
        reached: Number of runs of which some epoch reached it.
        updates: Updates of the weights up to the end of the first epoch that reached it.
        updates_ratio: Geometric mean of this group's over the base's, over pairs of equal seed; None without.
        seconds: Seconds of training up to there, without evaluation.
    """

    facet: Facet
    group: Group
    norm: Summary | None
    target: float | None
    reached: int
    updates: Summary | None
    updates_ratio: float | None
    seconds: Cost


def courses(facets: Sequence[Facet]) -> list[Training]:
    """Return the course of training of every group that has finished runs, in their order."""
    finished = [(facet, group) for facet in facets for group in facet.groups if group.done]
    return [_course(facet, group, _target(facet, group)) for facet, group in finished]


def _target(facet: Facet, group: Group) -> float | None:
    """Return the accuracy that all groups at one place on the x axis reach on average."""
    beside = facet.groups if facet.compares_x else facet.at(group.x)
    means = [summary(a for run in of.done.values() if (a := run.accuracy) is not None) for of in beside]
    known = [found.mean for found in means if found is not None]
    return min(known) if len(known) > 1 else None


def _course(facet: Facet, group: Group, target: float | None) -> Training:
    base = facet.base_of(group)
    own, theirs = _updates(group, target), _updates(base, target) if base else {}
    seconds = cost(group.done, base.done if base else None, lambda run: _seconds(run, target))
    norms = [fmean(run.gradient_norms.values()) for run in group.done.values() if run.gradient_norms]
    ratio = paired_ratio(theirs, own)
    return Training(facet, group, summary(norms), target, len(own), summary(own.values()), ratio, seconds)


def _updates(group: Group, target: float | None) -> dict[int, float]:
    """Return the updates up to the target, by seed, of the runs that reached it."""
    epochs = {seed: epoch for seed, run in group.done.items() if (epoch := _reached(run, target)) is not None}
    steps = {seed: _by_epoch(group.done[seed], "step") for seed in epochs}
    return {seed: of[epochs[seed]] for seed, of in steps.items() if epochs[seed] in of}


def _seconds(run: Run, target: float | None) -> float | None:
    epoch = _reached(run, target)
    return run.elapsed.get(epoch) if epoch is not None and on_one_machine(run) else None


def _reached(run: Run, target: float | None) -> int | None:
    """Return the first epoch whose test accuracy is the target or more; None if there is none."""
    curve = _by_epoch(run, "test_acc")
    return next((n for n in sorted(curve) if target is not None and curve[n] >= target - ROUNDING), None)


def _by_epoch(run: Run, key: str) -> dict[int, float]:
    return {int(line["epoch"]): line[key] for line in run.numbers if key in line}
