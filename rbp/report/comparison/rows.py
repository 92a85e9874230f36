"""Compute the table of a report: a row for each group of runs, with its difference to the base's."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rbp.report.comparison.costs import Cost, cost
from rbp.report.comparison.groups import Facet, Group
from rbp.report.comparison.settings import LACKS, as_text
from rbp.report.comparison.statistics import Paired, Summary, holm, paired, summary
from rbp.report.read import MISSING, Run

REASON_LENGTH = 160  # characters


@dataclass(frozen=True)
class Published:
    """A published accuracy in [0, 1], and the group's after the last epoch and of the best on the test set.

    Papers often report the best epoch on the test set, which is too good: the test set chose it.
    """

    accuracy: float
    last: Summary | None
    best: Summary | None


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        facet: The facet of the group.
        group: The runs that the row shows.
        accuracy: Headline accuracy in [0, 1]; None if no run has finished.
        difference: Paired difference of the accuracies to the base's; None for the base, without a base or
            without a common seed.
        sure: Whether that difference is beyond chance at 5 % over all differences of the table (Holm).
        seconds: Time of a training step in seconds.
        memory: Peak memory of a training step in bytes.
        firing: Mean firing rate; None if unknown.
        energy: Energy of an image in microjoules; None if unknown.
        published: The accuracy that a paper reports, beside those to compare it with; None if unknown.
        notes: What is missing, and why.
    """

    facet: Facet
    group: Group
    accuracy: Summary | None
    difference: Paired | None
    seconds: Cost
    memory: Cost
    firing: Summary | None
    energy: Summary | None
    published: Published | None
    notes: tuple[str, ...]
    sure: bool = False


def rows(facets: Sequence[Facet]) -> list[Row]:
    """Return a row for every group, in their order."""
    made = [_row(facet, group, facets) for facet in facets for group in facet.groups]
    tested = [row.difference.p for row in made if row.difference and row.difference.p is not None]
    sure = iter(holm(tested))
    return [
        replace(row, sure=next(sure)) if row.difference and row.difference.p is not None else row
        for row in made
    ]


def tested(of: Sequence[Row]) -> int:
    """Return how many differences of a table were tested."""
    return sum(row.difference is not None and row.difference.p is not None for row in of)


def _row(facet: Facet, group: Group, facets: Sequence[Facet]) -> Row:
    base = facet.base_of(group)
    own, theirs = _accuracies(group), _accuracies(base) if base else {}
    difference = paired(theirs, own) if base else None
    done, of_base = group.done, base.done if base else None
    seconds = cost(done, of_base, lambda run: run.figure("step_seconds"))
    memory = cost(done, of_base, lambda run: run.figure("peak_memory_bytes"))
    notes = [note for note in (_unfinished(group), _no_partner(facet, group, facets)) if note]
    notes += _of_accuracy(group, own, theirs, difference)
    notes += [f"step time: {seconds.note}"] if seconds.note else []
    notes += [f"memory: {memory.note}"] if memory.note and memory.note != seconds.note else []
    notes += _of_code(group, base) + _not_counted(done.values())
    rates = [rate for run in done.values() if (rate := run.figure("firing_rate")) is not None]
    energies = [run.energy["energy_uj"] for run in done.values() if "energy_uj" in run.energy]
    figures = (seconds, memory, summary(rates), summary(energies), _published(group))
    return Row(facet, group, summary(own.values()), difference, *figures, tuple(notes))


def _published(group: Group) -> Published | None:
    known = {run.published for run in group.runs}
    (only,) = known if len(known) == 1 else (None,)
    if only is None:
        return None
    last, best = (
        summary(a for run in group.done.values() if (a := run.figure(key)) is not None)
        for key in ("test_acc", "best_test_acc")
    )
    return Published(only, last, best)


def _accuracies(group: Group) -> dict[int, float]:
    return {seed: a for seed, run in group.done.items() if (a := run.accuracy) is not None}


def _of_accuracy(
    group: Group, own: dict[int, float], theirs: dict[int, float], difference: Paired | None
) -> list[str]:
    without = len(group.done) - len(own)
    notes = [f"{without} done without an accuracy"] if without else []
    pairs = 0 if difference is None else difference.n
    if own and theirs and pairs < max(len(own), len(theirs)):
        notes.append(
            f"difference over {pairs} common seed{'s' * (pairs != 1)}" if pairs else "no common seed"
        )
    if any((run.result or {}).get("headline") == "best" for run in group.runs):
        notes.append("accuracies are those of the best epoch")
    return notes


def _no_partner(facet: Facet, group: Group, facets: Sequence[Facet]) -> str:
    """Return why a group has nothing to be compared with; "" if it has, or is a base itself."""
    if group.value == facet.base or facet.base_of(group) is not None:
        return ""
    if MISSING in facet.setting:
        return "without its config.yaml nothing is known to agree with it"
    bases = [_place(f, g) for f in facets for g in f.groups if g.value == f.base and MISSING not in f.setting]
    if not bases:
        return f"no run of {facet.compare}={facet.base} to compare with"
    own = _place(facet, group)
    nearest = min((_apart(own, other) for other in bases), key=len)
    return (
        f"no run of {facet.compare}={facet.base} that agrees in all else: the nearest has {' '.join(nearest)}"
    )


def _place(facet: Facet, group: Group) -> dict[str, str]:
    """Return the values in which a group's place in the table differs from others', by their keys."""
    at = {facet.x_key: as_text(group.x)} if facet.x_key and group.x is not None else {}
    return facet.setting | at


def _apart(own: dict[str, str], theirs: dict[str, str]) -> list[str]:
    keys = [key for key in {**own, **theirs} if own.get(key) != theirs.get(key)]
    return [f"{key}={theirs.get(key, LACKS)}" for key in keys]


def _of_code(group: Group, base: Group | None) -> list[str]:
    """Return a note if the results come from different versions of the code."""
    runs = [*group.done.values(), *(base.done.values() if base else ())]
    hashes = dict.fromkeys(str(run.code.get("hash", "unknown")) for run in runs)
    return [f"computed by different versions of the code: {', '.join(hashes)}"] if len(hashes) > 1 else []


def _not_counted(runs: Iterable[Run]) -> list[str]:
    names = list(dict.fromkeys(name for run in runs if run.energy for name in run.not_counted))
    return [cut(f"energy without the operations of {', '.join(names)}")] if names else []


def _unfinished(group: Group) -> str:
    """Return a note such as "1 running (epoch 3), 1 failed (out of memory)"; "" if all are done."""
    waiting = [run for run in group.runs if run.result is None]
    parts = []
    for state, count in Counter(run.state for run in waiting).items():
        reasons = {run.error: None for run in waiting if run.state == state and run.error}
        epochs = max(run.epoch for run in waiting if run.state == state)
        text = f" ({cut('; '.join(reasons))})" if reasons else f" (epoch {epochs})" if epochs else ""
        parts.append(f"{count} {state}{text}")
    return ", ".join(parts)


def cut(text: str, length: int = REASON_LENGTH) -> str:
    """Join a text to one line and shorten it to at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
