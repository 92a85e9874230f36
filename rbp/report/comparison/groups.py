"""Group runs: pooled over seeds, and beside those that they are compared with."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rbp.report.comparison.axes import Axes
from rbp.report.comparison.costs import chunk
from rbp.report.comparison.settings import CHUNK, LACKS, as_text, is_number, settings, shown, text_of
from rbp.report.read import MISSING, Run


@dataclass(frozen=True)
class Group:
    """Runs that agree in all but their seed.

    Attributes:
        value: The value of the compared key, as text; LACKS if the runs have no such key.
        x: The value on the x axis; None if there is no such axis or the runs have no such key.
        beside: Further keys with their values, as text, that keep no runs apart.
        runs: The runs.
    """

    value: str
    x: float | None
    beside: dict[str, str]
    runs: tuple[Run, ...]

    @property
    def done(self) -> dict[int, Run]:
        """The finished runs by seed."""
        return {run.seed: run for run in self.runs if run.result is not None}


@dataclass(frozen=True)
class Facet:
    """Groups that may be compared: they agree in all but the compared key, x and the seed.

    Attributes:
        compare: The compared key, as it is written on the command line.
        x_key: The key on the x axis, likewise; None if there is none.
        shared: Data set, network and other keys of note in which no runs of the report differ.
        setting: The keys in which this facet differs from others, with their values as text.
        values: The values of the compared key that occur anywhere in the report, the base first.
        base: The value that the others are compared with.
        groups: The groups, by x and then in the order of `values`.
    """

    compare: str
    x_key: str | None
    shared: dict[str, str]
    setting: dict[str, str]
    values: tuple[str, ...]
    base: str
    groups: tuple[Group, ...]

    @property
    def label(self) -> str:
        """The setting as text, such as "neuron=lif optimizer.lr=0.1"; "" if there is one facet only."""
        return " ".join(f"{key}={value}" for key, value in self.setting.items())

    @property
    def of(self) -> str:
        """What the facet is of, such as "digits, digits_cnn, step_mode=m, neuron=lif"."""
        named = [
            value if key in ("dataset", "arch") else f"{key}={value}" for key, value in self.shared.items()
        ]
        apart = [self.groups[0].runs[0].name] if MISSING in self.setting else []  # one run, unlike any other
        return ", ".join([*named, *(f"{key}={value}" for key, value in self.setting.items()), *apart])

    @property
    def runs(self) -> list[Run]:
        """All runs of the facet."""
        return [run for group in self.groups for run in group.runs]

    @property
    def xs(self) -> list[float]:
        """The values on the x axis, in order; none if there is no such axis or the compared key is on it."""
        return [] if self.compares_x else sorted({group.x for group in self.groups if group.x is not None})

    def at(self, x: float | None) -> list[Group]:
        """Return the groups at a place on the x axis, with those that have none; x=None: all of them."""
        return [group for group in self.groups if x is None or group.x in (x, None)]

    def base_of(self, group: Group) -> Group | None:
        """Return the group that a group is compared with; None for the base itself, or if there is none."""
        if group.value == self.base:
            return None
        bases = [g for g in self.groups if g.value == self.base]
        same = next((g for g in bases if g.x == group.x), None)
        # A base without the key on the x axis is the same everywhere, such as BPTT over segments of time.
        return same or next((g for g in bases if g.x is None or self.compares_x), None)

    @property
    def changes_with_x(self) -> bool:
        """Whether no two values stand at one place on the x axis, as a batch size that changes with it."""
        values: dict[str, set[float | None]] = {}
        for group in self.groups:
            values.setdefault(group.value, set()).add(group.x)
        places = [x for of in values.values() for x in of]
        return (
            not self.compares_x and None not in places and 1 < len(values) == len(places) == len(set(places))
        )

    @property
    def compares_x(self) -> bool:
        """Whether the compared key is the one on the x axis, so that the base lies at another x."""
        return self.compare == self.x_key


def group_runs(runs: Sequence[Run], axes: Axes) -> list[Facet]:
    """Group runs into facets; only runs that agree in all but their seed are pooled."""
    found: dict[str, dict[tuple[Any, str], list[Run]]] = defaultdict(lambda: defaultdict(list))
    texts: dict[str, dict[str, str]] = {}
    for run in runs:
        values = settings(run, axes.unfold)
        setting = {shown(key): as_text(values[key]) for key in axes.facets if key in values}
        apart = run.name if MISSING in run.other_settings else ""  # nothing is known to agree with others'
        facet = f"{setting!r} {apart}"
        texts[facet] = setting
        x = values.get(axes.x) if axes.x else None
        found[facet][x if is_number(x) else None, text_of(values, axes.compare)].append(run)
    shared, x_key = _shared(runs, axes), shown(axes.x) if axes.x else None
    order = _order({value for groups in found.values() for _, value in groups}, axes.base)
    facets = [
        Facet(shown(axes.compare), x_key, shared, texts[name], order, axes.base, _groups(groups, order, axes))
        for name, groups in found.items()
    ]
    keys = [shown(key) for key in axes.facets]
    return sorted(facets, key=lambda facet: [_sort_key(facet.setting.get(key, LACKS)) for key in keys])


_OF_NOTE = ("dataset.name", "arch.name", "step_mode", "T", "grad_mode")


def _shared(runs: Sequence[Run], axes: Axes) -> dict[str, str]:
    """Return the keys of note in which these runs do not differ."""
    differ = {axes.compare, axes.x, *axes.facets, *axes.beside} if len(runs) > 1 else set()
    values = settings(runs[0], axes.unfold)
    return {shown(key): as_text(values[key]) for key in _OF_NOTE if key not in differ}


def _groups(groups: dict[tuple[Any, str], list[Run]], order: Sequence[str], axes: Axes) -> tuple[Group, ...]:
    made = [
        Group(value, x, _beside(members, axes), tuple(sorted(members, key=lambda run: (run.seed, run.name))))
        for (x, value), members in groups.items()
    ]
    return tuple(sorted(made, key=lambda g: (g.x is not None, g.x or 0.0, order.index(g.value))))


def _beside(runs: Sequence[Run], axes: Axes) -> dict[str, str]:
    values = settings(runs[0], axes.unfold)
    return {shown(key): as_text(values[key]) for key in axes.beside if key in values}


def _order(values: set[str], base: str) -> tuple[str, ...]:
    return tuple(sorted(values, key=lambda value: (value != base, _sort_key(value))))


def _sort_key(value: str) -> tuple[bool, float, str]:
    try:
        return False, float(value), ""
    except ValueError:
        return True, 0.0, value


def deduplicate(runs: list[Run]) -> tuple[list[Run], list[str]]:
    """Deduplicate by identity: finished beats unfinished, then the more complete sweep, then the first.

    The more complete sweep is the one with more finished runs. A cell that occurs in two sweeps must count
    once: counted twice, it would look like an additional seed. A cell that is there with several sizes of
    chunks is kept with each of them, though these decide its cost alone: somebody compares them.

    Returns:
        The runs to show, and sentences about the runs that were left out.
    """
    done = Counter(run.folder.parent for run in runs if run.result is not None)
    best: dict[tuple[str, int], Run] = {}
    for run in sorted(runs, key=lambda run: (run.result is None, -done[run.folder.parent])):
        best.setdefault(_cell(run), run)
    kept = [run for run in runs if best[_cell(run)] is run]
    doubles = _sentences([(best[_cell(run)], run) for run in runs if best[_cell(run)] is not run])
    if len({run.name for run in kept}) < len(kept):
        kept = [
            replace(run, mode_keys=run.mode_keys | {CHUNK: _steps_at_once(run)})
            if run.grad_mode == "rate"
            else run
            for run in kept
        ]
    return kept, doubles


def _cell(run: Run) -> tuple[str, int]:
    return run.name, _steps_at_once(run)


def _steps_at_once(run: Run) -> int:
    """Return how many time steps a run has in memory at once: a chunk of T is the same as none."""
    return min(chunk(run) or run.T, run.T)


# Entries of result.json that are equal in two runs of one identity; only their times may differ.
_FIGURES = ("test_acc", "best_test_acc", "train_loss", "epochs")


def _sentences(doubles: list[tuple[Run, Run]]) -> list[str]:
    """Return a sentence for each pair of sweeps; `doubles` holds pairs (run shown, run left out)."""
    by_sweeps: dict[tuple[Any, Any], list[tuple[Run, Run]]] = defaultdict(list)
    for taken, left in doubles:
        by_sweeps[taken.folder.parent, left.folder.parent].append((taken, left))
    sentences = []
    for (taken_in, left_in), pairs in by_sweeps.items():
        odd = [a for a, b in pairs if b.result and any(a.figure(key) != b.figure(key) for key in _FIGURES)]
        differ = f", though {len(odd)} differ in their results, such as {odd[0].name}" if odd else ""
        sentences.append(
            f"{len(pairs)} runs of {left_in} are in {taken_in} as well: "
            f"those in {taken_in} are shown{differ}."
        )
    return sentences
