"""Which runs are compared with each other: those that differ in gradient mode and seed alone."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rbp.report.read import Run

MODES = ("bptt", "rate")


@dataclass(frozen=True)
class Comparison:
    """Runs of one data set, architecture, T, step mode and all else that decides a result.

    `differs`: the keys by which it differs from other comparisons of the same data set and architecture,
    as text ("" where there is none).
    """

    dataset: str
    arch: str
    T: int
    step_mode: str
    differs: str
    runs: tuple[Run, ...]

    def of(self, mode: str) -> list[Run]:
        return [run for run in self.runs if run.grad_mode == mode]

    def done(self, mode: str) -> dict[int, Run]:
        """The done runs of a gradient mode, by seed."""
        return {run.seed: run for run in self.of(mode) if run.result is not None}

    @property
    def family(self) -> tuple[str, str, str, str]:
        """What is the same when only T changes."""
        return self.dataset, self.arch, self.step_mode, self.differs

    @property
    def label(self) -> str:
        return f"{family_label(self.family)}, T={self.T}"


def family_label(family: tuple[str, str, str, str]) -> str:
    """For instance digits, digits_cnn, step mode m, neuron=lif."""
    dataset, arch, step_mode, differs = family
    return ", ".join(filter(None, (dataset, arch, f"step mode {step_mode}", differs)))


def compare(runs: Iterable[Run]) -> list[Comparison]:
    """Sort runs into comparisons, in the order of their names and T."""
    found = []
    for (dataset, arch), theirs in _split(runs, lambda run: (run.dataset, run.arch)).items():
        labels = _labels(theirs)
        for (T, step_mode, setting), members in _split(theirs, _setting).items():
            members.sort(key=lambda run: (run.grad_mode, run.seed, run.name))
            found.append(Comparison(dataset, arch, T, step_mode, labels[setting], tuple(members)))
    return sorted(found, key=lambda c: (*c.family, c.T))


def without_doubles(runs: list[Run]) -> tuple[list[Run], list[str]]:
    """Each identity once: the done one, of two done ones that of the sweep with more done runs, else the
    first; and in words which were left out.

    The same cell in two sweeps counts once: counted twice it would feign another seed.
    """
    done = Counter(run.folder.parent for run in runs if run.result is not None)
    best: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.result is None, -done[run.folder.parent])):
        best.setdefault(run.name, run)
    shown = [run for run in runs if best[run.name] is run]
    return shown, _told([(best[run.name], run) for run in runs if best[run.name] is not run])


_FIGURES = ("test_acc", "best_test_acc", "train_loss", "epochs")  # equal where nothing but time differs


def _told(doubles: list[tuple[Run, Run]]) -> list[str]:
    """A sentence for each two sweeps; doubles: the run that is shown, and the one that is not."""
    told = []
    for (shown, left), pairs in _split(
        doubles, lambda pair: tuple(run.folder.parent for run in pair)
    ).items():
        odd = [a for a, b in pairs if b.result and any(a.figure(key) != b.figure(key) for key in _FIGURES)]
        differ = f", though {len(odd)} differ in their results, such as {odd[0].name}" if odd else ""
        told.append(
            f"{len(pairs)} runs of {left} are in {shown} as well: those in {shown} are shown{differ}."
        )
    return told


def _split(items: Iterable[Any], key: Any) -> dict[Any, list[Any]]:
    found = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found


def _setting(run: Run) -> tuple[int, str, str]:
    return run.T, run.step_mode, _canonical(run.others)


def _canonical(others: dict[str, Any]) -> str:
    return repr([(key, _plain(others[key])) for key in sorted(others)])


def _plain(value: Any) -> Any:
    """Whole numbers as floats, as in a run's identity: lr=1 and lr=1.0 are one setting."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _labels(runs: list[Run]) -> dict[str, str]:
    """A text for each setting there is: as few key=value as tell it from the others."""
    distinct = {_canonical(run.others): run.others for run in runs}
    keys = sorted({key for setting in distinct.values() for key in setting}, key=_names_first)
    chosen: list[str] = []
    classes = 1
    for key in keys:
        split = len({_values(setting, [*chosen, key]) for setting in distinct.values()})
        if split > classes:
            chosen, classes = [*chosen, key], split
    return {name: _show(setting, chosen) for name, setting in distinct.items()}


def _names_first(key: str) -> tuple[bool, str]:
    """neuron=plif says more than the keys that come with it, and a missing config.yaml more than its keys."""
    return not key.endswith((".name", "config.yaml")), key


def _values(setting: dict[str, Any], keys: list[str]) -> str:
    return repr([_plain(setting.get(key, "no such key")) for key in keys])


def _show(setting: dict[str, Any], keys: list[str]) -> str:
    pairs = [(key.removesuffix(".name"), setting[key]) for key in keys if key in setting]
    return " ".join(f"{key}={'null' if value is None else value}" for key, value in pairs)
