"""The second table of a report: what it took to reach the same accuracy, and the norm of the gradients."""

from collections.abc import Sequence

from rbp.report.comparison.axes import Axes
from rbp.report.comparison.settings import LACKS as NONE
from rbp.report.comparison.training import Training
from rbp.report.texts.table import Table, cells_of_keys, of_cost, three_digits

FIGURES = (
    ("accuracy to reach (%)", "mean"),
    ("runs that reached it", "mean"),
    ("updates", "mean"),
    ("updates", "ratio"),
    ("seconds of training", "mean"),
    ("seconds of training", "ratio"),
    ("gradient norm", "mean"),
)
ABOUT = (
    "What it takes to reach the accuracy that all reach: the smallest mean test accuracy of those that are "
    "compared at one place. updates: optimizer steps up to the end of the first epoch with that accuracy or "
    "more, mean over the runs that have one; seconds: of training up to there, without evaluation; ratio: to "
    "the base, over pairs of equal seed. gradient norm: L2 norm of all gradients together before clipping, "
    "mean over the steps that are recorded (trainer.log_every)."
)


def training_table(found: Sequence[Training], axes: Axes) -> Table | None:
    """Return the table as text; None if nothing is compared and no gradient norm is recorded."""
    columns, keys = cells_of_keys([(course.facet, course.group) for course in found], axes)
    texts = [_figures(course) for course in found]
    kept = [n for n in range(len(FIGURES)) if any(of[n] != NONE for of in texts)]
    if not kept:
        return None
    rows = tuple((*own, *(of[n] for n in kept)) for own, of in zip(keys, texts, strict=True))
    notes = tuple(_note(course) for course in found)
    return Table(columns, tuple(FIGURES[n] for n in kept), rows, notes, (False,) * len(rows), ABOUT)


def _note(course: Training) -> str:
    """Return why a row has no seconds or ratio; "" where there is nothing to reach."""
    return "" if course.target is None or not course.seconds.note else f"seconds: {course.seconds.note}"


def _figures(course: Training) -> list[str]:
    """Return the texts of one row in the columns of FIGURES."""
    if course.target is None:
        reach = [NONE] * 6
    else:
        updates = NONE if course.updates is None else f"{course.updates.mean:,.0f}"
        ratio = NONE if course.updates_ratio is None else f"{course.updates_ratio:.2f}"
        of = f"{course.reached} of {len(course.group.done)}"
        reach = [f"{100 * course.target:.2f}", of, updates, ratio, *of_cost(course.seconds, 1.0)]
    return [*reach, NONE if course.norm is None else three_digits(course.norm.mean)]
