"""Group runs into comparisons: runs that differ only in gradient mode and seed are compared."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rbp.report.figures.style import method_name
from rbp.report.read import MISSING, Method, Run
from rbp.runs.differing import differing_keys

MODES = ("bptt", "rate")
BPTT, RATE = Method("bptt"), Method("rate")


@dataclass(frozen=True)
class Comparison:
    """One comparison of BPTT with one other method: runs that agree in all else that decides a result.

    If there are several other methods, each has its own comparison, with the same BPTT runs.

    Attributes:
        dataset: Name of the data set.
        arch: Name of the architecture.
        T: Number of time steps.
        step_mode: Step mode of the neurons.
        differs: The keys by which this comparison differs from others of the same data set and architecture,
            and its method if there are several, as text; "" if there is nothing to tell apart.
        runs: The runs of BPTT and of `method`.
        method: The method that is compared with BPTT.
        setting: `differs` without the method.
    """

    dataset: str
    arch: str
    T: int
    step_mode: str
    differs: str
    runs: tuple[Run, ...]
    method: Method = RATE
    setting: str = ""

    def of(self, mode: str) -> list[Run]:
        """Return the runs of a gradient mode."""
        return [run for run in self.runs if run.grad_mode == mode]

    def done(self, mode: str) -> dict[int, Run]:
        """Return the finished runs of a gradient mode, by seed."""
        return {run.seed: run for run in self.of(mode) if run.result is not None}

    @property
    def family(self) -> tuple[str, str, str, str]:
        """The fields that comparisons share if they differ only in T."""
        return self.dataset, self.arch, self.step_mode, self.differs

    @property
    def label(self) -> str:
        """The family's label and T, as text."""
        return f"{family_label(self.family)}, T={self.T}"


def family_label(family: tuple[str, str, str, str]) -> str:
    """Return a family as text, such as "digits, digits_cnn, step mode m, neuron=lif"."""
    dataset, arch, step_mode, differs = family
    return ", ".join(filter(None, (dataset, arch, f"step mode {step_mode}", differs)))


def compare(runs: Iterable[Run]) -> list[Comparison]:
    """Group runs into comparisons, sorted by data set, architecture, step mode, setting, method and T."""
    found = []
    for (dataset, arch), theirs in _split(runs, lambda run: (run.dataset, run.arch)).items():
        tuned = _tuned(theirs)
        labels = _labels([_without(run.other_settings, tuned) for run in theirs])
        several = len({run.method for run in theirs} - {BPTT}) > 1
        for (T, step_mode, setting, _), members in _by_setting(theirs, tuned).items():
            for method, runs in _by_method(members).items():
                label = " ".join(filter(None, (labels[setting], method_name(method) if several else "")))
                found.append(Comparison(dataset, arch, T, step_mode, label, runs, method, labels[setting]))
    return sorted(
        found,
        key=lambda c: (
            c.dataset,
            c.arch,
            c.step_mode,
            c.setting,
            c.method.segments,
            not c.method.coupled,
            c.T,
        ),
    )


def _by_method(runs: list[Run]) -> dict[Method, tuple[Run, ...]]:
    """Return the runs of each method other than BPTT, together with the BPTT runs."""
    runs = sorted(runs, key=lambda run: (run.grad_mode, run.seed, run.name))
    methods = sorted({run.method for run in runs} - {BPTT}) or [RATE]
    return {method: tuple(run for run in runs if run.method in (BPTT, method)) for method in methods}


def deduplicate(runs: list[Run]) -> tuple[list[Run], list[str]]:
    """Deduplicate by identity: finished beats unfinished, then the more complete sweep, then the first.

    The more complete sweep is the one with more finished runs. A cell that occurs in two sweeps must count
    once: counted twice, it would look like an additional seed.

    Returns:
        The runs to show, and sentences about the runs that were left out.
    """
    done = Counter(run.folder.parent for run in runs if run.result is not None)
    best: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.result is None, -done[run.folder.parent])):
        best.setdefault(run.name, run)
    shown = [run for run in runs if best[run.name] is run]
    return shown, _sentences([(best[run.name], run) for run in runs if best[run.name] is not run])


# Entries of result.json that are equal in two runs of one identity; only their times may differ.
_FIGURES = ("test_acc", "best_test_acc", "train_loss", "epochs")


def _sentences(doubles: list[tuple[Run, Run]]) -> list[str]:
    """Return a sentence for each pair of sweeps; `doubles` holds pairs (run shown, run left out)."""
    sentences = []
    for (shown, left), pairs in _split(
        doubles, lambda pair: tuple(run.folder.parent for run in pair)
    ).items():
        odd = [a for a, b in pairs if b.result and any(a.figure(key) != b.figure(key) for key in _FIGURES)]
        differ = f", though {len(odd)} differ in their results, such as {odd[0].name}" if odd else ""
        sentences.append(
            f"{len(pairs)} runs of {left} are in {shown} as well: those in {shown} are shown{differ}."
        )
    return sentences


def _split(items: Iterable[Any], key: Any) -> dict[Any, list[Any]]:
    found = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found


def _by_setting(runs: list[Run], tuned: set[str]) -> dict[tuple[int, str, str, str], list[Run]]:
    return _split(runs, lambda run: (run.T, run.step_mode, *_setting(run, tuned)))


def _setting(run: Run, tuned: set[str]) -> tuple[str, str]:
    """Return the run's setting; of a run without a config nothing is known to agree with any other's."""
    apart = run.name if MISSING in run.other_settings else ""
    return _canonical(_without(run.other_settings, tuned)), apart


def _tuned(runs: list[Run]) -> set[str]:
    """Return the optimizer's keys that have one value per method and setting, such as a tuned learning rate.

    These keys do not separate comparisons: otherwise methods with different learning rates could never be
    compared.
    """
    keys = {key for run in runs for key in run.other_settings if key.startswith("optimizer.")}
    of_methods = [
        members
        for of_setting in _by_setting(runs, keys).values()
        for members in _split(of_setting, lambda run: run.method).values()
    ]
    return {
        key
        for key in keys
        if all(len({_plain(run.other_settings.get(key)) for run in members}) == 1 for members in of_methods)
    }


def _without(other_settings: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in other_settings.items() if key not in keys}


def _canonical(other_settings: dict[str, Any]) -> str:
    return repr([(key, _plain(other_settings[key])) for key in sorted(other_settings)])


def _plain(value: Any) -> Any:
    """Convert integers to floats, as in a run's identity: lr=1 and lr=1.0 are the same setting."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _labels(settings: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return a label for each distinct setting: every key=value pair in which some of them differ."""
    distinct = {_canonical(setting): setting for setting in settings}
    known = [setting for setting in distinct.values() if MISSING not in setting]
    keys = [MISSING, *sorted(differing_keys(known), key=_names_first)]
    return {name: _show(setting, keys) for name, setting in distinct.items()}


def _names_first(key: str) -> tuple[bool, str]:
    """Return a sort key that puts names first: neuron=plif says more than the keys that come with it."""
    return not key.endswith(".name"), key


def _show(setting: dict[str, Any], keys: list[str]) -> str:
    pairs = [(key.removesuffix(".name"), setting[key]) for key in keys if key in setting]
    return " ".join(f"{key}={'null' if value is None else value}" for key, value in pairs)
